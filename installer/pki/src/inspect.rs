//! What a certificate says.

use std::collections::BTreeSet;
use std::fmt;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use jiff::Timestamp;
use kubezt_model::Digest;
use serde::Serialize;
use x509_parser::extensions::{ExtendedKeyUsage, GeneralName, KeyUsage, ParsedExtension};
use x509_parser::prelude::X509Certificate;
use x509_parser::time::ASN1Time;
use x509_parser::x509::AttributeTypeAndValue;

use crate::crypto::digest;
use crate::renewal::Renewal;
use crate::{PkiError, pem};

const LABEL: &str = "CERTIFICATE";

/// A certificate, read. Names are sets: their order means nothing.
#[derive(Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct CertificateInfo {
    /// Common name of the subject; empty where it has none.
    pub common_name: String,
    /// Organizations of the subject, in their order (Kubernetes groups).
    pub organizations: Vec<String>,
    /// DNS names of the subject alternative name.
    pub dns_names: BTreeSet<String>,
    /// Addresses of the subject alternative name.
    pub ip_addresses: BTreeSet<IpAddr>,
    /// Further alternative names, such as `URI:…`; kubezt issues none.
    pub other_names: BTreeSet<String>,
    /// `keyUsage` by the names of RFC 5280, 4.2.1.3.
    pub key_usages: BTreeSet<String>,
    /// `extKeyUsage` by the names of RFC 5280, 4.2.1.12, or as dotted numbers.
    pub extended_usages: BTreeSet<String>,
    /// Whether `basicConstraints` makes it an authority.
    pub is_ca: bool,
    /// How many authorities may stand between it and a leaf; none means any number.
    pub path_length: Option<u32>,
    /// Common name of the issuer.
    pub issuer_common_name: String,
    /// Serial number in lower-case hexadecimal digits.
    pub serial: String,
    /// Start of the validity.
    pub not_before: Timestamp,
    /// End of the validity.
    pub not_after: Timestamp,
    /// SHA-256 of the SubjectPublicKeyInfo, to be compared with [`crate::PublicKey::digest`].
    pub public_key_digest: Digest,
    /// SHA-256 of the whole certificate.
    pub fingerprint: Digest,
    /// Critical extensions kubezt does not understand, as dotted numbers: nobody may trust such a certificate.
    pub unknown_critical: BTreeSet<String>,
    #[serde(skip)]
    der: Vec<u8>,
}

impl CertificateInfo {
    /// Reads the DER of one certificate.
    ///
    /// # Errors
    /// [`PkiError::Certificate`].
    pub fn from_der(der: &[u8]) -> Result<Self, PkiError> {
        let fault = |why: &str| PkiError::Certificate { why: why.to_owned() };
        let certificate = parse(der)?;
        let mut info = Self {
            common_name: common_name(certificate.subject().iter_common_name())?,
            organizations: certificate.subject().iter_organization().map(text).collect::<Result<_, _>>()?,
            dns_names: BTreeSet::new(),
            ip_addresses: BTreeSet::new(),
            other_names: BTreeSet::new(),
            key_usages: BTreeSet::new(),
            extended_usages: BTreeSet::new(),
            is_ca: false,
            path_length: None,
            issuer_common_name: common_name(certificate.issuer().iter_common_name())?,
            serial: certificate.raw_serial().iter().map(|octet| format!("{octet:02x}")).collect(),
            not_before: timestamp(certificate.validity().not_before),
            not_after: timestamp(certificate.validity().not_after),
            public_key_digest: digest(certificate.public_key().raw),
            fingerprint: digest(der),
            unknown_critical: BTreeSet::new(),
            der: der.to_vec(),
        };
        // Refuses a certificate that has an extension twice (RFC 5280, 4.2).
        certificate.extensions_map().map_err(|_| fault("an extension appears twice"))?;
        for extension in certificate.iter_extensions() {
            match extension.parsed_extension() {
                ParsedExtension::SubjectAlternativeName(names) => info.take_names(&names.general_names)?,
                ParsedExtension::KeyUsage(usage) => info.key_usages = key_usages(usage),
                ParsedExtension::ExtendedKeyUsage(usage) => info.extended_usages = extended_usages(usage),
                ParsedExtension::BasicConstraints(constraints) => {
                    info.is_ca = constraints.ca;
                    info.path_length = constraints.path_len_constraint;
                }
                ParsedExtension::ParseError { .. } => {
                    return Err(PkiError::Certificate {
                        why: format!("extension {} is damaged", extension.oid),
                    });
                }
                _ if extension.critical => {
                    info.unknown_critical.insert(extension.oid.to_id_string());
                }
                _ => {}
            }
        }
        Ok(info)
    }

