//! ssh_config(5): what a person told OpenSSH's client about a host.
//!
//! Pure: the text of files comes in, the settings of a host come out. The first value of a setting that is found wins, and
//! files of keys add up, as with OpenSSH; `ssh -G` is what the tests compare with. What is not supported and would change
//! how a host is reached or trusted is a warning, or an error for the hosts it applies to, with file and line.

mod keywords;
mod parse;
mod tokens;

use std::fmt;

use parse::Line;
pub use parse::{ConfigText, Include, Place};

use super::hostkeys::matches_pattern;
use keywords::{Keyword, Support};

/// Something about a line that a person should know.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct Problem {
    /// Where.
    pub place: Place,
    /// What.
    pub why: String,
}

impl fmt::Display for Problem {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "{}:{}: {}", self.place.file, self.place.line, self.why)
    }
}

/// Configuration files that were read, in the order they are asked.
#[derive(Debug, Clone, Default)]
pub struct SshConfig {
    lines: Vec<Vec<Line>>,
    errors: Vec<Problem>,
}

/// What is asked: a host as it would be given to `ssh`.
#[derive(Debug, Clone, Copy)]
pub struct Query<'a> {
    /// The name, alias or address.
    pub host: &'a str,
    /// The login name, where something that counts more than the files gives one.
    pub user: Option<&'a str>,
    /// The login name where nothing gives one.
    pub default_user: &'a str,
    /// The port, where something that counts more than the files gives one.
    pub port: Option<u16>,
    /// The operator's own login name.
    pub local_user: &'a str,
    /// The operator's home folder.
    pub home: &'a str,
}

/// What the files say about a host. Paths are as written; [`HostSettings::path`] expands them.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct HostSettings {
    /// Where to connect to; its tokens are expanded.
    pub host_name: Option<String>,
    /// Login name.
    pub user: Option<String>,
    /// Port.
    pub port: Option<u16>,
    /// Key files, in the order they are tried; `none` names no file.
    pub identity_files: Vec<String>,
    /// Certificates of keys.
    pub certificate_files: Vec<String>,
    /// Whether the agent's other keys are left alone.
    pub identities_only: Option<bool>,
    /// Hosts on the way, the first first; an empty list says there are none.
    pub proxy_jump: Option<Vec<Jump>>,
    /// The name under which the host's key is recorded.
    pub host_key_alias: Option<String>,
    /// The user's known_hosts files.
    pub user_known_hosts: Option<Vec<String>>,
    /// The system's known_hosts files.
    pub global_known_hosts: Option<Vec<String>>,
    /// Seconds to wait for a connection.
    pub connect_timeout: Option<u64>,
    /// A ProxyCommand that applies, which kubezt does not run.
    pub proxy_command: Option<Problem>,
    /// What is not done for this host, with its line: it is reached or trusted without it.
    pub warnings: Vec<Problem>,
    /// What makes this host unreachable for kubezt.
    pub errors: Vec<Problem>,
}

/// A host on the way to another.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Jump {
    /// Login name.
    pub user: Option<String>,
    /// Name, alias or address.
    pub host: String,
    /// Port.
    pub port: Option<u16>,
}

impl SshConfig {
    /// Adds a file and what it includes.
    pub fn add(&mut self, config: &ConfigText, include: Include<'_>) {
        let lines = parse::read(config, include, &mut self.errors);
        check(&lines, &mut self.errors);
        self.lines.push(lines);
    }

    /// Lines that OpenSSH would not accept either.
    pub fn errors(&self) -> &[Problem] {
        &self.errors
    }

    /// What the files say about a host.
    pub fn resolve(&self, query: Query<'_>) -> HostSettings {
        let mut reading = Reading {
            query,
            settings: HostSettings::default(),
            host: query.host.to_owned(),
            proxy_command: false,
            last_pass: false,
            wants_last_pass: false,
        };
        reading.pass(&self.lines);
        reading.settle_host_name();
        if reading.wants_last_pass {
            reading.last_pass = true;
            reading.host = reading.settings.host_name.clone().unwrap_or(reading.host);
            reading.pass(&self.lines);
        }
        let Reading { mut settings, .. } = reading;
        settings.warnings.sort();
        settings.warnings.dedup();
        settings
    }
}

/// One host being looked up.
struct Reading<'a> {
    query: Query<'a>,
    settings: HostSettings,
    /// What `Host` is compared with.
    host: String,
    /// Whether a ProxyCommand came before any ProxyJump.
    proxy_command: bool,
    /// Whether this is the pass that `Match final` asks for.
    last_pass: bool,
    wants_last_pass: bool,
}

