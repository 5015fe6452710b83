//! Folders whose mode and owner matter, parents first.

use kubezt_model::cluster::Role;
use kubezt_model::desired::DesiredDirectory;
use kubezt_model::settings::Settings;
use kubezt_model::{Mode, Owner};

use super::{ETCD, KUBEZT};

const EVERYWHERE: [(&str, u32); 14] = [
    ("/etc/cni", 0o755),
    ("/etc/cni/net.d", 0o755),
    ("/etc/containerd", 0o755),
    ("/etc/kubernetes", 0o755),
    ("/etc/kubernetes/pki", 0o700),
    ("/etc/kubezt", 0o755),
    ("/etc/modules-load.d", 0o755),
    ("/etc/sysctl.d", 0o755),
    ("/etc/systemd/system/kubelet.service.d", 0o755),
    ("/opt/cni", 0o755),
    ("/opt/cni/bin", 0o755),
    // kubelet's own mode for it.
    ("/var/lib/kubelet", 0o750),
    ("/var/lib/kubelet/pki", 0o700),
    ("/var/lib/kubezt", 0o700),
];

const CONTROL_PLANE: [(&str, u32); 10] = [
    ("/etc/etcd", 0o755),
    ("/etc/kubernetes/admission", 0o700),
    ("/etc/kubernetes/audit", 0o700),
    ("/etc/kubernetes/authentication", 0o700),
    ("/etc/kubernetes/encryption", 0o700),
    ("/etc/kubernetes/manifests", 0o700),
    ("/etc/kubernetes/pki/authority", 0o700),
    ("/etc/kubernetes/pki/etcd", 0o700),
    ("/etc/kubernetes/pki/scheduler", 0o700),
    ("/etc/kubezt/renewal", 0o700),
];

const OF_ETCD: [(&str, u32); 2] = [("/etc/etcd/pki", 0o700), ("/var/lib/etcd", 0o700)];

/// Folders of a node.
pub fn directories(settings: &Settings, role: Role) -> Vec<DesiredDirectory> {
    let directory = |path: &str, bits: u32, owner: &Owner| DesiredDirectory {
        path: path.to_owned(),
        mode: Mode::new(bits),
        owner: owner.clone(),
    };
    let account = |name: &str| Owner { user: name.to_owned(), group: name.to_owned() };
    let (root, etcd) = (Owner::root(), account(ETCD));
    let mut directories: Vec<_> =
        EVERYWHERE.iter().map(|(path, bits)| directory(path, *bits, &root)).collect();
    directories.push(directory("/etc/kubezt/pki", 0o700, &account(KUBEZT)));
    if settings.host.auditd {
        directories.extend(["/etc/audit", "/etc/audit/rules.d"].map(|path| directory(path, 0o750, &root)));
    }
    if role == Role::ControlPlane {
        directories.extend(CONTROL_PLANE.iter().map(|(path, bits)| directory(path, *bits, &root)));
        directories.extend(OF_ETCD.iter().map(|(path, bits)| directory(path, *bits, &etcd)));
        let log = &settings.audit.log_directory;
        // Folders of ours between /var/log and the log; anything above is somebody else's.
        let below = log.strip_prefix("/var/log/").unwrap_or_default();
        for (position, _) in below.match_indices('/') {
            directories.push(directory(&format!("/var/log/{}", &below[..position]), 0o755, &root));
        }
        directories.push(directory(log, 0o700, &root));
    }
    directories.sort_by(|one, other| one.path.cmp(&other.path));
    directories
}
