//! The ways sites reach their machines: ssh_config, jump hosts, certificates, sudo with a password, noisy logins.
//!
//! Every node runs a second SSH server of the story's own, with an account of the story's own, and both are gone afterwards.
//! OpenSSH's client reads the same files as kubezt and has to decide the same.

use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::Duration;

use anyhow::{Context as _, Result, bail, ensure};
use fs_err as fs;
use kubezt_tests::{Kubezt, Node, Run};

use crate::World;

const ACCOUNT: &str = "story";
const PASSWORD: &str = "correct horse battery";
const PASSPHRASE: &str = "an encrypted key";
/// Where the story's files are on nodes; gone after a reboot.
const PLACE: &str = "/run/kubezt-story";
/// Ports of the story's servers: a good host certificate, one that expired, one of another host, one with an unknown
/// critical option, one that an RSA key signed.
const GOOD: u16 = 2201;
const OTHERS: [(&str, u16); 4] = [("expired", 2202), ("elsewhere", 2203), ("critical", 2204), ("rsa", 2205)];

/// Two jump hosts in a row, each with its own account, port, key and host key; an encrypted key, a user certificate, a host
/// certificate. What decides is an ssh_config with `Include` and `Match`.
pub fn jump_chain(world: &World) -> Result<()> {
    with_servers(world, &[(0, "host-target"), (1, "host-first"), (2, "host-second")], |site| {
        let [target, first, second] = site.nodes()?;
        let included = site.path("inner_*");
        fs::write(
            site.path("ssh_config"),
            format!("Include {}\nHost *\n IdentitiesOnly yes\n ConnectTimeout 10\n", included.display()),
        )?;
        fs::write(
            site.path("inner_hosts"),
            format!(
                "Host *\n UserKnownHostsFile {known}\n GlobalKnownHostsFile /dev/null\n Port {GOOD}\n\
                 Host first\n HostName {first}\n User {ACCOUNT}\n IdentityFile {locked}\n\
                 Host second\n HostName {second}\n User {ACCOUNT}\n IdentityFile {certified}\n\
                 Host {target}\n HostKeyAlias story-target\n ProxyJump first,second\n\
                 Match originalhost {target},!second\n User {ACCOUNT}\n IdentityFile {plain}\n",
                known = site.path("known_hosts").display(),
                locked = site.path("locked").display(),
                certified = site.path("certified").display(),
                plain = site.path("plain").display(),
                first = first.address,
                second = second.address,
                target = target.address,
            ),
        )?;
        // The way's hosts are known by their authority and by a plain key, the target by an alias.
        let known = [
            format!("@cert-authority [{}]:* {}", first.address, site.public("authority")?),
            format!("[{}]:{GOOD} {}", second.address, site.public("host-second")?),
            format!("story-target {}", site.public("host-target")?),
        ];
        fs::write(site.path("known_hosts"), known.join("\n") + "\n")?;
        let kubezt = site.kubezt(
            target,
            "keyPassphraseFile: passphrase-file, passwordFile: password, config: ssh_config",
        )?;
        reached(&kubezt.run("status", &[])?)?;
        ensure!(site.openssh(&target.address)?, "OpenSSH's client does not get through the same chain");
        let journal = world.lab.shell(target, &format!("cat {PLACE}/good.log"))?;
        ensure!(
            journal.contains(&format!("from {}", second.address)),
            "the target was not reached through {}:\n{journal}",
            second.address
        );

        // One host of the way is another one: nothing gets through, and it is named.
        fs::write(
            site.path("known_hosts"),
            known.join("\n").replace(&site.public("host-second")?, &site.public("plain")?) + "\n",
        )?;
        let run = kubezt.run("status", &[])?;
        ensure!(
            run.code == 3 && run.stderr.contains("jump host second: the host key"),
            "{}: {}",
            run.code,
            run.stderr
        );
        ensure!(!site.openssh(&target.address)?, "OpenSSH's client goes through a wrong host");

        // Recording what was compared lets kubezt through again: hosts on the way first, then the node.
        fs::write(site.path("known_hosts"), "")?;
        let trusted = kubezt.succeed("trust", &["--yes"])?;
        ensure!(
            trusted.stdout.contains("jump host first") && trusted.stderr.contains("3 host keys"),
            "{}{}",
            trusted.stdout,
            trusted.stderr
        );
        reached(&kubezt.run("status", &[])?)
    })
}

