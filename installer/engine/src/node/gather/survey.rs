//! What the kernel can do and how it is set up, and what a file system has left.

use std::io::Read as _;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use flate2::read::GzDecoder;
use kubezt_model::survey::{Availability, FileSystemReading, KernelReading};
use rustix::fs::StatVfsMountFlags;

use super::kernel;
use crate::node::{NodeError, NodeRoot, files};

/// Bytes a kernel's build configuration may have.
const CONFIGURATION_MAXIMUM: u64 = 4 << 20;

/// The kernel and its set-up. What it does not tell is unknown, which nothing takes for an answer.
pub fn kernel(root: &NodeRoot, modules: &[String], options: &[String]) -> KernelReading {
    let line = |path| files::text(&root.known(path)).ok().flatten().unwrap_or_default().trim().to_owned();
    let built = configuration(root);
    let option = |name: &String| match &built {
        None => Availability::Unknown,
        Some(text) if is_set(text, name) => Availability::Present,
        Some(_) => Availability::Absent,
    };
    let listed = release_folder(root).is_some_and(|folder| folder.join("modules.dep").exists());
    let module = |name: &String| match kernel::has_module(root, name) {
        true => Availability::Present,
        false if listed => Availability::Absent,
        false => Availability::Unknown,
    };
    KernelReading {
        modules: modules.iter().map(|name| (name.clone(), module(name))).collect(),
        options: options.iter().map(|name| (name.clone(), option(name))).collect(),
        controllers: controllers(root),
        systemd: root.known("/run/systemd/system").is_dir(),
        selinux: match line("/sys/fs/selinux/enforce").as_str() {
            "1" => "enforcing".to_owned(),
            "0" => "permissive".to_owned(),
            _ => String::new(),
        },
        apparmor: line("/sys/module/apparmor/parameters/enabled") == "Y",
    }
}

fn release_folder(root: &NodeRoot) -> Option<PathBuf> {
    let release = files::text(&root.known("/proc/sys/kernel/osrelease")).ok()??;
    Some(root.known("/lib/modules").join(release.trim()))
}

/// The configuration the kernel was built with, where it or its package tells.
fn configuration(root: &NodeRoot) -> Option<String> {
    let unpacked = || {
        let file = std::fs::File::open(root.known("/proc/config.gz")).ok()?;
        let mut text = String::new();
        GzDecoder::new(file).take(CONFIGURATION_MAXIMUM).read_to_string(&mut text).ok()?;
        Some(text)
    };
    let packaged = || {
        let release = files::text(&root.known("/proc/sys/kernel/osrelease")).ok()??;
        let beside = root.known("/boot").join(format!("config-{}", release.trim()));
        let within = release_folder(root)?.join("config");
        [beside, within].iter().find_map(|path| files::text(path).ok().flatten())
    };
    unpacked().or_else(packaged)
}

fn is_set(configuration: &str, option: &str) -> bool {
    let value = |line: &str| {
        line.strip_prefix("CONFIG_")?.strip_prefix(option)?.strip_prefix('=').map(|value| value != "n")
    };
    configuration.lines().any(|line| value(line) == Some(true))
}

/// Controllers of the unified hierarchy; where that is not the one in use, those that the kernel has switched on.
fn controllers(root: &NodeRoot) -> Vec<String> {
    let text = |path| files::text(&root.known(path)).ok().flatten();
    match text("/sys/fs/cgroup/cgroup.controllers") {
        Some(unified) => unified.split_whitespace().map(ToOwned::to_owned).collect(),
        // Name, hierarchy, number of groups, whether it is switched on.
        None => text("/proc/cgroups")
            .unwrap_or_default()
            .lines()
            .filter(|line| !line.starts_with('#') && line.split_whitespace().nth(3) == Some("1"))
            .filter_map(|line| line.split_whitespace().next().map(ToOwned::to_owned))
            .collect(),
    }
}

/// The file system a path is on, or would be.
///
/// # Errors
/// [`NodeError::Path`], [`NodeError::File`].
pub fn file_system(root: &NodeRoot, path: &str) -> Result<FileSystemReading, NodeError> {
    let (folder, name) = nearest_folder(root, path)?;
    let look = NodeError::file("look at", &folder);
    let seen = rustix::fs::statvfs(&folder).map_err(|error| look(error.into()))?;
    let id = std::fs::metadata(&folder).map_err(NodeError::file("look at", &folder))?.dev();
    Ok(FileSystemReading {
        folder: name,
        id,
        size: seen.f_blocks.saturating_mul(seen.f_frsize),
        available: seen.f_bavail.saturating_mul(seen.f_frsize),
        files: seen.f_files,
        files_available: seen.f_favail,
        read_only: seen.f_flag.contains(StatVfsMountFlags::RDONLY),
    })
}

