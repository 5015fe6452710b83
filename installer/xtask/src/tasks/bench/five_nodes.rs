//! Three control-plane nodes and two workers, next to kubeadm on the same nodes.

use std::path::{Path, PathBuf};

use anyhow::Result;
use serde::Serialize;

use super::Bench;
use crate::lab::OpenLab;
use crate::report;

/// The lab that has them.
pub const LAB: &str = "bench5";

/// What was measured.
#[derive(Debug, Serialize)]
pub struct FiveNodes {
    /// `kubezt install`, verification included.
    install_3x2_seconds: f64,
    /// The above in units of `kubeadm_3x2_seconds`.
    install_3x2_vs_kubeadm: f64,
    /// kubeadm init, four joins, two of them of control-plane nodes, and the same Cilium and CoreDNS, hardened, and kube-bench on every
    /// node.
    kubeadm_3x2_seconds: f64,
    /// The above until nodes and workloads are ready: without kube-bench.
    kubeadm_3x2_unverified_seconds: f64,
    /// `kubezt install --no-verify` where there is nothing to do.
    second_install_5_seconds: f64,
}

/// Makes the nodes, measures both sides and removes the nodes again.
///
/// # Errors
/// A command fails.
pub fn measure(binary: &Path, folder: PathBuf) -> Result<FiveNodes> {
    fs_err::create_dir_all(&folder)?;
    let bench = Bench::new(LAB, folder, binary.to_path_buf())?;
    let open = OpenLab::open(LAB)?;
    let compared = bench.compare(&open);
    let removed = report::timed("lab bench5 is down", || open.down());
    let (compared, ()) = (compared?, removed?);
    let kubezt = compared.kubezt;
    Ok(FiveNodes {
        install_3x2_seconds: super::rounded(kubezt.install.seconds),
        install_3x2_vs_kubeadm: super::rounded(kubezt.install.seconds / compared.kubeadm.verified),
        kubeadm_3x2_seconds: super::rounded(compared.kubeadm.verified),
        kubeadm_3x2_unverified_seconds: super::rounded(compared.kubeadm.ready),
        second_install_5_seconds: super::rounded(kubezt.second_install),
    })
}
