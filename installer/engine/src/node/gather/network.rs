//! Addresses, interfaces and routes, from the kernel's own tables in /proc/net and /sys/class/net.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use ipnet::IpNet;
use kubezt_model::survey::{InterfaceReading, NetworkReading, RouteReading};

use crate::node::{NodeError, NodeRoot, files};

/// Flags of a route (route.h): it is usable, it goes by way of a gateway, it refuses.
const UP: u32 = 0x1;
const GATEWAY: u32 = 0x2;
const REJECT: u32 = 0x200;
/// Flag of a route to one of the host's own IPv6 addresses.
const LOCAL: u32 = 0x8000_0000;

/// The network of the node.
///
/// # Errors
/// [`NodeError::File`].
pub fn read(root: &NodeRoot) -> Result<NetworkReading, NodeError> {
    let text = |path| Ok::<_, NodeError>(files::text(&root.known(path))?.unwrap_or_default());
    let mut addresses = local_addresses(&text("/proc/net/fib_trie")?);
    addresses.extend(ipv6_addresses(&text("/proc/net/if_inet6")?));
    addresses.sort();
    addresses.dedup();
    let mut routes = ipv4_routes(&text("/proc/net/route")?);
    routes.extend(ipv6_routes(&text("/proc/net/ipv6_route")?));
    let mut interfaces = std::collections::BTreeMap::new();
    let folder = root.known("/sys/class/net");
    let entries = std::fs::read_dir(&folder).map_err(NodeError::file("read", &folder))?;
    for entry in entries.filter_map(Result::ok) {
        let line = |file| files::text(&entry.path().join(file)).ok().flatten().unwrap_or_default();
        let Ok(mtu) = line("mtu").trim().parse() else { continue };
        let hardware_address = line("address").trim().to_owned();
        let name = entry.file_name().to_string_lossy().into_owned();
        interfaces.insert(name, InterfaceReading { mtu, hardware_address });
    }
    Ok(NetworkReading { addresses, interfaces, routes })
}

/// Addresses the routing table calls local. It is a tree whose leaves are an address and, below it, its kinds.
fn local_addresses(trie: &str) -> Vec<IpAddr> {
    let mut leaf = None;
    let mut found = Vec::new();
    for line in trie.lines().map(str::trim) {
        if let Some(address) = line.strip_prefix("|-- ") {
            leaf = address.parse::<Ipv4Addr>().ok();
        } else if line.starts_with("/32 host LOCAL") {
            found.extend(leaf.filter(|address| !address.is_loopback()).map(IpAddr::V4));
        }
    }
    found
}

/// Address, interface number, prefix length, scope (00 is global), flags, interface.
fn ipv6_addresses(text: &str) -> Vec<IpAddr> {
    let address = |line: &str| {
        let fields: Vec<&str> = line.split_whitespace().collect();
        (fields.get(3) == Some(&"00")).then(|| ipv6(fields.first()?)).flatten()
    };
    text.lines().filter_map(address).map(IpAddr::V6).collect()
}

/// A heading; then interface, destination, gateway, flags, three counters, mask, ….
fn ipv4_routes(text: &str) -> Vec<RouteReading> {
    let route = |line: &str| {
        let fields: Vec<&str> = line.split_whitespace().collect();
        let flags = u32::from_str_radix(fields.get(3)?, 16).ok()?;
        let mask = ipv4(fields.get(7)?)?;
        let destination = IpNet::with_netmask(ipv4(fields.get(1)?)?.into(), mask.into()).ok()?;
        let gateway = (flags & GATEWAY != 0).then(|| ipv4(fields.get(2)?)).flatten();
        let usable = flags & UP != 0 && flags & REJECT == 0;
        let interface = (*fields.first()?).to_owned();
        usable.then_some(RouteReading { destination, gateway: gateway.map(IpAddr::V4), interface })
    };
    text.lines().skip(1).filter_map(route).collect()
}

/// Destination, its prefix length, source, its prefix length, next hop, three counters, flags, interface.
fn ipv6_routes(text: &str) -> Vec<RouteReading> {
    let route = |line: &str| {
        let fields: Vec<&str> = line.split_whitespace().collect();
        let flags = u32::from_str_radix(fields.get(8)?, 16).ok()?;
        let to = ipv6(fields.first()?)?;
        let destination = IpNet::new(to.into(), u8::from_str_radix(fields.get(1)?, 16).ok()?).ok()?;
        let gateway = (flags & GATEWAY != 0).then(|| ipv6(fields.get(4)?)).flatten();
        let usable = flags & UP != 0 && flags & (REJECT | LOCAL) == 0;
        let elsewhere = !to.is_multicast() && !to.is_unicast_link_local();
        let interface = (*fields.get(9)?).to_owned();
        (usable && elsewhere && interface != "lo").then_some(RouteReading {
            destination,
            gateway: gateway.map(IpAddr::V6),
            interface,
        })
    };
    text.lines().filter_map(route).collect()
}

