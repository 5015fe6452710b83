//! The ways to a node: as root or by sudo, with a key file or an agent, whatever kind the key is.

use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, ensure};
use fs_err as fs;

use crate::World;

/// The lab's own way is another account, sudo and an Ed25519 key file. Root is reached with an ECDSA key file, and with an RSA
/// key that only an agent holds; without the key nothing is done.
pub fn root_and_agent(world: &World) -> Result<()> {
    let folder = world.lab.path("access");
    if folder.exists() {
        fs::remove_dir_all(&folder)?;
    }
    fs::create_dir_all(&folder)?;
    let ecdsa = make_key(&folder, "ecdsa", "384")?;
    let rsa = make_key(&folder, "rsa", "3072")?;
    admit(world, &[&ecdsa, &rsa])?;
    let tried = try_both(world, &folder, &ecdsa, &rsa);
    dismiss(world)?;
    tried
}

fn try_both(world: &World, folder: &Path, ecdsa: &Path, rsa: &Path) -> Result<()> {
    let by_file = cluster_file(world, "by-file", &format!("identityFiles: [{}]", ecdsa.display()), false)?;
    let run = world.kubezt.on(by_file).run("plan", &["--exit-code", "--summary"])?;
    ensure!(run.code == 0, "as root with an ECDSA key: {}\n{}{}", run.code, run.stdout, run.stderr);

    let agent = Agent::start(&folder.join("agent"))?;
    let by_agent = world.kubezt.on(cluster_file(world, "by-agent", "identityFiles: []", true)?);
    let by_agent = by_agent.with("SSH_AUTH_SOCK", &agent.socket);
    let run = by_agent.run("plan", &["--exit-code", "--summary"])?;
    ensure!(run.code == 3, "an agent without keys: {}\n{}{}", run.code, run.stdout, run.stderr);
    for node in &world.lab.nodes {
        ensure!(run.stderr.contains(&node.name), "{} is not named: {}", node.name, run.stderr);
    }
    ran(Command::new("ssh-add").arg("-q").arg(rsa).env("SSH_AUTH_SOCK", &agent.socket))?;
    // The agent alone has it now.
    fs::remove_file(rsa)?;
    let run = by_agent.run("plan", &["--exit-code", "--summary"])?;
    ensure!(run.code == 0, "as root by the agent: {}\n{}{}", run.code, run.stdout, run.stderr);
    Ok(())
}

/// The lab's cluster file with root in place of its account, beside it, so that the state is the same.
fn cluster_file(world: &World, name: &str, identities: &str, agent: bool) -> Result<PathBuf> {
    let text = fs::read_to_string(world.lab.cluster_file())?;
    let begin = text.find("  ssh:\n").context("no `ssh` in the lab's cluster file")?;
    let end = text.find("  nodes:\n").context("no `nodes` in the lab's cluster file")?;
    ensure!(begin < end, "`ssh` comes after `nodes` in the lab's cluster file");
    let ssh = format!(
        "  ssh:\n    user: root\n    {identities}\n    knownHosts: [known_hosts]\n    agent: {agent}\n"
    );
    let path = world.lab.path(&format!("cluster-{name}.yaml"));
    fs::write(&path, format!("{}{ssh}{}", &text[..begin], &text[end..]))?;
    Ok(path)
}

fn make_key(folder: &Path, kind: &str, bits: &str) -> Result<PathBuf> {
    let path = folder.join(kind);
    ran(Command::new("ssh-keygen")
        .args(["-q", "-N", "", "-C", MARK, "-t", kind, "-b", bits, "-f"])
        .arg(&path))?;
    Ok(path)
}

/// What the keys of this story are found by.
const MARK: &str = "kubezt-access-story";

fn admit(world: &World, keys: &[&Path]) -> Result<()> {
    let public: Vec<String> =
        keys.iter().map(|key| fs::read_to_string(key.with_extension("pub"))).collect::<Result<_, _>>()?;
    for node in &world.lab.nodes {
        let script = "install -d -m 700 /root/.ssh; umask 077; cat >>/root/.ssh/authorized_keys";
        world.lab.shell_with_input(node, script, &public.concat())?;
    }
    Ok(())
}

fn dismiss(world: &World) -> Result<()> {
    for node in &world.lab.nodes {
        world.lab.shell(node, &format!("sed -i /{MARK}/d /root/.ssh/authorized_keys"))?;
    }
    Ok(())
}

/// An agent of our own; it ends with the test.
struct Agent {
    process: Child,
    socket: PathBuf,
}

impl Agent {
    fn start(socket: &Path) -> Result<Self> {
        let process = Command::new("ssh-agent")
            .arg("-D")
            .arg("-a")
            .arg(socket)
            .stdout(Stdio::null())
            .spawn()
            .context("ssh-agent")?;
        let agent = Self { process, socket: socket.to_owned() };
        let deadline = Instant::now() + Duration::from_secs(10);
        while !agent.socket.exists() {
            ensure!(Instant::now() < deadline, "ssh-agent makes no socket within 10 s");
            std::thread::sleep(Duration::from_millis(50));
        }
        Ok(agent)
    }
}

impl Drop for Agent {
    fn drop(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

fn ran(command: &mut Command) -> Result<()> {
    let output = command.stdin(Stdio::null()).output().with_context(|| format!("{command:?}"))?;
    ensure!(output.status.success(), "{command:?}: {}", String::from_utf8_lossy(&output.stderr));
    Ok(())
}
