//! From bare nodes to one cluster of several control-plane nodes.

use anyhow::{Context as _, Result, ensure};
use fs_err as fs;
use kubezt_model::ports;
use kubezt_tests::{Node, World};
use serde_json::Value;

/// The lab's control-plane nodes.
pub fn control_plane(world: &World) -> &[Node] {
    world.lab.control_planes()
}

/// How many of them may be lost at once while the rest is a quorum.
pub fn tolerated(world: &World) -> usize {
    (control_plane(world).len() - 1) / 2
}

/// All of them bootstrap in the one run, which ends verified. One node lets no other one in where components are handed on.
pub fn stig(world: &World) -> Result<()> {
    world.lab.shell(
        shut(world)?,
        &format!(
            "nft add table inet story; nft \"add chain inet story input {{ type filter hook input priority 0; }}\"; \
             nft add rule inet story input tcp dport {} drop",
            ports::RELAY
        ),
    )?;
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

/// The node that is shut to the others.
fn shut(world: &World) -> Result<&Node> {
    world.lab.nodes.last().context("the lab has no node")
}

/// What came to all nodes left this machine less than twice, although one of them could hand nothing on: what that one got first had
/// to leave once more. Of it the preflight warned.
pub fn relayed(world: &World) -> Result<()> {
    let shut = shut(world)?;
    world.lab.shell(shut, "nft delete table inet story")?;
    let mut journals = fs::read_dir(world.lab.path(".kubezt/journal"))?
        .map(|entry| Ok(entry?.path()))
        .collect::<Result<Vec<_>>>()?;
    journals.sort();
    let text = fs::read_to_string(journals.last().context("the install left no journal")?)?;
    let events = text.lines().map(serde_json::from_str).collect::<serde_json::Result<Vec<Value>>>()?;

    let costs = events.iter().filter(|event| event["event"] == "node-cost");
    let sent: u64 = costs.filter_map(|event| event["bytes_sent"].as_u64()).sum();
    let script = "du -sbc /var/lib/kubezt/blobs /var/lib/containerd/io.containerd.content.v1.content | tail -1 | cut -f1";
    let one: u64 = world.lab.shell(world.lab.control_plane(), script)?.trim().parse()?;
    ensure!(
        sent > 0 && sent < one * 2,
        "{sent} bytes were sent to {} nodes, and one of them has {one}",
        world.lab.nodes.len()
    );

    let endpoint = format!("TCP {}:{}", shut.address, ports::RELAY);
    let told = events.iter().any(|event| {
        event["event"] == "warning" && event["message"].as_str().is_some_and(|text| text.contains(&endpoint))
    });
    ensure!(told, "nothing is said of {endpoint}:\n{text}");
    Ok(())
}

/// Every member is healthy, and each of them knows all others.
pub fn members(world: &World) -> Result<()> {
    for node in control_plane(world) {
        let health = etcdctl(world, node, "endpoint health --cluster 2>&1")?;
        let healthy = health.lines().filter(|line| line.contains("is healthy")).count();
        ensure!(
            healthy == control_plane(world).len(),
            "{} sees {healthy} healthy members:\n{health}",
            node.name
        );
    }
    Ok(())
}

/// etcdctl on a node, asking the member there.
pub fn etcdctl(world: &World, node: &Node, arguments: &str) -> Result<String> {
    let script = "/usr/local/bin/etcdctl --endpoints https://127.0.0.1:2379 --cacert /etc/etcd/pki/ca.crt \
                  --cert /etc/etcd/pki/server.crt --key /etc/etcd/pki/server.key";
    world.lab.shell(node, &format!("{script} {arguments}"))
}

/// Every server signs with a key of its own, and every server knows the keys of all.
pub fn tokens(world: &World) -> Result<()> {
    for signer in control_plane(world) {
        let request = format!("--server https://{}:6443 create token default --duration 10m", signer.address);
        let token = world.kubectl(&request)?;
        ensure!(token.trim().split('.').count() == 3, "no token of {}: {token}", signer.name);
        for server in control_plane(world) {
            // Read from standard input: a token belongs into no command line.
            let address = format!("{}:6443", server.address);
            let script = call(&address, "GET /api/v1/namespaces", "Authorization: Bearer $(cat)", "");
            let status = world.lab.shell_with_input(server, &script, token.trim())?;
            // Known, and without the right.
            ensure!(status.trim() == "403", "a token of {} at {}: {status:?}", signer.name, server.name);
        }
    }
    Ok(())
}

/// A script that makes a call from a node and prints the status.
pub fn call(address: &str, request: &str, header: &str, openssl: &str) -> String {
    format!("{} | head -1 | cut -d\" \" -f2", answer(address, request, header, openssl))
}

/// A script that makes a call from a node and prints the whole answer; nodes have OpenSSL and no other client.
pub fn answer(address: &str, request: &str, header: &str, openssl: &str) -> String {
    format!(
        "printf \"{request} HTTP/1.1\\r\\nHost: node\\r\\nConnection: close\\r\\n{header}\\r\\n\\r\\n\" | \
         timeout 10 openssl s_client -quiet -verify_return_error -CAfile /etc/kubernetes/pki/root.crt {openssl} \
         -connect {address} 2>/dev/null"
    )
}

/// Keys and data of the control plane would stay on a worker.
pub fn demoted(world: &World) -> Result<()> {
    let mut text = fs_err::read_to_string(world.lab.cluster_file())?;
    let demoted = &control_plane(world)[1..];
    for Node { name, .. } in demoted {
        let entry = |role: &str| format!("- name: {name}\n    role: {role}");
        ensure!(text.contains(&entry("control-plane")), "{name} is not listed as expected:\n{text}");
        text = text.replace(&entry("control-plane"), &entry("worker"));
    }
    let file = world.lab.path("cluster-demoted.yaml");
    fs_err::write(&file, text)?;
    let run = world.kubezt.on(file).run("install", &[])?;
    let said = run.stderr.contains(&format!("{} is of the control plane", demoted[0].name));
    ensure!(run.code == 2 && said, "exit code {}: {}", run.code, run.stderr);
    Ok(())
}

/// Nothing is left to do.
pub fn plan_is_empty(world: &World) -> Result<()> {
    let run = world.kubezt.run("plan", &["--exit-code", "--summary"])?;
    ensure!(run.code == 0, "exit code {}:\n{}", run.code, run.stdout);
    let pods = world.kubectl("-n kube-system get pods --no-headers")?;
    let restarted = pods.lines().find(|line| {
        let restarts = line.split_whitespace().nth(3).and_then(|count| count.parse::<u32>().ok());
        line.starts_with("etcd-") && restarts.is_some_and(|count| count > 0)
    });
    ensure!(restarted.is_none(), "a member of etcd started twice: {restarted:?}");
    Ok(())
}
