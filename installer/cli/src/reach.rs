//! How each node is reached: what cluster.yaml says, then what ssh_config says, then defaults.

use std::collections::BTreeSet;
use std::net::IpAddr;
use std::num::NonZeroU8;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use kubezt_engine::transport::config::{HostSettings, Jump, Query, SshConfig, parse_jumps};
use kubezt_engine::transport::{
    Access, Asker, ConfigFiles, Elevation, HostKeySource, Question, Target, config_files, key_file_problem,
};
use kubezt_model::NodeName;
use kubezt_model::cluster::{NodeSpec, Privilege};
use zeroize::Zeroizing;

use crate::context::Context;
use crate::failure::Failure;
use crate::files;
use crate::printer::Printer;
use crate::prompt;

/// Who logs in where nothing names anybody.
const DEFAULT_USER: &str = "root";
/// Seconds to wait for a connection where nothing says otherwise.
const DEFAULT_TIMEOUT: u64 = 15;
/// Key files that are tried where nothing names any.
const DEFAULT_KEYS: &[&str] = &[".ssh/id_ed25519", ".ssh/id_ecdsa"];
/// known_hosts files of the user and of the system where nothing names others.
const DEFAULT_KNOWN_HOSTS: (&str, &str) = ("~/.ssh/known_hosts", "/etc/ssh/ssh_known_hosts");
/// Jump hosts that are reached through jump hosts of their own.
const NESTED_MAXIMUM: usize = 8;

/// How the nodes are reached, and what their connections share.
pub struct Reach {
    /// The nodes.
    pub targets: Vec<(NodeName, Target)>,
    /// How many of them are connected to at a time.
    pub at_once: NonZeroU8,
    /// Keys, passwords and jump hosts.
    pub access: Arc<Access>,
}

impl Reach {
    /// Reads ssh_config and puts it under what cluster.yaml says; warnings are printed.
    pub fn of(context: &Context, printer: Printer) -> Result<Self, Failure> {
        let home = std::env::home_dir().unwrap_or_default();
        let ssh = &context.file.spec.ssh;
        let files = match ssh.config.as_deref() {
            None => ConfigFiles::Default,
            Some("none") => ConfigFiles::Off,
            Some(file) => ConfigFiles::Named(context.path(file)),
        };
        let config =
            config_files::read(&files, &home).map_err(|error| Failure::usage(Failure::chain_text(&error)))?;
        let user = ["USER", "LOGNAME"].iter().find_map(|name| std::env::var(name).ok());
        let mut reader = Reader {
            context,
            config: &config,
            home: home.display().to_string(),
            local_user: user.unwrap_or_default(),
            errors: config.errors().iter().map(ToString::to_string).collect(),
            warnings: BTreeSet::new(),
        };
        let targets =
            context.file.spec.nodes.iter().map(|node| (node.name.clone(), reader.node(node))).collect();
        for warning in &reader.warnings {
            printer.note(&format!("warning: {warning}"));
        }
        for (key, file) in
            [("passwordFile", &ssh.password_file), ("keyPassphraseFile", &ssh.key_passphrase_file)]
        {
            let wrong = file.as_ref().and_then(|file| {
                let error = files::read_secret(&context.path(file)).err()?;
                Some(format!("{}: `ssh.{key}`: {error}", context.place("ssh", file)))
            });
            reader.errors.extend(wrong);
        }
        if !reader.errors.is_empty() {
            let errors: Vec<String> = reader.errors.into_iter().collect();
            return Err(Failure::usage(errors.join("\nerror: ")));
        }
        let asker = Answers {
            printer,
            passphrase_file: ssh.key_passphrase_file.as_deref().map(|file| context.path(file)),
            password_file: ssh.password_file.as_deref().map(|file| context.path(file)),
        };
        let at_once = context.file.spec.concurrency.connections;
        Ok(Self { targets, at_once, access: Access::new(Arc::new(asker)) })
    }
}

