//! How bytes reach a node: SSH, with host keys that are always verified.
//!
//! | module | what it does |
//! |---|---|
//! | [`hostkeys`] | decides whether a host key is the expected one (pure) |
//! | [`trust`] | reads known_hosts files, shows and records a host key |
//! | [`hostcertificate`] | decides whether a host's certificate is good (pure) |
//! | [`auth`] | proves who the operator is: key files, certificates and agent |
//! | [`access`] | what all connections share: unlocked keys, passwords, jump hosts |
//! | [`algorithms`] | the only algorithms that are offered |
//! | [`config`] | what ssh_config says about a host (pure) |
//! | [`config_files`] | reads ssh_config files |
//! | [`ssh`] | connections |
//! | [`exec`] | one command on a connection, as a byte stream |

#![expect(
    clippy::disallowed_methods,
    reason = "errors here name the path and what was being done themselves"
)]

pub mod access;
pub mod algorithms;
pub mod auth;
pub mod config;
pub mod config_files;
mod error;
pub mod exec;
pub mod hostcertificate;
pub mod hostkeys;
mod keys;
mod rsa;
pub mod ssh;
pub mod trust;

pub use access::{Access, Asker, NoAnswers, Question};
pub use config_files::ConfigFiles;
pub use error::TransportError;
pub use exec::{ExecStream, Exit};
pub use hostkeys::{HostKey, HostName, HostNames, KnownHosts, Verdict};
pub use keys::key_file_problem;
pub use ssh::{Connection, Elevation, HostKeySource, Target, scan_host_key};
