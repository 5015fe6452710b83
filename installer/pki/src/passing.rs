//! An authority for the length of one run, and the one leaf it ever signs.
//!
//! Whoever takes part in the run shows the leaf and believes nobody without it. It says nothing about who shows it: what nodes
//! of one run tell each other has to be believed for another reason, such as a digest.

use std::time::Duration;

use jiff::Timestamp;
use rcgen::{ExtendedKeyUsagePurpose, IsCa, KeyUsagePurpose, SanType};

use crate::PkiError;
use crate::authority::as_authority;
use crate::inspect::{CertificateChain, CertificateInfo};
use crate::issuance::{Signer, Validity, chain, parameters};
use crate::key::{PrivateKeyPem, generate, spki_of};

/// What shows that somebody takes part in a run. The authority's key is gone by the time this exists.
#[derive(Debug)]
pub struct PassingCredential {
    /// The authority, a chain of one.
    pub authority: CertificateChain,
    /// The leaf, a chain of one, for servers and clients alike.
    pub leaf: CertificateChain,
    /// Key of the leaf.
    pub key: PrivateKeyPem,
}

/// Makes one. `name` is a DNS name, by which clients know servers; both certificates are valid from five minutes before `now` for
/// `lifetime`.
///
/// # Errors
/// [`PkiError::Leaf`] where `name` is no DNS name, [`PkiError::Lifetime`] below one second, [`PkiError::Randomness`],
/// [`PkiError::Signing`].
pub fn passing_credential(
    name: &str,
    now: Timestamp,
    lifetime: Duration,
) -> Result<PassingCredential, PkiError> {
    let dns_name = name
        .try_into()
        .map_err(|_| PkiError::Leaf { common_name: name.to_owned(), why: "it is no DNS name".to_owned() })?;
    let end = now.checked_add(lifetime).map_err(|_| PkiError::Lifetime(format!("{lifetime:?}")))?;
    let validity = Validity::until(now, end)?;

    let authority_key = generate()?;
    let mut authority = parameters(&format!("authority of {name}"), None, validity)?;
    as_authority(&mut authority, 0);
    let authority = authority
        .self_signed(&*authority_key.pair()?)
        .map_err(|source| PkiError::Signing { subject: name.to_owned(), source })?;
    let authority = CertificateInfo::from_der(authority.der())?;

    let key = generate()?;
    let mut leaf = parameters(name, None, validity)?;
    leaf.is_ca = IsCa::ExplicitNoCa;
    leaf.key_usages = vec![KeyUsagePurpose::DigitalSignature];
    leaf.extended_key_usages = vec![ExtendedKeyUsagePurpose::ServerAuth, ExtendedKeyUsagePurpose::ClientAuth];
    leaf.subject_alt_names = vec![SanType::DnsName(dns_name)];
    let leaf = Signer::new(&authority, &authority_key)?.sign(&leaf, name, &spki_of(&key)?)?;
    Ok(PassingCredential { authority: chain(&[&authority])?, leaf: chain(&[&leaf])?, key })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::fixtures::{HOUR, now};
    use crate::verify::verify_issued_by;

    #[test]
    fn a_leaf_serves_and_asks_for_as_long_as_the_run_may_take() {
        let credential = passing_credential("run.internal", now(), 2 * HOUR).unwrap();
        let (authority, leaf) = (credential.authority.first(), credential.leaf.first());
        assert!(authority.may_issue() && authority.path_length == Some(0) && !leaf.may_issue());
        verify_issued_by(leaf, authority).unwrap();
        assert_eq!(leaf.dns_names.iter().map(String::as_str).collect::<Vec<_>>(), ["run.internal"]);
        assert_eq!(
            leaf.extended_usages.iter().map(String::as_str).collect::<Vec<_>>(),
            ["clientAuth", "serverAuth"]
        );
        assert_eq!(leaf.public_key_digest, spki_of(&credential.key).unwrap().digest());
        for certificate in [authority, leaf] {
            assert_eq!(certificate.not_after, now() + 2 * HOUR);
        }
        let shown = format!("{credential:?}");
        assert!(!shown.contains("PRIVATE KEY"), "{shown}");
    }

    #[test]
    fn two_runs_do_not_know_each_other() {
        let [one, other] = [(); 2].map(|()| passing_credential("run.internal", now(), HOUR).unwrap());
        assert!(verify_issued_by(one.leaf.first(), other.authority.first()).is_err());
    }

    #[test]
    fn nonsense_is_refused() {
        assert!(matches!(passing_credential("bücher", now(), HOUR), Err(PkiError::Leaf { .. })));
        let none = passing_credential("run.internal", now(), Duration::ZERO);
        assert!(matches!(none, Err(PkiError::Lifetime(_))));
    }
}
