//! Whether a chain holds.
//!
//! The rules are RFC 5280, 6.1, as far as kubezt's own certificates need them, and as Go's `crypto/x509` applies them:
//! any certificate can be an anchor, self-signed or not. Name constraints and policies are not understood, so a
//! certificate with such a critical extension is refused.

use jiff::Timestamp;
use kubezt_model::desired::Usage;
use thiserror::Error;

use crate::inspect::CertificateInfo;
use crate::key::PublicKey;
use crate::leaf::usage_names;

/// More steps than this are no chain of ours.
const DEEPEST: u32 = 8;

/// Why a chain does not hold. Certificates are named by their common names.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub enum ChainFault {
    /// There is no certificate.
    #[error("there is no certificate")]
    Empty,
    /// Subject of the issuer and issuer of the certificate differ.
    #[error("`{certificate}` was issued by `{issuer}`, not by `{parent}`")]
    Issuer {
        /// The certificate.
        certificate: String,
        /// Who it says issued it.
        issuer: String,
        /// Who was taken for the issuer.
        parent: String,
    },
    /// The subject is another one.
    #[error("the subject is `{certificate}` and should be `{wanted}`")]
    Subject {
        /// The certificate.
        certificate: String,
        /// What was expected.
        wanted: String,
    },
    /// The issuer is not an authority, or its key usage forbids signing.
    #[error("`{certificate}` is not an authority and can issue nothing")]
    NotAnAuthority {
        /// The issuer.
        certificate: String,
    },
    /// The signature is not the issuer's.
    #[error("the signature on `{certificate}` was not made with the key of `{parent}`")]
    Signature {
        /// The certificate.
        certificate: String,
        /// Who was taken for the issuer.
        parent: String,
    },
    /// Outside the validity.
    #[error("`{certificate}` is valid from {from} to {until} and it is {now}")]
    Validity {
        /// The certificate.
        certificate: String,
        /// Start.
        from: Timestamp,
        /// End.
        until: Timestamp,
        /// When it was looked at.
        now: Timestamp,
    },
    /// More authorities below an authority than it allows.
    #[error("`{certificate}` has more authorities below it than its path length allows")]
    PathLength {
        /// The authority.
        certificate: String,
    },
    /// The extended key usage does not allow what it is used for.
    #[error("`{certificate}` must not be used for {usage}")]
    Usage {
        /// The certificate.
        certificate: String,
        /// What it was used for.
        usage: &'static str,
    },
    /// A critical extension nobody here understands.
    #[error("`{certificate}` has the critical extension {oid}, which is not understood")]
    CriticalExtension {
        /// The certificate.
        certificate: String,
        /// Dotted number.
        oid: String,
    },
    /// No trusted certificate at the end.
    #[error("the chain ends at `{certificate}`, which nobody trusted issued")]
    Untrusted {
        /// The last certificate that was reached.
        certificate: String,
    },
}

/// Whether `parent` issued `child`: names match, the parent may sign, the signature verifies. Times are not looked at.
///
/// # Errors
/// [`ChainFault::Issuer`], [`ChainFault::NotAnAuthority`], [`ChainFault::Signature`].
pub fn verify_issued_by(child: &CertificateInfo, parent: &CertificateInfo) -> Result<(), ChainFault> {
    let signature = || ChainFault::Signature {
        certificate: child.common_name.clone(),
        parent: parent.common_name.clone(),
    };
    let (Ok(certificate), Ok(issuer)) = (child.parsed(), parent.parsed()) else { return Err(signature()) };
    if certificate.issuer().as_raw() != issuer.subject().as_raw() {
        return Err(ChainFault::Issuer {
            certificate: child.common_name.clone(),
            issuer: child.issuer_common_name.clone(),
            parent: parent.common_name.clone(),
        });
    }
    if !parent.may_issue() {
        return Err(ChainFault::NotAnAuthority { certificate: parent.common_name.clone() });
    }
    // Narrows what is accepted to the algorithms kubezt knows: no RSA, and so no SHA-1.
    PublicKey::from_der(issuer.public_key().raw).map_err(|_| signature())?;
    // The outer algorithm and the padding of the signature are not signed themselves: the one has to repeat what was
    // signed (RFC 5280, 4.1.1.2), the other has to be empty.
    if certificate.signature_algorithm != certificate.tbs_certificate.signature
        || certificate.signature_value.unused_bits != 0
    {
        return Err(signature());
    }
    certificate.verify_signature(Some(issuer.public_key())).map_err(|_| signature())
}

