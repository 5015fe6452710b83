//! Whether a host key is the one that is expected: known_hosts as sshd(8), "SSH_KNOWN_HOSTS FILE FORMAT", defines it.
//!
//! Pure: text and keys come in, a verdict comes out. A line that cannot be read is set aside as a warning, so that one
//! damaged line does not make every host unreachable, and never counts as knowledge of a host.

use std::collections::BTreeSet;
use std::fmt;

use base64::Engine;
use base64::engine::general_purpose::{STANDARD, STANDARD_NO_PAD};
use hmac::{Hmac, KeyInit, Mac};
use sha2::Digest as _;

/// A host's public key as it travels (RFC 4253, 6.6), with the algorithm it names.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct HostKey {
    algorithm: String,
    blob: Vec<u8>,
}

impl HostKey {
    /// Reads the wire form; `None` where it does not begin with the name of an algorithm.
    pub fn from_blob(blob: Vec<u8>) -> Option<Self> {
        let length = usize::try_from(u32::from_be_bytes(*blob.first_chunk::<4>()?)).ok()?;
        let name = blob.get(4..4_usize.checked_add(length)?)?;
        let printable = !name.is_empty() && name.iter().all(u8::is_ascii_graphic);
        let complete = blob.len() > 4 + length;
        let algorithm = String::from_utf8_lossy(name).into_owned();
        (printable && complete).then_some(Self { algorithm, blob })
    }

    /// Algorithm, such as `ssh-ed25519`.
    pub fn algorithm(&self) -> &str {
        &self.algorithm
    }

    /// Fingerprint as OpenSSH prints it: `SHA256:` and unpadded base64.
    pub fn fingerprint(&self) -> String {
        format!("SHA256:{}", STANDARD_NO_PAD.encode(sha2::Sha256::digest(&self.blob)))
    }

    /// The known_hosts line that records this key for a host.
    pub fn known_hosts_line(&self, host: &HostName) -> String {
        self.known_hosts_line_of(&host.0)
    }

    /// The same for hosts as they are written in the file, with a marker before them or not.
    pub(super) fn known_hosts_line_of(&self, hosts: &str) -> String {
        format!("{hosts} {} {}", self.algorithm, STANDARD.encode(&self.blob))
    }
}

impl fmt::Debug for HostKey {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "{} {}", self.algorithm, self.fingerprint())
    }
}

/// A host as known_hosts names it: `host`, or `[host]:port` where the port is not 22.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct HostName(String);

impl HostName {
    /// The name of this host and port.
    pub fn new(host: &str, port: u16) -> Self {
        let host = host.to_ascii_lowercase();
        Self(if port == 22 { host } else { format!("[{host}]:{port}") })
    }
}

impl fmt::Display for HostName {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(&self.0)
    }
}

/// The names under which a host's key may be recorded, and the one its certificate has to be for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct HostNames {
    recorded: Vec<HostName>,
    principal: String,
}

impl HostNames {
    /// The names of a host. With an alias (`HostKeyAlias`) that alone counts, whatever the port; otherwise a host whose
    /// port is not 22 may also be recorded without its port.
    pub fn new(host: &str, port: u16, alias: Option<&str>) -> Self {
        let principal = alias.unwrap_or(host).to_ascii_lowercase();
        let bare = HostName(principal.clone());
        let recorded = match alias {
            None if port != 22 => vec![HostName::new(host, port), bare],
            _ => vec![bare],
        };
        Self { recorded, principal }
    }

    /// The names, the one that counts most first.
    pub fn recorded(&self) -> &[HostName] {
        &self.recorded
    }

    /// The name under which a key is recorded.
    pub fn first(&self) -> HostName {
        self.recorded.first().cloned().unwrap_or_else(|| HostName(self.principal.clone()))
    }

    /// The name a certificate has to be for.
    pub fn principal(&self) -> &str {
        &self.principal
    }
}

/// What known_hosts says about a host's key.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Verdict {
    /// The key is recorded for this host.
    Known,
    /// Nothing of this kind of key is recorded for this host.
    Unknown {
        /// Kinds of keys that are recorded for it.
        recorded: Vec<String>,
    },
    /// Other keys of this kind are recorded: the host changed, or someone is in between.
    Mismatch {
        /// What is recorded.
        expected: Vec<Recorded>,
    },
    /// The key was revoked.
    Revoked {
        /// Where.
        by: Recorded,
    },
}

/// A recorded key and where it is recorded.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Recorded {
    /// Fingerprint.
    pub fingerprint: String,
    /// File.
    pub file: String,
    /// Line, from 1.
    pub line: usize,
}