/// Whatever known_hosts says, kubezt and OpenSSH's client accept the same hosts.
pub fn host_keys(world: &World) -> Result<()> {
    with_servers(world, &[(1, "host-first")], |site| {
        let [_, node, _] = site.nodes()?;
        let address = &node.address;
        let (authority, other) = (site.public("authority")?, site.public("plain")?);
        let key = site.public("host-first")?;
        let believed = format!("@cert-authority [{address}]:* {authority}\n");
        let hashed = site.hashed(&format!("[{address}]:{GOOD} {key}\n"))?;
        #[rustfmt::skip]
        let table = [
            ("an authority", GOOD, believed.clone(), true),
            ("an authority of all", GOOD, format!("@cert-authority * {authority}\n"), true),
            ("an authority without the port", GOOD, format!("@cert-authority {address} {authority}\n"), true),
            ("another authority", GOOD, format!("@cert-authority * {other}\n"), false),
            ("an authority of other hosts", GOOD, format!("@cert-authority *,!{address},![{address}]:{GOOD} {authority}\n"), false),
            ("an authority's key as a host's", GOOD, format!("[{address}]:{GOOD} {authority}\n"), false),
            ("a revoked authority", GOOD, format!("{believed}@revoked * {authority}\n"), false),
            ("a revoked key", GOOD, format!("{believed}@revoked * {key}\n"), false),
            ("the key", GOOD, format!("[{address}]:{GOOD} {key}\n"), true),
            ("the key without the port", GOOD, format!("{address} {key}\n"), true),
            ("the key of another port", GOOD, format!("[{address}]:22 {key}\n"), false),
            ("the key, hashed", GOOD, hashed, true),
            ("another key", GOOD, format!("[{address}]:{GOOD} {other}\n"), false),
            ("nothing", GOOD, String::new(), false),
            ("an expired certificate", OTHERS[0].1, believed.clone(), false),
            ("a certificate of another host", OTHERS[1].1, believed.clone(), false),
            ("a critical option", OTHERS[2].1, believed.clone(), false),
            ("an RSA authority", OTHERS[3].1, format!("@cert-authority [{address}]:* {}\n", site.public("rsa-authority")?), true),
            ("an expired certificate and the key", OTHERS[0].1, format!("{believed}[{address}]:{} {key}\n", OTHERS[0].1), true),
        ];
        for (name, port, known, accepted) in table {
            fs::write(
                site.path("ssh_config"),
                format!(
                    "Host {address}\n Port {port}\n User {ACCOUNT}\n IdentityFile {}\n UserKnownHostsFile {}\n GlobalKnownHostsFile /dev/null\n",
                    site.path("plain").display(),
                    site.path("known_hosts").display()
                ),
            )?;
            fs::write(site.path("known_hosts"), &known)?;
            let openssh = site.openssh(address)?;
            let run = site.kubezt(node, "passwordFile: password, config: ssh_config")?.run("status", &[])?;
            let ours = reached(&run);
            ensure!(openssh == accepted, "{name}: OpenSSH's client decides {openssh}");
            ensure!(ours.is_ok() == accepted, "{name}: kubezt decides {}: {}", ours.is_ok(), run.stderr);
            ensure!(
                accepted || run.code == 3 && run.stderr.contains("host key"),
                "{name}: {}: {}",
                run.code,
                run.stderr
            );
        }
        Ok(())
    })
}