    /// The certificate itself.
    pub fn der(&self) -> &[u8] {
        &self.der
    }

    /// The certificate as one PEM block.
    pub fn to_pem(&self) -> String {
        pem::encode(LABEL, &self.der).to_string()
    }

    /// Whether it may sign certificates: an authority whose key usage says so.
    pub fn may_issue(&self) -> bool {
        self.is_ca && self.key_usages.contains("keyCertSign")
    }

    /// Whether it is valid at this time; both ends belong to the validity (RFC 5280, 4.1.2.5).
    pub fn is_valid_at(&self, now: Timestamp) -> bool {
        self.not_before <= now && now <= self.not_after
    }

    /// When it is renewed.
    pub fn renewal(&self) -> Renewal {
        let [one, two, three, four, ..] = *self.fingerprint.as_bytes();
        Renewal::of(self.not_before, self.not_after, u32::from_be_bytes([one, two, three, four]))
    }

    pub(crate) fn parsed(&self) -> Result<X509Certificate<'_>, PkiError> {
        parse(&self.der)
    }

    fn take_names(&mut self, names: &[GeneralName<'_>]) -> Result<(), PkiError> {
        for name in names {
            match name {
                GeneralName::DNSName(name) => {
                    self.dns_names.insert((*name).to_owned());
                }
                GeneralName::IPAddress(octets) => {
                    self.ip_addresses.insert(address(octets)?);
                }
                GeneralName::Invalid(..) => {
                    return Err(PkiError::Certificate { why: "an alternative name is damaged".to_owned() });
                }
                other => {
                    self.other_names.insert(other.to_string());
                }
            }
        }
        Ok(())
    }
}

impl fmt::Debug for CertificateInfo {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            formatter,
            "CertificateInfo({} by {}, {} to {}, {})",
            self.common_name,
            self.issuer_common_name,
            self.not_before,
            self.not_after,
            self.fingerprint.short()
        )
    }
}

fn parse(der: &[u8]) -> Result<X509Certificate<'_>, PkiError> {
    match x509_parser::parse_x509_certificate(der) {
        Ok(([], certificate)) => Ok(certificate),
        Ok(_) => Err(PkiError::Certificate { why: "something follows it inside its block".to_owned() }),
        Err(error) => Err(PkiError::Certificate { why: format!("its DER is damaged: {error}") }),
    }
}

pub(crate) fn text(attribute: &AttributeTypeAndValue<'_>) -> Result<String, PkiError> {
    attribute
        .as_str()
        .map(str::to_owned)
        .map_err(|_| PkiError::Certificate { why: "its subject or issuer is not text".to_owned() })
}

/// Two common names are two identities, and programs differ in which one they take: such a certificate is refused.
pub(crate) fn common_name<'a, 'b: 'a>(
    mut names: impl Iterator<Item = &'a AttributeTypeAndValue<'b>>,
) -> Result<String, PkiError> {
    let first = names.next().map(text).transpose()?.unwrap_or_default();
    match names.next() {
        None => Ok(first),
        Some(_) => Err(PkiError::Certificate { why: "it has more than one common name".to_owned() }),
    }
}

pub(crate) fn address(octets: &[u8]) -> Result<IpAddr, PkiError> {
    if let Ok(octets) = <[u8; 4]>::try_from(octets) {
        Ok(Ipv4Addr::from(octets).into())
    } else if let Ok(octets) = <[u8; 16]>::try_from(octets) {
        Ok(Ipv6Addr::from(octets).into())
    } else {
        Err(PkiError::Certificate { why: format!("an address has {} octets", octets.len()) })
    }
}

/// X.509 goes to the last second of 9999, which is a little beyond what [`Timestamp`] can hold.
fn timestamp(time: ASN1Time) -> Timestamp {
    let seconds = time.timestamp();
    Timestamp::from_second(seconds).unwrap_or(if seconds < 0 { Timestamp::MIN } else { Timestamp::MAX })
}

fn set<const N: usize>(names: [(bool, &str); N]) -> BTreeSet<String> {
    names.into_iter().filter(|(present, _)| *present).map(|(_, name)| name.to_owned()).collect()
}

fn key_usages(usage: &KeyUsage) -> BTreeSet<String> {
    set([
        (usage.digital_signature(), "digitalSignature"),
        (usage.non_repudiation(), "nonRepudiation"),
        (usage.key_encipherment(), "keyEncipherment"),
        (usage.data_encipherment(), "dataEncipherment"),
        (usage.key_agreement(), "keyAgreement"),
        (usage.key_cert_sign(), "keyCertSign"),
        (usage.crl_sign(), "cRLSign"),
        (usage.encipher_only(), "encipherOnly"),
        (usage.decipher_only(), "decipherOnly"),
    ])
}

