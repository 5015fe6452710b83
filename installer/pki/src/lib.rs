//! Keys, authorities, leaf certificates, the policy that renews them, and the envelope the operator's secrets rest in.
//!
//! Nothing here reads a file, a clock or the network: PEM text and the time come in, PEM text and reasons go out. The
//! one thing taken from the system is randomness, through aws-lc-rs.
//!
//! ```text
//! root (ECDSA P-384, key sealed at the operator)
//! ├── kubernetes    intermediates (ECDSA P-256, path length 0), keys made on the control plane
//! ├── etcd            └── leaves (ECDSA P-256), keys made on the node that uses them
//! └── front-proxy
//! ```
//!
//! A server sends its leaf and the intermediate; whoever checks client certificates trusts one intermediate and never
//! the root, so a certificate for etcd opens nothing at the Kubernetes API.
//!
//! | module | what it holds |
//! |---|---|
//! | [`crypto`] | the provider and the algorithms, named in one place |
//! | [`random`] | random bytes |
//! | [`key`] | private keys and their public halves |
//! | [`authority`] | the root and its intermediates |
//! | [`leaf`] | leaf certificates |
//! | [`inspect`] | what a certificate says |
//! | [`verify`] | whether a chain holds |
//! | [`request`] | asking for a leaf, and what was asked for |
//! | [`passing`] | an authority for one run, and the one leaf it signs |
//! | [`renewal`] | whether a certificate has to be issued (again), and why |
//! | [`sealed`] | a secret under a passphrase |

#![cfg_attr(test, allow(clippy::unwrap_used, reason = "a test that cannot go on has failed"))]

pub mod authority;
pub mod crypto;
mod error;
pub mod inspect;
mod issuance;
pub mod key;
pub mod leaf;
pub mod passing;
mod pem;
pub mod random;
pub mod renewal;
pub mod request;
pub mod sealed;
pub mod verify;

#[cfg(test)]
mod fixtures;

pub use authority::{RootAuthority, issue_intermediate, new_root};
pub use error::PkiError;
pub use inspect::{CertificateChain, CertificateInfo};
pub use key::{PrivateKeyPem, PublicKey, generate, parse_private_key_spki, spki_of};
pub use kubezt_model::desired::{AuthorityKind, LeafSpec, Usage};
pub use leaf::sign_leaf;
pub use passing::{PassingCredential, passing_credential};
pub use random::random_bytes;
pub use renewal::{Reason, Renewal, intermediate_needs_issue, needs_issue, needs_issue_by_any};
pub use request::{CertificateRequest, request_leaf};
pub use sealed::{SealError, open, seal};
pub use verify::{ChainFault, verify_chain, verify_issued_by};
