//! `kubezt node renew`: a node renews its own certificates, a little at a time and again and again.
//!
//! A timer calls it every minute. It never waits for anybody: what cannot be done now is done a minute later, and whoever is
//! killed here is called again. Keys are kept, so that a pair is never half old and half new; the certificate is replaced whole.
//!
//! | on | leaves are signed by |
//! |---|---|
//! | control-plane nodes | the node itself, with the intermediates' keys it has ([`run`]) |
//! | workers | a control-plane node, which is asked through the API ([`ask`]) and answers there ([`answer`]) |
//!
//! Only time is a reason to renew here. A leaf that says something else than it should is an install's business, and so is an
//! intermediate, whose authority is the operator's root.

mod answer;
mod ask;
mod configuration;

use jiff::Timestamp;
use kubezt_model::desired::{CertificateKind, DesiredCertificate, LeafSpec};
use kubezt_pki::{CertificateChain, PrivateKeyPem, PublicKey, Reason};
use zeroize::Zeroizing;

use self::configuration::required;
use super::apply::{file, key};
use super::lock::NodeLock;
use super::{LOCKED, NodeError, NodeRoot};

pub use self::configuration::{Api, CONFIGURATION, Configuration};

/// Who holds the node's lock meanwhile.
const HOLDER: &str = "kubezt-renew.service";

/// The signer that nodes ask and that control-plane nodes answer for (`certificates.k8s.io/v1`, `signerName`).
pub const SIGNER: &str = "kubezt.dev/node";

/// Requests for certificates, in the API.
const REQUESTS: &str = "/apis/certificates.k8s.io/v1/certificatesigningrequests";

/// Selects those of our signer.
const OURS: &str = "spec.signerName=kubezt.dev/node";

/// What a run did.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Report {
    /// What was done, or is waited for, a line each. Nothing where nothing was due.
    pub said: Vec<String>,
    /// What could not be done, a line each.
    pub failed: Vec<String>,
}

/// A leaf whose time has come.
struct Due<'a> {
    certificate: &'a DesiredCertificate,
    leaf: &'a LeafSpec,
    key: PrivateKeyPem,
    public: PublicKey,
    reason: Reason,
}

/// Renews what is due on this node, and on the control plane answers what other nodes ask for. Where a run of an operator holds the
/// node, nothing is done, which is no error: that run renews what is due, and the next minute comes.
///
/// # Errors
/// The configuration or the lock cannot be used. What goes wrong with one leaf is told in the report and stops no other one.
pub async fn run(root: &NodeRoot, now: Timestamp) -> Result<Report, NodeError> {
    let mut report = Report::default();
    let Some(lock) = lock(root, &mut report)? else { return Ok(report) };
    let configuration = Configuration::load(root)?;
    let due = due(root, &configuration, now, &mut report);
    match &configuration.authorities {
        Some(folder) => {
            for one in &due {
                let signed = sign(root, folder, one.leaf, &one.public, &configuration, now);
                let done = signed.and_then(|chain| store(root, one.certificate, &chain));
                report.take(one, done.map_err(|error| error.chain()));
            }
            // Nothing on this node is changed any more, and an operator need not wait for the API.
            drop(lock);
            answer::all(root, folder, &configuration, now, &mut report).await;
        }
        None if due.is_empty() => {}
        None => {
            drop(lock);
            let issued = ask::all(root, &configuration, &due, now, &mut report).await;
            if !issued.is_empty() {
                take_up(root, &configuration, issued, now, &mut report)?;
            }
        }
    }
    Ok(report)
}

/// The node's lock, where nobody holds it.
fn lock(root: &NodeRoot, report: &mut Report) -> Result<Option<NodeLock>, NodeError> {
    match NodeLock::try_take(root, HOLDER) {
        Ok(lock) => Ok(Some(lock)),
        Err(NodeError::Locked { holder }) => {
            report.said.push(format!("{LOCKED}: {holder}; certificates are looked at again in a minute"));
            Ok(None)
        }
        Err(error) => Err(error),
    }
}

