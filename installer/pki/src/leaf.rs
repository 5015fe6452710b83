//! Leaf certificates: what servers and clients of the cluster show each other.

use std::collections::BTreeSet;
use std::net::IpAddr;
use std::time::Duration;

use jiff::Timestamp;
use kubezt_model::desired::{LeafSpec, Usage};
use rcgen::{ExtendedKeyUsagePurpose, IsCa, KeyUsagePurpose, SanType};

use crate::PkiError;
use crate::inspect::CertificateChain;
use crate::issuance::{Signer, Validity, chain, parameters};
use crate::key::{PrivateKeyPem, PublicKey};

/// Signs a leaf for a key that was made elsewhere, and answers with the chain a server sends: leaf, then intermediate.
///
/// The leaf is valid from five minutes before `now` for `lifetime`, clipped to the intermediate's validity. Renewal is
/// the same call with the same public key. The signature is checked before the chain is handed out.
///
/// At most one organization can be put into a subject; Kubernetes' own identities need no more.
///
/// # Errors
/// [`PkiError::Leaf`] where the request makes no sense, [`PkiError::KeyMismatch`] and [`PkiError::NotAnIssuer`] where the
/// intermediate's files are not a pair or another authority's, [`PkiError::IssuerExpired`] and
/// [`PkiError::IssuerNotYetValid`], [`PkiError::Lifetime`] below one second, [`PkiError::Signing`].
pub fn sign_leaf(
    intermediate: &CertificateChain,
    intermediate_key: &PrivateKeyPem,
    leaf: &LeafSpec,
    key: &PublicKey,
    now: Timestamp,
    lifetime: Duration,
) -> Result<CertificateChain, PkiError> {
    let refuse = |why: String| PkiError::Leaf { common_name: leaf.common_name.clone(), why };
    check(leaf).map_err(refuse)?;
    let issuer = intermediate.first();
    if issuer.common_name != leaf.authority.as_str() {
        return Err(PkiError::NotAnIssuer {
            issuer: issuer.common_name.clone(),
            why: "the leaf belongs to another authority",
        });
    }
    let signer = Signer::new(issuer, intermediate_key)?;
    if key.digest() == issuer.public_key_digest {
        return Err(refuse("its key is the authority's own".to_owned()));
    }
    let validity = Validity::within(now, lifetime, issuer)?;
    let mut parameters =
        parameters(&leaf.common_name, leaf.organizations.first().map(String::as_str), validity)?;
    parameters.is_ca = IsCa::ExplicitNoCa;
    // An ECDSA key signs the handshake and nothing else (RFC 8446, 4.4.2.2); keyEncipherment is for RSA.
    parameters.key_usages = vec![KeyUsagePurpose::DigitalSignature];
    parameters.extended_key_usages = purposes(leaf.usage);
    parameters.subject_alt_names = names(leaf).map_err(refuse)?;
    let certificate = signer.sign(&parameters, &leaf.common_name, key)?;
    chain(&[&certificate, issuer])
}

fn purposes(usage: Usage) -> Vec<ExtendedKeyUsagePurpose> {
    match usage {
        Usage::Server => vec![ExtendedKeyUsagePurpose::ServerAuth],
        Usage::Client => vec![ExtendedKeyUsagePurpose::ClientAuth],
        Usage::ServerAndClient => {
            vec![ExtendedKeyUsagePurpose::ServerAuth, ExtendedKeyUsagePurpose::ClientAuth]
        }
    }
}

/// Names of the `ExtendedKeyUsage` values a usage stands for (RFC 5280, 4.2.1.12).
pub(crate) const fn usage_names(usage: Usage) -> &'static [&'static str] {
    match usage {
        Usage::Server => &["serverAuth"],
        Usage::Client => &["clientAuth"],
        Usage::ServerAndClient => &["clientAuth", "serverAuth"],
    }
}