impl fmt::Display for Recorded {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "{} ({}:{})", self.fingerprint, self.file, self.line)
    }
}

/// A line that was set aside.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SkippedLine {
    /// File.
    pub file: String,
    /// Line, from 1.
    pub line: usize,
    /// What is wrong with it.
    pub why: &'static str,
}

impl fmt::Display for SkippedLine {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "{}:{}: line ignored: {}", self.file, self.line, self.why)
    }
}

/// Any number of known_hosts files, in the order they are asked.
#[derive(Debug, Clone, Default)]
pub struct KnownHosts {
    files: Vec<KnownHostsFile>,
    skipped: Vec<SkippedLine>,
}

#[derive(Debug, Clone)]
struct KnownHostsFile {
    name: String,
    entries: Vec<Entry>,
}

#[derive(Debug, Clone)]
struct Entry {
    line: usize,
    marker: Marker,
    hosts: Hosts,
    key: HostKey,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Marker {
    None,
    Revoked,
    CertificateAuthority,
}

#[derive(Debug, Clone)]
enum Hosts {
    Patterns(Vec<Pattern>),
    Hashed { salt: Vec<u8>, hash: Vec<u8> },
}

#[derive(Debug, Clone)]
struct Pattern {
    negated: bool,
    text: String,
}

impl KnownHosts {
    /// Adds a file's content; `name` is what messages call it.
    pub fn add(&mut self, name: &str, text: &str) {
        let mut entries = Vec::new();
        for (index, line) in text.lines().enumerate() {
            let line_number = index + 1;
            match parse_line(line, line_number) {
                Ok(Some(entry)) => entries.push(entry),
                Ok(None) => {}
                Err(why) => self.skipped.push(SkippedLine { file: name.to_owned(), line: line_number, why }),
            }
        }
        self.files.push(KnownHostsFile { name: name.to_owned(), entries });
    }

    /// Lines that could not be read.
    pub fn skipped(&self) -> &[SkippedLine] {
        &self.skipped
    }

    /// Names of the files.
    pub fn file_names(&self) -> impl Iterator<Item = &str> {
        self.files.iter().map(|file| file.name.as_str())
    }

    /// Judges a key under the names of its host: a name counts only where nothing is recorded under those before it.
    pub fn judge_names(&self, names: &HostNames, key: &HostKey) -> Verdict {
        for (position, name) in names.recorded().iter().enumerate() {
            match self.judge(name, key) {
                Verdict::Unknown { recorded } if recorded.is_empty() => {}
                // Another server on another port may well have another key.
                Verdict::Unknown { .. } | Verdict::Mismatch { .. } if position > 0 => {}
                verdict => return verdict,
            }
        }
        Verdict::Unknown { recorded: Vec::new() }
    }

    /// Where a key was revoked for a host.
    pub(super) fn revocation(&self, host: &HostName, key: &HostKey) -> Option<Recorded> {
        self.files.iter().find_map(|file| {
            let revokes = |entry: &&Entry| {
                entry.marker == Marker::Revoked && entry.key == *key && entry.hosts.cover(host)
            };
            file.entries.iter().find(revokes).map(|entry| file.recorded(entry))
        })
    }

    /// Whether a key is that of an authority for a host.
    pub(super) fn is_authority(&self, host: &HostName, key: &HostKey) -> bool {
        self.authorities(host).any(|entry| entry.key == *key)
    }

    /// Whether there is any authority for one of these names: only then certificates are asked for.
    pub fn has_authority(&self, names: &HostNames) -> bool {
        names.recorded().iter().any(|name| self.authorities(name).next().is_some())
    }

    fn authorities<'a>(&'a self, host: &'a HostName) -> impl Iterator<Item = &'a Entry> {
        self.files
            .iter()
            .flat_map(|file| &file.entries)
            .filter(move |entry| entry.marker == Marker::CertificateAuthority && entry.hosts.cover(host))
    }

    /// Judges a key. A revocation in any file decides; then the first file that knows the host with this kind of key.
    pub fn judge(&self, host: &HostName, key: &HostKey) -> Verdict {
        if let Some(by) = self.revocation(host, key) {
            return Verdict::Revoked { by };
        }
        let mut recorded = BTreeSet::new();
        for file in &self.files {
            let mut expected = Vec::new();
            for entry in file.of_host(host) {
                if entry.key == *key {
                    return Verdict::Known;
                }
                if entry.key.algorithm == key.algorithm {
                    expected.push(file.recorded(entry));
                }
                recorded.insert(entry.key.algorithm.clone());
            }
            if !expected.is_empty() {
                return Verdict::Mismatch { expected };
            }
        }
        Verdict::Unknown { recorded: recorded.into_iter().collect() }
    }

