//! The two programs, set up to do the same.

use std::net::{SocketAddr, TcpListener};
use std::path::Path;
use std::process::{Child, Command, Stdio};

use serde_json::json;

use crate::tls;

/// A balancer that runs; it ends when this is dropped.
pub struct Balancer {
    /// Where it listens.
    pub address: SocketAddr,
    process: Child,
}

impl Balancer {
    /// kubezt's, as on every node.
    pub fn kubezt(program: &Path, servers: &[SocketAddr], folder: &Path) -> Self {
        let address = free();
        let configuration = json!({
            "listen": address,
            "servers": servers,
            "health": {
                "authority": folder.join(tls::AUTHORITY),
                "certificate": folder.join(tls::CERTIFICATE),
                "key": folder.join(tls::KEY),
            },
        });
        let file = folder.join("node.json");
        fs_err::write(&file, configuration.to_string()).unwrap();
        let mut command = Command::new(program);
        command.args(["node", "serve", "--config"]).arg(file);
        Self::start(address, command, &folder.join("kubezt.log"))
    }

    /// HAProxy as kubeadm's documentation puts it before API servers (the considerations for high availability), but for two things:
    /// nothing is logged, and servers are asked as often, and may take as long, as kubezt has it. Connections to a server that is lost
    /// are ended, as kubezt does.
    pub fn haproxy(program: &Path, servers: &[SocketAddr], folder: &Path) -> Self {
        let address = free();
        let mut configuration = format!(
            "defaults\n  mode tcp\n  option redispatch\n  retries 1\n  timeout connect 5s\n  timeout client 1h\n  \
             timeout server 1h\n  timeout check 3s\n\
             frontend api\n  bind {address}\n  default_backend servers\n\
             backend servers\n  balance roundrobin\n  option httpchk\n  http-check connect ssl alpn h2\n  \
             http-check send meth GET uri /readyz\n  http-check expect status 200\n  \
             default-server check verify none inter 1s fall 2 on-marked-down shutdown-sessions\n"
        );
        for (number, server) in servers.iter().enumerate() {
            configuration += &format!("  server server-{number} {server}\n");
        }
        let file = folder.join("haproxy.cfg");
        fs_err::write(&file, configuration).unwrap();
        let mut command = Command::new(program);
        command.args(["-db", "-f"]).arg(file);
        Self::start(address, command, &folder.join("haproxy.log"))
    }

    fn start(address: SocketAddr, mut command: Command, log: &Path) -> Self {
        let output = fs_err::File::create(log).unwrap().into_file();
        command.stdin(Stdio::null()).stdout(output.try_clone().unwrap()).stderr(output);
        Self { address, process: command.spawn().unwrap() }
    }
}

impl Drop for Balancer {
    fn drop(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

/// An address on loopback where nobody listens.
fn free() -> SocketAddr {
    TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap()
}
