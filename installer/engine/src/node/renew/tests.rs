use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::path::Path;
use std::time::Duration;

use kubezt_model::desired::{AuthorityKind, Usage};
use kubezt_pki::{issue_intermediate, new_root, sign_leaf, spki_of};
use serde_json::json;

use super::*;
use crate::node::files;

const FOLDER: &str = "/etc/kubernetes/pki/authority";
const DAY: Duration = Duration::from_secs(86_400);

fn now() -> Timestamp {
    "2026-11-20T12:00:00Z".parse().unwrap()
}

/// A control-plane node with one leaf of a day, whose root account is whoever runs the test.
struct Fixture {
    folder: tempfile::TempDir,
    root: NodeRoot,
    leaf: LeafSpec,
}

impl Fixture {
    fn new() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let root = NodeRoot::at(folder.path());
        let leaf = LeafSpec {
            authority: AuthorityKind::Etcd,
            common_name: "cp1".to_owned(),
            organizations: Vec::new(),
            dns_names: vec!["cp1".to_owned()],
            ip_addresses: Vec::new(),
            usage: Usage::ServerAndClient,
        };
        let fixture = Self { folder, root, leaf };
        let metadata = std::fs::metadata(fixture.folder.path()).unwrap();
        fixture.write("/etc/passwd", &format!("root:x:{}:0::/root:/bin/sh\n", metadata.uid()));
        fixture.write("/etc/group", &format!("root:x:{}:\n", metadata.gid()));
        fixture.write("/run/.here", "");
        let authority = new_root("kubezt first", now(), 10).unwrap();
        let key = kubezt_pki::generate().unwrap();
        let public = spki_of(&key).unwrap();
        let chain = issue_intermediate(&authority, AuthorityKind::Etcd, &public, now(), 365 * DAY).unwrap();
        fixture.write(&format!("{FOLDER}/etcd.crt"), &chain.to_pem());
        fixture.write(&format!("{FOLDER}/etcd.key"), key.expose());
        // Another control-plane node signs as well; its certificate comes first here.
        let other = spki_of(&kubezt_pki::generate().unwrap()).unwrap();
        let other = issue_intermediate(&authority, AuthorityKind::Etcd, &other, now(), 365 * DAY).unwrap();
        fixture.write("/etc/etcd/ca.crt", &format!("{}{}", other.to_pem(), chain.to_pem()));
        let leaf_key = kubezt_pki::generate().unwrap();
        let public = spki_of(&leaf_key).unwrap();
        let leaf = sign_leaf(&chain, &key, &fixture.leaf, &public, now(), DAY).unwrap();
        fixture.write("/etc/etcd/server.crt", &leaf.to_pem());
        fixture.write("/etc/etcd/server.key", leaf_key.expose());
        fixture.write("/etc/kubezt/root.crt", &authority.certificate().to_pem());
        let configuration = json!({
            "node": "cp1",
            "lifetime": "24h",
            // Nobody listens there.
            "api": {"server": "127.0.0.1:1", "name": "api", "authority": "/etc/kubezt/root.crt",
                "certificate": "/etc/etcd/server.crt", "key": "/etc/etcd/server.key"},
            "issuers": {"etcd": "/etc/etcd/ca.crt"},
            "authorities": FOLDER,
            "leaves": [{"certificatePath": "/etc/etcd/server.crt", "keyPath": "/etc/etcd/server.key",
                "owner": "root:root", "certificateMode": "0644", "onChange": "nothing",
                "kind": {"leaf": fixture.leaf}}],
        });
        fixture.write(CONFIGURATION, &configuration.to_string());
        fixture
    }

    fn write(&self, path: &str, text: &str) {
        let path = self.root.path(path).unwrap();
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        std::fs::write(path, text).unwrap();
    }

    fn configure(&self, change: impl Fn(&mut serde_json::Value)) {
        let mut configuration = serde_json::from_str(&self.text(CONFIGURATION)).unwrap();
        change(&mut configuration);
        self.write(CONFIGURATION, &configuration.to_string());
    }

    fn text(&self, path: &str) -> String {
        std::fs::read_to_string(self.root.path(path).unwrap()).unwrap()
    }

    fn leaf(&self) -> CertificateChain {
        CertificateChain::parse(&self.text("/etc/etcd/server.crt")).unwrap()
    }

    fn due(&self) -> Timestamp {
        self.leaf().first().renewal().due()
    }
}

#[tokio::test]
async fn a_leaf_is_renewed_when_it_is_due_and_keeps_its_key() {
    let node = Fixture::new();
    let (before, key) = (node.text("/etc/etcd/server.crt"), node.text("/etc/etcd/server.key"));
    let early = run(&node.root, node.due() - Duration::from_secs(1)).await.unwrap();
    assert_eq!(early.failed, [""; 0]);
    assert_eq!(node.text("/etc/etcd/server.crt"), before);
    let due = node.due();
    let report = run(&node.root, due).await.unwrap();
    assert_eq!(report.failed, [""; 0]);
    assert!(report.said[0].contains("/etc/etcd/server.crt was renewed: it ends at"), "{report:?}");
    // An API that does not answer keeps no node from renewing what it can renew by itself.
    assert!(report.said[1].contains("were not answered"), "{report:?}");
    assert_eq!(node.leaf().first().not_after, due + DAY);
    assert_eq!(node.text("/etc/etcd/server.key"), key);
    let mode = files::metadata(&node.root.path("/etc/etcd/server.crt").unwrap()).unwrap().unwrap().mode();
    assert_eq!(mode & 0o7777, 0o644);
    let again = run(&node.root, due).await.unwrap();
    assert!(again.said.iter().all(|line| !line.contains("renewed")), "{again:?}");
}

