//! Control-plane nodes that are lost and come back.

use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, anyhow, bail, ensure};
use kubezt_tests::{Kubezt, Node, World};

use crate::install::{answer, call, control_plane, tolerated};

/// How long a node may take until it is back after its power was. Controllers that ended because there was no API are started again
/// by kubelet after pauses that double, up to five minutes.
const PATIENCE: Duration = Duration::from_secs(420);

/// Milliseconds a read and a write may take: a balancer that leaves a server, and an election of etcd.
const LIMITS: [(&str, u64); 2] = [("GET", 2000), ("PATCH", 5000)];

/// All nodes share one machine, on which a node that boots takes the time of the others: so much longer may everything take.
const SHARED: u64 = 4;

/// Milliseconds until a loss is seen: no connection made later may fail.
const SEEN: u64 = 2000;

/// Seconds the clients call, and how many of them pass before the loss.
const CALLING: (u64, u64) = (24, 8);

/// Reads and writes in a row that are answered on every node before anything is lost: what an earlier story replaced has settled.
const SETTLED: usize = 3;

/// As many as a quorum can do without lose their power at once, until each node did: through every other node's own balancer reads and
/// writes go on, no write that was acknowledged is lost, and with their power back they are members again.
pub fn minorities(world: &World) -> Result<()> {
    for lost in control_plane(world).chunks(tolerated(world)) {
        without(world, lost).with_context(|| format!("without {}", names(lost)))?;
    }
    as_wanted(&world.kubezt)
}

fn without(world: &World, lost: &[Node]) -> Result<()> {
    let is_lost = |node: &Node| lost.iter().any(|lost| lost.name == node.name);
    let others: Vec<&Node> = world.lab.nodes.iter().filter(|node| !is_lost(node)).collect();
    // Who is not there yet is lost as well: an API server whose etcd was restarted may not look for it again for two minutes.
    for node in control_plane(world) {
        is_back(world, node)?;
    }
    for node in &others {
        answers(world, node)?;
    }
    let (at, heard) = thread::scope(|scope| {
        let clients: Vec<_> = others.iter().map(|node| scope.spawn(|| calls(world, node))).collect();
        thread::sleep(Duration::from_secs(CALLING.1));
        let at = now()?;
        let off: Result<()> = lost.iter().try_for_each(|node| world.lab.switch_off(node));
        let heard =
            clients.into_iter().map(|client| client.join().map_err(|_| anyhow!("a thread panicked"))?);
        let heard = heard.collect::<Result<Vec<_>>>();
        off.and(heard).map(|heard| (at, heard))
    })?;
    for node in lost {
        world.lab.switch_on(node)?;
    }
    for (node, calls) in others.iter().zip(&heard) {
        judge(at, calls).with_context(|| node.name.clone())?;
        nothing_is_lost(world, node, calls)?;
    }
    lost.iter().try_for_each(|node| is_back(world, node))
}

fn names(nodes: &[Node]) -> String {
    let names: Vec<&str> = nodes.iter().map(|node| node.name.as_str()).collect();
    names.join(" and ")
}

/// One more than that at once are too many: that is said, and one that comes back is enough.
pub fn majority(world: &World) -> Result<()> {
    let all = control_plane(world);
    let (running, lost) = all.split_at(tolerated(world));
    for node in lost {
        world.lab.switch_off(node)?;
    }
    let status = world.kubezt.run("status", &[]);
    let doctor = world.kubezt.run("doctor", &[]);
    let (first, rest) = lost.split_first().context("the lab has no control plane")?;
    world.lab.switch_on(first)?;
    let (status, doctor) = (status?, doctor?);
    let said = format!("etcd has lost its quorum: {} of its {} members run", running.len(), all.len());
    ensure!(
        doctor.code == 1 && doctor.stdout.contains(&said),
        "exit code {}:\n{}\n{}",
        doctor.code,
        doctor.stdout,
        doctor.stderr
    );
    ensure!(
        status.code == 1 && status.stderr.contains(&said),
        "exit code {}:\n{}\n{}",
        status.code,
        status.stdout,
        status.stderr
    );
    is_back(world, first)?;
    let status = world.kubezt.run("status", &[])?;
    ensure!(status.stdout.contains("the API answers"), "with one back:\n{}", status.stdout);
    for node in rest {
        world.lab.switch_on(node)?;
        is_back(world, node)?;
    }
    as_wanted(&world.kubezt)
}

/// One call of a client: when it began and ended, on the clock that all nodes of a lab share, in milliseconds.
struct Call {
    method: String,
    began: u64,
    ended: u64,
    status: String,
}

impl Call {
    fn read(line: &str) -> Option<Self> {
        let mut words = line.split(' ').map(str::to_owned);
        let mut next = || words.next();
        let (method, began, ended, status) = (next()?, next()?, next()?, next()?);
        Some(Self { method, began: began.parse().ok()?, ended: ended.parse().ok()?, status })
    }

    fn took(&self) -> u64 {
        self.ended.saturating_sub(self.began)
    }

    fn is_answered(&self) -> bool {
        self.status == "200"
    }
}

/// Waits until a node's balancer leads to answers.
fn answers(world: &World, node: &Node) -> Result<()> {
    eventually(&format!("{} is answered", node.name), || {
        let turns = format!("for turn in $(seq {SETTLED}); do {}; done", turn(node));
        for call in heard(world, node, &turns)? {
            ensure!(call.is_answered(), "a {} took {} ms: {}", call.method, call.took(), call.status);
        }
        Ok(())
    })
}

