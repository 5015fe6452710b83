//! Ways to break a requirement on a node, and what verify must say of it.

use std::collections::{BTreeMap, BTreeSet};

use anyhow::{Context as _, Result, bail, ensure};

use crate::kubezt::{Kubezt, findings, verdict};
use crate::lab::{Lab, Node};

/// Where something is broken.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Place {
    /// The control-plane node.
    ControlPlane,
    /// The first worker.
    Worker,
    /// Every worker.
    Workers,
    /// Every node.
    Everywhere,
}

/// How something is broken.
#[derive(Debug, Clone, Copy)]
pub enum How {
    /// A shell script, run as root.
    Script(&'static str),
    /// A change to the manifest of this static pod, in the words of sed(1). All changes to one manifest are made at
    /// once, so that its pod is replaced once.
    Manifest(&'static str, &'static str),
    /// Arguments of kubectl; the ones that take it back again, where it is an object kubezt does not own.
    Api(&'static str, Option<&'static str>),
    /// Nothing: it is broken already, and only a waiver of the cluster file hides it.
    Waived,
}

/// One thing that is broken.
#[derive(Debug, Clone, Copy)]
pub struct Tampering {
    /// What kind of check or probe has to notice.
    pub kind: &'static str,
    /// Where.
    pub place: Place,
    /// How.
    pub how: How,
    /// What must turn red because of it, and nothing else: `requirement@` where the check of the broken node must, and
    /// `requirement` where the check of the cluster must; with `/probe` after the requirement, where a probe must.
    pub red: &'static [&'static str],
}

impl Place {
    /// The nodes meant.
    pub fn nodes(self, lab: &Lab) -> Vec<&Node> {
        match self {
            Self::ControlPlane => vec![lab.control_plane()],
            Self::Worker => vec![lab.worker()],
            Self::Workers => lab.nodes[1..].iter().collect(),
            Self::Everywhere => lab.nodes.iter().collect(),
        }
    }
}

/// Breaks everything in the list: the API first, while it is whole, then nodes, then static pods, whose replacement is
/// waited for. `kubeconfig` is a path on the control-plane node.
pub fn apply(tamperings: &[Tampering], lab: &Lab, kubeconfig: &str) -> Result<()> {
    for tampering in tamperings {
        if let How::Api(arguments, _) = tampering.how {
            lab.kubectl(kubeconfig, arguments).with_context(|| tampering.kind)?;
        }
    }
    for tampering in tamperings {
        if let How::Script(script) = tampering.how {
            for node in tampering.place.nodes(lab) {
                lab.shell(node, script).with_context(|| tampering.kind)?;
            }
        }
    }
    let mut manifests: BTreeMap<&str, Vec<&str>> = BTreeMap::new();
    for tampering in tamperings {
        if let How::Manifest(pod, change) = tampering.how {
            manifests.entry(pod).or_default().push(change);
        }
    }
    let old = manifests.keys().map(|pod| Ok((*pod, pids(lab, pod)?))).collect::<Result<BTreeMap<_, _>>>()?;
    for (pod, changes) in &manifests {
        edit_manifest(lab, pod, changes)?;
    }
    for (pod, old) in &old {
        wait_for_replacement(lab, pod, old)?;
    }
    if !manifests.is_empty() {
        wait_for_control_plane(lab, kubeconfig)?;
    }
    Ok(())
}

/// Ends the process of a static pod and waits until kubelet has started another and the control plane runs steadily.
pub fn restart(lab: &Lab, pod: &str, kubeconfig: &str) -> Result<()> {
    let old = pids(lab, pod)?;
    lab.shell(lab.control_plane(), &format!("kill {old}"))?;
    wait_for_replacement(lab, pod, &old)?;
    wait_for_control_plane(lab, kubeconfig)
}

/// Takes back what kubezt does not own.
pub fn take_back(tamperings: &[Tampering], lab: &Lab, kubeconfig: &str) -> Result<()> {
    for tampering in tamperings {
        if let How::Api(_, Some(arguments)) = tampering.how {
            lab.kubectl(kubeconfig, arguments).with_context(|| tampering.kind)?;
        }
    }
    Ok(())
}

/// What verify must call red, sorted, as [`red`] says it.
pub fn expected(tamperings: &[&[Tampering]], lab: &Lab) -> BTreeSet<String> {
    let mut all = BTreeSet::new();
    for tampering in tamperings.iter().copied().flatten() {
        for red in tampering.red {
            match red.strip_suffix('@') {
                Some(id) => {
                    all.extend(tampering.place.nodes(lab).iter().map(|node| format!("{id}@{}", node.name)));
                }
                None => {
                    all.insert((*red).to_owned());
                }
            }
        }
    }
    all
}

