//! The only algorithms that are offered: those that the STIGs of operating systems let an SSH server have (FIPS 140:
//! NIST curves and groups, AES, SHA-2; EdDSA since FIPS 186-5). SHA-1, ChaCha20 and Curve25519 are left out.
//!
//! RSA is left out of the host keys because the library cannot check such a signature, and offering what one cannot
//! check fails late and obscurely.

use std::borrow::Cow;
use std::collections::BTreeSet;

use russh::keys::{Algorithm, EcdsaCurve};
use russh::{Preferred, cipher, compression, kex, mac};

const KEY_EXCHANGE: &[kex::Name] = &[
    kex::ECDH_SHA2_NISTP256,
    kex::ECDH_SHA2_NISTP384,
    kex::ECDH_SHA2_NISTP521,
    // For servers without NIST curves.
    kex::DH_G16_SHA512,
    kex::DH_G18_SHA512,
    kex::DH_G14_SHA256,
    kex::EXTENSION_SUPPORT_AS_CLIENT,
    // Strict key exchange: the answer to CVE-2023-48795.
    kex::EXTENSION_OPENSSH_STRICT_KEX_AS_CLIENT,
];

const CIPHERS: &[cipher::Name] = &[
    cipher::AES_128_GCM,
    cipher::AES_256_GCM,
    cipher::AES_256_CTR,
    cipher::AES_192_CTR,
    cipher::AES_128_CTR,
];

const MACS: &[mac::Name] = &[mac::HMAC_SHA256_ETM, mac::HMAC_SHA512_ETM, mac::HMAC_SHA256, mac::HMAC_SHA512];

/// Kinds of host keys that are accepted, best first.
pub const HOST_KEYS: [Algorithm; 4] = [
    Algorithm::Ed25519,
    Algorithm::Ecdsa { curve: EcdsaCurve::NistP256 },
    Algorithm::Ecdsa { curve: EcdsaCurve::NistP384 },
    Algorithm::Ecdsa { curve: EcdsaCurve::NistP521 },
];

/// What is offered to a host whose recorded keys are of these kinds: those come first, because the server picks the
/// first it has, and a key of another kind would be unknown. Certificates are asked for only where an authority is
/// known that could have signed them.
pub fn preferred(recorded: &BTreeSet<String>, certificates: bool) -> Preferred {
    let mut keys = HOST_KEYS.to_vec();
    keys.sort_by_key(|algorithm| !recorded.contains(algorithm.as_str()));
    Preferred {
        kex: Cow::Borrowed(KEY_EXCHANGE),
        key: Cow::Owned(keys),
        host_key_certificates: Cow::Borrowed(if certificates { &HOST_KEYS } else { &[] }),
        cipher: Cow::Borrowed(CIPHERS),
        mac: Cow::Borrowed(MACS),
        compression: Cow::Borrowed(&[compression::NONE]),
    }
}

/// What is offered, a line a kind, as `kubezt version` shows it.
pub fn describe() -> Vec<String> {
    let line = |kind: &str, names: Vec<&str>| format!("SSH {kind}: {}", names.join(", "));
    // The last two of the key exchanges are extension markers and not algorithms.
    let exchanges = KEY_EXCHANGE.iter().take(KEY_EXCHANGE.len() - 2).map(AsRef::as_ref).collect();
    vec![
        line("key exchange", exchanges),
        line("host keys and their certificates", HOST_KEYS.iter().map(Algorithm::as_str).collect()),
        line("ciphers", CIPHERS.iter().map(AsRef::as_ref).collect()),
        line("MACs", MACS.iter().map(AsRef::as_ref).collect()),
    ]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nothing_is_offered_that_a_stig_forbids() {
        for line in describe() {
            for forbidden in
                ["sha1", "25519-sha256", "chacha", "md5", "cbc", "ssh-rsa", "ssh-dss", "umac", "group1-"]
            {
                assert!(!line.contains(forbidden), "{line}");
            }
        }
    }

    #[test]
    fn certificates_are_asked_for_only_where_somebody_could_have_signed_them() {
        assert_eq!(preferred(&BTreeSet::new(), false).host_key_certificates.len(), 0);
        assert_eq!(preferred(&BTreeSet::new(), true).host_key_certificates.len(), HOST_KEYS.len());
    }

    #[test]
    fn recorded_kinds_come_first_and_rsa_never() {
        let recorded = BTreeSet::from(["ecdsa-sha2-nistp384".to_owned(), "ssh-rsa".to_owned()]);
        let keys = preferred(&recorded, false).key;
        assert_eq!(keys[0].as_str(), "ecdsa-sha2-nistp384");
        assert_eq!(keys.len(), HOST_KEYS.len());
        assert!(
            keys.iter()
                .all(|algorithm| algorithm.as_str() != "ssh-rsa" && !algorithm.as_str().starts_with("rsa-"))
        );
    }
}
