//! Renewal while the cluster is used.

use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, bail, ensure};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use kubezt_engine::node::renew::{CONFIGURATION, Configuration, SIGNER};
use kubezt_model::desired::{CertificateKind, LeafSpec};
use kubezt_pki::request::{api_usages, request_leaf};
use kubezt_pki::{CertificateChain, PrivateKeyPem, generate, parse_private_key_spki, sign_leaf};
use kubezt_tests::Node;
use kubezt_tests::load::{Load, Made};
use kubezt_tests::stories::KUBECONFIG;

use crate::World;

/// Every leaf is issued anew while requests, exec and logs are called: every new call succeeds, nothing restarts.
pub fn renewal_under_load(world: &World) -> Result<()> {
    let before = world.lab.process_starts()?;
    let old = SERVERS.iter().map(|server| served(world, server)).collect::<Result<Vec<_>>>()?;
    let load = Load::start(world, Duration::ZERO)?;
    let started = Instant::now();
    let run = world.kubezt.run("certs", &["renew"]);
    let ended = Instant::now();
    let taken_up = run.is_ok().then(|| taken_up(world, &old));
    // Whatever reads its files again only now and then does so while calls go on.
    thread::sleep(Duration::from_secs(5));
    for Made { call, begun } in load.end()? {
        let during = begun.iter().filter(|begun| (started..ended).contains(*begun)).count();
        let after = begun.iter().filter(|begun| **begun > ended).count();
        ensure!(
            during >= 1 && after >= 2,
            "`{call}` was made {during} times during the renewal and {after} after"
        );
    }
    let run = run?;
    ensure!(run.code == 0, "certs renew: {}\n{}", run.code, run.stderr);
    taken_up.unwrap_or(Ok(()))?;
    let after = world.lab.process_starts()?;
    ensure!(before == after, "processes differ:\n{before}\n{after}");
    Ok(())
}

/// Leaves that are nearly over are replaced by the nodes themselves: by the control plane its own, by a worker with what the control
/// plane signs for it. Nothing restarts, the plan is empty, and what is not the worker's own is denied.
pub fn renewed_by_the_node(world: &World) -> Result<()> {
    let (control_plane, worker) = (world.lab.control_plane(), world.lab.worker());
    world.kubeconfig()?;
    let before = world.lab.process_starts()?;
    let own = aged(world, control_plane, "/etc/kubernetes/pki/apiserver.crt")?;
    let asked = aged(world, worker, "/var/lib/kubelet/pki/kubelet.crt")?;
    let run = "systemctl start kubezt-renew.service";
    let deadline = Instant::now() + PATIENCE;
    // Asking, answering and taking up are three runs; the timer may make some of them meanwhile.
    while [(control_plane, &own), (worker, &asked)].iter().any(|(node, aged)| !aged.is_replaced(world, node))
    {
        ensure!(Instant::now() < deadline, "leaves are not renewed within {} s", PATIENCE.as_secs());
        for node in [worker, control_plane, worker] {
            world.lab.shell(node, run)?;
        }
        world.kubectl("get --raw /readyz")?;
    }
    denied(world, &asked.leaf)?;
    let after = world.lab.process_starts()?;
    ensure!(before == after, "processes differ:\n{before}\n{after}");
    let run = world.kubezt.run("plan", &["--exit-code"])?;
    ensure!(run.code == 0, "exit code {}:\n{}", run.code, run.stdout);
    Ok(())
}

/// A leaf that is due.
struct Aged {
    path: String,
    text: String,
    leaf: LeafSpec,
}

impl Aged {
    fn is_replaced(&self, world: &World, node: &Node) -> bool {
        let found = world.lab.shell(node, &format!("cat {}", self.path));
        found.is_ok_and(|found| found.trim() != self.text.trim())
    }
}

/// Less is left of it than a leaf may ever have when it is renewed.
const NEARLY_OVER: Duration = Duration::from_secs(5 * 60);

