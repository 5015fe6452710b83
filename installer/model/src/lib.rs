//! The words kubezt thinks in: what is wanted, what was seen, what will be done, and what was found.
//!
//! Nothing here does I/O; every other crate depends on this one and it depends on none of them.
//!
//! | module | words |
//! |---|---|
//! | [`names`] | node names, versions, file modes: strings that were parsed |
//! | [`nearest`] | the valid name nearest to a mistyped one |
//! | [`digest`] | SHA-256 content addresses |
//! | [`lifetime`] | how long a leaf certificate lives |
//! | [`yaml`] | the one place YAML is read (with file, line and caret) and written |
//! | [`cluster`] | `cluster.yaml` as a person writes it |
//! | [`artifacts`] | its part that says where components come from |
//! | [`schema`] | the JSON Schema of `cluster.yaml`, for editors |
//! | [`settings`] | every hardening decision, fully resolved |
//! | [`desired`] | the cluster and each node as they should be |
//! | [`firewall`] | the host firewall, as it is written and as the kernel holds it |
//! | [`node`] | what can be read from a node ([`node::Read`]) and what was seen ([`node::Facts`]) |
//! | [`ports`] | where components listen |
//! | [`survey`] | what is looked at before a node is touched |
//! | [`systems`] | operating systems that nodes may run |
//! | [`health`] | what is looked at where a node is not well |
//! | [`redaction`] | text that others may see |
//! | [`action`] | what can be done to a node |
//! | [`plan`] | ordered steps of actions, with what they interrupt |
//! | [`event`] | what a run reports while it happens |
//! | [`finding`] | evidence and verdicts |

pub mod action;
pub mod artifacts;
pub mod cluster;
pub mod desired;
pub mod digest;
pub mod event;
pub mod finding;
pub mod firewall;
pub mod health;
pub mod lifetime;
mod mistakes;
pub mod names;
pub mod nearest;
pub mod node;
pub mod plan;
pub mod ports;
pub mod redaction;
pub mod schema;
pub mod secret;
pub mod settings;
pub mod survey;
pub mod systems;
pub mod yaml;

pub use digest::Digest;
pub use lifetime::Lifetime;
pub use names::{Mode, NodeName, Owner};
pub use secret::SecretText;