pub(crate) fn names(leaf: &LeafSpec) -> Result<Vec<SanType>, String> {
    // Sets: a name asked for twice is in the certificate once, in an order that does not depend on the caller.
    let dns: BTreeSet<&str> = leaf.dns_names.iter().map(String::as_str).collect();
    let addresses: BTreeSet<IpAddr> = leaf.ip_addresses.iter().copied().collect();
    dns.into_iter()
        .map(|name| {
            name.try_into().map(SanType::DnsName).map_err(|_| format!("`{name}` is not an ASCII DNS name"))
        })
        .chain(addresses.into_iter().map(|address| Ok(SanType::IpAddress(address))))
        .collect()
}

/// Whether a leaf's request makes sense.
fn check(leaf: &LeafSpec) -> Result<(), String> {
    let printable = |text: &str| !text.trim().is_empty() && !text.chars().any(char::is_control);
    if !printable(&leaf.common_name) {
        return Err("the common name is empty or not printable".to_owned());
    }
    if leaf.organizations.len() > 1 {
        return Err(format!(
            "{} organizations were asked for and a subject holds one; bind further groups in RBAC",
            leaf.organizations.len()
        ));
    }
    if leaf.organizations.iter().any(|organization| !printable(organization)) {
        return Err("the organization is empty or not printable".to_owned());
    }
    if let Some(name) = leaf.dns_names.iter().find(|name| !is_dns_name(name)) {
        return Err(format!("`{name}` is not a DNS name"));
    }
    if leaf.usage != Usage::Client && leaf.dns_names.is_empty() && leaf.ip_addresses.is_empty() {
        return Err(
            "a server needs a DNS name or an address: clients do not look at the common name".to_owned()
        );
    }
    if let Some(address) = leaf.ip_addresses.iter().find(|address| address.is_unspecified()) {
        return Err(format!("{address} is not the address of anything"));
    }
    Ok(())
}

/// RFC 1123 labels, the first of which may be `*` (RFC 9525, 6.3).
fn is_dns_name(name: &str) -> bool {
    let rest = name.strip_prefix("*.").unwrap_or(name);
    name.len() <= 253
        && rest.split('.').all(|label| {
            !label.is_empty()
                && label.len() <= 63
                && !label.starts_with('-')
                && !label.ends_with('-')
                && label.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'-')
        })
}

#[cfg(test)]
mod tests {
    use kubezt_model::desired::AuthorityKind;

    use super::*;
    use crate::fixtures::{Authority, DAY, HOUR, client, now, public_key, server};

    #[test]
    fn a_leaf_says_what_was_asked_for() {
        let authority = Authority::new(AuthorityKind::Kubernetes);
        let key = public_key();
        let chain = authority.sign(&server(), &key, now(), 720 * HOUR).unwrap();
        assert_eq!(chain.len(), 2);
        let leaf = chain.first();
        assert_eq!(leaf.common_name, "kube-apiserver");
        assert_eq!(leaf.organizations, Vec::<String>::new());
        assert_eq!(leaf.issuer_common_name, "kubernetes");
        assert_eq!(
            leaf.dns_names.iter().map(String::as_str).collect::<Vec<_>>(),
            ["api.first.internal", "kubernetes"]
        );
        assert_eq!(
            leaf.ip_addresses.iter().map(ToString::to_string).collect::<Vec<_>>(),
            ["10.96.0.1", "127.0.0.1", "fd00::1"]
        );
        assert_eq!(leaf.extended_usages.iter().map(String::as_str).collect::<Vec<_>>(), ["serverAuth"]);
        assert_eq!(leaf.key_usages.iter().map(String::as_str).collect::<Vec<_>>(), ["digitalSignature"]);
        assert!(!leaf.is_ca && !leaf.may_issue());
        assert_eq!(leaf.public_key_digest, key.digest());
        assert_eq!(leaf.not_after, now() + 720 * HOUR);
        assert_eq!(leaf.serial.len(), 32);
        assert_eq!(chain.iter().nth(1).unwrap().fingerprint, authority.chain.first().fingerprint);
    }

    #[test]
    fn a_client_carries_its_group() {
        let authority = Authority::new(AuthorityKind::Kubernetes);
        let chain = authority.sign(&client(), &public_key(), now(), HOUR).unwrap();
        let leaf = chain.first();
        assert_eq!(leaf.common_name, "system:node:worker-1");
        assert_eq!(leaf.organizations, ["system:nodes"]);
        assert_eq!(leaf.extended_usages.iter().map(String::as_str).collect::<Vec<_>>(), ["clientAuth"]);
        assert!(leaf.dns_names.is_empty() && leaf.ip_addresses.is_empty());
    }

