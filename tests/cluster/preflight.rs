//! What would make an install fail is found on all nodes at once, before anything is changed.

use anyhow::{Context as _, Result, ensure};
use kubezt_tests::Node;
use kubezt_tests::changes::traces;
use serde_json::Value;

use crate::World;

/// The checks that find what is spoiled here.
const SPOILED: [&str; 5] = ["leftovers", "ports", "machine-id", "reachability", "mtu"];

/// A way to spoil bare nodes: the check that finds it, how bad it is, and words of what is said.
struct Spoiled {
    id: &'static str,
    severity: &'static str,
    words: Vec<String>,
}

/// Everything that was spoiled is in one answer, of `preflight` and of `install`, which then changes nothing; what somebody
/// answers for stops nothing; and mended nodes are fine.
pub fn all_at_once(world: &World) -> Result<()> {
    let sound = world.kubezt.run("preflight", &[])?;
    ensure!(sound.code == 0, "bare nodes do not pass: {}\n{}", sound.stdout, sound.stderr);
    let told = spoil(world).and_then(|spoiled| tells(world, &spoiled));
    // The stories after this one need sound nodes, whatever came of it.
    let mended = mend(world);
    told?;
    mended?;
    let again = world.kubezt.run("preflight", &[])?;
    ensure!(again.code == 0, "mended nodes do not pass: {}\n{}", again.stdout, again.stderr);
    let left = SPOILED.into_iter().find(|id| again.stdout.contains(id));
    ensure!(left.is_none(), "{left:?} is still said: {}", again.stdout);
    Ok(())
}

/// The node no story uses otherwise.
fn last(world: &World) -> Result<&Node> {
    world.lab.nodes.last().context("the lab has no node")
}

fn spoil(world: &World) -> Result<Vec<Spoiled>> {
    let (control_plane, worker, last) = (world.lab.control_plane(), world.lab.worker(), last(world)?);
    let shell = |node: &Node, script: &str| world.lab.shell(node, script);
    shell(
        control_plane,
        "mkdir -p /etc/kubernetes/manifests; echo \"{}\" >/etc/kubernetes/manifests/x.yaml",
    )?;
    let squatter = "nohup socat TCP-LISTEN:10250,fork,reuseaddr OPEN:/dev/null >/dev/null 2>&1 </dev/null & \
                    echo $! | tee /run/squatter.pid";
    let pid = shell(worker, squatter)?;
    let id = shell(last, "cp -a /etc/machine-id /run/machine-id.kept; cat /etc/machine-id")?;
    shell(worker, "cp -a /etc/machine-id /run/machine-id.kept")?;
    shell(worker, &format!("echo {} >/etc/machine-id", id.trim()))?;
    shell(
        last,
        "nft add table inet story; nft \"add chain inet story input { type filter hook input priority 0; }\"; \
         nft add rule inet story input udp dport 8472 drop; \
         nft add rule inet story input tcp dport 7444 ip length gt 1000 drop",
    )?;
    let spoiled = |id, severity, words: &[&str]| Spoiled {
        id,
        severity,
        words: words.iter().map(|&word| word.to_owned()).collect(),
    };
    Ok(vec![
        spoiled("leftovers", "error", &["/etc/kubernetes/manifests/x.yaml"]),
        spoiled("ports", "error", &[":10250", &format!("process {} (socat", pid.trim())]),
        spoiled("machine-id", "warning", &[&worker.name, &last.name, id.trim()]),
        spoiled(
            "reachability",
            "error",
            &[&control_plane.name, &format!("UDP {}:8472: no answer", last.address)],
        ),
        spoiled("mtu", "error", &[&worker.name, &last.name, "long ones do not"]),
    ])
}

fn mend(world: &World) -> Result<()> {
    let restore = "if test -e /run/machine-id.kept; then mv /run/machine-id.kept /etc/machine-id; fi";
    for node in &world.lab.nodes {
        world.lab.shell(
            node,
            &format!(
                "{restore}; rm -rf /etc/kubernetes; nft delete table inet story 2>/dev/null || true; \
                 if test -e /run/squatter.pid; then kill $(cat /run/squatter.pid); rm /run/squatter.pid; fi"
            ),
        )?;
    }
    Ok(())
}

fn tells(world: &World, spoiled: &[Spoiled]) -> Result<()> {
    let run = world.kubezt.run("preflight", &["-o", "json"])?;
    ensure!(run.code == 3, "exit code {}: {}", run.code, run.stderr);
    let report: Value = serde_json::from_str(&run.stdout)?;
    let findings = report["findings"].as_array().context("no findings")?;
    for one in spoiled {
        let text = |finding: &Value, key: &str| finding[key].as_str().unwrap_or_default().to_owned();
        let found = findings.iter().any(|finding| {
            finding["id"] == one.id
                && finding["severity"] == one.severity
                && !text(finding, "remedy").is_empty()
                && one.words.iter().all(|word| text(finding, "what").contains(word))
        });
        ensure!(found, "{} {:?} is not found: {}", one.id, one.words, run.stdout);
    }

    let before = traces(world)?;
    let run = world.kubezt.run("install", &["--no-verify"])?;
    ensure!(run.code == 3, "exit code {}: {}\n{}", run.code, run.stdout, run.stderr);
    for one in spoiled {
        let told = run.stdout.contains(one.id) && one.words.iter().all(|word| run.stdout.contains(word));
        ensure!(told, "install does not say {} {:?}: {}", one.id, one.words, run.stdout);
    }
    ensure!(before == traces(world)?, "an install that was refused changed something");

    let ignore =
        |ids: &[&str]| ids.iter().flat_map(|id| ["--ignore".to_owned(), format!("{id}=a story")]).collect();
    let with = |ids: &[&str]| {
        let arguments: Vec<String> = ignore(ids);
        world.kubezt.run("preflight", &arguments.iter().map(String::as_str).collect::<Vec<_>>())
    };
    let some = with(&["leftovers", "ports", "mtu"])?;
    ensure!(some.code == 3, "one error is left, and the exit code is {}: {}", some.code, some.stdout);
    let all = with(&["leftovers", "ports", "mtu", "reachability"])?;
    ensure!(all.code == 0, "exit code {}: {}", all.code, all.stdout);
    ensure!(all.stdout.contains("because a story"), "the reason is not shown: {}", all.stdout);
    let wrong = world.kubezt.run("preflight", &["--ignore", "port=a story", "--ignore", "mtu"])?;
    ensure!(
        wrong.code == 2 && wrong.stderr.contains("`ports`") && wrong.stderr.contains("gives no reason"),
        "exit code {}: {}",
        wrong.code,
        wrong.stderr
    );
    Ok(())
}
