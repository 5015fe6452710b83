//! What another cluster left, and which one it was.
//!
//! An install writes the root before anything of what is looked for here, so a node that is not a member has none of it from
//! this cluster; only the authorities' bundle may have come a moment earlier.

use std::collections::BTreeSet;

use kubezt_model::cluster::Role;
use kubezt_model::desired::{Desired, DesiredNode};
use kubezt_model::node::{FileKind, FileReading, Read, Reading};
use kubezt_model::survey::SubjectReading;
use kubezt_model::yaml;
use serde_json::Value;

use super::{Check, Place, Remark, Scene, Severity, list};
use crate::preflight::members::ROOT;

const AUTHORITIES: &str = "/etc/kubernetes/pki/ca.crt";
const MANIFESTS: &str = "/etc/kubernetes/manifests";
const ETCD_MANIFEST: &str = "/etc/kubernetes/manifests/etcd.yaml";
const ETCD_DATA: &str = "/var/lib/etcd/member";
const PLUG_INS: &str = "/etc/cni/net.d";
const KUBECONFIGS: [&str; 6] = [
    "/etc/kubernetes/admin.conf",
    "/etc/kubernetes/super-admin.conf",
    "/etc/kubernetes/bootstrap-kubelet.conf",
    "/etc/kubernetes/kubelet.conf",
    "/etc/kubernetes/controller-manager.conf",
    "/etc/kubernetes/scheduler.conf",
];
/// Folders of other distributions of Kubernetes.
const DISTRIBUTIONS: [(&str, &str); 4] = [
    ("/var/lib/rancher/k3s", "K3s"),
    ("/var/lib/rancher/rke2", "RKE2"),
    ("/var/lib/k0s", "k0s"),
    ("/var/snap/microk8s", "MicroK8s"),
];

pub(super) const CHECK: Check =
    Check { id: "leftovers", title: "Nothing is left of another cluster", reads, judge };

fn reads(_: &Desired, _: &DesiredNode) -> Vec<Read> {
    let subjects = |path: &str| Read::Subjects { path: path.to_owned() };
    let tree = |path: &str| Read::Tree { path: path.to_owned() };
    let mut reads = vec![subjects(ROOT), subjects(AUTHORITIES), tree(MANIFESTS), tree(PLUG_INS)];
    reads.push(file(ETCD_MANIFEST, true));
    reads.push(file(ETCD_DATA, false));
    reads.extend(KUBECONFIGS.map(|path| Read::Kubeconfig { path: path.to_owned() }));
    reads.extend(DISTRIBUTIONS.map(|(path, _)| file(path, false)));
    reads
}

fn file(path: &str, text: bool) -> Read {
    Read::File { path: path.to_owned(), text }
}

fn judge(scene: &Scene<'_>) -> Vec<Remark> {
    let mut remarks = Vec::new();
    for place in scene.places.iter().filter(|place| !place.member) {
        remarks.extend(cluster(scene, place));
        remarks.extend(distributions(place));
        let plug_ins = files(place, PLUG_INS);
        if !plug_ins.is_empty() {
            let what = format!("another network plug-in left {}", list(&plug_ins));
            let remedy = "remove it, and boot again so that its interfaces and rules are gone";
            remarks.push(Remark::warning(place.name(), what, remedy));
        }
    }
    remarks
}

/// Files that were found, and what they say of whose they are.
#[derive(Default)]
struct Traces<'a> {
    paths: Vec<&'a str>,
    owners: BTreeSet<String>,
}

impl<'a> Traces<'a> {
    fn add(&mut self, path: &'a str, owner: Option<String>) {
        self.paths.push(path);
        self.owners.extend(owner);
    }
}

