//! Which certificates are due, and how they are issued.
//!
//! Private keys are made on the node that uses them and stay there: only public keys and certificates travel.
//! Intermediates are signed by the operator's root, leaves by the intermediate's key on the control plane.

use std::collections::BTreeMap;
use std::future::Future;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use jiff::Timestamp;
use kubezt_model::action::{Action, Outcome};
use kubezt_model::desired::{
    AuthorityKind, BundleMember, CertificateKind, Desired, DesiredBundle, DesiredCertificate, DesiredKey,
    DesiredNode, LeafSpec, Sensitivity,
};
use kubezt_model::node::{Facts, Read, Reading};
use kubezt_model::{Lifetime, Mode, NodeName, Owner, SecretText};
use kubezt_pki::{CertificateChain, CertificateInfo, PublicKey, RootAuthority};
use kubezt_plan::{Assessment, Due};

/// Applies actions on a node; answers with their outcomes, all of which succeeded.
pub trait ApplyActions: Sync {
    /// Whether the node can be told anything.
    fn reaches(&self, node: &NodeName) -> bool;

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
    /// Every control-plane node, in the order of the inventory. The first one that is reached signs.
    control_plane: Vec<NodeName>,
    known: Mutex<Known>,
}

/// What control-plane nodes have.
#[derive(Default)]
struct Known {
    intermediates: BTreeMap<(AuthorityKind, NodeName), CertificateChain>,
    service_account_keys: BTreeMap<NodeName, PublicKey>,
}

impl Authorities {
    /// Reads what control-plane nodes have from their facts.
    pub fn read(root: CertificateChain, desired: &Desired, facts: &BTreeMap<NodeName, Facts>) -> Self {
        let mut known = Known::default();
        for node in &desired.nodes {
            let name = &node.node.name;
            let Some(facts) = facts.get(name) else { continue };
            for (kind, certificate) in authority_certificates(node) {
                if let Some(chain) = chain_at(facts, &certificate.certificate_path) {
                    known.intermediates.insert((kind, name.clone()), chain);
                }
            }
            for key in &node.keys {
                if let Some(public) = public_key_at(facts, &key.key_path) {
                    known.service_account_keys.insert(name.clone(), public);
                }
            }
        }
        let control_plane = desired.cluster.control_plane().map(|node| node.name.clone()).collect();
        Self { root, control_plane, known: Mutex::new(known) }
    }

    /// The root's certificate, for whoever checks servers: they send the whole chain.
    pub fn root(&self) -> String {
        self.root.to_pem()
    }

    /// The known intermediates of this kind, in the order of the inventory.
    pub fn intermediates(&self, kind: AuthorityKind) -> Vec<CertificateChain> {
        let known = self.known();
        let of = |node: &NodeName| known.intermediates.get(&(kind, node.clone())).cloned();
        self.control_plane.iter().filter_map(of).collect()
    }

    fn known(&self) -> MutexGuard<'_, Known> {
        self.known.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Content of a trust bundle; `None` while one of its authorities or keys does not exist.
    pub fn bundle(&self, members: &[BundleMember]) -> Option<String> {
        let known = self.known();
        let of_each = |find: &dyn Fn(&NodeName) -> Option<String>| -> Option<String> {
            self.control_plane.iter().map(find).collect()
        };
        members
            .iter()
            .map(|member| match member {
                BundleMember::Root => Some(self.root.to_pem()),
                BundleMember::Intermediates(kind) => of_each(&|node| {
                    known.intermediates.get(&(*kind, node.clone())).map(CertificateChain::to_pem)
                }),
                BundleMember::ServiceAccountKeys => {
                    of_each(&|node| known.service_account_keys.get(node).map(PublicKey::to_pem))
                }
            })
            .collect()
    }
}

fn authority_certificates(node: &DesiredNode) -> impl Iterator<Item = (AuthorityKind, &DesiredCertificate)> {
    node.certificates.iter().filter_map(|certificate| match certificate.kind {
        CertificateKind::Intermediate(kind) => Some((kind, certificate)),
        CertificateKind::Leaf(_) => None,
    })
}