impl Reading<'_> {
    fn pass(&mut self, files: &[Vec<Line>]) {
        for lines in files {
            self.file(lines, true, false);
        }
    }

    /// Applies a file; where `never` is set it stands in a block for other hosts.
    fn file(&mut self, lines: &[Line], active: bool, never: bool) {
        let mut active = active;
        for line in lines {
            match Keyword::of(&line.keyword) {
                Some(Keyword::Host) => active = !never && self.host_matches(&line.arguments),
                Some(Keyword::Match) => active = !never && self.matches(line),
                Some(Keyword::Include) => {
                    for included in &line.included {
                        self.file(included, active, never || !active);
                    }
                }
                Some(keyword) if active => self.apply(keyword, line),
                Some(_) => {}
                None if active => self.other(line),
                None => {}
            }
        }
    }

    /// A pattern that matches takes the host in, one with `!` that matches takes it out whatever else matches.
    fn host_matches(&self, patterns: &[String]) -> bool {
        covers(patterns.iter().map(String::as_str), &self.host)
    }

    fn matches(&mut self, line: &Line) -> bool {
        let mut result = true;
        let mut criteria = line.arguments.iter();
        while let Some(word) = criteria.next() {
            let (negated, word) = word.strip_prefix('!').map_or((false, word.as_str()), |rest| (true, rest));
            let name = word.to_ascii_lowercase();
            let met = match name.as_str() {
                "all" => true,
                "canonical" => self.last_pass,
                "final" => {
                    self.wants_last_pass = true;
                    self.last_pass
                }
                _ => {
                    let argument = criteria.next().map_or("", String::as_str);
                    let text = match name.as_str() {
                        "host" => self.current_host_name(),
                        "originalhost" => self.query.host.to_owned(),
                        "user" => self.current_user().to_owned(),
                        "localuser" => self.query.local_user.to_owned(),
                        _ => {
                            // Only a block that would count otherwise is worth a word.
                            if result {
                                let why = format!(
                                    "kubezt cannot decide `Match {name}`, so this block is not used for {}",
                                    self.query.host
                                );
                                self.settings.warnings.push(Problem { place: line.place.clone(), why });
                            }
                            return false;
                        }
                    };
                    covers(argument.split(','), &text)
                }
            };
            result &= met != negated;
        }
        result
    }

    fn current_user(&self) -> &str {
        self.query.user.or(self.settings.user.as_deref()).unwrap_or(self.query.default_user)
    }

    fn current_host_name(&self) -> String {
        match &self.settings.host_name {
            Some(text) if !self.last_pass => {
                tokens::host_name(text, &self.host).unwrap_or_else(|| text.clone())
            }
            Some(text) => text.clone(),
            None => self.host.clone(),
        }
    }

    fn settle_host_name(&mut self) {
        if let Some(text) = &self.settings.host_name {
            self.settings.host_name = tokens::host_name(text, &self.host).or_else(|| Some(text.clone()));
        }
    }

    fn apply(&mut self, keyword: Keyword, line: &Line) {
        let first = line.arguments.first().cloned().unwrap_or_default();
        let settings = &mut self.settings;
        match keyword {
            Keyword::Host | Keyword::Match | Keyword::Include => {}
            Keyword::HostName => set(&mut settings.host_name, first),
            Keyword::User => set(&mut settings.user, first),
            Keyword::Port => {
                if let Ok(port) = first.parse() {
                    set(&mut settings.port, port);
                }
            }
            Keyword::IdentityFile => add(&mut settings.identity_files, first),
            Keyword::CertificateFile => add(&mut settings.certificate_files, first),
            Keyword::IdentitiesOnly => set(&mut settings.identities_only, yes(&first)),
            Keyword::HostKeyAlias => set(&mut settings.host_key_alias, first),
            Keyword::UserKnownHostsFile => set(&mut settings.user_known_hosts, line.arguments.clone()),
            Keyword::GlobalKnownHostsFile => set(&mut settings.global_known_hosts, line.arguments.clone()),
            Keyword::ConnectTimeout => {
                if let Some(seconds) = keywords::seconds(&first) {
                    set(&mut settings.connect_timeout, seconds);
                }
            }
            Keyword::ProxyJump if self.proxy_command => {}
            Keyword::ProxyJump => {
                if let Ok(jumps) = parse_jumps(&first) {
                    set(&mut settings.proxy_jump, jumps);
                }
            }
            Keyword::ProxyCommand => {
                if settings.proxy_jump.is_none() && !self.proxy_command {
                    self.proxy_command = true;
                    if !first.eq_ignore_ascii_case("none") {
                        let why = format!(
                            "ProxyCommand applies to {}, and kubezt does not run commands to reach a host: use ProxyJump, or \
                             set `ssh.config: none` in cluster.yaml",
                            self.query.host
                        );
                        settings.proxy_command = Some(Problem { place: line.place.clone(), why });
                    }
                }
            }
            Keyword::RevokedHostKeys => {
                if !first.eq_ignore_ascii_case("none") {
                    let why = format!(
                        "RevokedHostKeys applies to {}, and kubezt does not read such files: put the keys into a known_hosts \
                         file as `@revoked` lines",
                        self.query.host
                    );
                    settings.errors.push(Problem { place: line.place.clone(), why });
                }
            }
        }
    }

    fn other(&mut self, line: &Line) {
        let why = match keywords::support(&line.keyword, line.arguments.first().map_or("", String::as_str)) {
            Support::Irrelevant => return,
            Support::NotDone => format!("{} is not supported and does nothing here", line.keyword),
            Support::Unknown => format!("`{}` is no keyword that kubezt knows", line.keyword),
        };
        self.settings.warnings.push(Problem { place: line.place.clone(), why });
    }
}

