//! Keys that are made on the node and never leave it, and certificates that are signed where the signer's key lives.

use std::path::Path;

use kubezt_model::desired::LeafSpec;
use kubezt_model::{Lifetime, Mode, Owner};
use kubezt_pki::{CertificateChain, PrivateKeyPem, PublicKey};
use zeroize::Zeroizing;

use super::Applied;
use crate::node::accounts::Accounts;
use crate::node::files::{self, Attributes};
use crate::node::{NodeError, NodeRoot};

const PRIVATE: Mode = Mode::new(0o600);

/// Makes a private key where none is, 0600. Answers with its public half in base64. A key that is there is kept, and one that cannot be read is an error: replacing it would
/// silently invalidate what was issued for it.
///
/// # Errors
/// [`NodeError`].
pub fn make(root: &NodeRoot, name: &str, owner: &Owner) -> Result<Applied, NodeError> {
    let path = root.path(name)?;
    let ids = Accounts::load(root)?.ids(owner)?;
    let (key, changed) = match files::text(&path)?.map(Zeroizing::new) {
        Some(text) => {
            let key = PrivateKeyPem::parse(&text).map_err(pki(&path))?;
            (key, files::set_attributes(&path, Attributes { mode: PRIVATE, ids })?)
        }
        None => {
            let key = kubezt_pki::generate().map_err(pki(&path))?;
            files::replace_with(&path, Attributes { mode: PRIVATE, ids }, key.expose().as_bytes())?;
            (key, true)
        }
    };
    let public_key = kubezt_pki::spki_of(&key).map_err(pki(&path))?;
    Ok(Applied { changed, output: Some(public_key.to_base64()) })
}

/// Signs a leaf with an intermediate of this node, by this node's clock. Answers with the chain in PEM; nothing is written
/// here, so nothing changes.
///
/// # Errors
/// [`NodeError`].
pub fn sign(
    root: &NodeRoot,
    authority_certificate: &str,
    authority_key: &str,
    leaf: &LeafSpec,
    public_key: &str,
    lifetime: Lifetime,
) -> Result<Applied, NodeError> {
    let key = PublicKey::from_base64(public_key)
        .map_err(|error| NodeError::Sign { name: leaf.common_name.clone(), source: Box::new(error) })?;
    let now = jiff::Timestamp::now();
    let chain = sign_at(root, authority_certificate, authority_key, leaf, &key, lifetime, now)?;
    Ok(Applied { changed: false, output: Some(chain) })
}

/// As [`sign`], at a time that was looked up; answers with the chain in PEM.
///
/// # Errors
/// [`NodeError`].
pub fn sign_at(
    root: &NodeRoot,
    authority_certificate: &str,
    authority_key: &str,
    leaf: &LeafSpec,
    public_key: &PublicKey,
    lifetime: Lifetime,
    now: jiff::Timestamp,
) -> Result<String, NodeError> {
    let certificate_path = root.path(authority_certificate)?;
    let key_path = root.path(authority_key)?;
    let chain =
        CertificateChain::parse(&files::required(&certificate_path)?).map_err(pki(&certificate_path))?;
    let key_text = Zeroizing::new(files::required(&key_path)?);
    let key = PrivateKeyPem::parse(&key_text).map_err(pki(&key_path))?;
    kubezt_pki::sign_leaf(&chain, &key, leaf, public_key, now, lifetime.duration())
        .map(|signed| signed.to_pem())
        .map_err(|error| NodeError::Sign { name: leaf.common_name.clone(), source: Box::new(error) })
}

fn pki(path: &Path) -> impl FnOnce(kubezt_pki::PkiError) -> NodeError {
    let path = path.to_owned();
    move |error| NodeError::Pki { path, source: Box::new(error) }
}
