//! What the tests of several modules start from.

use std::time::Duration;

use jiff::Timestamp;
use kubezt_model::desired::{AuthorityKind, LeafSpec, Usage};

use crate::{
    CertificateChain, PkiError, PrivateKeyPem, PublicKey, RootAuthority, generate, issue_intermediate,
    new_root, sign_leaf, spki_of,
};

pub const HOUR: Duration = Duration::from_secs(3600);
pub const DAY: Duration = Duration::from_secs(24 * 3600);

pub fn now() -> Timestamp {
    "2026-11-20T12:00:00Z".parse().unwrap()
}

pub fn public_key() -> PublicKey {
    spki_of(&generate().unwrap()).unwrap()
}

/// A root and one intermediate of a year below it.
pub struct Authority {
    pub root: RootAuthority,
    pub chain: CertificateChain,
    pub key: PrivateKeyPem,
}

impl Authority {
    pub fn new(kind: AuthorityKind) -> Self {
        let root = new_root("kubezt first", now(), 10).unwrap();
        let key = generate().unwrap();
        let chain = issue_intermediate(&root, kind, &spki_of(&key).unwrap(), now(), 365 * DAY).unwrap();
        Self { root, chain, key }
    }

    pub fn sign(
        &self,
        leaf: &LeafSpec,
        key: &PublicKey,
        now: Timestamp,
        lifetime: Duration,
    ) -> Result<CertificateChain, PkiError> {
        sign_leaf(&self.chain, &self.key, leaf, key, now, lifetime)
    }
}

pub fn server() -> LeafSpec {
    LeafSpec {
        authority: AuthorityKind::Kubernetes,
        common_name: "kube-apiserver".to_owned(),
        organizations: Vec::new(),
        dns_names: ["kubernetes", "api.first.internal", "kubernetes"].map(str::to_owned).to_vec(),
        ip_addresses: ["127.0.0.1", "fd00::1", "10.96.0.1"].map(|text| text.parse().unwrap()).to_vec(),
        usage: Usage::Server,
    }
}

pub fn client() -> LeafSpec {
    LeafSpec {
        authority: AuthorityKind::Kubernetes,
        common_name: "system:node:worker-1".to_owned(),
        organizations: vec!["system:nodes".to_owned()],
        dns_names: Vec::new(),
        ip_addresses: Vec::new(),
        usage: Usage::Client,
    }
}
