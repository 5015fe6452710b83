//! What needs more than a comparison of files: certificates (judged by the PKI crate against a clock) and API
//! objects (judged by the API server's own dry run). Their judges put the result in here; planning reads it.

use std::collections::BTreeMap;

use kubezt_model::NodeName;

/// One thing that is due, and why, in a few words.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Due {
    /// Certificate path, bundle path, or `Kind namespace/name` of an object.
    pub subject: String,
    /// Why.
    pub why: String,
}

/// Everything that was found due.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Assessment {
    /// Certificates to issue, by node and certificate path.
    pub certificates: BTreeMap<NodeName, Vec<Due>>,
    /// Trust bundles to write, by node and path.
    pub bundles: BTreeMap<NodeName, Vec<Due>>,
    /// Objects to apply or to remove, by manifest set; the subject is [`object_name`] of the object.
    pub objects: BTreeMap<String, Vec<Due>>,
    /// Whether the API answered. Where it did not, every object is due.
    pub api_reachable: bool,
    /// Nodes that kubezt once registered and that the cluster file does not name any more.
    pub departed: Vec<String>,
    /// Nodes of the cluster file that the API does not know although it answers.
    pub unregistered: Vec<NodeName>,
    /// Nodes that are not Ready, workloads that do not run: the cluster-wide gates are due again.
    pub unready: Vec<String>,
}

impl Assessment {
    /// Why this certificate of this node is due, where it is.
    pub fn certificate(&self, node: &NodeName, path: &str) -> Option<&Due> {
        find(&self.certificates, node, path)
    }

    /// Why this bundle of this node is due, where it is.
    pub fn bundle(&self, node: &NodeName, path: &str) -> Option<&Due> {
        find(&self.bundles, node, path)
    }

    /// Why this object of this set is due, where it is.
    pub fn object(&self, set: &str, name: &str) -> Option<Due> {
        if !self.api_reachable {
            return Some(Due { subject: name.to_owned(), why: "the API does not answer yet".to_owned() });
        }
        self.left_over(set, name).cloned()
    }

    /// Why this object of this set is to be removed, where the API was seen to hold it.
    pub fn left_over(&self, set: &str, name: &str) -> Option<&Due> {
        self.objects.get(set)?.iter().find(|due| due.subject == name)
    }
}

fn find<'a>(map: &'a BTreeMap<NodeName, Vec<Due>>, node: &NodeName, subject: &str) -> Option<&'a Due> {
    map.get(node)?.iter().find(|due| due.subject == subject)
}

/// How an object is named in plans: `Kind namespace/name`, or `Kind name` where it has no namespace.
pub fn object_name(object: &serde_json::Value) -> String {
    let text =
        |pointer: &str| object.pointer(pointer).and_then(serde_json::Value::as_str).unwrap_or_default();
    let (kind, namespace, name) = (text("/kind"), text("/metadata/namespace"), text("/metadata/name"));
    if namespace.is_empty() { format!("{kind} {name}") } else { format!("{kind} {namespace}/{name}") }
}
