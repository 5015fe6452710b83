//! A load balancer of the site in front of the API servers.

use std::io;
use std::net::{Ipv4Addr, SocketAddr, TcpListener, TcpStream};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread;

use anyhow::{Context as _, Result, ensure};
use kubezt_tests::Node;

use crate::World;

/// Port of the balancer, at the address that nodes reach this machine at.
const PORT: u16 = 16443;

/// Workers reach the API through the balancer that the cluster file names, and nowhere else; the cluster stays compliant. Once it is
/// named no more they go to the servers again.
pub fn external(world: &World) -> Result<()> {
    let (control_plane, worker) = (world.lab.control_plane(), world.lab.worker());
    let address: Ipv4Addr = control_plane.address.parse()?;
    let [network @ .., _] = address.octets();
    let here = SocketAddr::from(([network[0], network[1], network[2], 1], PORT));
    let server = SocketAddr::from((address, 6443));
    let balancer = Balancer::start(here, server)?;
    let file = fs_err::read_to_string(world.lab.path("cluster.yaml"))?;
    let named = file.replace("\nspec:\n", &format!("\nspec:\n  endpoint:\n    external: ['{here}']\n"));
    ensure!(named != file, "the lab's cluster file has no spec");
    let path = world.lab.path("external.yaml");
    fs_err::write(&path, named)?;
    world.kubezt.on(path.clone()).succeed("install", &["--no-verify"])?;
    begin_anew(world, worker)?;
    world.kubezt.on(path.clone()).succeed("verify", &[])?;
    ensure!(balancer.connections() > 0, "nobody came to the balancer");
    ensure!(connected(world, worker, here)?, "no connection of the worker leads to the balancer");
    ensure!(!connected(world, worker, server)?, "the worker reaches a server beside the balancer");
    ensure!(!connected(world, control_plane, here)?, "the control plane goes to the balancer");
    world.kubezt.succeed("install", &["--no-verify"])?;
    begin_anew(world, worker)?;
    world.kubezt.succeed("verify", &[])?;
    ensure!(connected(world, worker, server)?, "the worker does not go to the server again");
    ensure!(!connected(world, worker, here)?, "the worker still goes to the balancer");
    let run = world.kubezt.run("plan", &["--exit-code", "--summary"])?;
    ensure!(run.code == 0, "exit code {}:\n{}", run.code, run.stdout);
    Ok(fs_err::remove_file(path)?)
}

/// Connections that were made before a change stay where they lead to; after this there are only later ones.
fn begin_anew(world: &World, node: &Node) -> Result<()> {
    world.lab.shell(node, "systemctl restart kubezt-node.service").map(drop)
}

/// Whether a connection of the node itself, and not of its pods, leads to this address.
fn connected(world: &World, node: &Node, to: SocketAddr) -> Result<bool> {
    let found =
        world.lab.shell(node, &format!("ss --no-header --tcp --numeric state established dst '{to}'"))?;
    Ok(!found.trim().is_empty())
}

/// Passes connections on, and counts them. It ends with the process of the tests.
struct Balancer {
    passed: Arc<AtomicUsize>,
}

impl Balancer {
    fn start(listen: SocketAddr, server: SocketAddr) -> Result<Self> {
        let listener = TcpListener::bind(listen).with_context(|| format!("cannot listen at {listen}"))?;
        let passed = Arc::new(AtomicUsize::new(0));
        let count = Arc::clone(&passed);
        thread::spawn(move || {
            for client in listener.incoming().flatten() {
                count.fetch_add(1, Ordering::Relaxed);
                // A client whose server is away is sent off, as any balancer does.
                let _ = TcpStream::connect(server).and_then(|server| splice(&client, &server));
            }
        });
        Ok(Self { passed })
    }

    fn connections(&self) -> usize {
        self.passed.load(Ordering::Relaxed)
    }
}

fn splice(client: &TcpStream, server: &TcpStream) -> io::Result<()> {
    for (from, to) in [(client, server), (server, client)] {
        let (mut from, mut to) = (from.try_clone()?, to.try_clone()?);
        thread::spawn(move || {
            let _ = io::copy(&mut from, &mut to);
            let _ = to.shutdown(std::net::Shutdown::Both);
        });
    }
    Ok(())
}
