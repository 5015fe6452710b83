//! SUSE Linux Enterprise Server 15 from service pack 6 on, and openSUSE Leap, which is made of its packages.

use super::{Confinement, Packages, System};

pub(super) const SYSTEM: System = System {
    name: "sles-15",
    title: "SLES 15 SP6",
    ids: &["sles", "sles_sap", "opensuse-leap"],
    like: &[],
    from: (15, 6),
    before: (16, 0),
    kernel: (6, 4),
    confinement: Confinement::AppArmor,
    packages: Packages::Zypper,
    // Images for virtual machines have `kernel-default-base`, without most modules.
    modules_package: "kernel-default",
    audit_package: "audit",
    resolver: None,
    firewall: Some("firewalld"),
    tried: false,
};