/// Puts settings together and keeps what is wrong with them.
struct Reader<'a> {
    context: &'a Context,
    config: &'a SshConfig,
    home: String,
    local_user: String,
    errors: BTreeSet<String>,
    warnings: BTreeSet<String>,
}

impl Reader<'_> {
    fn node(&mut self, node: &NodeSpec) -> Target {
        let ssh = &self.context.file.spec.ssh;
        let address = node.ssh.address.clone();
        let host = address.or_else(|| node.addresses.first().map(IpAddr::to_string)).unwrap_or_default();
        let user = node.ssh.user.as_deref().or(ssh.user.as_deref());
        let listed = node.ssh.proxy_jump.as_ref().or(ssh.proxy_jump.as_ref());
        let (home, local_user) = (self.home.clone(), self.local_user.clone());
        let query = Query {
            host: &host,
            user,
            default_user: DEFAULT_USER,
            port: node.ssh.port.or(ssh.port),
            local_user: &local_user,
            home: &home,
        };
        let settings = self.settings(query, listed.is_none());
        let jumps = match listed {
            Some(listed) => self.listed(&node.name, listed),
            None => settings.proxy_jump.clone().unwrap_or_default(),
        };
        let identities = node.ssh.identity_files.as_ref().or(ssh.identity_files.as_ref());
        let identity_files = match identities {
            Some(files) => self.named_keys(files),
            None => self.identity_files(&settings, query),
        };
        let host_key = match &node.ssh.host_key {
            Some(fingerprint) => HostKeySource::Pinned(fingerprint.clone()),
            None => self.known_hosts(&settings, query),
        };
        Target {
            elevation: match node.ssh.privilege.unwrap_or(ssh.privilege) {
                Privilege::Sudo => Elevation::Sudo,
                Privilege::Doas => Elevation::Doas,
            },
            identity_files,
            host_key,
            host_key_alias: node.ssh.host_key_alias.clone().or_else(|| settings.host_key_alias.clone()),
            jumps: self.jumps(&jumps, 0),
            ..self.target(node.name.as_str(), &settings, query)
        }
    }

    /// The parts that nodes and jump hosts have in common.
    fn target(&mut self, name: &str, settings: &HostSettings, query: Query<'_>) -> Target {
        let ssh = &self.context.file.spec.ssh;
        let user = query.user.or(settings.user.as_deref()).unwrap_or(query.default_user);
        let address = settings.host_name.as_deref().unwrap_or(query.host);
        let seconds = ssh.connect_timeout_seconds.map(u64::from).or(settings.connect_timeout);
        let certificate_files = match &ssh.certificate_files {
            Some(files) => files.iter().map(|file| self.context.path(file)).collect(),
            None => self.paths(&settings.certificate_files, settings, query),
        };
        Target {
            port: query.port.or(settings.port).unwrap_or(22),
            certificate_files,
            agent: ssh.agent,
            identities_only: ssh.identities_only.or(settings.identities_only).unwrap_or(false),
            timeout: Duration::from_secs(seconds.filter(|seconds| *seconds > 0).unwrap_or(DEFAULT_TIMEOUT)),
            ..Target::of(name, address, user)
        }
    }

    /// What ssh_config says; `proxied` tells that it also decides the way.
    fn settings(&mut self, query: Query<'_>, proxied: bool) -> HostSettings {
        let settings = self.config.resolve(query);
        self.warnings.extend(settings.warnings.iter().map(ToString::to_string));
        self.errors.extend(settings.errors.iter().map(ToString::to_string));
        if proxied {
            self.errors.extend(settings.proxy_command.iter().map(ToString::to_string));
        }
        settings
    }

    fn listed(&mut self, node: &NodeName, listed: &[String]) -> Vec<Jump> {
        let mut jumps = Vec::new();
        for text in listed {
            match parse_jumps(text) {
                Ok(parsed) => jumps.extend(parsed),
                Err(why) => {
                    self.errors.insert(format!("{node}: `proxyJump` in the cluster file: {why}"));
                }
            }
        }
        jumps
    }

    /// Jump hosts in the order they are passed. Only the first one's own ProxyJump counts: the others are reached through
    /// the one before, which is what `ssh -J` does.
    fn jumps(&mut self, jumps: &[Jump], nested: usize) -> Vec<Target> {
        let mut targets = Vec::new();
        for (position, jump) in jumps.iter().enumerate() {
            let (home, local_user) = (self.home.clone(), self.local_user.clone());
            let ssh = &self.context.file.spec.ssh;
            let query = Query {
                host: &jump.host,
                user: jump.user.as_deref(),
                default_user: ssh.user.as_deref().unwrap_or(DEFAULT_USER),
                port: jump.port,
                local_user: &local_user,
                home: &home,
            };
            let settings = self.settings(query, position == 0);
            if let (0, Some(before)) =
                (position, settings.proxy_jump.as_ref().filter(|before| !before.is_empty()))
            {
                if nested == NESTED_MAXIMUM {
                    self.errors.insert(format!(
                        "`{}` is reached through more than {NESTED_MAXIMUM} jump hosts of jump hosts: do they lead in a circle?",
                        jump.host
                    ));
                } else {
                    targets.extend(self.jumps(before, nested + 1));
                }
            }
            let mut identity_files = self.paths(&settings.identity_files, &settings, query);
            match &self.context.file.spec.ssh.identity_files {
                Some(files) => identity_files.extend(self.named_keys(files)),
                None if settings.identity_files.is_empty() => {
                    identity_files = self.identity_files(&settings, query)
                }
                None => {}
            }
            targets.push(Target {
                identity_files,
                host_key: self.known_hosts(&settings, query),
                host_key_alias: settings.host_key_alias.clone(),
                ..self.target(&format!("jump host {}", jump.host), &settings, query)
            });
        }
        targets
    }

    /// Key files that the cluster file names. One that cannot be used is a mistake, where ssh_config may name whatever another
    /// machine has.
    fn named_keys(&mut self, files: &[String]) -> Vec<PathBuf> {
        let paths = files.iter().map(|file| {
            let path = self.context.path(file);
            if let Some(why) = key_file_problem(&path) {
                let place = self.context.place("ssh", file);
                self.errors.insert(format!("{place}: key file `{}`: {why}", path.display()));
            }
            path
        });
        paths.collect()
    }

    /// Key files that ssh_config names, or those that are tried where it names none.
    fn identity_files(&mut self, settings: &HostSettings, query: Query<'_>) -> Vec<PathBuf> {
        if !settings.identity_files.is_empty() {
            return self.paths(&settings.identity_files, settings, query);
        }
        DEFAULT_KEYS.iter().map(|key| Path::new(&self.home).join(key)).filter(|key| key.exists()).collect()
    }

    /// The file of `kubezt trust` first, then those that are named.
    fn known_hosts(&mut self, settings: &HostSettings, query: Query<'_>) -> HostKeySource {
        let mut files = vec![self.context.state.path("known_hosts")];
        match &self.context.file.spec.ssh.known_hosts {
            Some(named) => files.extend(named.iter().map(|file| self.context.path(file))),
            None => {
                for (named, default) in [
                    (&settings.user_known_hosts, DEFAULT_KNOWN_HOSTS.0),
                    (&settings.global_known_hosts, DEFAULT_KNOWN_HOSTS.1),
                ] {
                    let default = vec![default.to_owned()];
                    files.extend(self.paths(named.as_ref().unwrap_or(&default), settings, query));
                }
            }
        }
        HostKeySource::KnownHosts(files)
    }

    fn paths(&mut self, files: &[String], settings: &HostSettings, query: Query<'_>) -> Vec<PathBuf> {
        let mut paths = Vec::new();
        for file in files.iter().filter(|file| !file.eq_ignore_ascii_case("none")) {
            match settings.path(file, query) {
                Ok(path) => paths.push(path),
                Err(why) => {
                    self.errors.insert(format!("the SSH configuration of {}: {why}", query.host));
                }
            }
        }
        paths
    }
}