/// The kernel prints the four bytes as one number of the host's own byte order.
pub(super) fn ipv4(hexadecimal: &str) -> Option<Ipv4Addr> {
    let exact = hexadecimal.len() == 8;
    exact.then(|| u32::from_str_radix(hexadecimal, 16).ok()).flatten().map(|word| word.to_ne_bytes().into())
}

/// Sixteen bytes in their own order.
fn ipv6(hexadecimal: &str) -> Option<Ipv6Addr> {
    let exact = hexadecimal.len() == 32;
    exact.then(|| u128::from_str_radix(hexadecimal, 16).ok()).flatten().map(Ipv6Addr::from)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_kernels_tables_are_read_as_it_writes_them() {
        let folder = tempfile::tempdir().unwrap();
        let root = NodeRoot::at(folder.path());
        let write = |path: &str, text: &str| {
            let path = root.path(path).unwrap();
            std::fs::create_dir_all(path.parent().unwrap()).unwrap();
            std::fs::write(path, text).unwrap();
        };
        write(
            "/proc/net/fib_trie",
            "Main:\n  +-- 0.0.0.0/0 3 0 5\n     |-- 127.0.0.1\n        /32 host LOCAL\n     |-- 10.90.0.0\n        /24 link \
             UNICAST\n     |-- 10.90.0.11\n        /32 host LOCAL\nLocal:\n     |-- 10.90.0.11\n        /32 host LOCAL\n",
        );
        write(
            "/proc/net/if_inet6",
            "fd000000000000000000000000000002 04 40 00 82     eth0\n\
             fe8000000000000050cd6afffed98ade f0 40 20 80     eth0\n00000000000000000000000000000001 01 80 10 80 lo\n",
        );
        write(
            "/proc/net/route",
            "Iface\tDestination\tGateway\tFlags\tRefCnt\tUse\tMetric\tMask\tMTU\n\
             eth0\t00000000\t01005A0A\t0003\t0\t0\t0\t00000000\t0\n\
             eth0\t00005A0A\t00000000\t0001\t0\t0\t0\t00FFFFFF\t0\n\
             *\t0000F40A\t00000000\t0201\t0\t0\t0\t0000FFFF\t0\n",
        );
        let blank = "00000000000000000000000000000000";
        write(
            "/proc/net/ipv6_route",
            &format!(
                "fd000000000000000000000000000000 40 {blank} 00 {blank} 00000100 00000001 00000000 00000001     eth0\n\
                 {blank} 00 {blank} 00 fd000000000000000000000000000001 00000400 00000001 00000000 00000003     eth0\n\
                 fd000000000000000000000000000002 80 {blank} 00 {blank} 00000000 00000001 00000000 80200001     eth0\n\
                 fe800000000000000000000000000000 40 {blank} 00 {blank} 00000100 00000001 00000000 00000001     eth0\n"
            ),
        );
        write("/sys/class/net/eth0/mtu", "1500\n");
        write("/sys/class/net/eth0/address", "00:16:3e:00:00:01\n");
        write("/sys/class/net/bonding_masters", "");
        let seen = read(&root).unwrap();
        let addresses: Vec<String> = seen.addresses.iter().map(ToString::to_string).collect();
        assert_eq!(addresses, ["10.90.0.11", "fd00::2"]);
        let routes: Vec<String> = seen
            .routes
            .iter()
            .map(|route| format!("{} {:?} {}", route.destination, route.gateway, route.interface))
            .collect();
        assert_eq!(
            routes,
            [
                "0.0.0.0/0 Some(10.90.0.1) eth0",
                "10.90.0.0/24 None eth0",
                "fd00::/64 None eth0",
                "::/0 Some(fd00::1) eth0"
            ]
        );
        assert_eq!(seen.interfaces.len(), 1);
        let (name, eth0) = seen.interface_of("10.90.0.11".parse().unwrap()).unwrap();
        assert_eq!((name, eth0.mtu, eth0.hardware_address.as_str()), ("eth0", 1500, "00:16:3e:00:00:01"));
    }
}
