//! The node side: what `kubezt node …` does on a node, as root.
//!
//! | module | what it does |
//! |---|---|
//! | [`serve_link`] | answers the operator over the link |
//! | [`gather`] | looks at things |
//! | [`apply`] | does things |
//! | [`blobs`] | the content store |
//! | [`dial`] | forwards standard input and output to a TCP address |
//! | [`relay`] | hands blobs to other nodes, and fetches them there |
//! | [`listen`], [`reach`] | listeners for a moment, and trying to reach them |
//! | [`serve`] | balances the API on loopback |
//! | [`renew`] | renews the node's own certificates |
//! | [`root`] | where files and programs are: the host, or a folder in tests |
//! | [`firewall`] | the host firewall's table in the kernel |
//! | [`command`] | programs, without a shell, with a time limit |
//! | [`accounts`] | names of users and groups |
//! | [`lock`] | one operator at a time |
//! | [`journal`] | journals of runs |

#![expect(
    clippy::disallowed_methods,
    reason = "errors here name the path and what was being done themselves"
)]

pub mod accounts;
pub mod apply;
pub mod blobs;
pub mod command;
pub mod container;
pub mod dial;
mod error;
pub mod etcdctl;
pub mod files;
pub mod firewall;
pub mod gather;
pub mod images;
pub mod journal;
pub mod listen;
pub mod lock;
pub mod processes;
pub mod reach;
pub mod relay;
pub mod renew;
pub mod root;
pub mod serve;
pub mod serve_link;
mod stdio;

pub use error::{LOCKED, NodeError};
pub use root::NodeRoot;
pub use serve_link::serve_link;
