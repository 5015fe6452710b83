//! Secrets are in no log, journal, plan, report, process list or world-readable file.

use std::process::Command;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;

use anyhow::{Result, bail, ensure};
use fs_err as fs;
use kubezt_tests::{Kubezt, Node, Run};

use crate::World;

/// Where the control plane holds the encryption key.
const ENCRYPTION: &str = "/etc/kubernetes/encryption/config.yaml";

/// The passphrase as the lab planted it, and the encryption key as the control plane holds it: both are used by runs that
/// are watched, and searched for afterwards wherever they could have been left.
pub fn nowhere(world: &World) -> Result<()> {
    let secrets = Secrets { passphrase: passphrase(world)?, key: encryption_key(world)? };
    ensure!(secrets.passphrase.len() >= 14 && secrets.key.len() >= 40, "nothing to look for");

    // With another file on the node the key has to be planned, shown, sent and written.
    world.lab.shell(world.lab.control_plane(), &format!("echo '# changed by hand' >>{ENCRYPTION}"))?;
    let watch = Watch::start(world, &secrets);
    let said = runs(world);
    let seen = watch.end()?;
    ensure!(seen.is_empty(), "in a command line or an environment: {seen:?}");
    for (what, run) in said? {
        for (name, secret) in secrets.each() {
            ensure!(
                !run.stdout.contains(secret) && !run.stderr.contains(secret),
                "{name} in the words of {what}"
            );
        }
    }
    ensure!(encryption_key(world)? == secrets.key, "install wrote another key");
    for (name, secret) in secrets.each() {
        let found = search_here(world, secret)?;
        ensure!(found.is_empty(), "{name} on the operator's machine: {found}");
        for node in &world.lab.nodes {
            let found = search_node(world, node, secret)?;
            ensure!(found.is_empty(), "{name} on {}: {found}", node.name);
        }
    }
    searches_find_what_is_planted(world, &secrets)
}

struct Secrets {
    passphrase: String,
    key: String,
}

impl Secrets {
    fn each(&self) -> [(&'static str, &str); 2] {
        [("the passphrase", &self.passphrase), ("the encryption key", &self.key)]
    }
}

fn passphrase(world: &World) -> Result<String> {
    Ok(fs::read_to_string(world.lab.path("passphrase"))?.trim().to_owned())
}

fn encryption_key(world: &World) -> Result<String> {
    let script = format!(
        "sed -n 's/.*secret: *\"\\{{0,1\\}}\\([A-Za-z0-9+\\/=]*\\)\"\\{{0,1\\}}.*/\\1/p' {ENCRYPTION} | head -1"
    );
    Ok(world.lab.shell(world.lab.control_plane(), &script)?.trim().to_owned())
}

/// Every command that handles them, in every form of output.
fn runs(world: &World) -> Result<Vec<(&'static str, Run)>> {
    let kubezt: &Kubezt = &world.kubezt;
    let rendered = world.lab.path("rendered").display().to_string();
    let report = format!("json={}", world.lab.path("secrets.json").display());
    let plan = kubezt.run("plan", &[])?;
    ensure!(plan.stdout.contains(ENCRYPTION), "the changed file is not planned:\n{}", plan.stdout);
    Ok(vec![
        ("plan", plan),
        ("plan -o json", kubezt.run("plan", &["-o", "json"])?),
        ("render", kubezt.succeed("render", &["-o", &rendered])?),
        ("install", kubezt.succeed("install", &["--no-verify", "-o", "json"])?),
        ("certs renew", kubezt.succeed("certs", &["renew"])?),
        ("verify", kubezt.succeed("verify", &["--all", "--no-probes", "--report", &report])?),
    ])
}

/// Looks at the command lines and environments of this machine and of the nodes again and again.
struct Watch {
    stop: Arc<AtomicBool>,
    watchers: Vec<thread::JoinHandle<Result<Vec<String>>>>,
}

impl Watch {
    fn start(world: &World, secrets: &Secrets) -> Self {
        let stop = Arc::new(AtomicBool::new(false));
        let needles = format!("{}\n{}\n", secrets.passphrase, secrets.key);
        let mut watchers: Vec<_> = world
            .lab
            .nodes
            .iter()
            .map(|node| {
                let (world, node, stop, needles) =
                    (world.clone(), node.clone(), Arc::clone(&stop), needles.clone());
                thread::spawn(move || {
                    repeat(&stop, || {
                        let found = world.lab.shell_with_input(&node, PROCESSES, &needles)?;
                        Ok(found.lines().map(|line| format!("{}: {line}", node.name)).collect())
                    })
                })
            })
            .collect();
        let here = Arc::clone(&stop);
        let secrets = [secrets.passphrase.clone(), secrets.key.clone()];
        watchers.push(thread::spawn(move || repeat(&here, || Ok(processes_here(&secrets)))));
        Self { stop, watchers }
    }

