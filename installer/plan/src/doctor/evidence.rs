//! What was seen of a cluster, and how rules look at it.

use std::collections::{BTreeMap, BTreeSet};

use jiff::Timestamp;
use kubezt_model::cluster::Role;
use kubezt_model::desired::{Desired, DesiredNode};
use kubezt_model::health::ContainerReading;
use kubezt_model::node::{Facts, Read, Reading};
use kubezt_model::{NodeName, redaction};
use serde::Serialize;
use serde_json::Value;

use crate::preflight::{ClockOffset, Unreachable};

/// What was seen of a cluster.
#[derive(Debug, Clone, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Evidence {
    /// When, by the operator's clock.
    pub at: Timestamp,
    /// What each node answered.
    pub facts: BTreeMap<NodeName, Facts>,
    /// Nodes that gave no answer.
    pub unreachable: Vec<Unreachable>,
    /// How far each node's clock is from the operator's.
    pub clocks: BTreeMap<NodeName, ClockOffset>,
    /// The certificates each node is to have.
    pub certificates: BTreeMap<NodeName, Vec<CertificateSeen>>,
    /// What the API says; `None` where it could not be asked.
    pub api: Option<ApiEvidence>,
    /// Why it could not be asked; empty where it was.
    pub no_api: String,
}

impl Evidence {
    /// All of it as others may see it: without the text of files, and without what looks like a secret in what others wrote.
    pub fn public(&self) -> Value {
        let mut evidence = self.clone();
        let readings = evidence.facts.values_mut().flat_map(|facts| facts.readings.values_mut());
        for reading in readings {
            if let Reading::File(file) = reading {
                file.text = None;
            }
        }
        let mut value = serde_json::to_value(evidence).unwrap_or_default();
        redaction::value(&mut value);
        value
    }
}

/// A certificate a node is to have.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct CertificateSeen {
    /// Where.
    pub path: String,
    /// What was seen there.
    pub state: CertificateState,
}

/// What was seen of a certificate.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum CertificateState {
    /// It can be read.
    Readable {
        /// Start of its validity.
        from: Timestamp,
        /// End of its validity.
        until: Timestamp,
        /// Names and addresses it is for.
        names: BTreeSet<String>,
    },
    /// It is not there.
    Missing,
    /// It cannot be read: why.
    Unreadable(String),
}

/// What the API says.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct ApiEvidence {
    /// The nodes it knows.
    pub nodes: Vec<NodeSeen>,
    /// Pods that wait or fail.
    pub pods: Vec<PodSeen>,
    /// Warnings about them, oldest first.
    pub events: Vec<EventSeen>,
}

/// A node as the API knows it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct NodeSeen {
    /// Name.
    pub name: String,
    /// What its kubelet, or for a silent one the controller manager, says of it.
    pub conditions: Vec<NodeCondition>,
}

/// A condition of a node.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct NodeCondition {
    /// Which, such as `Ready`.
    pub kind: String,
    /// `True`, `False` or `Unknown`.
    pub status: String,
    /// In words.
    pub message: String,
}

/// A pod that waits or fails.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct PodSeen {
    /// Namespace.
    pub namespace: String,
    /// Name.
    pub name: String,
    /// Its node; empty where it has none yet.
    pub node: String,
    /// What it waits for, in words.
    pub waits: String,
}

/// A warning of the API.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct EventSeen {
    /// Namespace of what it is about.
    pub namespace: String,
    /// Name of what it is about.
    pub name: String,
    /// Reason and message.
    pub what: String,
}

/// What rules look at.
pub(super) struct Scene<'a> {
    pub desired: &'a Desired,
    pub evidence: &'a Evidence,
}

/// A node that gave an answer.
#[derive(Clone, Copy)]
pub(super) struct Place<'a> {
    pub desired: &'a DesiredNode,
    pub facts: &'a Facts,
}

impl<'a> Scene<'a> {
    /// Nodes that gave an answer, in the order of the cluster.
    pub fn places(&self) -> impl Iterator<Item = Place<'a>> {
        let (desired, evidence) = (self.desired, self.evidence);
        desired.nodes.iter().filter_map(move |node| {
            Some(Place { desired: node, facts: evidence.facts.get(&node.node.name)? })
        })
    }

    /// Those of the control plane.
    pub fn control_plane(&self) -> impl Iterator<Item = Place<'a>> {
        self.places().filter(|place| place.desired.node.role == Role::ControlPlane)
    }
}

impl<'a> Place<'a> {
    pub fn name(&self) -> &'a NodeName {
        &self.desired.node.name
    }

    pub fn reading(&self, read: &Read) -> Option<&'a Reading> {
        self.facts.reading(read)
    }

    /// Containers of pods; none where kubelet never started one.
    pub fn containers(&self) -> &'a [ContainerReading] {
        match self.reading(&Read::Containers) {
            Some(Reading::Containers(containers)) => containers,
            _ => &[],
        }
    }

    /// Whether a program of this name runs.
    pub fn runs(&self, program: &str) -> bool {
        let read = Read::Process { name: program.to_owned() };
        matches!(self.reading(&read), Some(Reading::Processes(found)) if !found.is_empty())
    }

    /// The end of a unit's journal.
    pub fn log(&self, unit: &str) -> Vec<String> {
        match self.reading(&Read::UnitLog { name: unit.to_owned() }) {
            Some(Reading::Lines(lines)) => lines.clone(),
            _ => Vec::new(),
        }
    }
}