fn cluster(scene: &Scene<'_>, place: &Place<'_>) -> Option<Remark> {
    let name = scene.cluster().name.as_str();
    let mut traces = Traces::default();
    if let Some(root) = subject(place, ROOT) {
        traces.add(
            ROOT,
            Some(format!("the kubezt cluster `{}` (root {})", root.common_name, root.fingerprint.short())),
        );
    }
    if let Some(authority) =
        subject(place, AUTHORITIES).filter(|one| !one.organizations.iter().any(|of| of == name))
    {
        let owner = match authority.organizations.first() {
            Some(cluster) => format!("the kubezt cluster `{cluster}`"),
            None => format!("a cluster whose authority is `{}`", authority.common_name),
        };
        traces.add(AUTHORITIES, Some(owner));
    }
    for path in KUBECONFIGS {
        match place.facts.reading(&Read::Kubeconfig { path: path.to_owned() }) {
            Some(Reading::Kubeconfig(clusters)) => {
                let first = clusters.first();
                traces.add(path, first.map(|one| format!("the cluster `{}` at {}", one.name, one.server)));
            }
            Some(Reading::Failed(_)) => traces.add(path, None),
            _ => {}
        }
    }
    let manifests = files(place, MANIFESTS);
    for path in &manifests {
        let text = place.facts.file(ETCD_MANIFEST).and_then(|file| file.text.as_ref());
        let token = text.filter(|_| *path == ETCD_MANIFEST).and_then(|text| token(text.expose()));
        traces.add(path, token.map(|token| format!("the etcd cluster `{token}`")));
    }
    let data = place.facts.file(ETCD_DATA).filter(|file| file.kind == FileKind::Directory);
    if let Some(data) = data {
        traces.add(&data.path, None);
    }
    if traces.paths.is_empty() {
        return None;
    }
    // A kubelet without a control plane to run reads no manifests.
    let harmless = place.node.role == Role::Worker && traces.paths.len() == manifests.len();
    let owner = match traces.owners.is_empty() {
        true => "of a cluster that nothing names".to_owned(),
        false => format!("of {}", traces.owners.iter().cloned().collect::<Vec<_>>().join(" and ")),
    };
    let what = format!("it holds what is left {owner}: {}", list(&traces.paths));
    let remedy = "take the node out of that cluster and clean it (`kubeadm reset`, or remove these), keeping what is \
                  still needed; or take it out of the cluster file";
    let severity = if harmless { Severity::Warning } else { Severity::Error };
    Some(Remark::new(severity, [place.name()], what, remedy))
}

/// The token a manifest of etcd names its cluster by.
fn token(manifest: &str) -> Option<String> {
    let pod: Value = yaml::read(ETCD_MANIFEST, manifest).ok()?;
    let command = pod.pointer("/spec/containers/0/command")?.as_array()?;
    let words = command.iter().filter_map(Value::as_str);
    words.filter_map(|word| word.strip_prefix("--initial-cluster-token=")).next().map(str::to_owned)
}

fn subject<'a>(place: &Place<'a>, path: &str) -> Option<&'a SubjectReading> {
    match place.facts.reading(&Read::Subjects { path: path.to_owned() })? {
        Reading::Subjects(subjects) => subjects.first(),
        _ => None,
    }
}

/// Files below a folder; what begins with a dot is nobody's.
fn files<'a>(place: &Place<'a>, folder: &str) -> Vec<&'a str> {
    let tree = match place.facts.reading(&Read::Tree { path: folder.to_owned() }) {
        Some(Reading::Tree(tree)) => &tree[..],
        _ => &[],
    };
    let hidden = |file: &FileReading| file.path.rsplit('/').next().is_some_and(|name| name.starts_with('.'));
    let files = tree.iter().filter(|file| file.kind != FileKind::Directory && !hidden(file));
    files.map(|file| file.path.as_str()).collect()
}

fn distributions(place: &Place<'_>) -> Option<Remark> {
    let there = DISTRIBUTIONS.iter().filter(|(path, _)| place.facts.file(path).is_some());
    let found: Vec<String> = there.map(|(path, name)| format!("{name} ({path})")).collect();
    (!found.is_empty()).then(|| {
        let what = format!("another Kubernetes is or was on it: {}", list(&found));
        Remark::warning(place.name(), what, "remove it with its own uninstaller, and boot again")
    })
}

#[cfg(test)]
mod tests {
    use kubezt_model::Digest;
    use kubezt_model::survey::KubeconfigReading;

    use super::super::super::fixture::{Fixture, certificate, entry};
    use super::*;

    fn root(name: &str, of: &[u8]) -> Reading {
        Reading::Subjects(vec![certificate(name, &[], Digest::of(of))])
    }

    #[test]
    fn another_kubezt_cluster_is_told_by_name() {
        let mut fixture = Fixture::new();
        fixture.assert_none("leftovers");
        let read = || Read::Subjects { path: ROOT.to_owned() };
        fixture.set("w1", read(), root("other", b"other"));
        fixture.assert_one("leftovers", "error", &["w1"], "the kubezt cluster `other` (root");
        // The same name does not make it the same cluster.
        fixture.set("w1", read(), root("sample", b"another folder's"));
        fixture.assert_one("leftovers", "error", &["w1"], "the kubezt cluster `sample` (root");
        fixture.join("w1");
        fixture.assert_none("leftovers");
    }

