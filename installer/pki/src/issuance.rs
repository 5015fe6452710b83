//! What issuing a root, an intermediate and a leaf have in common.

use std::time::Duration;

use jiff::Timestamp;
use kubezt_model::Lifetime;
use rcgen::{CertificateParams, DistinguishedName, DnType, Issuer, SerialNumber};
use time::OffsetDateTime;

use crate::inspect::{CertificateChain, CertificateInfo};
use crate::key::{PrivateKeyPem, PublicKey, spki_of};
use crate::random::random_bytes;
use crate::verify::verify_issued_by;
use crate::{PkiError, pem};

/// Validity of a certificate, in whole seconds as X.509 has them.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Validity {
    pub(crate) not_before: Timestamp,
    pub(crate) not_after: Timestamp,
}

impl Validity {
    /// From `now` less [`Lifetime::BACKDATE`] to `end`.
    pub(crate) fn until(now: Timestamp, end: Timestamp) -> Result<Self, PkiError> {
        let error = || PkiError::Lifetime(format!("{now} to {end}"));
        let now = whole_seconds(now);
        let not_after = whole_seconds(end);
        let not_before = now.checked_sub(Lifetime::BACKDATE).map_err(|_| error())?;
        if not_after <= now { Err(error()) } else { Ok(Self { not_before, not_after }) }
    }

    /// A lifetime from `now` on, clipped to the issuer's validity at both ends: a certificate that outlives its issuer
    /// would only look valid.
    pub(crate) fn within(
        now: Timestamp,
        lifetime: Duration,
        issuer: &CertificateInfo,
    ) -> Result<Self, PkiError> {
        if now >= issuer.not_after {
            return Err(PkiError::IssuerExpired { issuer: issuer.common_name.clone(), at: issuer.not_after });
        }
        if now < issuer.not_before {
            return Err(PkiError::IssuerNotYetValid {
                issuer: issuer.common_name.clone(),
                from: issuer.not_before,
            });
        }
        let end = now.checked_add(lifetime).map_err(|_| PkiError::Lifetime(format!("{lifetime:?}")))?;
        let wanted = Self::until(now, end)?;
        Ok(Self {
            not_before: wanted.not_before.max(issuer.not_before),
            not_after: wanted.not_after.min(issuer.not_after),
        })
    }
}

fn whole_seconds(time: Timestamp) -> Timestamp {
    Timestamp::from_second(time.as_second()).unwrap_or(time)
}

/// Parameters with subject, validity and a fresh serial number; extensions are the caller's.
pub(crate) fn parameters(
    common_name: &str,
    organization: Option<&str>,
    validity: Validity,
) -> Result<CertificateParams, PkiError> {
    let mut parameters = CertificateParams::default();
    parameters.distinguished_name = subject(common_name, organization);
    parameters.serial_number = Some(serial_number()?);
    parameters.not_before = date(validity.not_before)?;
    parameters.not_after = date(validity.not_after)?;
    parameters.use_authority_key_identifier_extension = true;
    Ok(parameters)
}

pub(crate) fn subject(common_name: &str, organization: Option<&str>) -> DistinguishedName {
    let mut subject = DistinguishedName::new();
    if let Some(organization) = organization {
        subject.push(DnType::OrganizationName, organization);
    }
    subject.push(DnType::CommonName, common_name);
    subject
}

/// 126 random bits, positive and always 16 octets long (RFC 5280, 4.1.2.2 allows 20).
fn serial_number() -> Result<SerialNumber, PkiError> {
    let mut octets = *random_bytes::<16>()?;
    octets[0] = octets[0] & 0x3f | 0x40;
    Ok(SerialNumber::from_slice(&octets))
}

fn date(time: Timestamp) -> Result<OffsetDateTime, PkiError> {
    OffsetDateTime::from_unix_timestamp(time.as_second()).map_err(|_| PkiError::Lifetime(time.to_string()))
}

/// An issuer whose key was shown to belong to its certificate and whose certificate allows signing.
pub(crate) struct Signer<'a> {
    pub(crate) certificate: &'a CertificateInfo,
    key: &'a PrivateKeyPem,
}

impl<'a> Signer<'a> {
    pub(crate) fn new(certificate: &'a CertificateInfo, key: &'a PrivateKeyPem) -> Result<Self, PkiError> {
        if spki_of(key)?.digest() != certificate.public_key_digest {
            return Err(PkiError::KeyMismatch { certificate: certificate.common_name.clone() });
        }
        if !certificate.may_issue() {
            return Err(PkiError::NotAnIssuer {
                issuer: certificate.common_name.clone(),
                why: "its certificate is not an authority's (basicConstraints CA, keyCertSign)",
            });
        }
        Ok(Self { certificate, key })
    }

    /// Signs, reads the result back and checks its signature before anyone sees it.
    pub(crate) fn sign(
        &self,
        parameters: &CertificateParams,
        subject: &str,
        key: &PublicKey,
    ) -> Result<CertificateInfo, PkiError> {
        let signing = |source| PkiError::Signing { subject: subject.to_owned(), source };
        let pair = self.key.pair()?;
        let issuer = Issuer::from_ca_cert_pem(&self.certificate.to_pem(), &*pair).map_err(signing)?;
        let certificate = parameters.signed_by(&key.for_signing()?, &issuer).map_err(signing)?;
        let issued = CertificateInfo::from_der(certificate.der())?;
        verify_issued_by(&issued, self.certificate)
            .map_err(|source| PkiError::SelfCheck { subject: subject.to_owned(), source })?;
        Ok(issued)
    }
}

/// A chain of what was just issued.
pub(crate) fn chain(certificates: &[&CertificateInfo]) -> Result<CertificateChain, PkiError> {
    let text: String = certificates
        .iter()
        .map(|certificate| pem::encode("CERTIFICATE", certificate.der()).to_string())
        .collect();
    CertificateChain::parse(&text)
}
