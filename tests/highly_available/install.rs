//! From bare nodes to one cluster of three control-plane nodes.

use anyhow::{Context as _, Result, ensure};
use kubezt_tests::{Node, World};

/// Control-plane nodes of the lab.
pub const CONTROL_PLANE: usize = 3;

/// The lab's control-plane nodes, which come first.
pub fn control_plane(world: &World) -> &[Node] {
    &world.lab.nodes[..CONTROL_PLANE]
}

/// All of them bootstrap in the one run, which ends verified.
pub fn stig(world: &World) -> Result<()> {
    world.kubezt.succeed("install", &["--profile", "stig"])?;
    world.kubeconfig()?;
    let nodes = world.kubectl("get nodes --no-headers")?;
    let ready = nodes.lines().filter(|line| line.split_whitespace().nth(1) == Some("Ready")).count();
    ensure!(ready == world.lab.nodes.len(), "not all Ready:\n{nodes}");
    let pods = world.kubectl("-n kube-system get pods --no-headers")?;
    for node in control_plane(world) {
        for component in ["etcd", "kube-apiserver", "kube-controller-manager", "kube-scheduler"] {
            let name = format!("{component}-{}", node.name);
            let line = pods.lines().find(|line| line.starts_with(&name));
            ensure!(line.is_some_and(|line| line.contains("Running")), "{name} does not run:\n{pods}");
        }
    }
    Ok(())
}

/// Each member has a leader and talks to the two others.
pub fn members(world: &World) -> Result<()> {
    for node in control_plane(world) {
        let metrics = world.lab.shell(node, "curl -sf http://127.0.0.1:2381/metrics")?;
        let value = |name: &str| {
            let of_this = metrics.lines().filter(|line| line.split(['{', ' ']).next() == Some(name));
            let values = of_this.filter_map(|line| line.rsplit_once(' ')?.1.parse::<f64>().ok());
            values.sum::<f64>()
        };
        ensure!(value("etcd_server_has_leader") == 1.0, "{}: no leader", node.name);
        let peers = value("etcd_network_active_peers");
        ensure!(peers == 2.0, "{}: {peers} active peers", node.name);
    }
    Ok(())
}

/// Every server signs with a key of its own, and every server knows the keys of all.
pub fn tokens(world: &World) -> Result<()> {
    for signer in control_plane(world) {
        let request = format!("--server https://{}:6443 create token default --duration 10m", signer.address);
        let token = world.kubectl(&request)?;
        ensure!(token.split('.').count() == 3, "no token of {}: {token}", signer.name);
        for server in control_plane(world) {
            // Read from standard input: a token belongs into no command line.
            let script = format!(
                "(printf 'Authorization: Bearer '; cat) >/root/story.header; \
                 curl -s -o /dev/null -w '%{{http_code}}' --cacert /etc/kubernetes/pki/ca.crt -H @/root/story.header \
                 https://{}:6443/api/v1/namespaces; rm /root/story.header",
                server.address
            );
            let code = world.lab.shell_with_input(server, &script, token.trim())?;
            // Known, and without the right.
            ensure!(code.trim() == "403", "a token of {} at {}: {code}", signer.name, server.name);
        }
    }
    Ok(())
}

/// Nothing is left to do.
pub fn plan_is_empty(world: &World) -> Result<()> {
    let run = world.kubezt.run("plan", &["--exit-code", "--summary"])?;
    ensure!(run.code == 0, "exit code {}:\n{}", run.code, run.stdout);
    let pods = world.kubectl("-n kube-system get pods --no-headers")?;
    let restarted = pods.lines().find(|line| {
        let restarts = line.split_whitespace().nth(3).and_then(|count| count.parse::<u32>().ok());
        line.starts_with("etcd-") && restarts.context("restarts").is_ok_and(|count| count > 0)
    });
    ensure!(restarted.is_none(), "a member of etcd started twice: {restarted:?}");
    Ok(())
}