    fn end(self) -> Result<Vec<String>> {
        self.stop.store(true, Ordering::Relaxed);
        let mut seen = Vec::new();
        for watcher in self.watchers {
            let Ok(found) = watcher.join() else { bail!("a watcher panicked") };
            seen.extend(found?);
        }
        Ok(seen)
    }
}

fn repeat(stop: &AtomicBool, look: impl Fn() -> Result<Vec<String>>) -> Result<Vec<String>> {
    let mut seen = Vec::new();
    loop {
        // Read first: one look is made after the last run, too.
        let last = stop.load(Ordering::Relaxed);
        seen.extend(look()?);
        if last {
            return Ok(seen);
        }
        thread::sleep(std::time::Duration::from_millis(50));
    }
}

/// Takes the texts to look for from standard input, one a line, and names the processes that show one of them.
const PROCESSES: &str = "umask 077; needles=$(mktemp /root/needles.XXXXXX); cat >$needles; \
                         grep -lzFf $needles /proc/[0-9]*/cmdline /proc/[0-9]*/environ 2>/dev/null || true; rm -f $needles";

fn processes_here(secrets: &[String]) -> Vec<String> {
    let Ok(folders) = fs::read_dir("/proc") else { return vec!["/proc cannot be read".to_owned()] };
    let mut found = Vec::new();
    for folder in folders.filter_map(Result::ok) {
        for file in ["cmdline", "environ"] {
            // Other users' processes and ones that just ended cannot be read.
            let Ok(bytes) = fs::read(folder.path().join(file)) else { continue };
            let text = String::from_utf8_lossy(&bytes);
            if secrets.iter().any(|secret| text.contains(secret)) {
                found.push(format!("here: {}", folder.path().join(file).display()));
            }
        }
    }
    found
}

/// Files of the lab's folder, but the passphrase's own and its copies for other stories, that hold the text.
fn search_here(world: &World, secret: &str) -> Result<String> {
    let output = Command::new("grep")
        .args(["-rlF", "--exclude=passphrase", "-e", secret])
        .arg(&world.lab.folder)
        .output()?;
    Ok(String::from_utf8(output.stdout)?)
}

/// World-readable files, logs, the journal, command lines and environments on a node that hold the text.
fn search_node(world: &World, node: &Node, secret: &str) -> Result<String> {
    let script = "umask 077; needle=$(mktemp /root/needle.XXXXXX); cat >$needle; \
                  find /etc /home /opt /run /srv /tmp /usr/local/etc /var -xdev -type f -perm -o+r -size -20M \
                    -not -path \"/var/lib/containerd/*\" -exec grep -lFf $needle {} + 2>/dev/null || true; \
                  grep -rlFf $needle /var/log /var/lib/kubezt/journal 2>/dev/null || true; \
                  ! journalctl --no-pager -q 2>/dev/null | grep -qFf $needle || echo the journal; \
                  grep -lzFf $needle /proc/[0-9]*/cmdline /proc/[0-9]*/environ 2>/dev/null || true; \
                  rm -f $needle";
    world.lab.shell_with_input(node, script, &format!("{secret}\n"))
}

/// The same searches find copies put there on purpose, or they prove nothing.
fn searches_find_what_is_planted(world: &World, secrets: &Secrets) -> Result<()> {
    let node = world.lab.worker();
    // Not the secrets themselves: the journal of the node keeps what it was told.
    let decoy =
        format!("decoy{}", secrets.key.chars().rev().filter(char::is_ascii_alphanumeric).collect::<String>());
    let plant = "read -r decoy; printf %s \"$decoy\" >/var/log/planted; chmod 644 /var/log/planted; \
                 printf %s \"$decoy\" >/etc/planted; chmod 644 /etc/planted; mkdir -p -m 700 /var/lib/kubezt/journal; \
                 printf %s \"$decoy\" >/var/lib/kubezt/journal/planted; echo \"$decoy\" | systemd-cat -t story; \
                 DECOY=\"$decoy\" sleep 30 >/dev/null 2>&1 & journalctl --sync";
    world.lab.shell_with_input(node, plant, &format!("{decoy}\n"))?;
    let found = search_node(world, node, &decoy)?;
    let processes = world.lab.shell_with_input(node, PROCESSES, &format!("{decoy}\n"))?;
    world.lab.shell(node, "rm /var/log/planted /etc/planted /var/lib/kubezt/journal/planted")?;
    for place in ["/var/log/planted", "/etc/planted", "/journal/planted", "the journal", "/environ"] {
        ensure!(found.contains(place), "the search does not find {place}: {found}");
    }
    ensure!(processes.contains("/environ"), "the watch does not find a planted process: {processes}");

    let mut child = Command::new("sleep").arg("30").env("DECOY", &decoy).spawn()?;
    let processes = processes_here(std::slice::from_ref(&decoy));
    child.kill()?;
    child.wait()?;
    ensure!(!processes.is_empty(), "the watch does not find a planted process here");
    let planted = world.lab.path(".kubezt/journal/planted.jsonl");
    fs::write(&planted, &decoy)?;
    let found = search_here(world, &decoy)?;
    fs::remove_file(&planted)?;
    ensure!(found.contains("planted.jsonl"), "the search does not find a planted journal line: {found}");
    Ok(())
}