    /// Kinds of keys that are recorded for a host; a server that has one of them should be asked for it.
    pub fn algorithms(&self, host: &HostName) -> BTreeSet<String> {
        self.files
            .iter()
            .flat_map(|file| file.of_host(host))
            .map(|entry| entry.key.algorithm.clone())
            .collect()
    }
}

impl KnownHostsFile {
    fn of_host<'a>(&'a self, host: &'a HostName) -> impl Iterator<Item = &'a Entry> {
        self.entries.iter().filter(move |entry| entry.marker == Marker::None && entry.hosts.cover(host))
    }

    fn recorded(&self, entry: &Entry) -> Recorded {
        Recorded { fingerprint: entry.key.fingerprint(), file: self.name.clone(), line: entry.line }
    }
}

impl Hosts {
    fn cover(&self, host: &HostName) -> bool {
        match self {
            Self::Patterns(patterns) => {
                let matches = |negated| {
                    patterns.iter().any(|pattern| {
                        pattern.negated == negated
                            && matches_pattern(pattern.text.as_bytes(), host.0.as_bytes())
                    })
                };
                matches(false) && !matches(true)
            }
            Self::Hashed { salt, hash } => Hmac::<sha1::Sha1>::new_from_slice(salt)
                .map(|mac| mac.chain_update(host.0.as_bytes()).verify_slice(hash).is_ok())
                .unwrap_or(false),
        }
    }
}

/// `*` stands for any number of characters, `?` for exactly one.
pub(super) fn matches_pattern(pattern: &[u8], text: &[u8]) -> bool {
    // Greedy with one point to return to: linear in memory, and no pattern can make it exponential.
    let (mut at, mut position) = (0, 0);
    let mut retry: Option<(usize, usize)> = None;
    while position < text.len() {
        match pattern.get(at) {
            Some(b'*') => {
                retry = Some((at + 1, position));
                at += 1;
            }
            Some(&byte) if byte == b'?' || byte == text[position] => {
                at += 1;
                position += 1;
            }
            _ => match retry {
                Some((after_star, from)) => {
                    retry = Some((after_star, from + 1));
                    at = after_star;
                    position = from + 1;
                }
                None => return false,
            },
        }
    }
    pattern[at..].iter().all(|byte| *byte == b'*')
}

fn parse_line(line: &str, number: usize) -> Result<Option<Entry>, &'static str> {
    let mut fields = line.split_ascii_whitespace().peekable();
    let marker = match fields.peek() {
        None => return Ok(None),
        Some(field) if field.starts_with('#') => return Ok(None),
        Some(&"@revoked") => Marker::Revoked,
        Some(&"@cert-authority") => Marker::CertificateAuthority,
        Some(field) if field.starts_with('@') => return Err("the marker is unknown"),
        Some(_) => Marker::None,
    };
    if marker != Marker::None {
        fields.next();
    }
    let (Some(hosts), Some(algorithm), Some(key)) = (fields.next(), fields.next(), fields.next()) else {
        return Err("host names, key type and key are wanted");
    };
    let blob = STANDARD.decode(key).map_err(|_| "the key is not base64")?;
    let key = HostKey::from_blob(blob).ok_or("the key is damaged")?;
    if key.algorithm != algorithm {
        return Err("the key is of another type than the line says");
    }
    Ok(Some(Entry { line: number, marker, hosts: parse_hosts(hosts)?, key }))
}

fn parse_hosts(text: &str) -> Result<Hosts, &'static str> {
    if let Some(hashed) = text.strip_prefix('|') {
        let (Some(salt), Some(hash)) =
            hashed.strip_prefix("1|").and_then(|rest| rest.split_once('|')).unzip()
        else {
            return Err("the hashed host name is not of the form |1|salt|hash");
        };
        let decode = |part: &str| STANDARD.decode(part).ok().filter(|bytes| bytes.len() == 20);
        return match (decode(salt), decode(hash)) {
            (Some(salt), Some(hash)) => Ok(Hosts::Hashed { salt, hash }),
            _ => Err("salt and hash of a hashed host name are 20 bytes in base64"),
        };
    }
    let patterns = text
        .split(',')
        .filter(|pattern| !pattern.is_empty())
        .map(|pattern| {
            let (negated, text) = pattern.strip_prefix('!').map_or((false, pattern), |rest| (true, rest));
            Pattern { negated, text: text.to_ascii_lowercase() }
        })
        .collect::<Vec<_>>();
    if patterns.is_empty() { Err("no host name") } else { Ok(Hosts::Patterns(patterns)) }
}

#[cfg(test)]
#[path = "hostkeys_tests.rs"]
mod tests;