/// Verifies; answers with everything red as `requirement`, `requirement@node`, `requirement/probe` or
/// `requirement/probe@node`, and with the words of verify.
pub fn red(kubezt: &Kubezt, lab: &Lab) -> Result<(BTreeSet<String>, String)> {
    let report = lab.path("tampered.json");
    let run = kubezt.run("verify", &["--report", &format!("json={}", report.display())])?;
    if run.code != 0 && run.code != 1 {
        bail!("kubezt verify: exit code {}\n{}", run.code, run.stderr);
    }
    let red: BTreeSet<String> = findings(&report)?
        .iter()
        .filter(|finding| matches!(verdict(finding), "fail" | "error"))
        .map(name)
        .collect();
    ensure!(
        red.is_empty() == (run.code == 0),
        "verify exits with {} and has {} red findings",
        run.code,
        red.len()
    );
    Ok((red, run.stdout))
}

fn name(finding: &serde_json::Value) -> String {
    let text = |key: &str| finding[key].as_str().unwrap_or_default();
    let probe = if text("method") == "probe" { "/probe" } else { "" };
    let node = finding["node"].as_str().map(|node| format!("@{node}")).unwrap_or_default();
    format!("{}{probe}{node}", text("requirement"))
}

/// Process ids of a component on the control-plane node, in one line.
fn pids(lab: &Lab, pod: &str) -> Result<String> {
    let script = format!("{FIND} find {pod}");
    let pids = lab.shell(lab.control_plane(), &script)?.trim().to_owned();
    ensure!(!pids.is_empty(), "no {pod} runs");
    Ok(pids)
}

/// Finds processes by executable: names of processes are cut off after 15 letters.
const FIND: &str = "find() { for folder in /proc/[0-9]*; do \
                    case \"$(readlink $folder/exe 2>/dev/null)\" in */$1) printf \"%s \" ${folder#/proc/};; esac; done; };";

/// The new manifest comes by a rename from a name kubelet passes over, as one change.
fn edit_manifest(lab: &Lab, pod: &str, changes: &[&str]) -> Result<()> {
    let expressions: String = changes.iter().map(|change| format!(" -e '{change}'")).collect();
    let script = format!(
        "cd /etc/kubernetes/manifests; umask 077; sed{expressions} {pod}.yaml >.{pod}; \
         if cmp -s .{pod} {pod}.yaml; then echo the manifest of {pod} did not change >&2; exit 1; fi; mv .{pod} {pod}.yaml"
    );
    lab.shell(lab.control_plane(), &script).map(|_| ())
}

/// Waits until another process runs, the old one is gone, and the new one has the arguments of the manifest.
fn wait_for_replacement(lab: &Lab, pod: &str, old: &str) -> Result<()> {
    let script = format!(
        "{FIND} manifest=/etc/kubernetes/manifests/{pod}.yaml; \
         wanted=$(sed -n 's/^    - \"\\{{0,1\\}}\\(--[^\"]*\\)\"\\{{0,1\\}}$/\\1/p' $manifest); \
         for try in $(seq 120); do \
           now=$(find {pod}); set -- $now; \
           if [ $# = 1 ] && ! echo \" {old} \" | grep -qF \" $1 \" && \
              [ \"$(tr '\\0' '\\n' </proc/$1/cmdline | tail -n +2)\" = \"$wanted\" ]; then exit 0; fi; \
           sleep 1; \
         done; echo \"{pod} was not replaced in 120 s: $now, before: {old}\" >&2; exit 1"
    );
    lab.shell(lab.control_plane(), &script).map(|_| ())
}

/// Waits until the API is ready and the controllers run steadily: they end where they lose the API, and kubelet lets
/// them wait before it starts them again. Then for what they keep current: a kubelet that was started again calls pods
/// with a readiness probe not ready until it has asked them.
fn wait_for_control_plane(lab: &Lab, kubeconfig: &str) -> Result<()> {
    let script = format!(
        "{FIND} steady=0; \
         for try in $(seq 180); do \
           missing=; \
           /usr/local/bin/kubectl --kubeconfig {kubeconfig} get --raw /readyz >/dev/null 2>&1 || missing=\"API server\"; \
           for name in etcd kube-controller-manager kube-scheduler; do \
             test -n \"$(find $name)\" || missing=\"$missing $name\"; \
           done; \
           if test -z \"$missing\"; then steady=$((steady + 1)); else steady=0; fi; \
           test $steady -lt 5 || break; \
           sleep 1; \
         done; \
         if [ $steady -lt 5 ]; then echo \"not there after 180 tries: $missing\" >&2; exit 1; fi; \
         /usr/local/bin/kubectl --kubeconfig {kubeconfig} wait nodes --all --for=condition=Ready --timeout=120s >&2 && \
         /usr/local/bin/kubectl --kubeconfig {kubeconfig} --namespace kube-system \
           rollout status deployment/coredns --timeout=120s >&2"
    );
    lab.shell(lab.control_plane(), &script).map(|_| ())
}
