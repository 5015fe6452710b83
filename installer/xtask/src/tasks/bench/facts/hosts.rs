//! Hosts that are this machine: an SSH server for each, in mount and process namespaces that they share.
//!
//! They see the machine's file system as it is; what is written to it, such as kubezt's program, stays in memory. Nothing of the
//! machine's own changes, its SSH server, accounts and keys included, and everything ends with the namespaces, also where this task is
//! killed (`cargo xtask down --lab bench` finds them by their label).

use std::net::{Ipv4Addr, SocketAddr};
use std::path::Path;
use std::process::{Child, Stdio};
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};

use super::super::LAB;
use crate::command::{program, quiet};
use crate::lab;

/// Port of every server.
pub const PORT: u16 = 47022;
/// Key that opens every host, beside the other files.
pub const USER_KEY: &str = "user";
/// File with every host's key.
pub const KNOWN_HOSTS: &str = "known_hosts";
/// The hosts' own key.
const HOST_KEY: &str = "host";

/// Makes the namespaces' file system and starts the servers.
const SCRIPT: &str = include_str!("hosts.sh");

/// How long the servers may take to start.
const LIMIT: Duration = Duration::from_secs(60);

/// Hosts that answer; they end when this is dropped.
pub struct Hosts {
    namespaces: Child,
    addresses: Vec<Ipv4Addr>,
    names: Vec<String>,
}

impl Hosts {
    /// Starts this many, with the OpenSSH server of an unpacked package. The folder gets their keys.
    ///
    /// # Errors
    /// Keys or namespaces cannot be made, or a server does not answer within a minute.
    pub fn start(folder: &Path, server: &Path, count: u8) -> Result<Self> {
        for key in [HOST_KEY, USER_KEY] {
            let mut keygen = program("ssh-keygen", ["-q", "-t", "ed25519", "-N", "", "-C", key, "-f"]);
            quiet(keygen.arg(folder.join(key)))?;
        }
        let addresses: Vec<_> = (1..=count).map(|number| Ipv4Addr::new(127, 77, 0, number)).collect();
        let host_key = fs_err::read_to_string(folder.join(HOST_KEY).with_extension("pub"))?;
        let known: Vec<_> =
            addresses.iter().map(|address| format!("[{address}]:{PORT} {host_key}")).collect();
        fs_err::write(folder.join(KNOWN_HOSTS), known.concat())?;
        let log = folder.join("servers.log");
        let output = fs_err::File::create(&log)?.into_file();
        let arguments = ["--mount", "--pid", "--fork", "--kill-child", "--propagation", "private"];
        let mut unshare = program("unshare", arguments);
        unshare.args(["sh", "-c", SCRIPT, "hosts"]).args([folder, server]).arg(PORT.to_string());
        unshare.args(addresses.iter().map(Ipv4Addr::to_string));
        unshare.stdin(Stdio::null()).stdout(output.try_clone()?).stderr(output);
        lab::label(&mut unshare, LAB);
        let namespaces = unshare.spawn().context("cannot start unshare")?;
        let names = (1..=count).map(|number| format!("host-{number}")).collect();
        let mut hosts = Self { namespaces, addresses, names };
        hosts.wait_until_they_answer().with_context(|| {
            fs_err::read_to_string(log).unwrap_or_else(|error| error.to_string()).trim().to_owned()
        })?;
        Ok(hosts)
    }

    /// Their addresses.
    pub fn addresses(&self) -> &[Ipv4Addr] {
        &self.addresses
    }

    /// What they are called in cluster file and inventory, in the order of their addresses.
    pub fn names(&self) -> &[String] {
        &self.names
    }

    fn wait_until_they_answer(&mut self) -> Result<()> {
        let deadline = Instant::now() + LIMIT;
        for address in &self.addresses {
            while !lab::says_ssh(SocketAddr::from((*address, PORT))) {
                if let Some(status) = self.namespaces.try_wait()? {
                    bail!("the SSH servers ended at their start: {status}");
                }
                if Instant::now() > deadline {
                    bail!("no SSH server answers on {address} port {PORT}");
                }
                thread::sleep(Duration::from_millis(50));
            }
        }
        Ok(())
    }
}

impl Drop for Hosts {
    fn drop(&mut self) {
        // unshare takes the namespaces' first process along, and that one all others.
        let _ = self.namespaces.kill();
        let _ = self.namespaces.wait();
    }
}