/// The setting was lowered since the leaf was issued.
#[tokio::test]
async fn a_leaf_that_lives_longer_than_leaves_may_by_now_is_renewed_at_once() {
    let node = Fixture::new();
    node.configure(|configuration| configuration["lifetime"] = json!("1h"));
    let report = run(&node.root, now()).await.unwrap();
    assert_eq!(report.failed, [""; 0]);
    let said = "/etc/etcd/server.crt was renewed: it lives longer than 1h, which leaves may";
    assert_eq!(report.said[0], said, "{report:?}");
    assert_eq!(node.leaf().first().not_after, now() + Duration::from_secs(3600));
    let again = run(&node.root, now()).await.unwrap();
    assert!(again.said.iter().all(|line| !line.contains("renewed")), "{again:?}");
}

/// A control-plane node that has not got the present setting signs for longer.
#[test]
fn an_answer_that_lives_too_long_is_better_than_a_leaf_that_ends_and_no_better_than_one_that_lives_too_long()
{
    let node = Fixture::new();
    node.configure(|configuration| configuration["lifetime"] = json!("1h"));
    let configuration = Configuration::load(&node.root).unwrap();
    let issued = node.leaf();
    let due = |now: Timestamp| due(&node.root, &configuration, now, &mut Report::default()).pop().unwrap();
    let (mut ending, long) = (due(now()), due(now()));
    ending.reason = Reason::Due { ends: now() };
    let unfit = |due: &Due<'_>| unfit(&node.root, &configuration, due, &issued, now()).unwrap();
    assert_eq!(unfit(&ending), None);
    assert_eq!(unfit(&long), Some(Reason::Long { allowed: configuration.lifetime }));
    // Whatever else is wrong with it stays wrong.
    ending.public = spki_of(&kubezt_pki::generate().unwrap()).unwrap();
    assert_eq!(unfit(&ending), Some(Reason::Key));
}

#[tokio::test]
async fn what_is_renewed_gets_the_label_of_its_path_where_selinux_is_on() {
    let node = Fixture::new();
    let asked = node.root.path("/asked").unwrap();
    node.write("/usr/sbin/restorecon", &format!("#!/bin/sh\necho \"$@\" >>{}\n", asked.display()));
    let program = node.root.path("/usr/sbin/restorecon").unwrap();
    std::fs::set_permissions(program, std::fs::Permissions::from_mode(0o755)).unwrap();
    node.write("/sys/fs/selinux/enforce", "1");
    run(&node.root, now()).await.unwrap();
    assert!(!asked.exists(), "nothing was due");
    run(&node.root, node.due()).await.unwrap();
    let leaf = node.root.path("/etc/etcd/server.crt").unwrap();
    assert_eq!(node.text("/asked"), format!("-- {}\n", leaf.display()));
}

#[tokio::test]
async fn a_node_that_somebody_works_on_is_left_alone() {
    let node = Fixture::new();
    let before = node.text("/etc/etcd/server.crt");
    let lock = NodeLock::try_take(&node.root, "first@host").unwrap();
    let report = run(&node.root, node.due()).await.unwrap();
    assert!(report.failed.is_empty() && report.said[0].contains("first@host"), "{report:?}");
    assert_eq!(node.text("/etc/etcd/server.crt"), before);
    drop(lock);
    // The lock was given back: an operator who comes next need not wait.
    run(&node.root, node.due()).await.unwrap();
    NodeLock::try_take(&node.root, "second@host").unwrap();
}

#[tokio::test]
async fn what_time_does_not_explain_is_left_to_an_install() {
    let node = Fixture::new();
    node.write("/etc/etcd/server.key", kubezt_pki::generate().unwrap().expose());
    let before = node.text("/etc/etcd/server.crt");
    let report = run(&node.root, node.due()).await.unwrap();
    assert!(
        report.said[0].contains("another key than the one beside it; `kubezt install` mends it"),
        "{report:?}"
    );
    assert_eq!(node.text("/etc/etcd/server.crt"), before);
}

#[tokio::test]
async fn what_cannot_be_renewed_is_told_and_the_old_one_stays() {
    let node = Fixture::new();
    let before = node.text("/etc/etcd/server.crt");
    node.write(&format!("{FOLDER}/etcd.key"), "");
    let report = run(&node.root, node.due()).await.unwrap();
    assert_eq!(report.failed.len(), 1, "{report:?}");
    assert!(report.failed[0].starts_with("/etc/etcd/server.crt (it ends at"), "{report:?}");
    assert_eq!(node.text("/etc/etcd/server.crt"), before);
    std::fs::remove_file(node.root.path(CONFIGURATION).unwrap()).unwrap();
    let error = run(&node.root, now()).await.unwrap_err().chain();
    assert!(error.contains("kubezt install"), "{error}");
}

#[tokio::test]
async fn a_worker_that_reaches_nobody_says_so_and_only_when_something_is_due() {
    let node = Fixture::new();
    node.configure(|configuration| drop(configuration.as_object_mut().unwrap().remove("authorities")));
    assert_eq!(run(&node.root, now()).await.unwrap(), Report::default());
    let report = run(&node.root, node.due()).await.unwrap();
    assert_eq!(report.failed.len(), 1, "{report:?}");
    assert!(report.failed[0].contains("no answer from the API server"), "{report:?}");
    assert!(Path::new(&node.root.path("/etc/etcd/server.crt").unwrap()).exists());
}
