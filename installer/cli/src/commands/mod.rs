//! One file a command.

pub mod certs;
pub mod completions;
pub mod doctor;
pub mod explain;
pub mod images;
pub mod init;
pub mod install;
pub mod journal;
pub mod kubeconfig;
pub mod man;
pub mod node;
pub mod plan;
pub mod preflight;
pub mod probe;
pub mod profile;
pub mod render;
pub mod schema;
pub mod status;
pub mod trust;
pub mod verify;
pub mod version;
