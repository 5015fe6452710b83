//! Kernel parameters and modules.

use std::path::PathBuf;

use crate::node::{NodeError, NodeRoot, files};

/// Signs of a module that is built into the kernel, for kernels that come without a list of what is built in.
const BUILT_IN_SIGNS: [(&str, &str); 3] = [
    ("br_netfilter", "/proc/sys/net/bridge/bridge-nf-call-iptables"),
    ("nf_conntrack", "/proc/sys/net/netfilter/nf_conntrack_max"),
    ("ipv6", "/proc/sys/net/ipv6"),
];

/// A kernel parameter with single blanks; `None` where the kernel has none of that name.
///
/// # Errors
/// [`NodeError::File`], [`NodeError::Path`].
pub fn sysctl(root: &NodeRoot, key: &str) -> Result<Option<String>, NodeError> {
    Ok(files::text(&sysctl_path(root, key)?)?.map(|text| normal(&text)))
}

/// The file of a kernel parameter. As for sysctl(8), dots separate, and a name with slashes is taken as it is (for network
/// interfaces with a dot in their name).
///
/// # Errors
/// [`NodeError::Path`].
pub fn sysctl_path(root: &NodeRoot, key: &str) -> Result<PathBuf, NodeError> {
    let relative = if key.contains('/') { key.to_owned() } else { key.replace('.', "/") };
    root.path(&format!("/proc/sys/{relative}"))
}

/// Tabs and several blanks become one: the kernel writes them where people write blanks.
pub fn normal(value: &str) -> String {
    value.split_whitespace().collect::<Vec<_>>().join(" ")
}

/// Whether a module is loaded or built in.
pub fn is_active(root: &NodeRoot, name: &str) -> bool {
    let name = name.replace('-', "_");
    let loaded = root.known("/sys/module").join(&name).is_dir();
    let sign = BUILT_IN_SIGNS.iter().any(|(module, path)| *module == name && root.known(path).exists());
    let file_system = files::text(&root.known("/proc/filesystems"))
        .ok()
        .flatten()
        .is_some_and(|text| text.lines().any(|line| line.split_whitespace().last() == Some(&name)));
    loaded || sign || file_system || listed(root, "modules.builtin", &name)
}

/// Whether the kernel has a module: active, or there to be loaded.
pub fn has_module(root: &NodeRoot, name: &str) -> bool {
    is_active(root, name) || listed(root, "modules.dep", &name.replace('-', "_"))
}

/// Whether a list of the kernel's modules names this one: lines that begin with the path of a `.ko` file.
fn listed(root: &NodeRoot, list: &str, name: &str) -> bool {
    let Ok(Some(release)) = files::text(&root.known("/proc/sys/kernel/osrelease")) else { return false };
    let path = root.known("/lib/modules").join(release.trim()).join(list);
    let Ok(Some(text)) = files::text(&path) else { return false };
    text.lines().any(|line| {
        let file = line.split(':').next().unwrap_or(line);
        let file = file.rsplit('/').next().unwrap_or(file);
        file.split_once(".ko").is_some_and(|(module, _)| module.replace('-', "_") == name)
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn parameters_and_modules_are_found_where_the_kernel_has_them() {
        let folder = tempfile::tempdir().unwrap();
        let root = NodeRoot::at(folder.path());
        let write = |path: &str, text: &str| {
            let path = root.path(path).unwrap();
            std::fs::create_dir_all(path.parent().unwrap()).unwrap();
            std::fs::write(path, text).unwrap();
        };
        write("/proc/sys/net/ipv4/tcp_rmem", "4096\t131072\t6291456\n");
        write("/proc/sys/net/ipv4/conf/eth0.1/forwarding", "1\n");
        write("/proc/sys/kernel/osrelease", "6.1.0\n");
        write("/lib/modules/6.1.0/modules.builtin", "kernel/fs/overlayfs/overlay.ko\n");
        write("/lib/modules/6.1.0/modules.dep", "kernel/drivers/net/wire-guard.ko.xz: kernel/lib/x.ko\n");
        write("/proc/filesystems", "nodev\tbpf\n\text4\n");
        assert_eq!(sysctl(&root, "net.ipv4.tcp_rmem").unwrap().unwrap(), "4096 131072 6291456");
        assert_eq!(sysctl(&root, "net/ipv4/conf/eth0.1/forwarding").unwrap().unwrap(), "1");
        assert_eq!(sysctl(&root, "net.ipv4.absent").unwrap(), None);
        assert!(sysctl(&root, "net/../../etc").is_err());
        assert!(is_active(&root, "overlay") && is_active(&root, "ext4") && !is_active(&root, "wire_guard"));
        assert!(has_module(&root, "wire_guard") && !has_module(&root, "x"));
    }
}
