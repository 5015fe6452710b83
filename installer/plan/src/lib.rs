//! From what is wanted and what was seen to what has to be done. Pure: no I/O, no clock.
//!
//! | module | what it knows |
//! |---|---|
//! | [`facts`] | what must be read from a node to plan it |
//! | [`steps`] | the install, top to bottom, as one list |
//! | [`members`] | who is a member of etcd, who is to become one, and who is to go |
//! | [`assess`] | what others found due: certificates, trust bundles, API objects |
//! | [`doctor`] | why a cluster is not well: what was seen, explained from cause to consequence |
//! | [`order`] | which step waits for which |
//! | [`preflight`] | what would make an install fail or do damage, found beforehand |
//! | [`select`] | a part of a plan |
//! | [`ticket`] | a plan that somebody approves |
//! | [`text`] | a plan as a person reads it |

pub mod assess;
pub mod doctor;
pub mod facts;
mod kubelet;
pub mod members;
pub mod order;
pub mod preflight;
pub mod select;
pub mod steps;
pub mod text;
pub mod ticket;

use std::collections::BTreeMap;

use kubezt_model::NodeName;
use kubezt_model::desired::{Desired, DesiredNode};
use kubezt_model::node::Facts;
use kubezt_model::plan::Plan;

pub use assess::{Assessment, Due};
use order::Draft;
pub use select::Selection;
pub use ticket::{Ticket, TicketError};

/// Plans a cluster: compares every node that was seen, and the API, with what is wanted.
///
/// Nodes without facts (unreachable ones) get no steps; whoever gathers facts reports them. On a converged cluster
/// the plan is empty.
pub fn plan(desired: &Desired, facts: &BTreeMap<NodeName, Facts>, assessment: &Assessment) -> Plan {
    let drafts = steps::all(desired, facts, assessment);
    Plan { cluster: desired.cluster.name.clone(), steps: order::resolve(drafts) }
}

/// Nodes and steps that a selection names and no install of this cluster has, due or not. Nothing has to be seen for that, so
/// that it can be told before any node is asked.
pub fn mistakes(desired: &Desired, selection: &Selection) -> Vec<String> {
    let unseen = |node: &DesiredNode| {
        let name = node.node.name.clone();
        (name.clone(), Facts { node: name, at: 0, readings: BTreeMap::new() })
    };
    let facts = desired.nodes.iter().map(unseen).collect();
    mistaken(desired, selection, &steps::all(desired, &facts, &Assessment::default()))
}

fn mistaken(desired: &Desired, selection: &Selection, drafts: &[Draft]) -> Vec<String> {
    let nodes: Vec<&NodeName> = desired.nodes.iter().map(|node| &node.node.name).collect();
    selection.mistakes(&nodes, &drafts.iter().map(|draft| draft.id.clone()).collect())
}

/// A part of the plan.
///
/// # Errors
/// Nodes and steps that do not exist, or steps that need others which are due and were left out: all of them.
pub fn plan_part(
    desired: &Desired,
    facts: &BTreeMap<NodeName, Facts>,
    assessment: &Assessment,
    selection: &Selection,
) -> Result<Plan, Vec<String>> {
    let drafts = steps::all(desired, facts, assessment);
    let mistakes = mistaken(desired, selection, &drafts);
    if !mistakes.is_empty() {
        return Err(mistakes);
    }
    selection.of(Plan { cluster: desired.cluster.name.clone(), steps: order::resolve(drafts) })
}
