//! Red Hat Enterprise Linux 9, and what is built from its sources: AlmaLinux, Rocky Linux, CentOS Stream, Oracle Linux.

use super::{Confinement, Packages, System};

pub(super) const SYSTEM: System = System {
    name: "rhel-9",
    title: "RHEL 9",
    ids: &["rhel", "almalinux", "rocky", "centos", "ol"],
    like: &["rhel"],
    from: (9, 0),
    before: (10, 0),
    kernel: (5, 14),
    confinement: Confinement::SeLinux,
    packages: Packages::Dnf,
    modules_package: "kernel-modules-extra",
    audit_package: "audit",
    resolver: None,
    firewall: Some("firewalld"),
    tried: false,
};
