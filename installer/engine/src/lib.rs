//! Everything that touches the outside: SSH, the node side, and the run of a plan.
//!
//! | module | what it does |
//! |---|---|
//! | [`transport`] | SSH connections with verified host keys |
//! | [`link`] | the framed protocol with the node side, over any byte stream |
//! | [`node`] | the node side itself: reads facts, applies actions, forwards to the API |
//! | [`nodes`] | connections to all nodes of a cluster |
//! | [`preflight`] | looks at nodes before anything is changed |
//! | [`distribution`] | which node gets which blob from whom |
//! | [`executor`] | runs a plan; [`fleet`] performs its steps, [`gates`] are what it waits for |
//! | `guarded` | changes that could cut the operator off: confirmed over a new connection, or undone |
//! | [`failures`] | what failed in a run, a block a node |
//! | [`doctor`] | looks at a cluster that is not well, and changes nothing |
//! | [`certificates`], [`credential`] | what is issued, to nodes and to people |
//! | [`api`], [`manifests`], `applied` | the Kubernetes API: calls, applying, drift |
//! | [`probes`] | behaviour tried for real |
//! | [`state`], [`journal`] | what the operator keeps |

pub mod api;
mod applied;
pub mod certificates;
pub mod credential;
pub mod distribution;
pub mod doctor;
pub mod executor;
pub mod failures;
pub mod fleet;
pub mod gates;
mod guarded;
pub mod journal;
pub mod link;
pub mod manifests;
pub mod node;
pub mod nodes;
pub mod preflight;
pub mod probes;
mod reconnect;
pub mod state;
pub mod transport;
