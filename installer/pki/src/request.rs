//! Asking for a leaf (PKCS#10, RFC 2986), and whether who asks may have it.
//!
//! Nodes without an authority's key ask those that have one. What is signed never comes from the request but from what the
//! cluster file says of the node: a request only brings the public key, shows that who asks has the private one, and has to name
//! exactly one of the leaves that are meant for it.

use std::collections::BTreeSet;
use std::net::IpAddr;

use kubezt_model::desired::{LeafSpec, NodeLeaves, Usage};
use thiserror::Error;
use x509_parser::certification_request::X509CertificationRequest;
use x509_parser::extensions::{GeneralName, ParsedExtension};
use x509_parser::prelude::FromDer as _;

use crate::inspect::{address, common_name, text};
use crate::issuance::subject;
use crate::key::{PrivateKeyPem, PublicKey};
use crate::leaf::names;
use crate::{PkiError, pem};

const LABEL: &str = "CERTIFICATE REQUEST";

/// Group of every node (kubelet's identity).
const NODES: &str = "system:nodes";

/// How the Kubernetes API names what a leaf is for (`certificates.k8s.io/v1`, `KeyUsage`).
pub const fn api_usages(usage: Usage) -> &'static [&'static str] {
    match usage {
        Usage::Server => &["digital signature", "server auth"],
        Usage::Client => &["digital signature", "client auth"],
        Usage::ServerAndClient => &["digital signature", "client auth", "server auth"],
    }
}

/// A request for a leaf in PEM, signed with the key it is for.
///
/// # Errors
/// [`PkiError::Leaf`] where the leaf makes no sense, [`PkiError::PrivateKey`], [`PkiError::Signing`].
pub fn request_leaf(key: &PrivateKeyPem, leaf: &LeafSpec) -> Result<String, PkiError> {
    let mut parameters = rcgen::CertificateParams::default();
    parameters.distinguished_name =
        subject(&leaf.common_name, leaf.organizations.first().map(String::as_str));
    parameters.subject_alt_names =
        names(leaf).map_err(|why| PkiError::Leaf { common_name: leaf.common_name.clone(), why })?;
    let signing = |source| PkiError::Signing { subject: leaf.common_name.clone(), source };
    parameters.serialize_request(&*key.pair()?).and_then(|request| request.pem()).map_err(signing)
}

/// What a request says; its signature was checked.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CertificateRequest {
    common_name: String,
    organizations: BTreeSet<String>,
    dns_names: BTreeSet<String>,
    ip_addresses: BTreeSet<IpAddr>,
    /// Whether it asks for alternative names of further kinds, which no leaf has.
    other_names: bool,
    key: PublicKey,
}

impl CertificateRequest {
    /// Reads a request: one PEM block, signed with the key it holds.
    ///
    /// # Errors
    /// [`PkiError::Pem`], [`PkiError::Request`], [`PkiError::PublicKey`].
    pub fn parse(text_pem: &str) -> Result<Self, PkiError> {
        let fault = PkiError::Request;
        let blocks = pem::blocks(text_pem)?;
        let [block] = blocks.as_slice() else { return Err(fault("the text holds more than one PEM block")) };
        if block.label != LABEL {
            return Err(fault("the PEM block holds something else"));
        }
        let (rest, request) =
            X509CertificationRequest::from_der(&block.der).map_err(|_| fault("its DER is damaged"))?;
        if !rest.is_empty() {
            return Err(fault("something follows it inside its block"));
        }
        let info = &request.certification_request_info;
        // Narrows what is accepted to the algorithms kubezt knows before the signature is looked at.
        let key = PublicKey::from_der(info.subject_pki.raw)?;
        request.verify_signature().map_err(|_| fault("it was not signed with the key it holds"))?;
        let mut found = Self {
            common_name: common_name(info.subject.iter_common_name())?,
            organizations: info.subject.iter_organization().map(text).collect::<Result<_, _>>()?,
            dns_names: BTreeSet::new(),
            ip_addresses: BTreeSet::new(),
            other_names: false,
            key,
        };
        for extension in request.requested_extensions().into_iter().flatten() {
            let ParsedExtension::SubjectAlternativeName(names) = extension else { continue };
            for name in &names.general_names {
                match name {
                    GeneralName::DNSName(name) => drop(found.dns_names.insert((*name).to_owned())),
                    GeneralName::IPAddress(octets) => drop(found.ip_addresses.insert(address(octets)?)),
                    _ => found.other_names = true,
                }
            }
        }
        Ok(found)
    }

