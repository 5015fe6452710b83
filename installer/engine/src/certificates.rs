//! Which certificates are due, and how they are issued.
//!
//! Private keys are made on the node that uses them and stay there: only public keys and certificates travel.
//! Intermediates are signed by the operator's root, leaves by the intermediate's key on the control plane.

use std::collections::BTreeMap;
use std::future::Future;
use std::sync::Mutex;
use std::time::Duration;

use jiff::Timestamp;
use kubezt_model::action::{Action, Outcome};
use kubezt_model::desired::{
    AuthorityKind, BundleMember, CertificateKind, Desired, DesiredBundle, DesiredCertificate, DesiredNode,
    Sensitivity,
};
use kubezt_model::node::{Facts, Read, Reading};
use kubezt_model::{Mode, NodeName, SecretText};
use kubezt_pki::renewal::RenewalFraction;
use kubezt_pki::{CertificateChain, CertificateInfo, PublicKey, RootAuthority};
use kubezt_plan::{Assessment, Due};

/// Applies actions on a node; answers with their outcomes, all of which succeeded.
pub trait ApplyActions: Sync {
    /// Applies them in order.
    fn apply(
        &self,
        node: &NodeName,
        actions: Vec<Action>,
    ) -> impl Future<Output = Result<Vec<Outcome>, String>> + Send;
}

/// The authorities of a run: what was on the control plane when it began, and what it issued since.
pub struct Authorities {
    root: CertificateChain,
    intermediates: Mutex<BTreeMap<AuthorityKind, CertificateChain>>,
}

impl Authorities {
    /// Reads the intermediates from the facts of the first control-plane node.
    pub fn read(root: CertificateChain, desired: &Desired, facts: &BTreeMap<NodeName, Facts>) -> Self {
        let mut intermediates = BTreeMap::new();
        if let Some(node) = authority_node(desired) {
            for (kind, certificate) in authority_certificates(node) {
                let chain = facts
                    .get(&node.node.name)
                    .and_then(|facts| chain_at(facts, &certificate.certificate_path));
                if let Some(chain) = chain {
                    intermediates.insert(kind, chain);
                }
            }
        }
        Self { root, intermediates: Mutex::new(intermediates) }
    }

    /// The intermediate of this kind, where there is one.
    pub fn intermediate(&self, kind: AuthorityKind) -> Option<CertificateChain> {
        self.intermediates.lock().unwrap_or_else(std::sync::PoisonError::into_inner).get(&kind).cloned()
    }

    fn remember(&self, kind: AuthorityKind, chain: CertificateChain) {
        self.intermediates.lock().unwrap_or_else(std::sync::PoisonError::into_inner).insert(kind, chain);
    }

    /// Content of a trust bundle; `None` while one of its authorities does not exist.
    pub fn bundle(&self, members: &[BundleMember]) -> Option<String> {
        members
            .iter()
            .map(|member| match member {
                BundleMember::Root => Some(self.root.to_pem()),
                BundleMember::Intermediate(kind) => self.intermediate(*kind).map(|chain| chain.to_pem()),
            })
            .collect()
    }
}

fn authority_node(desired: &Desired) -> Option<&DesiredNode> {
    let first = desired.cluster.control_plane().next()?;
    desired.nodes.iter().find(|node| node.node.name == first.name)
}

fn authority_certificates(node: &DesiredNode) -> impl Iterator<Item = (AuthorityKind, &DesiredCertificate)> {
    node.certificates.iter().filter_map(|certificate| match certificate.kind {
        CertificateKind::Intermediate(kind) => Some((kind, certificate)),
        CertificateKind::Leaf(_) => None,
    })
}

/// Certificate and key path of an authority on the node that signs.
pub fn authority_paths(desired: &Desired, kind: AuthorityKind) -> Option<(NodeName, String, String)> {
    let node = authority_node(desired)?;
    let (_, certificate) = authority_certificates(node).find(|(found, _)| *found == kind)?;
    Some((node.node.name.clone(), certificate.certificate_path.clone(), certificate.key_path.clone()))
}

fn chain_at(facts: &Facts, path: &str) -> Option<CertificateChain> {
    CertificateChain::parse(facts.file(path)?.text.as_ref()?.expose()).ok()
}

fn public_key_at(facts: &Facts, path: &str) -> Option<PublicKey> {
    match facts.reading(&Read::PublicKey { path: path.to_owned() })? {
        Reading::PublicKey(text) => PublicKey::from_base64(text).ok(),
        _ => None,
    }
}