/// Certificate and key path of an authority on the node that signs: the first of the control plane that is reached.
pub fn authority_paths(
    desired: &Desired,
    kind: AuthorityKind,
    nodes: &impl ApplyActions,
) -> Option<(NodeName, String, String)> {
    let signer = desired.cluster.control_plane().find(|node| nodes.reaches(&node.name))?;
    let node = desired.nodes.iter().find(|node| node.node.name == signer.name)?;
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
    let reached = |node: &kubezt_model::desired::Node| facts.contains_key(&node.name);
    let all_known = desired.cluster.control_plane().all(reached);
    let mut reissued = Vec::new();
    for node in &desired.nodes {
        let signs = desired
            .cluster
            .control_plane()
            .find(|node| reached(node))
            .is_some_and(|first| first.name == node.node.name);
        let Some(facts) = facts.get(&node.node.name) else { continue };
        let lifetime = desired.cluster.settings.pki.leaf_lifetime;
        let mut due = Vec::new();
        for certificate in &node.certificates {
            let why = match (&authorities, &certificate.kind) {
                (None, _) => Some("missing".to_owned()),
                (Some(authorities), CertificateKind::Intermediate(kind)) => {
                    let why = intermediate_due(facts, certificate, *kind, authorities.root.first(), now);
                    if why.is_some() {
                        reissued.push((*kind, signs));
                    }
                    why
                }
                (Some(_), CertificateKind::Leaf(leaf)) if reissued.contains(&(leaf.authority, true)) => {
                    Some("its authority is issued anew".to_owned())
                }
                (Some(authorities), CertificateKind::Leaf(leaf)) => {
                    let issuers = authorities.intermediates(leaf.authority);
                    leaf_due(facts, certificate, leaf, &issuers, lifetime, now)
                }
            };
            due.extend(why.map(|why| Due { subject: certificate.certificate_path.clone(), why }));
        }
        assessment.certificates.insert(node.node.name.clone(), due);
    }
    // Bundles hold what any of the nodes is issued, so they come after all of them.
    for node in &desired.nodes {
        let Some(facts) = facts.get(&node.node.name) else { continue };
        let due = node.bundles.iter().filter_map(|bundle| {
            let reissued = bundle.members.iter().any(|member| {
                matches!(member, BundleMember::Intermediates(kind) if reissued.iter().any(|(one, _)| one == kind))
            });
            let wanted = authorities.as_ref().and_then(|authorities| authorities.bundle(&bundle.members));
            // What a node that was not reached has is trusted as it was.
            if wanted.is_none() && !all_known && facts.file(&bundle.path).is_some() {
                return None;
            }
            let why = bundle_due(facts, bundle, wanted.as_deref(), reissued)?;
            Some(Due { subject: bundle.path.clone(), why: why.to_owned() })
        });
        assessment.bundles.insert(node.node.name.clone(), due.collect());
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
    kubezt_pki::intermediate_needs_issue(chain.as_ref(), kind, root, &key, now)
        .map(|reason| reason.to_string())
        .or_else(|| files_due(facts, certificate))
}

/// Any node's authority will do: the one that signed may not be the first any more.
fn leaf_due(
    facts: &Facts,
    certificate: &DesiredCertificate,
    leaf: &LeafSpec,
    issuers: &[CertificateChain],
    lifetime: Lifetime,
    now: Timestamp,
) -> Option<String> {
    let Some(key) = public_key_at(facts, &certificate.key_path) else {
        return Some("its key is missing".to_owned());
    };
    let chain = chain_at(facts, &certificate.certificate_path);
    if issuers.is_empty() {
        return Some("its authority is missing".to_owned());
    }
    let issuers = issuers.iter().map(CertificateChain::first);
    kubezt_pki::needs_issue_by_any(chain.as_ref(), leaf, issuers, &key, lifetime, now)
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

/// What is issued on a node.
#[derive(Debug, Clone, Copy)]
pub struct DueCertificates<'a> {
    /// Keys without certificates.
    pub keys: &'a [DesiredKey],
    /// Certificates, with their keys.
    pub certificates: &'a [DesiredCertificate],
    /// Trust bundles.
    pub bundles: &'a [DesiredBundle],
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
        due: &DueCertificates<'_>,
    ) -> Result<usize, String> {
        let DueCertificates { keys: without, certificates, bundles } = *due;
        let (keys, mut changed) = self.make_keys(nodes, node, without, certificates).await?;
        let mut chains = Vec::new();
        for (certificate, key) in certificates.iter().zip(&keys) {
            if let CertificateKind::Intermediate(kind) = &certificate.kind {
                chains.push(self.sign_intermediate(node, *kind, key)?);
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
        changed += count_changed(&nodes.apply(node, writes).await?);
        Ok(changed)
    }

    /// Makes keys, with certificates and without. Answers with the public halves of the former, and how many of the latter
    /// changed; certificates count by themselves.
    async fn make_keys(
        &self,
        nodes: &impl ApplyActions,
        node: &NodeName,
        without: &[DesiredKey],
        certificates: &[DesiredCertificate],
    ) -> Result<(Vec<PublicKey>, usize), String> {
        let alone = without.iter().map(|key| (&key.key_path, Owner::root()));
        let certified = certificates.iter().map(|one| (&one.key_path, one.owner.clone()));
        let keys: Vec<(&String, Owner)> = alone.chain(certified).collect();
        let actions =
            keys.iter().map(|(path, owner)| Action::MakeKey { path: (*path).clone(), owner: owner.clone() });
        let outcomes = nodes.apply(node, actions.collect()).await?;
        let read = |((path, _), text): (&(&String, Owner), &str)| {
            PublicKey::from_base64(text).map_err(|error| format!("{path}: {error}"))
        };
        let mut public: Vec<PublicKey> =
            keys.iter().zip(outputs(&outcomes)?).map(read).collect::<Result<_, _>>()?;
        let certified = public.split_off(without.len());
        for key in public {
            self.authorities.known().service_account_keys.insert(node.clone(), key);
        }
        Ok((certified, count_changed(&outcomes[..without.len()])))
    }

    fn sign_intermediate(
        &self,
        node: &NodeName,
        kind: AuthorityKind,
        key: &PublicKey,
    ) -> Result<String, String> {
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
        self.authorities.known().intermediates.insert((kind, node.clone()), chain);
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
                authority_paths(self.desired, leaf.authority, nodes)
                    .ok_or_else(|| format!("no node holds the {} authority", leaf.authority.as_str()))?;
            signing_node = Some(authority);
            actions.push(Action::SignLeaf {
                authority_certificate,
                authority_key,
                leaf: leaf.clone(),
                public_key: key.to_base64(),
                lifetime: self.desired.cluster.settings.pki.leaf_lifetime,
            });
        }
        let Some(signing_node) = signing_node else { return Ok(Vec::new()) };
        let outcomes = nodes.apply(&signing_node, actions).await?;
        Ok(outputs(&outcomes)?.into_iter().map(str::to_owned).collect())
    }
}

fn count_changed(outcomes: &[Outcome]) -> usize {
    outcomes.iter().filter(|outcome| matches!(outcome, Outcome::Changed { .. })).count()
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
