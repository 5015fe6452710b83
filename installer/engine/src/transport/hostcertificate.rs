//! Whether a host's certificate (PROTOCOL.certkeys of OpenSSH) is good: `@cert-authority` lines of known_hosts say whose
//! certificates are believed for which hosts.
//!
//! Pure: the certificate, what is known and the time come in, a verdict comes out. A certificate without principals is
//! good for no host: it would let each host that has one pass for any other.

use super::hostkeys::{HostKey, HostNames, KnownHosts, Recorded};

/// What a certificate says, as far as it is judged.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct HostCertificate {
    /// The host's key, which the certificate is about.
    pub key: HostKey,
    /// The key that signed it.
    pub authority: HostKey,
    /// Name the authority gave it; a word for messages only.
    pub id: String,
    /// Whether it is a host's and not a user's.
    pub for_hosts: bool,
    /// Host names it is good for.
    pub principals: Vec<String>,
    /// First second it is good, since 1970.
    pub valid_after: u64,
    /// First second it is no longer good, since 1970.
    pub valid_before: u64,
    /// Names of options that must be understood; there are none for hosts.
    pub critical_options: Vec<String>,
    /// Whether the authority's signature was verified.
    pub is_signed: bool,
}

/// What becomes of a certificate.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum CertificateVerdict {
    /// An authority that is believed for this host vouches for its key.
    Good,
    /// The key or the authority was revoked: nothing else counts any more.
    Revoked {
        /// Where.
        by: Recorded,
    },
    /// It proves nothing; the key itself may still be recorded.
    Refused {
        /// Why.
        why: String,
    },
}

/// Judges a certificate at a time, in seconds since 1970.
pub fn judge(
    known: &KnownHosts,
    names: &HostNames,
    certificate: &HostCertificate,
    now: u64,
) -> CertificateVerdict {
    for key in [&certificate.authority, &certificate.key] {
        if let Some(by) = names.recorded().iter().find_map(|name| known.revocation(name, key)) {
            return CertificateVerdict::Revoked { by };
        }
    }
    match fault(known, names, certificate, now) {
        None => CertificateVerdict::Good,
        Some(why) => {
            let why = format!("its certificate `{}` does not count: {why}", certificate.id.escape_default());
            CertificateVerdict::Refused { why }
        }
    }
}

fn fault(known: &KnownHosts, names: &HostNames, certificate: &HostCertificate, now: u64) -> Option<String> {
    let believed = names.recorded().iter().any(|name| known.is_authority(name, &certificate.authority));
    if !believed {
        return Some(format!(
            "{} {} is no authority for {}",
            certificate.authority.algorithm(),
            certificate.authority.fingerprint(),
            names.principal()
        ));
    }
    if !certificate.for_hosts {
        return Some("it is a user's".to_owned());
    }
    if now < certificate.valid_after {
        return Some(format!("it is good only from {} on", time(certificate.valid_after)));
    }
    if now >= certificate.valid_before {
        return Some(format!("it expired at {}", time(certificate.valid_before)));
    }
    if certificate.principals.is_empty() {
        return Some("it names no hosts".to_owned());
    }
    if !certificate.principals.iter().any(|principal| principal == names.principal()) {
        return Some(format!(
            "it is for {} and not for {}",
            certificate.principals.join(", "),
            names.principal()
        ));
    }
    if let Some(option) = certificate.critical_options.first() {
        return Some(format!(
            "it has the critical option `{}`, which no host certificate has",
            option.escape_default()
        ));
    }
    (!certificate.is_signed)
        .then(|| "its signature is not the authority's, or of a kind that does not count (SHA-1)".to_owned())
}

fn time(seconds: u64) -> String {
    i64::try_from(seconds)
        .ok()
        .and_then(|seconds| jiff::Timestamp::from_second(seconds).ok())
        .map_or_else(|| "the end of time".to_owned(), |time| time.to_string())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn key(seed: u8) -> HostKey {
        let mut blob = b"\0\0\0\x0bssh-ed25519\0\0\0\x20".to_vec();
        blob.extend_from_slice(&[seed; 32]);
        HostKey::from_blob(blob).unwrap()
    }

    fn line(marker: &str, hosts: &str, key: &HostKey) -> String {
        key.known_hosts_line_of(&format!("{marker} {hosts}"))
    }

    fn certificate() -> HostCertificate {
        HostCertificate {
            key: key(1),
            authority: key(2),
            id: "cp1".to_owned(),
            for_hosts: true,
            principals: vec!["other.example".to_owned(), "cp1.example".to_owned()],
            valid_after: 100,
            valid_before: 200,
            critical_options: Vec::new(),
            is_signed: true,
        }
    }

    fn judged(text: &str, names: &HostNames, certificate: &HostCertificate, now: u64) -> CertificateVerdict {
        let mut known = KnownHosts::default();
        known.add("known_hosts", text);
        judge(&known, names, certificate, now)
    }

    #[test]
    fn a_certificate_counts_only_as_far_as_it_goes() {
        let names = HostNames::new("CP1.example", 22, None);
        let believed = line("@cert-authority", "*.example", &key(2));
        let verdict = |certificate: &HostCertificate, now| judged(&believed, &names, certificate, now);
        assert_eq!(verdict(&certificate(), 100), CertificateVerdict::Good);
        assert_eq!(verdict(&certificate(), 199), CertificateVerdict::Good);
        type Change = fn(&mut HostCertificate);
        let table: [(&str, u64, Change); 8] = [
            ("good only from", 99, |_| {}),
            ("expired at 1970-01-01T00:03:20Z", 200, |_| {}),
            ("is no authority", 150, |certificate| certificate.authority = key(3)),
            ("a user's", 150, |certificate| certificate.for_hosts = false),
            ("names no hosts", 150, |certificate| certificate.principals.clear()),
            ("not for cp1.example", 150, |certificate| certificate.principals = vec!["*.example".to_owned()]),
            ("critical option", 150, |certificate| certificate.critical_options.push("x".to_owned())),
            ("not the authority's", 150, |certificate| certificate.is_signed = false),
        ];
        for (expected, now, change) in table {
            let mut changed = certificate();
            change(&mut changed);
            let CertificateVerdict::Refused { why } = verdict(&changed, now) else { panic!("{expected}") };
            assert!(why.contains(expected), "{why}");
        }
    }

    #[test]
    fn an_authority_is_believed_for_its_hosts_and_until_it_is_revoked() {
        let names = HostNames::new("cp1.example", 2222, None);
        let good = |text: &str| judged(text, &names, &certificate(), 150) == CertificateVerdict::Good;
        assert!(good(&line("@cert-authority", "*.example", &key(2))), "any port of a host");
        assert!(good(&line("@cert-authority", "[*.example]:2222", &key(2))));
        assert!(!good(&line("@cert-authority", "[*.example]:22", &key(2))));
        assert!(!good(&line("@cert-authority", "*.example,!cp1.example", &key(2))));
        assert!(!good(&line("", "*.example", &key(2))), "a host's key is no authority");
        for revoked in [key(2), key(1)] {
            let text =
                format!("{}\n{}", line("@cert-authority", "*", &key(2)), line("@revoked", "*", &revoked));
            assert!(matches!(judged(&text, &names, &certificate(), 150), CertificateVerdict::Revoked { .. }));
        }
        let alias = HostNames::new("10.0.0.1", 2222, Some("cp1.example"));
        let text = line("@cert-authority", "cp1.example", &key(2));
        assert_eq!(judged(&text, &alias, &certificate(), 150), CertificateVerdict::Good);
    }
}
