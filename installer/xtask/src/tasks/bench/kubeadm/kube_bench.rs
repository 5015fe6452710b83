//! Verification as users of kubeadm do it: kube-bench, which asks for what the CIS Benchmark wants, on every node.

use std::path::PathBuf;

use anyhow::{Context, Result, ensure};
use serde::Deserialize;

use crate::command::{program, quiet};
use crate::places;

/// The component, and the folder of its pinned module.
pub const COMPONENT: &str = "kube-bench";
/// Its Go module, which has the checks.
const MODULE: &str = "github.com/aquasecurity/kube-bench";
/// The checks, on a node.
pub const CHECKS: &str = "/root/kube-bench/cfg";
/// Newest edition of the CIS Benchmark that kube-bench has checks for.
const EDITION: &str = "cis-1.12";

/// How checks ended on a node.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
pub struct Totals {
    #[serde(rename = "total_pass")]
    pub pass: u32,
    #[serde(rename = "total_fail")]
    pub fail: u32,
    #[serde(rename = "total_warn")]
    pub warn: u32,
}

/// Folder of the checks in Go's module cache, of the version that `go.sum` pins.
///
/// # Errors
/// The module cannot be obtained.
pub fn checks() -> Result<PathBuf> {
    let folder = places::checkout().join("images").join(COMPONENT);
    let mut download = program("go", ["mod", "download", "-json", MODULE]);
    let said = quiet(download.current_dir(folder).env("GOWORK", "off"))?;
    #[derive(Deserialize)]
    struct Downloaded {
        #[serde(rename = "Dir")]
        folder: PathBuf,
    }
    let downloaded: Downloaded = serde_json::from_str(&said).context("what `go mod download` says")?;
    Ok(downloaded.folder.join("cfg"))
}

/// The command for one node.
pub fn command(is_worker: bool) -> Vec<String> {
    let targets = if is_worker { "node" } else { "master,etcd,controlplane,node,policies" };
    let config = format!("--config-dir={CHECKS}");
    let words = ["/usr/bin/env", "KUBECONFIG=/etc/kubernetes/admin.conf", "kube-bench", &config, "run"];
    let words = words.into_iter().chain(["--benchmark", EDITION, "--targets", targets, "--json"]);
    words.map(str::to_owned).collect()
}

/// Reads what it printed.
///
/// # Errors
/// That is no report, or one in which nothing passed.
pub fn totals(printed: &str) -> Result<Totals> {
    #[derive(Deserialize)]
    struct Report {
        #[serde(rename = "Totals")]
        totals: Totals,
    }
    let report: Report = serde_json::from_str(printed).context("what kube-bench printed")?;
    ensure!(report.totals.pass > 0, "kube-bench found nothing that passed: {:?}", report.totals);
    Ok(report.totals)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_report_has_totals() {
        let report = |pass: u32| {
            format!(
                r#"{{"Controls": [], "Totals": {{"total_pass": {pass}, "total_fail": 2, "total_warn": 3, "total_info": 0}}}}"#
            )
        };
        assert_eq!(totals(&report(1)).unwrap(), Totals { pass: 1, fail: 2, warn: 3 });
        assert!(totals(&report(0)).is_err());
        assert!(totals("E1128 no such file").is_err());
    }
}
