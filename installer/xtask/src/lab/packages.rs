//! Debian packages that tasks need, and whether this machine can have nodes at all.

use std::path::PathBuf;

use anyhow::{Context, Result, bail};

use crate::{command, places, report};

/// What nodes need.
pub const NODES: &[&str] =
    &["debootstrap", "iproute2", "lxc", "openssh-client", "sudo", "vagrant", "vagrant-lxc"];

/// What builds need beside Rust; [`build`] adds Go where there is none.
const BUILD: &[&str] = &["gcc", "libc6-dev", "libseccomp-dev", "make", "musl-tools", "pkg-config"];

/// What builds need beside Rust.
pub fn build() -> Vec<&'static str> {
    let mut packages = BUILD.to_vec();
    if !command::is_installed("go") {
        packages.push("golang");
    }
    packages
}

/// Installs those packages that are missing.
///
/// # Errors
/// There is no apt-get, this is not root, or the installation failed.
pub fn install(wanted: &[&str]) -> Result<()> {
    let missing: Vec<_> = wanted.iter().copied().filter(|package| !is_installed(package)).collect();
    if missing.is_empty() {
        return Ok(());
    }
    let list = missing.join(" ");
    require_apt(&list)?;
    report::timed(&format!("packages {list}"), || {
        apt(&["update"])?;
        apt(&[&["install", "--no-install-recommends"][..], &missing].concat())
    })
}

/// A package, with what it needs beyond what is installed, unpacked into a folder of the cache. Nothing of it is installed, and none of
/// its services starts.
///
/// # Errors
/// As [`install`].
pub fn unpack(package: &str) -> Result<PathBuf> {
    let folder = places::cache()?.join("packages").join(package);
    if folder.exists() {
        return Ok(folder);
    }
    require_apt(package)?;
    let unfinished = folder.with_extension("unfinished");
    if unfinished.exists() {
        fs_err::remove_dir_all(&unfinished)?;
    }
    let archives = unfinished.join("archives");
    fs_err::create_dir_all(archives.join("partial"))?;
    report::timed(&format!("package {package}, unpacked"), || {
        let into = format!("Dir::Cache::Archives={}", archives.display());
        apt(&["update"])?;
        apt(&["install", "--no-install-recommends", "--download-only", "--reinstall", "-o", &into, package])?;
        for entry in fs_err::read_dir(&archives)? {
            let path = entry?.path();
            if path.extension().is_some_and(|extension| extension == "deb") {
                let mut extract = command::program("dpkg-deb", ["--extract"]);
                command::quiet(extract.args([&path, &unfinished]))?;
            }
        }
        fs_err::remove_dir_all(&archives)?;
        fs_err::rename(&unfinished, &folder)?;
        Ok(folder)
    })
}

fn require_apt(wanted: &str) -> Result<()> {
    if !command::is_installed("apt-get") || !is_root()? {
        bail!("packages are missing, and only root on Debian can install them here: {wanted}");
    }
    Ok(())
}

fn apt(arguments: &[&str]) -> Result<()> {
    let mut apt = command::program("apt-get", ["-q", "-y", "-o", "DPkg::Lock::Timeout=300"]);
    apt.args(arguments).env("DEBIAN_FRONTEND", "noninteractive");
    command::quiet(&mut apt).map(drop)
}

fn is_installed(package: &str) -> bool {
    let mut query = command::program("dpkg-query", ["--show", "--showformat=${db:Status-Status}", package]);
    command::quiet(&mut query).is_ok_and(|status| status == "installed")
}

/// Refuses a machine on which no nodes can be made.
///
/// # Errors
/// Names what is missing in one line.
pub fn require_node_machine() -> Result<()> {
    match obstacle()? {
        Some(obstacle) => bail!("no nodes can be made here: {obstacle}"),
        None => Ok(()),
    }
}

/// What keeps this machine from having nodes, if anything does.
///
/// # Errors
/// `/proc` cannot be read.
pub fn obstacle() -> Result<Option<String>> {
    if !cfg!(all(target_os = "linux", target_arch = "x86_64")) {
        return Ok(Some("this is not Linux on x86-64".to_owned()));
    }
    if !is_root()? {
        return Ok(Some("containers need root".to_owned()));
    }
    let missing: Vec<_> = NODES.iter().copied().filter(|package| !is_installed(package)).collect();
    if !missing.is_empty() && !command::is_installed("apt-get") {
        return Ok(Some(format!("there is no apt-get to install {}", missing.join(" "))));
    }
    for path in ["/dev/kmsg", "/proc/self/ns/net", "/sys/fs/cgroup"] {
        if !std::path::Path::new(path).exists() {
            return Ok(Some(format!("there is no {path}")));
        }
    }
    // A dummy bridge in a network namespace of its own touches nothing and shows whether the kernel lets us.
    let mut probe =
        command::program("unshare", ["--net", "--mount", "ip", "link", "add", "kzt-probe", "type", "bridge"]);
    if command::is_installed("ip") && !command::succeeds(&mut probe) {
        return Ok(Some("this root may not make namespaces and bridges".to_owned()));
    }
    Ok(None)
}

fn is_root() -> Result<bool> {
    let status = fs_err::read_to_string("/proc/self/status")?;
    let line =
        status.lines().find(|line| line.starts_with("Uid:")).context("/proc/self/status has no Uid")?;
    Ok(line.split_whitespace().nth(2) == Some("0"))
}