/// Writes what was issued, where it still fits what is on the node: an operator may have been faster.
fn take_up(
    root: &NodeRoot,
    configuration: &Configuration,
    issued: Vec<(&DesiredCertificate, CertificateChain)>,
    now: Timestamp,
    report: &mut Report,
) -> Result<(), NodeError> {
    let Some(_lock) = lock(root, report)? else { return Ok(()) };
    let due = due(root, configuration, now, &mut Report::default());
    for (certificate, chain) in issued {
        let Some(one) = due.iter().find(|one| one.certificate == certificate) else { continue };
        let fits = judge(root, configuration, one.leaf, Some(&chain), &one.public, now);
        let done = match fits {
            Ok(None) => store(root, certificate, &chain.to_pem()).map_err(|error| error.chain()),
            Ok(Some(reason)) => Err(format!("what was issued does not fit: {reason}")),
            Err(error) => Err(error.chain()),
        };
        report.take(one, done);
    }
    Ok(())
}

/// The leaves whose time has come.
fn due<'a>(
    root: &NodeRoot,
    configuration: &'a Configuration,
    now: Timestamp,
    report: &mut Report,
) -> Vec<Due<'a>> {
    let mut due = Vec::new();
    for certificate in &configuration.leaves {
        let CertificateKind::Leaf(leaf) = &certificate.kind else { continue };
        let path = &certificate.certificate_path;
        match look(root, configuration, certificate, leaf, now) {
            Ok((key, public, Some(reason))) if reason.is_time() => {
                due.push(Due { certificate, leaf, key, public, reason });
            }
            Ok((_, _, Some(reason))) => {
                report.said.push(format!("{path}: {reason}; `kubezt install` mends it"))
            }
            Ok((_, _, None)) => {}
            Err(error) => report.failed.push(error.chain()),
        }
    }
    due
}

/// The key of a leaf, and why the leaf has to be issued.
fn look(
    root: &NodeRoot,
    configuration: &Configuration,
    certificate: &DesiredCertificate,
    leaf: &LeafSpec,
    now: Timestamp,
) -> Result<(PrivateKeyPem, PublicKey, Option<Reason>), NodeError> {
    let text = Zeroizing::new(required(root, &certificate.key_path)?);
    let key = PrivateKeyPem::parse(&text).map_err(pki(&certificate.key_path))?;
    let public = kubezt_pki::spki_of(&key).map_err(pki(&certificate.key_path))?;
    let existing = required(root, &certificate.certificate_path)
        .ok()
        .and_then(|text| CertificateChain::parse(&text).ok());
    let reason = judge(root, configuration, leaf, existing.as_ref(), &public, now)?;
    Ok((key, public, reason))
}

/// Why a chain is not, or not any more, what this leaf should be.
fn judge(
    root: &NodeRoot,
    configuration: &Configuration,
    leaf: &LeafSpec,
    chain: Option<&CertificateChain>,
    key: &PublicKey,
    now: Timestamp,
) -> Result<Option<Reason>, NodeError> {
    let path = configuration.issuers.get(&leaf.authority).ok_or_else(|| NodeError::Configuration {
        path: root.known(CONFIGURATION),
        why: format!("it names no file with the {} authorities", leaf.authority.as_str()),
    })?;
    let issuers = CertificateChain::parse(&required(root, path)?).map_err(pki(path))?;
    Ok(kubezt_pki::needs_issue_by_any(chain, leaf, issuers.iter(), key, now))
}

/// Signs a leaf with this node's authority.
fn sign(
    root: &NodeRoot,
    folder: &str,
    leaf: &LeafSpec,
    public_key: &PublicKey,
    configuration: &Configuration,
    now: Timestamp,
) -> Result<String, NodeError> {
    let authority = format!("{folder}/{}", leaf.authority.as_str());
    let (certificate, private) = (format!("{authority}.crt"), format!("{authority}.key"));
    key::sign_at(root, &certificate, &private, leaf, public_key, configuration.lifetime, now)
}

/// Replaces a certificate, as an install would.
fn store(root: &NodeRoot, certificate: &DesiredCertificate, chain: &str) -> Result<(), NodeError> {
    let DesiredCertificate { certificate_path, certificate_mode, owner, .. } = certificate;
    file::put(root, certificate_path, *certificate_mode, owner, chain.as_bytes()).map(drop)
}

impl Report {
    fn take(&mut self, due: &Due<'_>, done: Result<(), String>) {
        let path = &due.certificate.certificate_path;
        match done {
            Ok(()) => self.said.push(format!("{path} was renewed: {}", due.reason)),
            Err(why) => self.failed.push(format!("{path} ({}) was not renewed: {why}", due.reason)),
        }
    }
}

fn pki(path: &str) -> impl FnOnce(kubezt_pki::PkiError) -> NodeError {
    let path = path.into();
    move |error| NodeError::Pki { path, source: Box::new(error) }
}

#[cfg(test)]
mod tests;