/// Finds every certificate and trust bundle that is due. Without a root nothing exists yet and all are due.
pub fn assess(
    desired: &Desired,
    facts: &BTreeMap<NodeName, Facts>,
    root: Option<&CertificateChain>,
    now: Timestamp,
    assessment: &mut Assessment,
) {
    let authorities = root.map(|root| Authorities::read(root.clone(), desired, facts));
    let mut reissued = Vec::new();
    for node in &desired.nodes {
        let Some(facts) = facts.get(&node.node.name) else { continue };
        let mut due = Vec::new();
        for certificate in &node.certificates {
            let why = match (&authorities, &certificate.kind) {
                (None, _) => Some("missing".to_owned()),
                (Some(authorities), CertificateKind::Intermediate(kind)) => {
                    let why = intermediate_due(facts, certificate, *kind, authorities.root.first(), now);
                    if why.is_some() {
                        reissued.push(*kind);
                    }
                    why
                }
                (Some(_), CertificateKind::Leaf(leaf)) if reissued.contains(&leaf.authority) => {
                    Some("its authority is issued anew".to_owned())
                }
                (Some(authorities), CertificateKind::Leaf(leaf)) => {
                    match authorities.intermediate(leaf.authority) {
                        None => Some("its authority is missing".to_owned()),
                        Some(issuer) => leaf_due(facts, certificate, issuer.first(), now),
                    }
                }
            };
            due.extend(why.map(|why| Due { subject: certificate.certificate_path.clone(), why }));
        }
        let bundles = node
            .bundles
            .iter()
            .filter_map(|bundle| {
                let reissued = bundle.members.iter().any(
                    |member| matches!(member, BundleMember::Intermediate(kind) if reissued.contains(kind)),
                );
                let wanted = authorities.as_ref().and_then(|authorities| authorities.bundle(&bundle.members));
                let why = bundle_due(facts, bundle, wanted.as_deref(), reissued)?;
                Some(Due { subject: bundle.path.clone(), why: why.to_owned() })
            })
            .collect();
        assessment.certificates.insert(node.node.name.clone(), due);
        assessment.bundles.insert(node.node.name.clone(), bundles);
    }
}

fn files_due(facts: &Facts, certificate: &DesiredCertificate) -> Option<String> {
    let key = facts.file(&certificate.key_path)?;
    let chain = facts.file(&certificate.certificate_path)?;
    if key.mode != Mode::new(0o600) || key.owner != certificate.owner {
        Some(format!("key has mode {} and owner {}", key.mode, key.owner))
    } else if chain.mode != certificate.certificate_mode || chain.owner != certificate.owner {
        Some(format!("mode {} and owner {}", chain.mode, chain.owner))
    } else {
        None
    }
}

fn intermediate_due(
    facts: &Facts,
    certificate: &DesiredCertificate,
    kind: AuthorityKind,
    root: &CertificateInfo,
    now: Timestamp,
) -> Option<String> {
    let Some(key) = public_key_at(facts, &certificate.key_path) else {
        return Some("its key is missing".to_owned());
    };
    let chain = chain_at(facts, &certificate.certificate_path);
    kubezt_pki::intermediate_needs_issue(chain.as_ref(), kind, root, &key, now, RenewalFraction::THIRD)
        .map(|reason| reason.to_string())
        .or_else(|| files_due(facts, certificate))
}

fn leaf_due(
    facts: &Facts,
    certificate: &DesiredCertificate,
    issuer: &CertificateInfo,
    now: Timestamp,
) -> Option<String> {
    let CertificateKind::Leaf(leaf) = &certificate.kind else { return None };
    let Some(key) = public_key_at(facts, &certificate.key_path) else {
        return Some("its key is missing".to_owned());
    };
    let chain = chain_at(facts, &certificate.certificate_path);
    kubezt_pki::needs_issue(chain.as_ref(), leaf, issuer, &key, now, RenewalFraction::THIRD)
        .map(|reason| reason.to_string())
        .or_else(|| files_due(facts, certificate))
}

fn bundle_due(
    facts: &Facts,
    bundle: &DesiredBundle,
    wanted: Option<&str>,
    reissued: bool,
) -> Option<&'static str> {
    let Some(file) = facts.file(&bundle.path) else { return Some("missing") };
    let text = file.text.as_ref().map(SecretText::expose);
    if reissued {
        Some("an authority is issued anew")
    } else if text != wanted {
        Some("not this cluster's authorities")
    } else if file.mode != bundle.mode || file.owner != bundle.owner {
        Some("mode or owner")
    } else {
        None
    }
}

/// What issuing needs to know beside the certificates themselves.
pub struct Issuer<'a> {
    /// The wanted cluster.
    pub desired: &'a Desired,
    /// The authorities of this run.
    pub authorities: &'a Authorities,
    /// The root with its key; only where an intermediate has to be issued.
    pub root: Option<&'a RootAuthority>,
    /// The operator's clock.
    pub now: Timestamp,
}

