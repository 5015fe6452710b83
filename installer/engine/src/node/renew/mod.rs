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
//! Only time is a reason to renew here: little of it is left, or a leaf lives longer than leaves may by now. A leaf that says something else than it should is an install's business, and so is an
//! intermediate, whose authority is the operator's root.

mod answer;
mod ask;
mod configuration;

use jiff::Timestamp;
use kubezt_model::SecretText;
use kubezt_model::action::Action;
use kubezt_model::desired::{CertificateKind, DesiredCertificate, LeafSpec, Sensitivity};
use kubezt_pki::{CertificateChain, PrivateKeyPem, PublicKey, Reason};
use zeroize::Zeroizing;

use super::apply::{key, perform_and_label};
use super::lock::NodeLock;
use super::{LOCKED, NodeError, NodeRoot, files};

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
                let done = match sign(root, folder, one.leaf, &one.public, &configuration, now) {
                    Ok(chain) => store(root, one.certificate, chain).await,
                    Err(error) => Err(error),
                };
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
                take_up(root, &configuration, issued, now, &mut report).await?;
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
async fn take_up(
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
        let done = match unfit(root, configuration, one, &chain, now) {
            Ok(None) => store(root, certificate, chain.to_pem()).await.map_err(|error| error.chain()),
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
    let text = Zeroizing::new(files::required(&root.path(&certificate.key_path)?)?);
    let key = PrivateKeyPem::parse(&text).map_err(pki(&certificate.key_path))?;
    let public = kubezt_pki::spki_of(&key).map_err(pki(&certificate.key_path))?;
    let existing = files::text(&root.path(&certificate.certificate_path)?)?
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
    let issuers = CertificateChain::parse(&files::required(&root.path(path)?)?).map_err(pki(path))?;
    Ok(kubezt_pki::needs_issue_by_any(chain, leaf, issuers.iter(), key, configuration.lifetime, now))
}

/// Why what was issued is of no use here. A leaf that lives too long still is, where the one that is there is about to end: whoever
/// signed it does not know the present setting yet, and is asked again a minute later.
fn unfit(
    root: &NodeRoot,
    configuration: &Configuration,
    due: &Due<'_>,
    issued: &CertificateChain,
    now: Timestamp,
) -> Result<Option<Reason>, NodeError> {
    let is_long = |reason: &Reason| matches!(reason, Reason::Long { .. });
    let reason = judge(root, configuration, due.leaf, Some(issued), &due.public, now)?;
    Ok(reason.filter(|reason| !is_long(reason) || is_long(&due.reason)))
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
async fn store(root: &NodeRoot, certificate: &DesiredCertificate, chain: String) -> Result<(), NodeError> {
    let put = Action::PutFile {
        path: certificate.certificate_path.clone(),
        mode: certificate.certificate_mode,
        owner: certificate.owner.clone(),
        body: SecretText::new(chain),
        sensitivity: Sensitivity::Public,
    };
    perform_and_label(root, put, &|_| {}).await.map(drop)
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
