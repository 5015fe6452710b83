//! A worker that is added to a running cluster, next to the install of the same cluster at once.

use anyhow::{Context, Result};
use serde::Serialize;
use serde_yaml::Value;

use super::preload::Preloaded;
use super::{Bench, kubezt, measure};
use crate::lab::OpenLab;
use crate::report;

/// What was measured.
#[derive(Debug, Serialize)]
pub struct Added {
    /// `kubezt install` that finds the last worker missing, verification included.
    add_node_seconds: f64,
    /// The above as a share of the install of all nodes.
    add_node_vs_1x2: f64,
}

/// Installs all nodes but the last one on new nodes, and then that one. `whole` is how many seconds all of them took at once.
///
/// # Errors
/// The lab's cluster file has no worker at its end, or a command fails.
pub fn measure(bench: &Bench, open: &OpenLab, preloaded: &Preloaded, whole: f64) -> Result<Added> {
    report::timed("fresh nodes for the cluster that grows", || open.fresh())?;
    report::timed("artifacts to the nodes", || preloaded.copy_to_nodes(bench))?;
    let file = bench.files().join("cluster.yaml");
    let text = fs_err::read_to_string(&file)?;
    fs_err::write(&file, without_last_worker(&text)?)?;
    kubezt::run(bench, "kubezt install without the last worker", &["install"])?;
    fs_err::write(&file, text)?;
    report::timed("the machine is idle again", measure::settle)?;
    let before = bench.journals()?;
    let added = kubezt::run(bench, "kubezt install with it", &["install"])?;
    for journal in bench.journals()?.iter().filter(|journal| !before.contains(journal)) {
        kubezt::show_timeline(&fs_err::read_to_string(journal)?, added.began)?;
    }
    Ok(Added {
        add_node_seconds: super::rounded(added.seconds),
        add_node_vs_1x2: super::rounded(added.seconds / whole),
    })
}

fn without_last_worker(cluster: &str) -> Result<String> {
    let mut cluster: Value = serde_yaml::from_str(cluster)?;
    let nodes = cluster["spec"]["nodes"].as_sequence_mut().context("spec.nodes is not a list")?;
    nodes.pop().filter(|last| last["role"] == "worker").context("the last node is no worker")?;
    Ok(serde_yaml::to_string(&cluster)?)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_a_worker_is_left_out() {
        let file = "spec: {nodes: [{name: a, role: control-plane}, {name: b, role: worker}, {name: c, role: worker}]}";
        let two = without_last_worker(file).unwrap();
        assert!(two.contains("name: b") && !two.contains("name: c"), "{two}");
        let one = without_last_worker(&two).unwrap();
        assert!(without_last_worker(&one).is_err(), "{one}");
    }
}