/// sudo with a password, on a terminal where it wants one; doas; a banner, a noisy and restrictive profile, a temporary folder
/// where nothing runs. The program is brought to the node anew each time.
pub fn becoming_root(world: &World) -> Result<()> {
    with_servers(world, &[(1, "host-first")], |site| {
        let [_, node, _] = site.nodes()?;
        fs::write(
            site.path("known_hosts"),
            format!("[{}]:{GOOD} {}\n", node.address, site.public("host-first")?),
        )?;
        let anew = || world.lab.shell(node, "rm -rf /var/lib/kubezt/bin");
        let by = |ssh: &str| {
            let common = format!(
                "user: {ACCOUNT}, port: {GOOD}, identityFiles: [plain], knownHosts: [known_hosts], config: none"
            );
            site.kubezt(node, &format!("{common}, {ssh}"))?.run("status", &[])
        };
        let refused = |run: Run, why: &str| {
            ensure!(run.code == 3 && run.stderr.contains(why), "{}: {}", run.code, run.stderr);
            ensure!(!run.stderr.contains(PASSWORD), "the password is shown: {}", run.stderr);
            Ok(())
        };
        refused(by("agent: false")?, "name a file as `ssh.passwordFile`")?;
        refused(by("agent: false, passwordFile: wrong-password")?, "is not it")?;
        anew()?;
        reached(&by("agent: false, passwordFile: password")?).context("sudo with a password")?;

        let noisy =
            "umask 077; echo noise; printf \"no line feed KUBEZT-\"; echo complaint >&2; export PS1=x";
        let script = format!(
            "printf \"%s\\n\" \"{}\" >/home/{ACCOUNT}/.bashrc; chown {ACCOUNT} /home/{ACCOUNT}/.bashrc; \
             mount -t tmpfs -o noexec,mode=1777 story /tmp",
            noisy.replace('"', "\\\"")
        );
        world.lab.shell(node, &script)?;
        anew()?;
        reached(&by("agent: false, passwordFile: password")?).context("a noisy profile")?;

        world
            .lab
            .shell(node, &format!("echo \"Defaults:{ACCOUNT} requiretty\" >>/etc/sudoers.d/{ACCOUNT}"))?;
        anew()?;
        reached(&by("agent: false, passwordFile: password")?).context("sudo on a terminal")?;
        refused(by("agent: false, passwordFile: wrong-password")?, "is not it")?;

        let left = world.lab.shell(node, "ps -eo args; cat /var/log/auth.log 2>/dev/null || true")?;
        ensure!(!left.contains(PASSWORD), "the password is in a command line or a log");
        for (rule, name) in [("permit nopass", "doas"), ("permit", "doas with a password")] {
            world
                .lab
                .shell(node, &format!("echo {rule} {ACCOUNT} >/etc/doas.conf; chmod 600 /etc/doas.conf"))?;
            anew()?;
            reached(&by("agent: false, privilege: doas, passwordFile: password")?).context(name)?;
        }
        refused(by("agent: false, privilege: doas, passwordFile: wrong-password")?, "doas")
    })
}

/// The session that carries the link is killed in the middle of a step; the step ends well.
pub fn lost_connection(world: &World) -> Result<()> {
    let node = world.lab.worker();
    let mut run = world.kubezt.begin("install", &["--no-verify"])?;
    let story = (|| {
        run.wait(&node.name, "Install components", Duration::from_secs(900))?;
        // Its first blob is under way.
        std::thread::sleep(Duration::from_millis(500));
        let kill = "pid=$(pgrep -f \"kubezt-[0-9a-f]* node link\" | head -n 1); \
                    until grep -q \"^sshd\" /proc/$pid/comm; do pid=$(awk \"/^PPid/{print \\$2}\" /proc/$pid/status); done; \
                    kill -9 $pid";
        world.lab.shell(node, kill)?;
        run.wait(&node.name, "the connection was lost", Duration::from_secs(20))?;
        run.wait(&node.name, "connected again", Duration::from_secs(60))?;
        run.wait(&node.name, "components: ", Duration::from_secs(300))?;
        ensure!(!run.said().contains("FAILED"), "a step failed:\n{}", run.said());
        Ok(())
    })();
    drop(run);
    world.lab.fresh()?;
    story
}

/// A run that reached its node, and found that this folder has no cluster.
fn reached(run: &Run) -> Result<()> {
    let looked = run.code == 2 && run.stderr.contains("has no root yet");
    ensure!(looked, "{}: {}{}", run.code, run.stdout, run.stderr);
    Ok(())
}

/// Folder and servers of a story.
struct Site<'a> {
    world: &'a World,
    folder: PathBuf,
}

