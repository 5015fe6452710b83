//! Ubuntu 24.04 (Noble Numbat).

use super::{Confinement, Packages, System};

pub(super) const SYSTEM: System = System {
    name: "ubuntu-24.04",
    title: "Ubuntu 24.04",
    ids: &["ubuntu"],
    like: &[],
    from: (24, 4),
    before: (24, 5),
    kernel: (6, 8),
    confinement: Confinement::AppArmor,
    packages: Packages::Apt,
    modules_package: "linux-modules-extra-$(uname -r)",
    audit_package: "auditd",
    // systemd-resolved listens on 127.0.0.53, which in a pod is the pod itself.
    resolver: Some("/run/systemd/resolve/resolv.conf"),
    // ufw is installed, and off.
    firewall: None,
    tried: false,
};