    #[test]
    fn serial_numbers_differ_and_renewal_keeps_the_key() {
        let authority = Authority::new(AuthorityKind::Kubernetes);
        let key = public_key();
        let one = authority.sign(&client(), &key, now(), HOUR).unwrap();
        let two = authority.sign(&client(), &key, now(), HOUR).unwrap();
        assert_ne!(one.first().serial, two.first().serial);
        assert_eq!(one.first().public_key_digest, two.first().public_key_digest);
    }

    #[test]
    fn a_leaf_is_clipped_to_its_intermediate() {
        let authority = Authority::new(AuthorityKind::Kubernetes);
        let end = authority.chain.first().not_after;
        let leaf = authority.sign(&client(), &public_key(), now(), 5000 * DAY).unwrap();
        assert_eq!(leaf.first().not_after, end);
        assert_eq!(leaf.first().not_before, authority.chain.first().not_before);
        assert!(matches!(
            authority.sign(&client(), &public_key(), end, HOUR),
            Err(PkiError::IssuerExpired { .. })
        ));
        assert!(matches!(
            authority.sign(&client(), &public_key(), now(), Duration::from_millis(1)),
            Err(PkiError::Lifetime(_))
        ));
    }

    #[test]
    fn files_of_two_authorities_sign_nothing() {
        let one = Authority::new(AuthorityKind::Kubernetes);
        let two = Authority::new(AuthorityKind::Kubernetes);
        let etcd = Authority::new(AuthorityKind::Etcd);
        assert!(matches!(
            sign_leaf(&one.chain, &two.key, &client(), &public_key(), now(), HOUR),
            Err(PkiError::KeyMismatch { .. })
        ));
        assert!(matches!(
            etcd.sign(&client(), &public_key(), now(), HOUR),
            Err(PkiError::NotAnIssuer { .. })
        ));
    }

    #[test]
    fn a_leaf_signs_nothing() {
        let authority = Authority::new(AuthorityKind::Kubernetes);
        let key = crate::generate().unwrap();
        let mut posing = client();
        posing.common_name = "kubernetes".to_owned();
        let chain = authority.sign(&posing, &crate::spki_of(&key).unwrap(), now(), HOUR).unwrap();
        assert!(matches!(
            sign_leaf(&chain, &key, &client(), &public_key(), now(), HOUR),
            Err(PkiError::NotAnIssuer { .. })
        ));
    }

    #[test]
    fn senseless_requests_are_refused() {
        let authority = Authority::new(AuthorityKind::Kubernetes);
        let change = |change: fn(&mut LeafSpec)| {
            let mut leaf = server();
            change(&mut leaf);
            leaf
        };
        for (leaf, words) in [
            (change(|leaf| leaf.common_name = " ".into()), "common name"),
            (change(|leaf| leaf.common_name = "a\nb".into()), "common name"),
            (change(|leaf| leaf.organizations = vec!["a".into(), "b".into()]), "2 organizations"),
            (change(|leaf| leaf.organizations = vec![String::new()]), "organization"),
            (change(|leaf| leaf.dns_names = vec!["a..b".into()]), "`a..b`"),
            (change(|leaf| leaf.dns_names = vec!["bücher.example".into()]), "DNS name"),
            (change(|leaf| leaf.dns_names = vec!["a.*.b".into()]), "DNS name"),
            (change(|leaf| leaf.ip_addresses = vec!["0.0.0.0".parse().unwrap()]), "0.0.0.0"),
            (
                change(|leaf| {
                    leaf.dns_names.clear();
                    leaf.ip_addresses.clear();
                }),
                "a server needs",
            ),
        ] {
            let error = authority.sign(&leaf, &public_key(), now(), HOUR).unwrap_err();
            assert!(matches!(error, PkiError::Leaf { .. }) && error.to_string().contains(words), "{error}");
        }
    }
}