impl Issuer<'_> {
    /// Issues certificates on a node and writes its trust bundles; answers with the number of files that changed.
    ///
    /// # Errors
    /// What was being issued, where, and why it failed.
    pub async fn issue(
        &self,
        nodes: &impl ApplyActions,
        node: &NodeName,
        certificates: &[DesiredCertificate],
        bundles: &[DesiredBundle],
    ) -> Result<usize, String> {
        let keys = self.make_keys(nodes, node, certificates).await?;
        let mut chains = Vec::new();
        for (certificate, key) in certificates.iter().zip(&keys) {
            if let CertificateKind::Intermediate(kind) = &certificate.kind {
                chains.push(self.sign_intermediate(*kind, key)?);
            }
        }
        chains.extend(self.sign_leaves(nodes, certificates, &keys).await?);

        let mut writes = Vec::new();
        // Intermediates come first in both lists, so chains and certificates stay side by side.
        for (certificate, chain) in in_signing_order(certificates).zip(&chains) {
            writes.push(Action::PutFile {
                path: certificate.certificate_path.clone(),
                mode: certificate.certificate_mode,
                owner: certificate.owner.clone(),
                body: SecretText::new(chain.clone()),
                sensitivity: Sensitivity::Public,
            });
        }
        for bundle in bundles {
            let body = self
                .authorities
                .bundle(&bundle.members)
                .ok_or_else(|| format!("{}: an authority it needs was not issued", bundle.path))?;
            writes.push(Action::PutFile {
                path: bundle.path.clone(),
                mode: bundle.mode,
                owner: bundle.owner.clone(),
                body: SecretText::new(body),
                sensitivity: Sensitivity::Public,
            });
        }
        let outcomes = nodes.apply(node, writes).await?;
        Ok(outcomes.iter().filter(|outcome| matches!(outcome, Outcome::Changed { .. })).count())
    }

    async fn make_keys(
        &self,
        nodes: &impl ApplyActions,
        node: &NodeName,
        certificates: &[DesiredCertificate],
    ) -> Result<Vec<PublicKey>, String> {
        let actions: Vec<Action> = certificates
            .iter()
            .map(|certificate| Action::MakeKey {
                path: certificate.key_path.clone(),
                owner: certificate.owner.clone(),
                public_path: None,
            })
            .collect();
        let outcomes = nodes.apply(node, actions).await?;
        certificates
            .iter()
            .zip(outputs(&outcomes)?)
            .map(|(certificate, text)| {
                PublicKey::from_base64(text).map_err(|error| format!("{}: {error}", certificate.key_path))
            })
            .collect()
    }

    fn sign_intermediate(&self, kind: AuthorityKind, key: &PublicKey) -> Result<String, String> {
        let root = self.root.ok_or_else(|| {
            format!(
                "the {} authority has to be issued, and the root is not open: a passphrase is needed",
                kind.as_str()
            )
        })?;
        let lifetime = days(self.desired.cluster.settings.pki.intermediate_days);
        let chain = kubezt_pki::issue_intermediate(root, kind, key, self.now, lifetime)
            .map_err(|error| format!("{} authority: {error}", kind.as_str()))?;
        let pem = chain.to_pem();
        self.authorities.remember(kind, chain);
        Ok(pem)
    }

    async fn sign_leaves(
        &self,
        nodes: &impl ApplyActions,
        certificates: &[DesiredCertificate],
        keys: &[PublicKey],
    ) -> Result<Vec<String>, String> {
        let mut signing_node = None;
        let mut actions = Vec::new();
        for (certificate, key) in certificates.iter().zip(keys) {
            let CertificateKind::Leaf(leaf) = &certificate.kind else { continue };
            let (authority, authority_certificate, authority_key) =
                authority_paths(self.desired, leaf.authority)
                    .ok_or_else(|| format!("no node holds the {} authority", leaf.authority.as_str()))?;
            signing_node = Some(authority);
            actions.push(Action::SignLeaf {
                authority_certificate,
                authority_key,
                leaf: leaf.clone(),
                public_key: key.to_base64(),
                hours: self.desired.cluster.settings.pki.leaf_hours,
            });
        }
        let Some(signing_node) = signing_node else { return Ok(Vec::new()) };
        let outcomes = nodes.apply(&signing_node, actions).await?;
        Ok(outputs(&outcomes)?.into_iter().map(str::to_owned).collect())
    }
}

fn in_signing_order(certificates: &[DesiredCertificate]) -> impl Iterator<Item = &DesiredCertificate> {
    let intermediate =
        |certificate: &&DesiredCertificate| matches!(certificate.kind, CertificateKind::Intermediate(_));
    certificates
        .iter()
        .filter(intermediate)
        .chain(certificates.iter().filter(move |certificate| !intermediate(certificate)))
}

fn outputs(outcomes: &[Outcome]) -> Result<Vec<&str>, String> {
    outcomes
        .iter()
        .map(|outcome| match outcome {
            Outcome::Changed { output: Some(text) } | Outcome::Unchanged { output: Some(text) } => {
                Ok(text.as_str())
            }
            Outcome::Failed { error } => Err(error.clone()),
            _ => Err("the node gave no answer where one was wanted".to_owned()),
        })
        .collect()
}

fn days(count: u32) -> Duration {
    Duration::from_secs(u64::from(count) * 24 * 60 * 60)
}
