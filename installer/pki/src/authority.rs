//! The root and its intermediates.

use std::time::Duration;

use jiff::tz::TimeZone;
use jiff::{Timestamp, ToSpan};
use kubezt_model::desired::AuthorityKind;
use rcgen::{BasicConstraints, CertificateParams, IsCa, KeyUsagePurpose};

use crate::crypto::ROOT_KEY;
use crate::inspect::{CertificateChain, CertificateInfo};
use crate::issuance::{Signer, Validity, chain, parameters};
use crate::key::{PrivateKeyPem, PublicKey, generate_for};
use crate::verify::verify_issued_by;
use crate::{ChainFault, PkiError};

/// Years a root may live.
pub const ROOT_YEARS: std::ops::RangeInclusive<u16> = 1..=50;

/// The root: its certificate is public, its key rests sealed at the operator and is opened to issue intermediates only.
#[derive(Debug)]
pub struct RootAuthority {
    certificate: CertificateChain,
    key: PrivateKeyPem,
}

impl RootAuthority {
    /// A root from its stored parts.
    ///
    /// # Errors
    /// [`PkiError::KeyMismatch`] where they do not belong together, [`PkiError::NotAnIssuer`] where the certificate is
    /// not a self-signed authority's.
    pub fn from_parts(certificate: CertificateChain, key: PrivateKeyPem) -> Result<Self, PkiError> {
        let first = certificate.first();
        Signer::new(first, &key)?;
        verify_issued_by(first, first).map_err(|_| PkiError::NotAnIssuer {
            issuer: first.common_name.clone(),
            why: "a root signs itself, and this certificate was signed by another key",
        })?;
        Ok(Self { certificate, key })
    }

    /// The certificate, a chain of one.
    pub const fn certificate(&self) -> &CertificateChain {
        &self.certificate
    }

    /// What the certificate says.
    pub fn info(&self) -> &CertificateInfo {
        self.certificate.first()
    }

    /// The private key, for sealing.
    pub const fn key(&self) -> &PrivateKeyPem {
        &self.key
    }
}

/// A new root: ECDSA P-384, self-signed, path length 1 (intermediates, and leaves below them).
///
/// `name` becomes the common name and the organization of the intermediates; the cluster's name belongs in it, so that
/// two clusters' authorities are told apart. `years` are calendar years, 1 to 50.
///
/// # Errors
/// [`PkiError::Leaf`] for an empty name, [`PkiError::Lifetime`] for years out of range.
pub fn new_root(name: &str, now: Timestamp, years: u16) -> Result<RootAuthority, PkiError> {
    if name.trim().is_empty() || name.chars().any(char::is_control) {
        return Err(PkiError::Leaf {
            common_name: name.to_owned(),
            why: "a root needs a printable name".to_owned(),
        });
    }
    let lifetime = || PkiError::Lifetime(format!("{years} years"));
    if !ROOT_YEARS.contains(&years) {
        return Err(lifetime());
    }
    let end = now
        .to_zoned(TimeZone::UTC)
        .checked_add(i64::from(years).years())
        .map_err(|_| lifetime())?
        .timestamp();
    let mut parameters = parameters(name, None, Validity::until(now, end)?)?;
    as_authority(&mut parameters, 1);
    let key = generate_for(ROOT_KEY)?;
    let certificate = parameters
        .self_signed(&*key.pair()?)
        .map_err(|source| PkiError::Signing { subject: name.to_owned(), source })?;
    let certificate = CertificateInfo::from_der(certificate.der())?;
    RootAuthority::from_parts(chain(&[&certificate])?, key)
}

/// Signs an intermediate for a key that was made on the control plane: path length 0, no extended key usage, so that it
/// may sign servers and clients alike. Its validity is clipped to the root's.
///
/// The answer is a chain of one: the root is not part of what nodes send or trust.
///
/// # Errors
/// [`PkiError::IssuerExpired`], [`PkiError::IssuerNotYetValid`], [`PkiError::Lifetime`], [`PkiError::Signing`].
pub fn issue_intermediate(
    root: &RootAuthority,
    kind: AuthorityKind,
    key: &PublicKey,
    now: Timestamp,
    lifetime: Duration,
) -> Result<CertificateChain, PkiError> {
    let signer = Signer::new(root.info(), &root.key)?;
    let validity = Validity::within(now, lifetime, root.info())?;
    let mut parameters = parameters(kind.as_str(), Some(&root.info().common_name), validity)?;
    as_authority(&mut parameters, 0);
    chain(&[&signer.sign(&parameters, kind.as_str(), key)?])
}

pub(crate) fn as_authority(parameters: &mut CertificateParams, path_length: u8) {
    parameters.is_ca = IsCa::Ca(BasicConstraints::Constrained(path_length));
    parameters.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign];
}