fn extended_usages(usage: &ExtendedKeyUsage<'_>) -> BTreeSet<String> {
    let mut names = set([
        (usage.any, "anyExtendedKeyUsage"),
        (usage.server_auth, "serverAuth"),
        (usage.client_auth, "clientAuth"),
        (usage.code_signing, "codeSigning"),
        (usage.email_protection, "emailProtection"),
        (usage.time_stamping, "timeStamping"),
        (usage.ocsp_signing, "OCSPSigning"),
    ]);
    names.extend(usage.other.iter().map(x509_parser::der_parser::oid::Oid::to_id_string));
    names
}

/// One or more certificates that were read: of a file, the first is the one it is about, the others are its issuers.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(transparent)]
pub struct CertificateChain(Vec<CertificateInfo>);

impl CertificateChain {
    /// Reads PEM text; every block must be a certificate.
    ///
    /// # Errors
    /// [`PkiError::Pem`], [`PkiError::Certificate`].
    pub fn parse(text: &str) -> Result<Self, PkiError> {
        let certificates = pem::blocks(text)?
            .iter()
            .map(|block| match block.label {
                LABEL => CertificateInfo::from_der(&block.der),
                _ => Err(PkiError::Pem("a block is not a CERTIFICATE")),
            })
            .collect::<Result<Vec<_>, _>>()?;
        // `blocks` never answers with an empty list.
        Ok(Self(certificates))
    }

    /// The certificate this is about.
    #[expect(
        clippy::missing_panics_doc,
        reason = "a chain is never empty: only `parse` makes one, from at least one block"
    )]
    #[expect(
        clippy::expect_used,
        reason = "a chain is never empty: only `parse` makes one, from at least one block"
    )]
    pub fn first(&self) -> &CertificateInfo {
        self.0.first().expect("a chain holds at least one certificate")
    }

    /// All of them, in order.
    pub fn iter(&self) -> std::slice::Iter<'_, CertificateInfo> {
        self.0.iter()
    }

    /// All of them, in order.
    pub fn as_slice(&self) -> &[CertificateInfo] {
        &self.0
    }

    /// How many there are; at least one.
    #[expect(clippy::len_without_is_empty, reason = "never empty")]
    pub fn len(&self) -> usize {
        self.0.len()
    }

    /// PEM text.
    pub fn to_pem(&self) -> String {
        self.0.iter().map(CertificateInfo::to_pem).collect()
    }
}

impl fmt::Display for CertificateChain {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(&self.to_pem())
    }
}

#[cfg(test)]
mod tests {
    use kubezt_model::desired::AuthorityKind;
    use proptest::prelude::*;

    use super::*;
    use crate::fixtures::{Authority, HOUR, client, now, public_key, server};

    #[test]
    fn a_chain_survives_its_text() {
        let chain =
            Authority::new(AuthorityKind::Kubernetes).sign(&server(), &public_key(), now(), HOUR).unwrap();
        assert_eq!(CertificateChain::parse(&chain.to_pem()).unwrap(), chain);
        assert_eq!(chain.to_string(), chain.to_pem());
    }

    #[test]
    fn both_ends_of_the_validity_count() {
        let chain =
            Authority::new(AuthorityKind::Kubernetes).sign(&client(), &public_key(), now(), HOUR).unwrap();
        let leaf = chain.first();
        let second = std::time::Duration::from_secs(1);
        assert!(leaf.is_valid_at(leaf.not_before) && leaf.is_valid_at(leaf.not_after));
        assert!(!leaf.is_valid_at(leaf.not_before - second) && !leaf.is_valid_at(leaf.not_after + second));
    }

    #[test]
    fn other_blocks_and_trailing_octets_are_refused() {
        let authority = Authority::new(AuthorityKind::Kubernetes);
        let mixed = format!("{}{}", authority.chain.to_pem(), authority.key.expose());
        assert!(matches!(CertificateChain::parse(&mixed), Err(PkiError::Pem(_))));
        let mut longer = authority.chain.first().der().to_vec();
        longer.push(0);
        assert!(matches!(CertificateInfo::from_der(&longer), Err(PkiError::Certificate { .. })));
    }

    proptest! {
        #[test]
        fn damaged_certificates_do_not_panic(index in 0usize..600, value: u8) {
            static DER: std::sync::LazyLock<Vec<u8>> = std::sync::LazyLock::new(|| {
                Authority::new(AuthorityKind::Kubernetes).chain.first().der().to_vec()
            });
            let mut damaged = DER.clone();
            let index = index % damaged.len();
            damaged[index] = value;
            if let Ok(info) = CertificateInfo::from_der(&damaged) {
                prop_assert_eq!(info.der(), &damaged[..]);
            }
        }
    }
}