    #[test]
    fn a_cluster_of_another_installer_is_told_by_what_names_it() {
        let mut fixture = Fixture::new();
        let clusters =
            vec![KubeconfigReading { name: "kubernetes".into(), server: "https://10.9.9.9:6443".into() }];
        let path = "/etc/kubernetes/admin.conf".to_owned();
        fixture.set("cp1", Read::Kubeconfig { path }, Reading::Kubeconfig(clusters));
        fixture.set("cp1", file(ETCD_DATA, false), Reading::File(entry(ETCD_DATA, FileKind::Directory)));
        let finding = fixture.assert_one(
            "leftovers",
            "error",
            &["cp1"],
            "the cluster `kubernetes` at https://10.9.9.9:6443",
        );
        assert!(
            finding.what.ends_with("/etc/kubernetes/admin.conf, /var/lib/etcd/member"),
            "{}",
            finding.what
        );
    }

    #[test]
    fn manifests_matter_where_kubelet_reads_them() {
        let mut fixture = Fixture::new();
        let tree = || {
            let file = entry("/etc/kubernetes/manifests/x.yaml", FileKind::File);
            Reading::Tree(vec![
                entry(MANIFESTS, FileKind::Directory),
                file,
                entry("/etc/kubernetes/manifests/.x", FileKind::File),
            ])
        };
        let read = || Read::Tree { path: MANIFESTS.to_owned() };
        fixture.set("cp1", read(), tree());
        let finding = fixture.assert_one("leftovers", "error", &["cp1"], "that nothing names");
        assert!(finding.what.ends_with(": /etc/kubernetes/manifests/x.yaml"), "{}", finding.what);
        let mut fixture = Fixture::new();
        fixture.set("w1", read(), tree());
        fixture.assert_one("leftovers", "warning", &["w1"], "x.yaml");
    }

    #[test]
    fn etcds_manifest_tells_its_cluster() {
        let mut fixture = Fixture::new();
        let mut manifest = entry(ETCD_MANIFEST, FileKind::File);
        manifest.text = Some(kubezt_model::SecretText::new(
            "spec: {containers: [{command: [etcd, '--initial-cluster-token=other']}]}".to_owned(),
        ));
        let read = Read::Tree { path: MANIFESTS.to_owned() };
        fixture.set("cp1", read, Reading::Tree(vec![entry(ETCD_MANIFEST, FileKind::File)]));
        fixture.set("cp1", file(ETCD_MANIFEST, true), Reading::File(manifest));
        fixture.assert_one("leftovers", "error", &["cp1"], "the etcd cluster `other`");
    }

    #[test]
    fn the_bundle_of_an_install_that_was_killed_is_its_own() {
        let mut fixture = Fixture::new();
        let bundle = |organizations: &[&str]| {
            Reading::Subjects(vec![certificate("kubernetes", organizations, Digest::of(b""))])
        };
        let read = || Read::Subjects { path: AUTHORITIES.to_owned() };
        fixture.set("w1", read(), bundle(&["sample"]));
        fixture.assert_none("leftovers");
        fixture.set("w1", read(), bundle(&["other"]));
        fixture.assert_one("leftovers", "error", &["w1"], "the kubezt cluster `other`");
        fixture.set("w1", read(), bundle(&[]));
        fixture.assert_one("leftovers", "error", &["w1"], "whose authority is `kubernetes`");
    }

    #[test]
    fn other_distributions_and_plug_ins_are_warned_of() {
        let mut fixture = Fixture::new();
        let path = "/var/lib/rancher/k3s";
        fixture.set("w1", file(path, false), Reading::File(entry(path, FileKind::Directory)));
        fixture.assert_one("leftovers", "warning", &["w1"], "K3s");
        let mut fixture = Fixture::new();
        let flannel = entry("/etc/cni/net.d/10-flannel.conflist", FileKind::File);
        fixture.set("w1", Read::Tree { path: PLUG_INS.to_owned() }, Reading::Tree(vec![flannel]));
        fixture.assert_one("leftovers", "warning", &["w1"], "10-flannel.conflist");
    }
}
