//! The host itself: system, kernel, identity, size, clock.

use std::net::IpAddr;

use kubezt_model::node::HostReading;

use super::kernel;
use crate::node::{NodeRoot, files};

/// What kind of host this is. What the host does not say is empty or zero, which no requirement takes for an answer.
pub fn read(root: &NodeRoot) -> HostReading {
    let line = |path| files::text(&root.known(path)).ok().flatten().unwrap_or_default().trim().to_owned();
    let os_release = line("/etc/os-release");
    let memory = line("/proc/meminfo");
    let names = rustix::system::uname();
    HostReading {
        os_id: os_field(&os_release, "ID"),
        os_version: os_field(&os_release, "VERSION_ID"),
        os_like: os_field(&os_release, "ID_LIKE").split_whitespace().map(ToOwned::to_owned).collect(),
        name_servers: name_servers(&line("/etc/resolv.conf")),
        kernel: line("/proc/sys/kernel/osrelease"),
        architecture: names.machine().to_string_lossy().into_owned(),
        hostname: line("/proc/sys/kernel/hostname"),
        machine_id: line("/etc/machine-id"),
        boot_id: line("/proc/sys/kernel/random/boot_id"),
        cpus: std::thread::available_parallelism()
            .map_or(0, |count| u32::try_from(count.get()).unwrap_or(u32::MAX)),
        memory: kibibytes(&memory, "MemTotal"),
        swap: swap_of(&line("/proc/swaps")),
        cgroup_version: if root.known("/sys/fs/cgroup/cgroup.controllers").exists() { 2 } else { 1 },
        wireguard: kernel::has_module(root, "wireguard"),
        security_modules: line("/sys/kernel/security/lsm")
            .split(',')
            .filter(|name| !name.is_empty())
            .map(ToOwned::to_owned)
            .collect(),
        clock: jiff::Timestamp::now().as_second(),
    }
}

/// A field of os-release(5), which may be quoted.
fn os_field(text: &str, key: &str) -> String {
    text.lines()
        .find_map(|line| line.strip_prefix(key)?.strip_prefix('='))
        .map(|value| value.trim().trim_matches(['"', '\'']).to_owned())
        .unwrap_or_default()
}

/// The servers of resolv.conf(5); one with a scope, such as `fe80::1%eth0`, without it.
fn name_servers(text: &str) -> Vec<IpAddr> {
    text.lines()
        .filter_map(|line| {
            line.trim().strip_prefix("nameserver")?.split_whitespace().next()?.split('%').next()
        })
        .filter_map(|address| address.parse().ok())
        .collect()
}

/// A field of /proc/meminfo in bytes; the file's unit is KiB although it says kB.
fn kibibytes(text: &str, key: &str) -> u64 {
    text.lines()
        .find_map(|line| {
            line.strip_prefix(key)?.strip_prefix(':')?.split_whitespace().next()?.parse::<u64>().ok()
        })
        .map_or(0, |kibibytes| kibibytes * 1024)
}

/// Sizes of the swap areas in bytes: a heading, then name, type, size in KiB, …
fn swap_of(text: &str) -> u64 {
    text.lines()
        .skip(1)
        .filter_map(|line| line.split_whitespace().nth(2)?.parse::<u64>().ok())
        .map(|kibibytes| kibibytes * 1024)
        .sum()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn files_of_the_system_are_read_as_they_are_written() {
        let os = "NAME=\"Debian\"\nVERSION_ID=\"12\"\nID=debian\n";
        assert_eq!((os_field(os, "ID").as_str(), os_field(os, "VERSION_ID").as_str()), ("debian", "12"));
        let servers = "# nameserver 192.0.2.1\nsearch .\nnameserver 127.0.0.53\nnameserver\tfe80::1%eth0\n";
        assert_eq!(
            name_servers(servers).iter().map(ToString::to_string).collect::<Vec<_>>(),
            ["127.0.0.53", "fe80::1"]
        );
        assert_eq!(kibibytes("MemFree: 1 kB\nMemTotal:       2048 kB\n", "MemTotal"), 2 << 20);
        assert_eq!(swap_of("Filename Type Size Used Priority\n/dev/sda2 partition 1024 0 -2\n"), 1 << 20);
        assert_eq!(swap_of(""), 0);
    }
}
