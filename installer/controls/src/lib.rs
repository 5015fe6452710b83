//! Requirements, profiles and control catalogues; how they become settings, and how evidence becomes verdicts.
//!
//! Nothing here does I/O: the caller brings the bytes of `profiles/` and the evidence, and takes findings away.
//!
//! | module | what it does |
//! |---|---|
//! | [`library`] | reads `profiles/**` and refuses anything that does not add up |
//! | [`resolve`] | profile + `cluster.yaml` → a resolved [`kubezt_model::desired::Cluster`] |
//! | [`check`] | the kinds of checks: what each looks at, and how it judges what was seen |
//! | [`probe`] | the kinds of probes, and how an outcome is handed in |
//! | [`compare`] | what changes from one profile to another |
//! | [`judge`] | evidence → findings |
//! | [`report`] | findings → text and JSON |

pub mod check;
pub mod compare;
pub mod judge;
pub mod library;
mod place;
pub mod probe;
pub mod report;
pub mod resolve;
pub mod settings_path;

pub use check::api::ApiRead;
pub use judge::{Evidence, api_reads, judge, reads};
pub use kubezt_model::nearest;
pub use library::{Library, LoadError};
pub use probe::{Probe, ProbeOutcome, ProbeResult};
pub use resolve::{ResolveError, place_of, resolve};