/// Replaces a leaf by one that is due.
fn aged(world: &World, node: &Node, path: &str) -> Result<Aged> {
    let authority = "/etc/kubernetes/pki/authority/kubernetes";
    let read = |node: &Node, path: &str| world.lab.shell(node, &format!("cat {path}"));
    let configuration: Configuration = serde_json::from_str(&read(node, CONFIGURATION)?)?;
    let wanted = configuration.leaves.into_iter().find(|leaf| leaf.certificate_path == path);
    let wanted = wanted.with_context(|| format!("{} renews no {path}", node.name))?;
    let CertificateKind::Leaf(leaf) = wanted.kind else { bail!("{path} is no leaf") };
    let issuer = CertificateChain::parse(&read(world.lab.control_plane(), &format!("{authority}.crt"))?)?;
    let issuer_key = PrivateKeyPem::parse(&read(world.lab.control_plane(), &format!("{authority}.key"))?)?;
    let key = parse_private_key_spki(&read(node, &wanted.key_path)?)?;
    let text = sign_leaf(&issuer, &issuer_key, &leaf, &key, jiff::Timestamp::now(), NEARLY_OVER)?.to_pem();
    world.lab.shell_with_input(node, &format!("cat > {path}"), &text)?;
    Ok(Aged { path: path.to_owned(), text, leaf })
}

/// A worker that asks for the name of the API in its own certificate does not get it.
fn denied(world: &World, leaf: &LeafSpec) -> Result<()> {
    let (control_plane, worker) = (world.lab.control_plane(), world.lab.worker());
    let mut leaf = leaf.clone();
    leaf.dns_names.push("kubernetes.default.svc".to_owned());
    let request = serde_json::json!({
        "apiVersion": "certificates.k8s.io/v1", "kind": "CertificateSigningRequest",
        "metadata": {"name": "more-than-its-own"},
        "spec": {
            "request": STANDARD.encode(request_leaf(&generate()?, &leaf)?),
            "signerName": SIGNER,
            "usages": api_usages(leaf.usage),
        },
    });
    // Workers have no kubectl: whoever may be anybody asks in the worker's name.
    let create = format!(
        "/usr/local/bin/kubectl --kubeconfig {KUBECONFIG} --as=system:node:{} --as-group=system:nodes \
         --as-group=system:authenticated create -f -",
        worker.name
    );
    world.lab.shell_with_input(control_plane, &create, &request.to_string())?;
    world.lab.shell(control_plane, "systemctl start kubezt-renew.service")?;
    let status = world.kubectl("get csr more-than-its-own -o jsonpath={.status}")?;
    ensure!(status.contains("Denied") && status.contains("has no leaf"), "{status}");
    ensure!(!status.contains("\"certificate\":"), "{status}");
    world.kubectl("delete csr more-than-its-own")?;
    Ok(())
}

/// Where servers listen on the control-plane node, and what they present certificates of.
const SERVERS: [(&str, u16); 3] = [("kube-apiserver", 6443), ("etcd", 2379), ("kubelet", 10250)];

/// How long servers may take to serve a renewed certificate.
const PATIENCE: Duration = Duration::from_secs(90);

/// Digest of the certificate a server presents now, asked as any client would.
fn served(world: &World, (name, port): &(&str, u16)) -> Result<String> {
    let node = world.lab.control_plane();
    let script = format!(
        "openssl s_client -connect {}:{port} </dev/null 2>/dev/null | openssl x509 -noout -fingerprint -sha256",
        node.address
    );
    world.lab.shell(node, &script).with_context(|| format!("{name} presents no certificate"))
}

/// Waits until every server presents another certificate than before.
fn taken_up(world: &World, old: &[String]) -> Result<()> {
    let deadline = Instant::now() + PATIENCE;
    loop {
        let mut late = Vec::new();
        for (server, old) in SERVERS.iter().zip(old) {
            if served(world, server)? == *old {
                late.push(server.0);
            }
        }
        if late.is_empty() {
            return Ok(());
        }
        ensure!(
            Instant::now() < deadline,
            "after {} s the old certificate is served by {late:?}",
            PATIENCE.as_secs()
        );
        thread::sleep(Duration::from_millis(500));
    }
}