/// Whether the first certificate can be trusted: a path leads over the others to an anchor, everything on it is valid
/// now, authorities keep to their path lengths, and (where a usage is given) the extended key usages allow it.
///
/// `chain` may be in any order behind its first certificate. An anchor's own times count, as they do in Go.
///
/// # Errors
/// The first [`ChainFault`] on the path.
pub fn verify_chain(
    chain: &[CertificateInfo],
    anchors: &[CertificateInfo],
    usage: Option<Usage>,
    now: Timestamp,
) -> Result<(), ChainFault> {
    let mut current = chain.first().ok_or(ChainFault::Empty)?;
    if let Some(usage) = usage {
        check_usage(current, usage, false)?;
    }
    for authorities_below in 0..DEEPEST {
        check_alone(current, now)?;
        if anchors.iter().any(|anchor| anchor.fingerprint == current.fingerprint) {
            return Ok(());
        }
        let issuer = |candidates: &'_ [CertificateInfo]| {
            candidates.iter().position(|candidate| {
                candidate.fingerprint != current.fingerprint && verify_issued_by(current, candidate).is_ok()
            })
        };
        let (parent, trusted) = match (issuer(anchors), issuer(chain)) {
            (Some(index), _) => (&anchors[index], true),
            (None, Some(index)) => (&chain[index], false),
            (None, None) => return Err(ChainFault::Untrusted { certificate: current.common_name.clone() }),
        };
        if parent.path_length.is_some_and(|length| length < authorities_below) {
            return Err(ChainFault::PathLength { certificate: parent.common_name.clone() });
        }
        if let Some(usage) = usage {
            check_usage(parent, usage, true)?;
        }
        if trusted {
            return check_alone(parent, now);
        }
        current = parent;
    }
    Err(ChainFault::Untrusted { certificate: current.common_name.clone() })
}

fn check_alone(certificate: &CertificateInfo, now: Timestamp) -> Result<(), ChainFault> {
    if !certificate.is_valid_at(now) {
        return Err(ChainFault::Validity {
            certificate: certificate.common_name.clone(),
            from: certificate.not_before,
            until: certificate.not_after,
            now,
        });
    }
    match certificate.unknown_critical.first() {
        None => Ok(()),
        Some(oid) => Err(ChainFault::CriticalExtension {
            certificate: certificate.common_name.clone(),
            oid: oid.clone(),
        }),
    }
}

/// A leaf must name its usage; an authority without any allows all.
fn check_usage(certificate: &CertificateInfo, usage: Usage, authority: bool) -> Result<(), ChainFault> {
    let named = &certificate.extended_usages;
    if authority && (named.is_empty() || named.contains("anyExtendedKeyUsage")) {
        return Ok(());
    }
    match usage_names(usage).iter().find(|name| !named.contains(**name)) {
        None => Ok(()),
        Some(usage) => Err(ChainFault::Usage { certificate: certificate.common_name.clone(), usage }),
    }
}

#[cfg(test)]
mod tests {
    use kubezt_model::desired::AuthorityKind;

    use super::*;
    use crate::fixtures::{Authority, DAY, HOUR, client, now, public_key, server};
    use crate::issuance::Signer;
    use crate::{CertificateChain, generate, spki_of};

    #[test]
    fn a_leaf_is_trusted_under_its_intermediate_and_its_root() {
        let authority = Authority::new(AuthorityKind::Kubernetes);
        let chain = authority.sign(&server(), &public_key(), now(), HOUR).unwrap();
        let root = [authority.root.info().clone()];
        for anchors in [&root[..], authority.chain.as_slice()] {
            verify_chain(chain.as_slice(), anchors, Some(Usage::Server), now()).unwrap();
            verify_chain(chain.as_slice(), anchors, None, now()).unwrap();
        }
        // The leaf alone reaches the intermediate but not the root.
        let alone = &chain.as_slice()[..1];
        verify_chain(alone, authority.chain.as_slice(), None, now()).unwrap();
        assert_eq!(
            verify_chain(alone, &root, None, now()),
            Err(ChainFault::Untrusted { certificate: "kube-apiserver".into() })
        );
    }

    #[test]
    fn another_root_of_the_same_name_is_refused() {
        let one = Authority::new(AuthorityKind::Kubernetes);
        let two = Authority::new(AuthorityKind::Kubernetes);
        let chain = one.sign(&server(), &public_key(), now(), HOUR).unwrap();
        for anchors in [std::slice::from_ref(two.root.info()), two.chain.as_slice()] {
            assert!(matches!(
                verify_chain(chain.as_slice(), anchors, None, now()),
                Err(ChainFault::Untrusted { .. })
            ));
        }
        assert!(matches!(
            verify_issued_by(chain.first(), two.chain.first()),
            Err(ChainFault::Signature { .. })
        ));
        assert!(matches!(verify_chain(&[], one.chain.as_slice(), None, now()), Err(ChainFault::Empty)));
    }