/// Passphrases and passwords: from a file, or from a person.
struct Answers {
    printer: Printer,
    passphrase_file: Option<PathBuf>,
    password_file: Option<PathBuf>,
}

impl Asker for Answers {
    fn ask(&self, question: &Question, again: bool) -> Result<Zeroizing<String>, String> {
        let (file, setting, wanted) = match question {
            Question::Passphrase(path) => {
                (&self.passphrase_file, "ssh.keyPassphraseFile", format!("Passphrase of {}", path.display()))
            }
            Question::Password { user, node } => {
                (&self.password_file, "ssh.passwordFile", format!("Password of {user} (asked for by {node})"))
            }
        };
        if let Some(file) = file {
            if again {
                return Err(format!("what `{setting}` has in {} is not it", file.display()));
            }
            let bytes = files::read_secret(file).map_err(|error| error.to_string())?;
            let text = str::from_utf8(&bytes).map_err(|_| format!("{} is not UTF-8", file.display()))?;
            return Ok(Zeroizing::new(text.to_owned()));
        }
        if !self.printer.is_terminal() {
            let kind = match question {
                Question::Passphrase(_) => "a passphrase is wanted",
                Question::Password { .. } => "a password is wanted",
            };
            return Err(format!(
                "{kind}, and there is no terminal to ask on: name a file as `{setting}` in cluster.yaml"
            ));
        }
        let wanted = if again { format!("That is not it. {wanted}") } else { wanted };
        let question = dialoguer::Password::new().with_prompt(wanted).allow_empty_password(true);
        prompt::secret(question).map_err(|error| error.to_string())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::args::ClusterArgs;

    const HEAD: &str = "
apiVersion: kubezt.dev/v1alpha1
kind: Cluster
metadata: {name: demo}
spec:
  nodes:
    - {name: cp1, role: control-plane, addresses: [10.0.0.11]}
    - {name: w1, role: worker, addresses: [10.0.0.12], ssh: {address: worker, port: 2299, user: own, proxyJump: []}}
";

    /// The public half, which a file may hold where an agent holds the other one.
    const KEY: &str =
        "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIJdD7y3aLq454yWBdwLWbieU1ebz9/cu7/QEXn9OIeZJ nobody\n";

    /// How the nodes are reached with this `ssh:` in the cluster file and this ssh_config.
    fn reach(ssh: &str, config: &str) -> Result<Vec<Target>, String> {
        let folder = tempfile::tempdir().map_err(|error| error.to_string())?;
        let file = folder.path().join("cluster.yaml");
        fs_err::write(&file, format!("{HEAD}  ssh: {{config: ssh_config, {ssh}}}\n")).unwrap();
        fs_err::write(folder.path().join("ssh_config"), config).unwrap();
        fs_err::write(folder.path().join("key"), KEY).unwrap();
        let context =
            Context::load(&ClusterArgs { file, profile: None }).map_err(|error| error.to_string())?;
        let reach = Reach::of(&context, Printer).map_err(|error| error.to_string())?;
        let folder = folder.path().display().to_string();
        let relative =
            |path: &PathBuf| PathBuf::from(path.display().to_string().replace(&format!("{folder}/"), ""));
        let targets = reach.targets.into_iter().map(|(_, target)| Target {
            identity_files: target.identity_files.iter().map(relative).collect(),
            host_key: match target.host_key {
                HostKeySource::KnownHosts(files) => {
                    HostKeySource::KnownHosts(files.iter().map(relative).collect())
                }
                pinned @ HostKeySource::Pinned(_) => pinned,
            },
            ..target
        });
        Ok(targets.collect())
    }

    #[test]
    fn the_cluster_file_counts_more_than_ssh_config_and_that_more_than_defaults() {
        let config = "Host 10.0.0.11\n User admin\n Port 2222\n HostName real\n IdentityFile /%r/%p\n UserKnownHostsFile /k\n \
                      HostKeyAlias alias\n ConnectTimeout 3\nHost worker\n HostName 10.9.9.9\n User config\n Port 1\n";
        let targets = reach("agent: false", config).unwrap();
        assert_eq!(
            targets[0],
            Target {
                port: 2222,
                identity_files: vec!["/admin/2222".into()],
                agent: false,
                host_key: HostKeySource::KnownHosts(
                    [".kubezt/known_hosts", "/k", "/etc/ssh/ssh_known_hosts"].map(PathBuf::from).to_vec()
                ),
                host_key_alias: Some("alias".to_owned()),
                timeout: Duration::from_secs(3),
                ..Target::of("cp1", "real", "admin")
            }
        );
        assert_eq!(
            (targets[1].host_and_port(), targets[1].user.as_str()),
            ("10.9.9.9:2299".to_owned(), "own")
        );

        let said = "user: cluster, port: 23, identityFiles: [key], knownHosts: [hosts], connectTimeoutSeconds: 9, privilege: doas";
        let target = reach(said, config).unwrap().swap_remove(0);
        assert_eq!(target.identity_files, [PathBuf::from("key")]);
        assert_eq!(
            target.host_key,
            HostKeySource::KnownHosts([".kubezt/known_hosts", "hosts"].map(PathBuf::from).to_vec())
        );
        assert_eq!((target.user.as_str(), target.port, target.timeout.as_secs()), ("cluster", 23, 9));
        assert_eq!(target.elevation, Elevation::Doas);

        let target = reach("identityFiles: []", "").unwrap().swap_remove(0);
        assert_eq!((target.user.as_str(), target.host_and_port()), ("root", "10.0.0.11:22".to_owned()));
    }

    #[test]
    fn hosts_on_the_way_have_settings_of_their_own() {
        let config = "Host inner\n HostName 10.1.1.1\n ProxyJump ignored\nHost outer\n ProxyJump gate:77\n User gatekeeper\n \
                      IdentityFile /outer\nHost 10.0.0.11\n ProxyJump never\n";
        let targets = reach("proxyJump: [me@outer:2200, inner], identityFiles: [key]", config).unwrap();
        let way: Vec<String> =
            targets[0].jumps.iter().map(|hop| format!("{}@{}", hop.user, hop.host_and_port())).collect();
        assert_eq!(way, ["root@gate:77", "me@outer:2200", "root@10.1.1.1:22"]);
        let [its_own, the_clusters] = &targets[0].jumps[1].identity_files[..] else { panic!("two files") };
        assert!(its_own == Path::new("/outer") && the_clusters.ends_with("key"), "{the_clusters:?}");
        assert_eq!(targets[1].jumps, [], "the node says that there is none");
        assert_eq!(reach("agent: true", config).unwrap()[0].jumps[0].address, "never");
        let circle = reach("proxyJump: [a]", "Host a\n ProxyJump b\nHost b\n ProxyJump a\n").unwrap_err();
        assert!(circle.contains("in a circle"), "{circle}");
    }

    #[test]
    fn everything_that_is_wrong_is_said_at_once() {
        let config = "Port x\nHost 10.0.0.11 worker\n ProxyCommand nc %h %p\n IdentityFile /keys/%C\n";
        let errors = reach("agent: true", config).unwrap_err();
        for expected in
            ["ssh_config:1: `x` is no port", "ssh_config:3: ProxyCommand applies to 10.0.0.11", "token %C"]
        {
            assert!(errors.contains(expected), "{expected} in {errors}");
        }
        let errors = reach("proxyJump: ['a:b'], identityFiles: []", config).unwrap_err();
        assert!(errors.contains("cp1: `proxyJump` in the cluster file: `a:b`"), "{errors}");
        assert!(!errors.contains("ProxyCommand applies"), "the cluster file says another way: {errors}");
    }
}
