//! Templates become files, units and API objects. No I/O: templates come in as text, files go out as text.
//!
//! The template folder is the interface; adding a template adds a managed file.
//!
//! | path | becomes |
//! |---|---|
//! | `<component>/*.tera` | a file on nodes; its [header](header) says where and how |
//! | `<component>/arguments.yaml.tera` | the arguments of a component that follow from the cluster's shape |
//! | `manifests/<set>/*.yaml.tera` | objects in the API, set by set as `manifests/sets.yaml` orders them |
//! | `cni/<name>/values.yaml.tera` | values for the chart of that network plug-in |
//! | `cni/<name>/manifests/*.yaml.tera` | objects beside that chart |
//! | `cni/<name>/host/*.tera` | files on nodes that have that network plug-in |
//!
//! Templates see `cluster`, `settings`, `node`, `controlPlane`, `addresses`, `images`, and, where their header asks
//! for it, `arguments`, `configuration` and `secrets` (secret files only). An undefined variable is an error, and so is
//! a result that does not parse back.

mod arguments;
mod context;
mod error;
mod filters;
pub mod header;
mod node;
mod objects;
mod parse_back;
mod shape;
mod templates;
mod values;

use std::collections::BTreeMap;

use kubezt_model::SecretText;
use kubezt_model::desired::Cluster;

pub use error::RenderError;
pub use node::{render_node, render_nodes};
pub use objects::{chart_values, render_manifests};
pub use shape::node_shape;
pub use templates::Templates;

/// What everything is rendered from.
#[derive(Debug, Clone, Copy)]
pub struct Input<'a> {
    /// The resolved cluster.
    pub cluster: &'a Cluster,
    /// Image references by short name: `kube-apiserver`, `kube-controller-manager`, `kube-scheduler`, `etcd`, `pause`,
    /// `coredns`, and those of the network plug-in (`agent`, `operator`).
    pub images: &'a BTreeMap<String, String>,
    /// Secrets that end up in files.
    pub secrets: &'a Secrets,
}

/// Secrets that end up in files; only templates of secret files see them.
#[derive(Debug, Clone)]
pub struct Secrets {
    /// Key of the encryption at rest: 32 bytes in base64. Empty where nothing is written, as for an outline.
    pub encryption_key: SecretText,
}