    #[test]
    fn an_etcd_client_opens_nothing_at_the_api() {
        let kubernetes = Authority::new(AuthorityKind::Kubernetes);
        let key = generate().unwrap();
        let etcd = crate::issue_intermediate(
            &kubernetes.root,
            AuthorityKind::Etcd,
            &spki_of(&key).unwrap(),
            now(),
            30 * DAY,
        )
        .unwrap();
        let mut spec = client();
        spec.authority = AuthorityKind::Etcd;
        let chain = crate::sign_leaf(&etcd, &key, &spec, &public_key(), now(), HOUR).unwrap();
        verify_chain(chain.as_slice(), etcd.as_slice(), Some(Usage::Client), now()).unwrap();
        assert!(matches!(
            verify_chain(chain.as_slice(), kubernetes.chain.as_slice(), Some(Usage::Client), now()),
            Err(ChainFault::Untrusted { .. })
        ));
    }

    #[test]
    fn usage_and_time_are_looked_at() {
        let authority = Authority::new(AuthorityKind::Kubernetes);
        let anchors = authority.chain.as_slice();
        let chain = authority.sign(&client(), &public_key(), now(), HOUR).unwrap();
        assert!(matches!(
            verify_chain(chain.as_slice(), anchors, Some(Usage::Server), now()),
            Err(ChainFault::Usage { usage: "serverAuth", .. })
        ));
        assert!(verify_chain(chain.as_slice(), anchors, Some(Usage::ServerAndClient), now()).is_err());
        for time in [now() - HOUR, now() + 2 * HOUR, now() + 400 * DAY] {
            assert!(matches!(
                verify_chain(chain.as_slice(), anchors, None, time),
                Err(ChainFault::Validity { .. })
            ));
        }
    }

    #[test]
    fn any_changed_octet_is_noticed() {
        let authority = Authority::new(AuthorityKind::Kubernetes);
        let chain = authority.sign(&client(), &public_key(), now(), HOUR).unwrap();
        let der = chain.first().der();
        // All but the encoding of the outer algorithm, the one part whose form (not whose meaning) is free.
        let signed = 4 + chain.first().parsed().unwrap().tbs_certificate.as_ref().len();
        let algorithm = signed..signed + 12;
        for index in (0..der.len()).filter(|index| !algorithm.contains(index)) {
            let mut damaged = der.to_vec();
            damaged[index] ^= 1;
            if let Ok(info) = CertificateInfo::from_der(&damaged) {
                assert!(verify_issued_by(&info, authority.chain.first()).is_err(), "octet {index}");
            }
        }
    }

    #[test]
    fn an_intermediate_cannot_make_authorities() {
        // Signed past every guard of the crate: the chain must still be refused by the path length.
        let authority = Authority::new(AuthorityKind::Kubernetes);
        let signer = Signer::new(authority.chain.first(), &authority.key).unwrap();
        let key = generate().unwrap();
        let validity = crate::issuance::Validity::within(now(), DAY, authority.chain.first()).unwrap();
        let mut parameters = crate::issuance::parameters("kubernetes", None, validity).unwrap();
        parameters.is_ca = rcgen::IsCa::Ca(rcgen::BasicConstraints::Unconstrained);
        parameters.key_usages = vec![rcgen::KeyUsagePurpose::KeyCertSign];
        let below = signer.sign(&parameters, "kubernetes", &spki_of(&key).unwrap()).unwrap();
        let below = CertificateChain::parse(&below.to_pem()).unwrap();
        let leaf = crate::sign_leaf(&below, &key, &client(), &public_key(), now(), HOUR).unwrap();
        for anchor in [authority.chain.first(), authority.root.info()] {
            let mut all = leaf.as_slice().to_vec();
            all.extend_from_slice(authority.chain.as_slice());
            assert!(matches!(
                verify_chain(&all, std::slice::from_ref(anchor), None, now()),
                Err(ChainFault::PathLength { .. })
            ));
        }
    }

    #[test]
    fn an_unknown_critical_extension_is_refused() {
        let authority = Authority::new(AuthorityKind::Kubernetes);
        let signer = Signer::new(authority.chain.first(), &authority.key).unwrap();
        let validity = crate::issuance::Validity::within(now(), DAY, authority.chain.first()).unwrap();
        let mut parameters = crate::issuance::parameters("odd", None, validity).unwrap();
        let mut extension =
            rcgen::CustomExtension::from_oid_content(&[1, 3, 6, 1, 4, 1, 55555, 1], vec![5, 0]);
        extension.set_criticality(true);
        parameters.custom_extensions = vec![extension];
        let odd = signer.sign(&parameters, "odd", &public_key()).unwrap();
        assert!(matches!(
            verify_chain(&[odd], authority.chain.as_slice(), None, now()),
            Err(ChainFault::CriticalExtension { oid, .. }) if oid == "1.3.6.1.4.1.55555.1"
        ));
    }
}
