//! Control-plane nodes that are lost and come back.

use std::time::{Duration, Instant};

use anyhow::{Result, bail, ensure};
use kubezt_tests::{Node, World};

use crate::install::{call, control_plane};

/// An election, and the balancers' way to another server.
const PATIENCE: Duration = Duration::from_secs(60);

/// Ends everything of the control plane on a node at once, as a loss of power would for those who call it.
const STOP: &str = "systemctl stop kubelet; systemctl kill --signal=KILL containerd 2>/dev/null || true; \
                    systemctl stop containerd; for name in etcd kube-apiserver kube-controller-manager kube-scheduler; do \
                    pkill -9 -x \"$(printf %.15s $name)\" || true; done; \
                    for try in $(seq 20); do pgrep -x etcd || pgrep -x kube-apiserver || exit 0; sleep 0.5; done; exit 1";

/// Each in turn is stopped hard: through every node's own balancer reads and writes go on, and when it is back the cluster is
/// whole again.
pub fn one_at_a_time(world: &World) -> Result<()> {
    for lost in control_plane(world) {
        world.lab.shell(lost, STOP)?;
        let gone = works_on_every_other_node(world, lost);
        world.lab.shell(lost, "systemctl start containerd kubelet")?;
        gone?;
        eventually(&format!("{} is back", lost.name), || {
            let address = format!("{}:6443", lost.address);
            let status =
                world.lab.shell(lost, &call(&address, "GET /readyz", "Accept: text/plain", KUBELET))?;
            ensure!(status.trim() == "200", "it answers {status:?}");
            Ok(())
        })?;
    }
    eventually("the cluster is as wanted", || {
        let run = world.kubezt.run("plan", &["--exit-code", "--summary"])?;
        ensure!(run.code == 0, "exit code {}:\n{}", run.code, run.stdout);
        Ok(())
    })
}

fn works_on_every_other_node(world: &World, lost: &Node) -> Result<()> {
    let left = || world.lab.nodes.iter().filter(|node| node.name != lost.name);
    for node in left() {
        eventually(&format!("{} reads without {}", node.name, lost.name), || {
            let answer = world.lab.shell(node, &through_balancer(node, "GET"))?;
            ensure!(answer.trim() == "200", "it answers {answer:?}");
            Ok(())
        })?;
        eventually(&format!("{} writes without {}", node.name, lost.name), || {
            let answer = world.lab.shell(node, &through_balancer(node, "PATCH"))?;
            ensure!(answer.trim() == "200", "it answers {answer:?}");
            Ok(())
        })?;
    }
    Ok(())
}

/// What kubelet itself may do: read its own node, and say something about it.
fn through_balancer(node: &Node, method: &str) -> String {
    let body = "{\\\"metadata\\\":{\\\"annotations\\\":{\\\"kubezt.dev/story\\\":\\\"written\\\"}}}";
    let header = match method {
        "PATCH" => format!(
            "Content-Type: application/merge-patch+json\\r\\nContent-Length: {}\\r\\n\\r\\n{body}",
            body.replace('\\', "").len()
        ),
        _ => "Accept: application/json".to_owned(),
    };
    call("127.0.0.1:7443", &format!("{method} /api/v1/nodes/{}", node.name), &header, KUBELET)
}

/// kubelet's own credential.
const KUBELET: &str =
    "-cert /var/lib/kubelet/pki/kubelet-client.crt -key /var/lib/kubelet/pki/kubelet-client.key";

fn eventually(what: &str, attempt: impl Fn() -> Result<()>) -> Result<()> {
    let deadline = Instant::now() + PATIENCE;
    loop {
        match attempt() {
            Ok(()) => return Ok(()),
            Err(error) if Instant::now() >= deadline => {
                bail!("{what}: not within {} s: {error:#}", PATIENCE.as_secs())
            }
            Err(_) => std::thread::sleep(Duration::from_millis(500)),
        }
    }
}