fn covers<'a>(patterns: impl Iterator<Item = &'a str>, text: &str) -> bool {
    let mut covered = false;
    for pattern in patterns {
        let (negated, pattern) = pattern.strip_prefix('!').map_or((false, pattern), |rest| (true, rest));
        if matches_pattern(pattern.as_bytes(), text.as_bytes()) {
            if negated {
                return false;
            }
            covered = true;
        }
    }
    covered
}

fn set<T>(setting: &mut Option<T>, value: T) {
    setting.get_or_insert(value);
}

fn add(list: &mut Vec<String>, value: String) {
    if !list.contains(&value) {
        list.push(value);
    }
}

fn yes(text: &str) -> bool {
    matches!(text.to_ascii_lowercase().as_str(), "yes" | "true")
}

/// Finds values that OpenSSH would refuse, whichever host they are for.
fn check(lines: &[Line], errors: &mut Vec<Problem>) {
    for line in lines {
        for included in &line.included {
            check(included, errors);
        }
        if let Some(why) = Keyword::of(&line.keyword).and_then(|keyword| keyword.fault(&line.arguments)) {
            errors.push(Problem { place: line.place.clone(), why });
        }
    }
}

/// Reads `[user@]host[:port]` or `ssh://[user@]host[:port]`, separated by commas; `none` is an empty list.
///
/// # Errors
/// What is wrong with it.
pub fn parse_jumps(text: &str) -> Result<Vec<Jump>, String> {
    if text.eq_ignore_ascii_case("none") {
        return Ok(Vec::new());
    }
    text.split(',').map(|jump| parse_jump(jump.trim())).collect()
}

fn parse_jump(text: &str) -> Result<Jump, String> {
    let wrong = || format!("`{text}` is no jump host: write `host`, `user@host` or `user@host:port`");
    let rest = text.strip_prefix("ssh://").map(|rest| rest.trim_end_matches('/')).unwrap_or(text);
    let (user, rest) = match rest.rsplit_once('@') {
        Some((user, rest)) => (Some(user.to_owned()), rest),
        None => (None, rest),
    };
    let (host, port) = match rest.strip_prefix('[') {
        Some(rest) => {
            let (host, port) = rest.split_once(']').ok_or_else(wrong)?;
            (
                host,
                port.strip_prefix(':').or(if port.is_empty() { Some("") } else { None }).ok_or_else(wrong)?,
            )
        }
        // A bare IPv6 address has colons of its own.
        None if rest.matches(':').count() > 1 => (rest, ""),
        None => rest.split_once(':').unwrap_or((rest, "")),
    };
    let port = match port {
        "" => None,
        text => Some(text.parse::<u16>().ok().filter(|port| *port != 0).ok_or_else(wrong)?),
    };
    if host.is_empty()
        || host.starts_with('-')
        || user.as_deref().is_some_and(|user| user.is_empty() || user.starts_with('-'))
    {
        return Err(wrong());
    }
    Ok(Jump { user, host: host.to_owned(), port })
}

impl HostSettings {
    /// Expands `~/` and tokens in a path of these settings.
    ///
    /// # Errors
    /// A token that is not supported.
    pub fn path(&self, text: &str, query: Query<'_>) -> Result<std::path::PathBuf, String> {
        let host = self.host_name.as_deref().unwrap_or(query.host);
        let port = query.port.or(self.port).unwrap_or(22);
        let values = tokens::Values {
            host,
            original_host: query.host,
            alias: self.host_key_alias.as_deref().unwrap_or(query.host),
            port,
            user: query.user.or(self.user.as_deref()).unwrap_or(query.default_user),
            local_user: query.local_user,
            home: query.home,
        };
        tokens::path(text, &values)
    }
}

#[cfg(test)]
#[path = "tests.rs"]
mod tests;