/// The folder of this path that is there, or the nearest one above it: where it is, and how the node calls it.
pub(super) fn nearest_folder(root: &NodeRoot, path: &str) -> Result<(PathBuf, String), NodeError> {
    let mut name = Path::new(path);
    loop {
        let text = name.to_string_lossy();
        let place = root.path(&text)?;
        match name.parent() {
            Some(parent) if !place.is_dir() => name = parent,
            _ => return Ok((place, text.into_owned())),
        }
    }
}

#[cfg(test)]
mod tests {
    use std::io::Write as _;

    use super::*;

    fn write(root: &NodeRoot, path: &str, content: &[u8]) {
        let path = root.path(path).unwrap();
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        std::fs::write(path, content).unwrap();
    }

    fn names(names: &[&str]) -> Vec<String> {
        names.iter().map(|name| (*name).to_owned()).collect()
    }

    #[test]
    fn a_kernel_that_tells_nothing_is_unknown() {
        let folder = tempfile::tempdir().unwrap();
        let seen = kernel(&NodeRoot::at(folder.path()), &names(&["overlay"]), &names(&["BPF"]));
        assert_eq!(seen.modules["overlay"], Availability::Unknown);
        assert_eq!(seen.options["BPF"], Availability::Unknown);
        assert!(!seen.systemd && !seen.apparmor && seen.selinux.is_empty() && seen.controllers.is_empty());
    }

    #[test]
    fn what_the_kernel_tells_is_present_or_absent() {
        let folder = tempfile::tempdir().unwrap();
        let root = NodeRoot::at(folder.path());
        write(&root, "/proc/sys/kernel/osrelease", b"6.1.0\n");
        write(&root, "/lib/modules/6.1.0/modules.dep", b"kernel/fs/overlayfs/overlay.ko:\n");
        write(&root, "/boot/config-6.1.0", b"CONFIG_BPF=y\nCONFIG_VXLAN=m\n# CONFIG_WIREGUARD is not set\n");
        write(&root, "/proc/cgroups", b"#subsys_name\thierarchy\nmemory\t1\t2\t1\npids\t3\t4\t0\n");
        write(&root, "/sys/fs/selinux/enforce", b"1");
        write(&root, "/sys/module/apparmor/parameters/enabled", b"Y\n");
        std::fs::create_dir_all(root.known("/run/systemd/system")).unwrap();
        let look =
            || kernel(&root, &names(&["overlay", "wireguard"]), &names(&["BPF", "VXLAN", "WIREGUARD", "VX"]));
        let seen = look();
        let (present, absent) = (Availability::Present, Availability::Absent);
        assert_eq!([seen.modules["overlay"], seen.modules["wireguard"]], [present, absent]);
        assert_eq!(
            ["BPF", "VXLAN", "WIREGUARD", "VX"].map(|name| seen.options[name]),
            [present, present, absent, absent]
        );
        assert_eq!(seen.controllers, ["memory"]);
        assert!(seen.systemd && seen.apparmor && seen.selinux == "enforcing");

        // What the running kernel says of itself goes before what its package says.
        let mut packed = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
        packed.write_all(b"CONFIG_WIREGUARD=y\n").unwrap();
        write(&root, "/proc/config.gz", &packed.finish().unwrap());
        write(&root, "/sys/fs/cgroup/cgroup.controllers", b"cpuset cpu io\n");
        let seen = look();
        assert_eq!([seen.options["WIREGUARD"], seen.options["BPF"]], [present, absent]);
        assert_eq!(seen.controllers, ["cpuset", "cpu", "io"]);
    }

    #[test]
    fn a_folder_that_is_not_there_is_on_the_file_system_above_it() {
        let folder = tempfile::tempdir().unwrap();
        let root = NodeRoot::at(folder.path());
        std::fs::create_dir_all(root.known("/var/lib")).unwrap();
        let seen = file_system(&root, "/var/lib/etcd/member").unwrap();
        assert_eq!(seen.folder, "/var/lib");
        assert!(seen.size >= seen.available && seen.available > 0 && !seen.read_only && seen.id > 0);
        assert!(file_system(&root, "var").is_err());
    }
}