    /// Whether it asks for this leaf and nothing else.
    fn asks_for(&self, leaf: &LeafSpec) -> bool {
        self.common_name == leaf.common_name
            && self.organizations == leaf.organizations.iter().cloned().collect()
            && self.dns_names == leaf.dns_names.iter().cloned().collect()
            && self.ip_addresses == leaf.ip_addresses.iter().copied().collect()
            && !self.other_names
    }
}

/// A request as the API server shows it: who asks was authenticated by it.
#[derive(Debug, Clone, Copy)]
pub struct Asked<'a> {
    /// Name of who asks.
    pub user: &'a str,
    /// Groups of who asks.
    pub groups: &'a [&'a str],
    /// What the certificate is to be for, in the words of the API.
    pub usages: &'a [&'a str],
    /// The request in PEM.
    pub request: &'a str,
}

/// Why a request is denied.
#[derive(Debug, Error)]
pub enum Refusal {
    /// No node asks.
    #[error("`{0}` is no node: nodes are `system:node:NAME` in the group `system:nodes`")]
    NoNode(String),
    /// The cluster file does not name this node, or it signs its own leaves.
    #[error("`{0}` is no node that asks for its leaves in this cluster")]
    Unknown(String),
    /// It cannot be read, or who asks does not have the key.
    #[error("the request cannot be used: {0}")]
    Unreadable(#[from] PkiError),
    /// The node has no such leaf.
    #[error(
        "node `{node}` has no leaf `{common_name}` with exactly these groups, names, addresses and usages"
    )]
    NoSuchLeaf {
        /// The node.
        node: String,
        /// What was asked for.
        common_name: String,
    },
}

/// The leaf a request is for, and the key that is to get it: one of the leaves of the node that asks, to the letter.
///
/// # Errors
/// [`Refusal`] in words that whoever asked may read.
pub fn admit<'a>(asked: &Asked<'_>, nodes: &'a [NodeLeaves]) -> Result<(&'a LeafSpec, PublicKey), Refusal> {
    let name = asked
        .user
        .strip_prefix("system:node:")
        .filter(|_| asked.groups.contains(&NODES))
        .ok_or_else(|| Refusal::NoNode(asked.user.to_owned()))?;
    let node = nodes
        .iter()
        .find(|node| node.node.as_str() == name)
        .ok_or_else(|| Refusal::Unknown(name.to_owned()))?;
    let request = CertificateRequest::parse(asked.request)?;
    let set = |words: &[&str]| words.iter().map(|word| (*word).to_owned()).collect::<BTreeSet<_>>();
    let fits = |leaf: &&LeafSpec| request.asks_for(leaf) && set(asked.usages) == set(api_usages(leaf.usage));
    match node.leaves.iter().find(fits) {
        Some(leaf) => Ok((leaf, request.key)),
        None => Err(Refusal::NoSuchLeaf { node: name.to_owned(), common_name: request.common_name }),
    }
}

#[cfg(test)]
mod tests {
    use kubezt_model::desired::AuthorityKind;

    use super::*;
    use crate::fixtures::client;
    use crate::{generate, spki_of};

    fn serving() -> LeafSpec {
        LeafSpec {
            dns_names: vec!["worker-1".to_owned()],
            ip_addresses: vec!["10.0.0.11".parse().unwrap()],
            usage: Usage::Server,
            ..client()
        }
    }

    fn balancer() -> LeafSpec {
        LeafSpec { common_name: "kubezt:balancer:worker-1".to_owned(), organizations: Vec::new(), ..client() }
    }

    fn inventory() -> Vec<NodeLeaves> {
        let other = LeafSpec { common_name: "system:node:worker-2".to_owned(), ..client() };
        vec![
            NodeLeaves { node: "worker-1".parse().unwrap(), leaves: vec![serving(), client(), balancer()] },
            NodeLeaves { node: "worker-2".parse().unwrap(), leaves: vec![other] },
        ]
    }

