//! The host firewall as the kernel holds it: ports that are closed to everybody but the cluster's own nodes.
//!
//! Judged by what the rules do, not by the file they came from: a file that was weakened and loaded is no better than none.

use std::collections::BTreeSet;

use kubezt_model::cluster::Role;
use kubezt_model::desired::Cluster;
use kubezt_model::firewall::{TABLE, Table};
use kubezt_model::node::{Read, Reading};
use kubezt_model::ports;
use serde::{Deserialize, Serialize};

use super::{Judged, NodeContext, unexpected};

/// What is wanted of the firewall.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct FirewallCheck {
    /// TCP ports that must be closed.
    #[serde(default)]
    pub tcp: BTreeSet<u16>,
    /// UDP ports that must be closed.
    #[serde(default)]
    pub udp: BTreeSet<u16>,
    /// Node roles; empty means all.
    #[serde(default)]
    pub roles: Vec<Role>,
}

/// Where a chain sees what is meant for the host itself, before anything was accepted for good.
const HOOK: &str = "type filter hook input priority filter; policy ";

impl FirewallCheck {
    /// Whether the parts fit.
    ///
    /// # Errors
    /// They do not.
    pub fn validate(&self) -> Result<(), String> {
        if self.tcp.is_empty() && self.udp.is_empty() {
            return Err("a firewall check needs `tcp` or `udp` ports that must be closed".to_owned());
        }
        Ok(())
    }

    /// The table.
    pub fn reads(&self) -> Vec<Read> {
        vec![Read::Firewall]
    }

    /// Judges it.
    ///
    /// # Errors
    /// It could not be read.
    pub fn judge(&self, context: &NodeContext<'_>) -> Result<Judged, String> {
        let wanted = format!("table {TABLE} closes {} to all but the nodes", self.ports().join(", "));
        let table = match context.reading(&Read::Firewall)? {
            Reading::Text(text) => Table::parse(text).ok_or_else(|| unexpected(&Read::Firewall))?,
            Reading::Missing => return Ok(Judged::fail(wanted, format!("table {TABLE} is not loaded"))),
            _ => return Err(unexpected(&Read::Firewall)),
        };
        Ok(match self.fault(&table, context.cluster) {
            Some(fault) => Judged::fail(wanted, fault),
            None => Judged::pass(wanted),
        })
    }

    fn ports(&self) -> Vec<String> {
        let named = |protocol: &str, ports: &BTreeSet<u16>| -> Vec<String> {
            ports.iter().map(|port| format!("{protocol} {port}")).collect()
        };
        [named("tcp", &self.tcp), named("udp", &self.udp)].concat()
    }

    /// What lets somebody else in.
    fn fault(&self, table: &Table, cluster: &Cluster) -> Option<String> {
        if let Some(statement) = table.statements.first() {
            return Some(format!("the table says `{statement}`"));
        }
        let mut hooked = table.blocks.values().filter_map(|block| {
            let (first, rules) = block.statements.split_first()?;
            first.starts_with(HOOK).then_some(rules)
        });
        let Some(rules) = hooked.next() else {
            return Some("no chain of the table looks at what comes in".to_owned());
        };
        let mut open: BTreeSet<String> = self.ports().into_iter().collect();
        for rule in rules {
            if let Some((protocol, port)) = closed(rule) {
                open.remove(&format!("{protocol} {port}"));
            } else if let Some(fault) = let_in(rule, table, cluster)
                && !open.is_empty()
            {
                return Some(fault);
            }
        }
        let open: Vec<String> = open.into_iter().collect();
        (!open.is_empty()).then(|| format!("nothing closes {}", open.join(", ")))
    }
}

/// Protocol and port that a rule closes to whoever comes as far as it.
fn closed(rule: &str) -> Option<(&str, &str)> {
    match rule.split(' ').collect::<Vec<_>>().as_slice() {
        [protocol, "dport", port, "drop"] => Some((protocol, port)),
        _ => None,
    }
}

/// What is wrong with a rule that comes before a port is closed; `None` for those that let in nobody but whom they may.
fn let_in(rule: &str, table: &Table, cluster: &Cluster) -> Option<String> {
    let pods: BTreeSet<String> = cluster.networks.pods.iter().map(ToString::to_string).collect();
    let known = match rule.split(' ').collect::<Vec<_>>().as_slice() {
        ["iifname", "\"lo\"", "accept"] | ["ct", "state", "established,related", "accept"] => true,
        ["ip" | "ip6", "saddr", set, "accept"] if set.starts_with('@') => {
            return strangers(set.trim_start_matches('@'), table, cluster);
        }
        // The only port that pods may reach.
        ["ip" | "ip6", "saddr", network, "tcp", "dport", port, "accept"] => {
            *port == ports::KUBELET.to_string() && pods.contains(*network)
        }
        _ => false,
    };
    (!known)
        .then(|| format!("the rule `{rule}` comes before a port is closed, and nobody knows whom it lets in"))
}

/// Members of a set that are no addresses of nodes.
fn strangers(set: &str, table: &Table, cluster: &Cluster) -> Option<String> {
    let nodes: BTreeSet<String> =
        cluster.nodes.iter().flat_map(|node| &node.addresses).map(ToString::to_string).collect();
    let elements = &table.blocks.get(&format!("set {set}"))?.elements;
    let strangers: Vec<&str> = elements.difference(&nodes).map(String::as_str).collect();
    (!strangers.is_empty()).then(|| format!("set {set} lets in {}, which no node has", strangers.join(", ")))
}