/// Reads and writes through a node's balancer for [`CALLING`].
fn calls(world: &World, node: &Node) -> Result<Vec<Call>> {
    let (limit, turn) = (CALLING.0, turn(node));
    let script = format!("end=$(($(date +%s) + {limit})); while [ $(date +%s) -lt $end ]; do {turn}; done");
    heard(world, node, &script)
}

/// A script that reads and writes once, with a new connection each time. Each write says when it began.
fn turn(node: &Node) -> String {
    let (get, patch) = (through_balancer(node, "GET"), through_balancer(node, "PATCH"));
    format!(
        "began=$(date +%s%3N); status=$({get}); echo \"GET $began $(date +%s%3N) ${{status:-none}}\"; \
         began=$(date +%s%3N); status=$({patch}); echo \"PATCH $began $(date +%s%3N) ${{status:-none}}\"; \
         sleep 0.3"
    )
}

fn heard(world: &World, node: &Node, script: &str) -> Result<Vec<Call>> {
    let said = world.lab.shell(node, script)?;
    let calls = said.lines().map(|line| Call::read(line).with_context(|| format!("{}: {line}", node.name)));
    calls.collect()
}

fn judge(lost: u64, calls: &[Call]) -> Result<()> {
    for (method, limit) in LIMITS {
        let of_kind = || calls.iter().filter(|call| call.method == method);
        let before = || of_kind().filter(|call| call.ended < lost);
        let usual = before().filter(|call| call.is_answered()).map(Call::took).max();
        let usual = usual.with_context(|| {
            let said: Vec<String> =
                before().map(|call| format!("{} in {} ms", call.status, call.took())).collect();
            format!("no {method} was answered before the loss: {said:?}")
        })?;
        for call in of_kind().filter(|call| call.ended >= lost) {
            let when = call.began as i64 - lost as i64;
            let described = format!("a {method} {when} ms after the loss took {} ms", call.took());
            if call.is_answered() {
                ensure!(call.took() <= limit * SHARED + usual, "{described}, usual are {usual} ms");
            } else {
                ensure!(call.began < lost + SEEN * SHARED, "{described} and failed: {}", call.status);
            }
        }
        let after = of_kind().filter(|call| call.began > lost && call.is_answered()).count();
        ensure!(after >= 5, "only {after} {method}s were answered after the loss");
    }
    Ok(())
}

/// What is stored is the last write that was acknowledged, or one after it.
fn nothing_is_lost(world: &World, node: &Node, calls: &[Call]) -> Result<()> {
    let acknowledged = calls.iter().filter(|call| call.method == "PATCH" && call.is_answered());
    let last = acknowledged.map(|call| call.began).max().unwrap_or_default();
    let request = format!("GET /api/v1/nodes/{}", node.name);
    let read = answer(BALANCER, &request, "Accept: application/json", KUBELET);
    let stored = world.lab.shell(
        node,
        &format!("{read} | grep -o \"kubezt.dev/story\\\":\\\"[0-9]*\" | grep -o \"[0-9]*$\""),
    )?;
    let stored: u64 =
        stored.trim().parse().with_context(|| format!("{}: {stored:?} is stored", node.name))?;
    ensure!(stored >= last, "{}: {stored} is stored and {last} was acknowledged", node.name);
    Ok(())
}

/// What kubelet itself may do: read its own node, and say something about it.
fn through_balancer(node: &Node, method: &str) -> String {
    let body = "{\\\"metadata\\\":{\\\"annotations\\\":{\\\"kubezt.dev/story\\\":\\\"$began\\\"}}}";
    // The variable holds milliseconds since 1970: thirteen digits in place of its six letters.
    let length = body.replace('\\', "").len() + 13 - "$began".len();
    let header = match method {
        "PATCH" => {
            format!(
                "Content-Type: application/merge-patch+json\\r\\nContent-Length: {length}\\r\\n\\r\\n{body}"
            )
        }
        _ => "Accept: application/json".to_owned(),
    };
    call(BALANCER, &format!("{method} /api/v1/nodes/{}", node.name), &header, KUBELET)
}

/// The balancer on a node.
const BALANCER: &str = "127.0.0.1:7443";

/// kubelet's own credential.
const KUBELET: &str =
    "-cert /var/lib/kubelet/pki/kubelet-client.crt -key /var/lib/kubelet/pki/kubelet-client.key";

fn now() -> Result<u64> {
    Ok(u64::try_from(jiff::Timestamp::now().as_millisecond())?)
}

fn is_back(world: &World, node: &Node) -> Result<()> {
    eventually(&format!("{} is back", node.name), || {
        let address = format!("{}:6443", node.address);
        let status = world.lab.shell(node, &call(&address, "GET /readyz", "Accept: text/plain", KUBELET))?;
        ensure!(status.trim() == "200", "it answers {status:?}");
        Ok(())
    })
}

/// Nothing is left to do, once everything that was replaced runs.
pub fn as_wanted(kubezt: &Kubezt) -> Result<()> {
    eventually("the cluster is as wanted", || {
        let run = kubezt.run("plan", &["--exit-code", "--summary"])?;
        ensure!(run.code == 0, "exit code {}:\n{}\n{}", run.code, run.stdout, run.stderr);
        Ok(())
    })
}

fn eventually(what: &str, attempt: impl Fn() -> Result<()>) -> Result<()> {
    let deadline = Instant::now() + PATIENCE;
    loop {
        match attempt() {
            Ok(()) => return Ok(()),
            Err(error) if Instant::now() >= deadline => {
                bail!("{what}: not within {} s: {error:#}", PATIENCE.as_secs())
            }
            Err(_) => thread::sleep(Duration::from_millis(500)),
        }
    }
}