    fn ask(user: &str, groups: &[&str], usages: &[&str], request: &str) -> Result<LeafSpec, String> {
        let asked = Asked { user, groups, usages, request };
        admit(&asked, &inventory()).map(|(leaf, _)| leaf.clone()).map_err(|refusal| refusal.to_string())
    }

    const WORKER: &str = "system:node:worker-1";
    const GROUPS: [&str; 2] = ["system:nodes", "system:authenticated"];

    #[test]
    fn a_node_gets_each_of_its_leaves_for_the_key_it_has() {
        let key = generate().unwrap();
        for leaf in [serving(), client(), balancer()] {
            let request = request_leaf(&key, &leaf).unwrap();
            let asked =
                Asked { user: WORKER, groups: &GROUPS, usages: api_usages(leaf.usage), request: &request };
            let inventory = inventory();
            let (found, public) = admit(&asked, &inventory).unwrap();
            assert_eq!((found, public), (&leaf, spki_of(&key).unwrap()));
        }
    }

    #[test]
    fn whatever_is_not_the_nodes_own_to_the_letter_is_denied_with_a_reason() {
        let key = generate().unwrap();
        let request = |leaf: &LeafSpec| request_leaf(&key, leaf).unwrap();
        let change = |change: fn(&mut LeafSpec)| {
            let mut leaf = serving();
            change(&mut leaf);
            leaf
        };
        for leaf in [
            change(|leaf| leaf.common_name = "system:node:worker-2".into()),
            change(|leaf| leaf.common_name = "kubezt:cluster-admin".into()),
            change(|leaf| leaf.organizations = vec!["system:masters".into()]),
            change(|leaf| leaf.organizations.clear()),
            change(|leaf| leaf.dns_names.push("api.internal".into())),
            change(|leaf| leaf.dns_names.clear()),
            change(|leaf| leaf.ip_addresses.push("10.0.0.1".parse().unwrap())),
        ] {
            let refused = ask(WORKER, &GROUPS, api_usages(Usage::Server), &request(&leaf)).unwrap_err();
            assert!(refused.contains("has no leaf"), "{refused}");
        }
        let own = request(&serving());
        for usages in
            [&["server auth"][..], api_usages(Usage::Client), api_usages(Usage::ServerAndClient), &[]]
        {
            assert!(ask(WORKER, &GROUPS, usages, &own).unwrap_err().contains("has no leaf"), "{usages:?}");
        }
        let usages = api_usages(Usage::Server);
        for (user, groups, words) in [
            ("system:node:worker-2", &GROUPS[..], "has no leaf"),
            ("system:node:worker-3", &GROUPS[..], "no node that asks"),
            (WORKER, &["system:authenticated"][..], "is no node"),
            ("worker-1", &GROUPS[..], "is no node"),
            ("kubezt:operator", &GROUPS[..], "is no node"),
        ] {
            let refused = ask(user, groups, usages, &own).unwrap_err();
            assert!(refused.contains(words), "{user}: {refused}");
        }
        ask(WORKER, &GROUPS, usages, &own).unwrap();
    }

    #[test]
    fn a_request_somebody_else_signed_is_denied() {
        let usages = api_usages(Usage::Server);
        let request = request_leaf(&generate().unwrap(), &serving()).unwrap();
        for damaged in ["", "-----BEGIN CERTIFICATE REQUEST-----\nAAAA\n-----END CERTIFICATE REQUEST-----\n"]
        {
            assert!(ask(WORKER, &GROUPS, usages, damaged).unwrap_err().contains("cannot be used"));
        }
        let mut der = pem::blocks(&request).unwrap().remove(0).der;
        // The last octets are the signature's.
        let last = der.len() - 1;
        der[last] ^= 1;
        let refused = ask(WORKER, &GROUPS, usages, &pem::encode(LABEL, &der)).unwrap_err();
        assert!(refused.contains("cannot be used"), "{refused}");
        let authority = crate::fixtures::Authority::new(AuthorityKind::Kubernetes);
        let refused = ask(WORKER, &GROUPS, usages, &authority.chain.to_pem()).unwrap_err();
        assert!(refused.contains("something else"), "{refused}");
    }
}
