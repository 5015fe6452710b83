//! A part of a plan: some nodes, some steps.

use std::collections::BTreeSet;

use kubezt_model::NodeName;
use kubezt_model::plan::{Plan, Step, StepId};
use serde::{Deserialize, Serialize};

/// What of a plan is to be done. Steps are named as plans name them, `node/what`, or by `what` alone, which is that step
/// everywhere.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields, default)]
pub struct Selection {
    /// Only these steps; all where none is named.
    pub only: Vec<String>,
    /// Not these steps.
    pub skip: Vec<String>,
    /// Only steps on these nodes; the cluster's own steps are then left out. Everything where none is named.
    pub nodes: Vec<NodeName>,
}

impl Selection {
    /// Whether it leaves nothing out.
    pub fn is_everything(&self) -> bool {
        *self == Self::default()
    }

    fn takes(&self, step: &Step) -> bool {
        let named = |names: &[String]| names.iter().any(|name| is_named(name, &step.id));
        let on_node =
            self.nodes.is_empty() || step.node.as_ref().is_some_and(|node| self.nodes.contains(node));
        on_node && (self.only.is_empty() || named(&self.only)) && !named(&self.skip)
    }

    /// Names that name nothing in an install of these nodes and steps, due or not.
    pub(crate) fn mistakes(&self, nodes: &[&NodeName], steps: &BTreeSet<StepId>) -> Vec<String> {
        let mut mistakes = Vec::new();
        let known: Vec<&str> = nodes.iter().map(|node| node.as_str()).collect();
        for node in self.nodes.iter().filter(|node| !nodes.contains(node)) {
            mistakes.push(format!("there is no node `{node}`; there are {}", known.join(", ")));
        }
        let what: BTreeSet<&str> = steps.iter().map(what).collect();
        let what: Vec<&str> = what.into_iter().collect();
        for name in self.only.iter().chain(&self.skip) {
            if !steps.iter().any(|step| is_named(name, step)) {
                mistakes.push(format!(
                    "there is no step `{name}`; steps are named `node/what` or `what`, which is one of {}",
                    what.join(", ")
                ));
            }
        }
        mistakes
    }

    /// The part of a plan. A step is not done without those it needs: that would leave a node in a state nobody planned.
    ///
    /// # Errors
    /// Every step that is selected and needs one that is due and left out.
    pub fn of(&self, plan: Plan) -> Result<Plan, Vec<String>> {
        let taken: BTreeSet<StepId> =
            plan.steps.iter().filter(|step| self.takes(step)).map(|step| step.id.clone()).collect();
        let steps: Vec<Step> = plan.steps.into_iter().filter(|step| taken.contains(&step.id)).collect();
        let lacking = steps.iter().filter_map(|step| {
            let lacks: Vec<&str> =
                step.needs.iter().filter(|need| !taken.contains(need)).map(StepId::as_str).collect();
            (!lacks.is_empty()).then(|| {
                format!("{} needs {}, which is to be done and was left out", step.id, lacks.join(" and "))
            })
        });
        let lacking: Vec<String> = lacking.collect();
        if lacking.is_empty() { Ok(Plan { cluster: plan.cluster, steps }) } else { Err(lacking) }
    }
}

fn is_named(name: &str, step: &StepId) -> bool {
    name == step.as_str() || name == what(step)
}

fn what(step: &StepId) -> &str {
    step.as_str().split_once('/').map_or(step.as_str(), |(_, what)| what)
}

#[cfg(test)]
mod tests {
    use kubezt_model::plan::{Disruption, Gate, Operation};

    use super::*;

    fn plan() -> Plan {
        let node = |name: &str| name.parse::<NodeName>().unwrap();
        let step = |id: StepId, on: Option<NodeName>, needs: &[StepId]| Step {
            id,
            title: String::new(),
            node: on,
            operation: Operation::Gate { gate: Gate::ApiReady, timeout_seconds: 1 },
            needs: needs.to_vec(),
            after: Vec::new(),
            interrupts: Disruption::None,
            changes: Vec::new(),
        };
        let (w1, w2) = (node("w1"), node("w2"));
        let on = |node: &NodeName, what: &str, needs: &[StepId]| {
            step(StepId::on(node, what), Some(node.clone()), needs)
        };
        Plan {
            cluster: "demo".parse().unwrap(),
            steps: vec![
                on(&w1, "host", &[]),
                on(&w1, "kubelet", &[StepId::on(&w1, "host")]),
                on(&w2, "kubelet", &[]),
                step(StepId::cluster("nodes-ready"), None, &[StepId::on(&w1, "kubelet")]),
            ],
        }
    }

    fn selected(selection: &Selection) -> Result<Vec<String>, Vec<String>> {
        let ids = |plan: Plan| plan.steps.iter().map(|step| step.id.to_string()).collect();
        selection.of(plan()).map(ids)
    }

    fn words(list: &[&str]) -> Vec<String> {
        list.iter().map(|&word| word.to_owned()).collect()
    }

    #[test]
    fn a_part_is_named_by_nodes_and_by_steps() {
        let everything = Selection::default();
        assert!(everything.is_everything());
        assert_eq!(selected(&everything).unwrap().len(), 4);
        let nodes = Selection { nodes: vec!["w1".parse().unwrap()], ..Selection::default() };
        assert_eq!(selected(&nodes).unwrap(), ["w1/host", "w1/kubelet"]);
        let only = Selection { only: words(&["host", "w2/kubelet"]), ..Selection::default() };
        assert_eq!(selected(&only).unwrap(), ["w1/host", "w2/kubelet"]);
        let skip = Selection { skip: words(&["nodes-ready"]), ..Selection::default() };
        assert_eq!(selected(&skip).unwrap(), ["w1/host", "w1/kubelet", "w2/kubelet"]);
    }

    #[test]
    fn no_step_is_done_without_those_it_needs() {
        let only = Selection { only: words(&["kubelet"]), ..Selection::default() };
        assert_eq!(
            selected(&only).unwrap_err(),
            ["w1/kubelet needs w1/host, which is to be done and was left out"]
        );
    }

    #[test]
    fn names_that_name_nothing_are_mistakes() {
        let steps: BTreeSet<StepId> = plan().steps.iter().map(|step| step.id.clone()).collect();
        let node: NodeName = "w1".parse().unwrap();
        let selection = Selection {
            only: words(&["kubelt"]),
            skip: words(&["w1/host"]),
            nodes: vec!["w3".parse().unwrap()],
        };
        let mistakes = selection.mistakes(&[&node], &steps);
        assert_eq!(mistakes.len(), 2, "{mistakes:?}");
        assert_eq!(mistakes[0], "there is no node `w3`; there are w1");
        assert!(mistakes[1].starts_with("there is no step `kubelt`"), "{mistakes:?}");
        assert!(mistakes[1].ends_with("host, kubelet, nodes-ready"), "{mistakes:?}");
    }
}