fn with_servers(
    world: &World,
    servers: &[(usize, &str)],
    story: impl FnOnce(&Site<'_>) -> Result<()>,
) -> Result<()> {
    let site = Site { world, folder: world.lab.path("ways") };
    if site.folder.exists() {
        fs::remove_dir_all(&site.folder)?;
    }
    fs::create_dir_all(&site.folder)?;
    let result = site.make(servers).and_then(|()| story(&site));
    for (position, _) in servers {
        world.lab.shell(&world.lab.nodes[*position], &remove())?;
    }
    result
}

/// Undoes everything on a node.
fn remove() -> String {
    format!(
        "for file in {PLACE}/*.pid; do test ! -e $file || kill $(cat $file) || true; done; \
         while mountpoint -q /tmp && findmnt -n -o SOURCE /tmp | tail -n 1 | grep -qx story; do umount -l /tmp; done; \
         pkill -KILL -u {ACCOUNT} || true; rm -rf {PLACE} /etc/sudoers.d/{ACCOUNT} /etc/doas.conf; \
         ! id {ACCOUNT} >/dev/null 2>&1 || userdel -f -r {ACCOUNT} >/dev/null 2>&1"
    )
}

impl Site<'_> {
    fn path(&self, name: &str) -> PathBuf {
        self.folder.join(name)
    }

    /// Target, first and second host of the way.
    fn nodes(&self) -> Result<[&Node; 3]> {
        let [target, first, second, ..] = &self.world.lab.nodes[..] else { bail!("three nodes are wanted") };
        Ok([target, first, second])
    }

    /// Type and key of a public key.
    fn public(&self, name: &str) -> Result<String> {
        let text = fs::read_to_string(self.path(name).with_extension("pub"))?;
        Ok(text.split(' ').take(2).collect::<Vec<_>>().join(" ").trim().to_owned())
    }

    fn make(&self, servers: &[(usize, &str)]) -> Result<()> {
        for (name, passphrase) in [
            ("authority", ""),
            ("plain", ""),
            ("certified", ""),
            ("locked", PASSPHRASE),
            ("host-target", ""),
            ("host-first", ""),
            ("host-second", ""),
        ] {
            self.keygen(&["-t", "ed25519", "-N", passphrase, "-C", "story", "-f", name])?;
        }
        self.keygen(&["-t", "rsa", "-b", "2048", "-N", "", "-C", "story", "-f", "rsa-authority"])?;
        // Nobody has this key's own line: only its certificate lets it in.
        self.keygen(&["-s", "authority", "-I", "user", "-n", ACCOUNT, "-V", "-1m:+1h", "certified.pub"])?;
        for (file, text) in
            [("passphrase-file", PASSPHRASE), ("password", PASSWORD), ("wrong-password", "not the password")]
        {
            fs::write(self.path(file), text)?;
            restrict(&self.path(file))?;
        }
        let ask = self.path("ask");
        fs::write(&ask, format!("#!/bin/sh\necho '{PASSPHRASE}'\n"))?;
        ran(Command::new("chmod").arg("700").arg(&ask))?;
        for (position, host_key) in servers {
            self.serve(&self.world.lab.nodes[*position], host_key)?;
        }
        Ok(())
    }

    /// Account and servers on a node.
    fn serve(&self, node: &Node, host_key: &str) -> Result<()> {
        let mut files = vec![("key".to_owned(), fs::read_to_string(self.path(host_key))?)];
        let validities = ["-1m:+1h", "20200101:20200102", "-1m:+1h", "-1m:+1h", "-1m:+1h"];
        for ((name, _), validity) in [("good", GOOD)].into_iter().chain(OTHERS).zip(validities) {
            let principal = if name == "elsewhere" { "192.0.2.1" } else { &node.address };
            let authority = if name == "rsa" { "rsa-authority" } else { "authority" };
            let options: &[&str] = if name == "critical" { &["-O", "critical:story"] } else { &[] };
            let public = format!("{host_key}.pub");
            let sign = [
                &["-s", authority, "-h", "-I", name, "-n", principal, "-V", validity][..],
                options,
                &[&public],
            ];
            self.keygen(&sign.concat())?;
            files.push((
                format!("{name}-cert.pub"),
                fs::read_to_string(self.path(&format!("{host_key}-cert.pub")))?,
            ));
        }
        let keys = [self.public("plain")?, self.public("locked")?].join("\n");
        files.push(("authorized_keys".to_owned(), keys + "\n"));
        files.push(("authority.pub".to_owned(), self.public("authority")? + "\n"));
        files.push(("banner".to_owned(), "Only for the story.\nKUBEZT-LINK 1\n".to_owned()));
        files.push(("account".to_owned(), format!("{ACCOUNT}:{PASSWORD}\n")));
        let staged = self.path(&format!("on-{}", node.name));
        fs::create_dir_all(&staged)?;
        for (name, text) in files {
            fs::write(staged.join(name), text)?;
        }
        // Keys and the password come over standard input: they stand in no command line.
        let archive = Command::new("tar").arg("-C").arg(&staged).args(["-cf", "-", "."]).output()?;
        let servers: Vec<String> = [("good", GOOD)]
            .into_iter()
            .chain(OTHERS)
            .map(|(name, port)| {
                format!(
                    "/usr/sbin/sshd -f /dev/null -E {PLACE}/{name}.log -o LogLevel=VERBOSE -o Port={port} \
                     -o PidFile={PLACE}/{name}.pid -o HostKey={PLACE}/key -o HostCertificate={PLACE}/{name}-cert.pub \
                     -o UsePAM=yes -o PasswordAuthentication=no -o KbdInteractiveAuthentication=no -o StrictModes=no \
                     -o AuthorizedKeysFile={PLACE}/authorized_keys -o TrustedUserCAKeys={PLACE}/authority.pub \
                     -o Banner={PLACE}/banner"
                )
            })
            .collect();
        let script = format!(
            "{}; umask 022; mkdir -p {PLACE} /run/sshd; tar -xf - -C {PLACE} --no-same-owner; chmod 600 {PLACE}/key; \
             useradd --create-home --shell /bin/bash {ACCOUNT}; chpasswd <{PLACE}/account; rm {PLACE}/account; \
             printf \"{ACCOUNT} ALL=(ALL) ALL\\nDefaults:{ACCOUNT} passwd_tries=2, !mail_badpass\\n\" \
             >/etc/sudoers.d/{ACCOUNT}; chmod 440 /etc/sudoers.d/{ACCOUNT}; {}",
            remove(),
            servers.join("; ")
        );
        self.world.lab.shell_with_input(node, &script, &String::from_utf8(archive.stdout)?).map(drop)
    }

    /// kubezt on a cluster of this node alone, with these SSH settings.
    fn kubezt(&self, node: &Node, ssh: &str) -> Result<Kubezt> {
        let text = fs::read_to_string(self.world.lab.cluster_file())?;
        let begin = text.find("  ssh:\n").context("no `ssh` in the lab's cluster file")?;
        let nodes_begin = text.find("  nodes:\n").context("no `nodes` in the lab's cluster file")?;
        let rest = &text[nodes_begin + "  nodes:\n".len()..];
        let after: usize = rest
            .lines()
            .take_while(|line| line.starts_with("  -") || line.starts_with("   "))
            .map(|line| line.len() + 1)
            .sum();
        let nodes =
            format!("    - {{name: {}, role: control-plane, addresses: [{}]}}\n", node.name, node.address);
        let path = self.path("cluster.yaml");
        fs::write(&path, format!("{}  ssh: {{{ssh}}}\n  nodes:\n{nodes}{}", &text[..begin], &rest[after..]))?;
        // What was recorded on purpose shall not hide what the files say.
        let _ = fs::remove_file(self.path(".kubezt/known_hosts"));
        Ok(self.world.kubezt.on(path))
    }

    /// Whether OpenSSH's client gets in with the same files.
    fn openssh(&self, host: &str) -> Result<bool> {
        let mut command = Command::new("ssh");
        command
            .arg("-F")
            .arg(self.path("ssh_config"))
            .args([
                "-o",
                "StrictHostKeyChecking=yes",
                "-o",
                "PasswordAuthentication=no",
                "-o",
                "KbdInteractiveAuthentication=no",
            ])
            .args(["-o", "UpdateHostKeys=no"])
            .env("SSH_ASKPASS", self.path("ask"))
            .env("SSH_ASKPASS_REQUIRE", "force")
            .env("DISPLAY", ":0")
            .env_remove("SSH_AUTH_SOCK");
        let output = command.arg(host).arg("true").stdin(Stdio::null()).output().context("ssh")?;
        let code = output.status.code();
        ensure!(
            matches!(code, Some(0 | 255)),
            "ssh {host}: {code:?} {}",
            String::from_utf8_lossy(&output.stderr)
        );
        Ok(code == Some(0))
    }

    /// A known_hosts text with its names hashed.
    fn hashed(&self, text: &str) -> Result<String> {
        fs::write(self.path("to-hash"), text)?;
        self.keygen(&["-H", "-f", "to-hash"])?;
        Ok(fs::read_to_string(self.path("to-hash"))?)
    }

    fn keygen(&self, arguments: &[&str]) -> Result<()> {
        ran(Command::new("ssh-keygen").arg("-q").args(arguments).current_dir(&self.folder))
    }
}

fn restrict(path: &Path) -> Result<()> {
    ran(Command::new("chmod").arg("600").arg(path))
}

fn ran(command: &mut Command) -> Result<()> {
    let output = command.stdin(Stdio::null()).output().with_context(|| format!("{command:?}"))?;
    ensure!(output.status.success(), "{command:?}: {}", String::from_utf8_lossy(&output.stderr));
    Ok(())
}