/// Whether an intermediate is the one of this kind below this root.
///
/// # Errors
/// [`ChainFault`] in words.
pub fn verify_intermediate(
    intermediate: &CertificateInfo,
    kind: AuthorityKind,
    root: &CertificateInfo,
) -> Result<(), ChainFault> {
    if intermediate.common_name != kind.as_str() || intermediate.organizations != [root.common_name.clone()] {
        return Err(ChainFault::Subject {
            certificate: intermediate.common_name.clone(),
            wanted: format!("{} of {}", kind.as_str(), root.common_name),
        });
    }
    if !intermediate.may_issue() {
        return Err(ChainFault::NotAnAuthority { certificate: intermediate.common_name.clone() });
    }
    verify_issued_by(intermediate, root)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::crypto::KeyAlgorithm;
    use crate::fixtures::{DAY, now};
    use crate::key::{generate, spki_of};

    #[test]
    fn a_root_is_a_root() {
        let root = new_root("kubezt first", now(), 10).unwrap();
        let info = root.info();
        assert_eq!(info.common_name, "kubezt first");
        assert!(info.is_ca && info.path_length == Some(1));
        assert_eq!(
            info.key_usages.iter().map(String::as_str).collect::<Vec<_>>(),
            ["cRLSign", "keyCertSign"]
        );
        assert!(info.extended_usages.is_empty());
        assert_eq!(root.key().algorithm().unwrap(), KeyAlgorithm::EcdsaP384);
        assert_eq!(info.not_before, now() - kubezt_model::Lifetime::BACKDATE);
        assert_eq!(info.not_after.to_string(), "2036-11-20T12:00:00Z");
        verify_issued_by(info, info).unwrap();
        RootAuthority::from_parts(root.certificate, root.key).unwrap();
    }

    #[test]
    fn a_root_refuses_nonsense() {
        assert!(matches!(new_root("", now(), 10), Err(PkiError::Leaf { .. })));
        for years in [0, 51, u16::MAX] {
            assert!(matches!(new_root("r", now(), years), Err(PkiError::Lifetime(_))), "{years}");
        }
    }

    #[test]
    fn parts_of_two_roots_are_no_root() {
        let (one, two) = (new_root("r", now(), 1).unwrap(), new_root("r", now(), 1).unwrap());
        assert!(matches!(
            RootAuthority::from_parts(one.certificate, two.key),
            Err(PkiError::KeyMismatch { .. })
        ));
    }

    #[test]
    fn an_intermediate_is_no_root() {
        let root = new_root("r", now(), 1).unwrap();
        let key = generate().unwrap();
        let chain =
            issue_intermediate(&root, AuthorityKind::Etcd, &spki_of(&key).unwrap(), now(), 30 * DAY).unwrap();
        assert!(matches!(RootAuthority::from_parts(chain, key), Err(PkiError::NotAnIssuer { .. })));
    }

    #[test]
    fn intermediates_say_whose_they_are() {
        let root = new_root("kubezt first", now(), 10).unwrap();
        let other = new_root("kubezt first", now(), 10).unwrap();
        for kind in AuthorityKind::ALL {
            let key = spki_of(&generate().unwrap()).unwrap();
            let chain = issue_intermediate(&root, kind, &key, now(), 365 * DAY).unwrap();
            let info = chain.first();
            assert_eq!(chain.len(), 1);
            assert_eq!((info.common_name.as_str(), info.path_length), (kind.as_str(), Some(0)));
            assert_eq!(info.organizations, ["kubezt first"]);
            assert!(info.extended_usages.is_empty());
            assert_eq!(info.public_key_digest, key.digest());
            assert_eq!(info.not_after, now() + 365 * DAY);
            verify_intermediate(info, kind, root.info()).unwrap();
            assert!(matches!(
                verify_intermediate(info, kind, other.info()),
                Err(ChainFault::Signature { .. })
            ));
            let wrong = AuthorityKind::ALL.into_iter().find(|other| *other != kind).unwrap();
            assert!(matches!(verify_intermediate(info, wrong, root.info()), Err(ChainFault::Subject { .. })));
        }
    }

    #[test]
    fn an_intermediate_does_not_outlive_its_root() {
        let root = new_root("r", now(), 1).unwrap();
        let key = spki_of(&generate().unwrap()).unwrap();
        let issue = |at| issue_intermediate(&root, AuthorityKind::Kubernetes, &key, at, 500 * DAY);
        assert_eq!(issue(now()).unwrap().first().not_after, root.info().not_after);
        assert!(matches!(issue(root.info().not_after), Err(PkiError::IssuerExpired { .. })));
        assert!(matches!(issue(now() - DAY), Err(PkiError::IssuerNotYetValid { .. })));
    }
}
