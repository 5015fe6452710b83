//! Debian 13 (trixie). Its systemd starts on control groups of version 1 only where its command line insists.

use super::{Confinement, Packages, System};

pub(super) const SYSTEM: System = System {
    name: "debian-13",
    title: "Debian 13",
    ids: &["debian"],
    like: &[],
    from: (13, 0),
    before: (14, 0),
    kernel: (6, 12),
    confinement: Confinement::AppArmor,
    packages: Packages::Apt,
    // The kernel's package for clouds leaves drivers out.
    modules_package: "linux-image-amd64",
    audit_package: "auditd",
    resolver: None,
    firewall: None,
    tried: true,
};
