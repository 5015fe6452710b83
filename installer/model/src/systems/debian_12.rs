//! Debian 12 (bookworm).

use super::{Confinement, Packages, System};

pub(super) const SYSTEM: System = System {
    name: "debian-12",
    title: "Debian 12",
    ids: &["debian"],
    like: &[],
    from: (12, 0),
    before: (13, 0),
    kernel: (6, 1),
    confinement: Confinement::AppArmor,
    packages: Packages::Apt,
    // The kernel's package for clouds leaves drivers out.
    modules_package: "linux-image-amd64",
    audit_package: "auditd",
    resolver: None,
    firewall: None,
    tried: true,
};
