//! The install, top to bottom, as one list.
//!
//! | step | on | waits for |
//! |---|---|---|
//! | `etcd-removal` | a control-plane node | |
//! | `host` | every node | |
//! | `firewall` | every node | `host`, the end of every `etcd-removal` |
//! | `components` | every node | `host` |
//! | `services` | every node | `components`, `firewall` |
//! | `images` | every node | `services` |
//! | `workload-images` | every node | `images` |
//! | `authorities` | control-plane nodes | `host` |
//! | `certificates` | every node | every `authorities`, `host`, `etcd-removal` |
//! | `configuration` | every node | `certificates` |
//! | `etcd-member` | control-plane nodes | `images`, `certificates`; where etcd runs already: `kubelet` of its members, and the `etcd-promotion` before |
//! | `control-plane` | control-plane nodes | `images`, `configuration`, `etcd-member` |
//! | `kubelet` | every node | `services`, `configuration`, and its `control-plane` |
//! | `etcd-promotion` | control-plane nodes that join | `kubelet` |
//! | `api-server` | control-plane nodes where it begins | `images`, `kubelet`, `etcd-promotion` |
//! | `controllers` | control-plane nodes | `images`, `api-server`; where no API answers yet, `api-ready` |
//! | `api-ready` | cluster | every `api-server`; where the API answers already, the end of every `controllers` |
//! | the first manifest set (rights) | cluster | `api-ready` |
//! | one step a further set | cluster | the first set, the end of every `workload-images` |
//! | `nodes-ready` | cluster | the first set, the end of every `kubelet` and `workload-images` |
//! | `nodes` (labels) | cluster | `nodes-ready` |
//! | `workloads-ready`, `pods-talk` | cluster | every set |

mod certificates;
mod cluster;
mod draft;
mod etcd;
pub(crate) mod files;
mod firewall;
mod host;
mod kubelet;
mod pods;
mod services;
mod units;

pub use cluster::NODE_OBJECTS;

use std::collections::BTreeMap;
use std::net::SocketAddr;

use kubezt_model::NodeName;
use kubezt_model::desired::{Desired, DesiredNode};
use kubezt_model::node::{Facts, FileReading, Read, Reading, START_STEP};
use kubezt_model::plan::StepId;

use crate::assess::Assessment;
use crate::members::{MANIFEST, Membership};
use crate::order::Draft;

/// What a node step is decided from.
pub(crate) struct NodeContext<'a> {
    pub desired: &'a DesiredNode,
    pub facts: &'a Facts,
    pub assessment: &'a Assessment,
    /// Every control-plane node.
    pub control_plane: &'a [NodeName],
    /// Members of etcd.
    pub etcd: &'a Membership,
    /// Port of the API servers.
    pub api_port: u16,
}

impl NodeContext<'_> {
    pub(crate) fn name(&self) -> &NodeName {
        &self.desired.node.name
    }

    pub(crate) fn reading(&self, read: &Read) -> &Reading {
        // A reading that was not taken is as good as nothing there: the action is idempotent, so planning it is safe.
        self.facts.reading(read).unwrap_or(&Reading::Missing)
    }

    /// The file at this path when its step comes: the manifest of an etcd that is to get data is taken away before.
    pub(crate) fn file(&self, path: &str) -> Option<&FileReading> {
        if path == MANIFEST && self.etcd.formation(self.name()).is_some() {
            None
        } else {
            self.facts.file(path)
        }
    }

    /// Where the API server of this node listens.
    pub(crate) fn api_server(&self) -> SocketAddr {
        SocketAddr::new(self.desired.node.address(), self.api_port)
    }

    pub(crate) fn id(&self, what: &str) -> StepId {
        StepId::on(self.name(), what)
    }

    /// A file that changed after a process started that reads it only then; `started` 0 stands for no process.
    pub(crate) fn changed_after<'p>(
        &self,
        started: u64,
        paths: impl IntoIterator<Item = &'p str>,
    ) -> Option<&'p str> {
        let changed = |path: &&str| {
            self.facts.file(path).is_some_and(|file| file.changed > started.saturating_add(START_STEP))
        };
        if started == 0 { None } else { paths.into_iter().find(changed) }
    }
}

/// Every step of the install, with or without something to do.
pub(crate) fn all(
    desired: &Desired,
    facts: &BTreeMap<NodeName, Facts>,
    assessment: &Assessment,
) -> Vec<Draft> {
    let control_plane: Vec<NodeName> =
        desired.cluster.control_plane().map(|node| node.name.clone()).collect();
    let etcd = Membership::of(desired, facts);
    let contexts: Vec<NodeContext<'_>> = desired
        .nodes
        .iter()
        .filter_map(|node| {
            let facts = facts.get(&node.node.name)?;
            let (control_plane, etcd) = (control_plane.as_slice(), &etcd);
            let api_port = desired.cluster.endpoint.port;
            Some(NodeContext { desired: node, facts, assessment, control_plane, etcd, api_port })
        })
        .collect();
    let node_steps: [fn(&NodeContext<'_>) -> Draft; 16] = [
        etcd::removal,
        host::host,
        firewall::firewall,
        host::components,
        services::services,
        services::images,
        services::workload_images,
        certificates::authorities,
        certificates::certificates,
        files::configuration,
        etcd::member,
        pods::control_plane,
        kubelet::kubelet,
        etcd::promotion,
        pods::api_server,
        pods::controllers,
    ];
    let mut drafts: Vec<Draft> =
        node_steps.iter().flat_map(|step| contexts.iter().map(|context| step(context))).collect();
    // What is in the API cannot be known, nor changed, while its node is not reached.
    if control_plane.iter().any(|node| facts.contains_key(node)) {
        drafts.extend(cluster::steps(desired, assessment, &drafts));
    }
    drafts
}
