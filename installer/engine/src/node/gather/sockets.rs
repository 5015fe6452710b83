//! Sockets that wait for somebody, and who holds them.

use std::collections::{BTreeMap, BTreeSet};
use std::net::{IpAddr, Ipv6Addr, SocketAddr};
use std::path::Path;

use kubezt_model::survey::{HolderReading, Protocol, SocketReading};

use super::network::ipv4;
use crate::node::{NodeError, NodeRoot, files};

/// Tables of sockets, and the state in which one waits: TCP listens, UDP has no peer.
const TABLES: [(&str, Protocol, &str); 4] = [
    ("/proc/net/tcp", Protocol::Tcp, "0A"),
    ("/proc/net/tcp6", Protocol::Tcp, "0A"),
    ("/proc/net/udp", Protocol::Udp, "07"),
    ("/proc/net/udp6", Protocol::Udp, "07"),
];

/// Every such socket, by protocol and port.
///
/// # Errors
/// [`NodeError::File`].
pub fn read(root: &NodeRoot) -> Result<Vec<SocketReading>, NodeError> {
    let mut found = Vec::new();
    for (table, protocol, state) in TABLES {
        let text = files::text(&root.known(table))?.unwrap_or_default();
        let waiting = text.lines().skip(1).filter_map(|line| socket(line, state));
        found.extend(waiting.map(|(address, inode)| (protocol, address, inode)));
    }
    let holders =
        holders(root, &found.iter().map(|(_, _, inode)| *inode).filter(|inode| *inode > 0).collect());
    let mut sockets: Vec<SocketReading> = found
        .into_iter()
        .map(|(protocol, address, inode)| SocketReading {
            protocol,
            address,
            holder: holders.get(&inode).cloned(),
        })
        .collect();
    sockets.sort_by_key(|socket| (socket.protocol, socket.address.port(), socket.address));
    Ok(sockets)
}

/// Number, local address, remote address, state, five columns, inode (0 for the kernel's own), ….
fn socket(line: &str, state: &str) -> Option<(SocketAddr, u64)> {
    let fields: Vec<&str> = line.split_whitespace().collect();
    let (address, port) = fields.get(1)?.split_once(':')?;
    let port = u16::from_str_radix(port, 16).ok()?;
    let inode = fields.get(9)?.parse().ok()?;
    (*fields.get(3)? == state).then_some((SocketAddr::new(ip(address)?, port), inode))
}

/// Four or sixteen bytes, in words of the host's own byte order.
fn ip(hexadecimal: &str) -> Option<IpAddr> {
    if hexadecimal.len() == 8 {
        return ipv4(hexadecimal).map(IpAddr::V4);
    }
    let words: Option<Vec<[u8; 4]>> =
        (0..4).map(|word| Some(ipv4(hexadecimal.get(word * 8..word * 8 + 8)?)?.octets())).collect();
    let bytes: [u8; 16] = words?.concat().try_into().ok()?;
    Some(IpAddr::V6(Ipv6Addr::from(bytes)).to_canonical())
}

/// Processes by the sockets they hold. One that ends meanwhile is left out.
fn holders(root: &NodeRoot, wanted: &BTreeSet<u64>) -> BTreeMap<u64, HolderReading> {
    let mut found = BTreeMap::new();
    let processes = std::fs::read_dir(root.known("/proc")).into_iter().flatten().filter_map(Result::ok);
    for process in processes {
        if found.len() == wanted.len() {
            break;
        }
        let Some(pid) = process.file_name().to_str().and_then(|name| name.parse().ok()) else { continue };
        let open = std::fs::read_dir(process.path().join("fd")).into_iter().flatten().filter_map(Result::ok);
        let inodes = open.filter_map(|entry| {
            let link = std::fs::read_link(entry.path()).ok()?;
            link.to_str()?.strip_prefix("socket:[")?.strip_suffix(']')?.parse::<u64>().ok()
        });
        for inode in inodes.filter(|inode| wanted.contains(inode)) {
            found.entry(inode).or_insert_with(|| HolderReading { pid, name: name(&process.path()) });
        }
    }
    found
}

/// Base name of the executable; where that is hidden, the name the process goes by.
fn name(folder: &Path) -> String {
    let executable = std::fs::read_link(folder.join("exe")).ok();
    let base =
        executable.as_deref().and_then(Path::file_name).map(|name| name.to_string_lossy().into_owned());
    let name = base.or_else(|| files::text(&folder.join("comm")).ok().flatten()).unwrap_or_default();
    name.trim().trim_end_matches(" (deleted)").to_owned()
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::symlink;

    use super::*;

    #[test]
    fn sockets_that_wait_have_their_process() {
        let folder = tempfile::tempdir().unwrap();
        let root = NodeRoot::at(folder.path());
        std::fs::create_dir_all(root.known("/proc/net")).unwrap();
        std::fs::create_dir_all(root.known("/proc/42/fd")).unwrap();
        let row = |local: &str, state: &str, inode: u64| {
            format!(
                "   0: {local} 00000000:0000 {state} 00000000:00000000 00:00000000 00000000 0 0 {inode} 1 0\n"
            )
        };
        let heading = "  sl  local_address rem_address   st\n";
        let write = |path: &str, rows: &[String]| {
            std::fs::write(root.path(path).unwrap(), format!("{heading}{}", rows.concat())).unwrap();
        };
        write("/proc/net/tcp", &[row("0100007F:280A", "0A", 7), row("0100007F:280A", "01", 8)]);
        write("/proc/net/tcp6", &[row("00000000000000000000000000000000:192B", "0A", 9)]);
        write("/proc/net/udp", &[row("00000000:2118", "07", 0)]);
        symlink("socket:[7]", root.known("/proc/42/fd/3")).unwrap();
        symlink("/dev/null", root.known("/proc/42/fd/4")).unwrap();
        symlink("/usr/bin/squatter (deleted)", root.known("/proc/42/exe")).unwrap();
        let seen: Vec<String> = read(&root)
            .unwrap()
            .iter()
            .map(|socket| {
                let holder = socket.holder.as_ref().map_or("nobody".to_owned(), ToString::to_string);
                format!("{} {} {holder}", socket.protocol, socket.address)
            })
            .collect();
        assert_eq!(
            seen,
            ["TCP [::]:6443 nobody", "TCP 127.0.0.1:10250 process 42 (squatter)", "UDP 0.0.0.0:8472 nobody"]
        );
    }

    #[test]
    fn a_listener_of_this_process_is_found() {
        let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap();
        let sockets = read(&NodeRoot::host()).unwrap();
        let own = sockets.iter().find(|socket| socket.address == address).unwrap();
        assert_eq!(own.holder.as_ref().unwrap().pid, std::process::id());
    }
}
