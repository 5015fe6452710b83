//! Which step waits for which.

use std::collections::{BTreeMap, BTreeSet};

use kubezt_model::NodeName;
use kubezt_model::plan::{Change, Disruption, Operation, Step, StepId};

/// A step with all the steps it would wait for, whether or not they turn out to be in the plan.
#[derive(Debug, Clone)]
pub struct Draft {
    /// Id.
    pub id: StepId,
    /// What it does, for people.
    pub title: String,
    /// Node, or `None` for the cluster.
    pub node: Option<NodeName>,
    /// What is done; `None` where nothing has to be done.
    pub operation: Option<Operation>,
    /// Steps it waits for, and that must have succeeded.
    pub needs: Vec<StepId>,
    /// Steps it waits for, however they end.
    pub after: Vec<StepId>,
    /// What is noticed.
    pub interrupts: Disruption,
    /// What changes.
    pub changes: Vec<Change>,
}

/// Drops the drafts with nothing to do; a step that waited for one of them waits for what that one waited for. A step
/// stands after all it needs, and otherwise where its draft stood.
///
/// What has nothing to do on another node is as wanted there: whatever fails on that node before it does not matter, and
/// what was needed is then only waited for.
pub fn resolve(drafts: Vec<Draft>) -> Vec<Step> {
    let mut standing: BTreeMap<StepId, Standing> = BTreeMap::new();
    let mut steps = Vec::new();
    for draft in after_needs(drafts) {
        let mut needs = BTreeSet::new();
        let mut after = BTreeSet::new();
        for found in draft.needs.iter().filter_map(|need| standing.get(need)) {
            let own = found.is_step || found.node == draft.node;
            if own { &mut needs } else { &mut after }.extend(found.needs.iter().cloned());
            after.extend(found.after.iter().cloned());
        }
        for found in draft.after.iter().filter_map(|step| standing.get(step)) {
            after.extend(found.needs.iter().chain(&found.after).cloned());
        }
        after.retain(|step| !needs.contains(step));
        let Some(operation) = draft.operation else {
            standing.insert(draft.id, Standing { node: draft.node, is_step: false, needs, after });
            continue;
        };
        let itself = BTreeSet::from([draft.id.clone()]);
        let found =
            Standing { node: draft.node.clone(), is_step: true, needs: itself, after: BTreeSet::new() };
        standing.insert(draft.id.clone(), found);
        steps.push(Step {
            id: draft.id,
            title: draft.title,
            node: draft.node,
            operation,
            needs: needs.into_iter().collect(),
            after: after.into_iter().collect(),
            interrupts: draft.interrupts,
            changes: draft.changes,
        });
    }
    steps
}

/// What stands for a draft.
struct Standing {
    node: Option<NodeName>,
    /// Whether that is a step of its own.
    is_step: bool,
    /// Steps to wait for that must have succeeded.
    needs: BTreeSet<StepId>,
    /// Steps to wait for.
    after: BTreeSet<StepId>,
}

/// The drafts in an order in which each comes after those it needs. Those that wait for each other in a circle, which is a
/// mistake in the steps, come last; no run does them, and each says so.
fn after_needs(drafts: Vec<Draft>) -> Vec<Draft> {
    let position: BTreeMap<StepId, usize> =
        drafts.iter().enumerate().map(|(index, draft)| (draft.id.clone(), index)).collect();
    let mut waiting_for: Vec<usize> = vec![0; drafts.len()];
    let mut waited_by: Vec<Vec<usize>> = vec![Vec::new(); drafts.len()];
    for (index, draft) in drafts.iter().enumerate() {
        let needs: BTreeSet<usize> =
            draft.needs.iter().chain(&draft.after).filter_map(|need| position.get(need)).copied().collect();
        waiting_for[index] = needs.len();
        needs.into_iter().for_each(|need| waited_by[need].push(index));
    }
    let mut ready: BTreeSet<usize> = (0..drafts.len()).filter(|index| waiting_for[*index] == 0).collect();
    let mut drafts: Vec<Option<Draft>> = drafts.into_iter().map(Some).collect();
    let mut ordered = Vec::with_capacity(drafts.len());
    while let Some(index) = ready.pop_first() {
        ordered.extend(drafts[index].take());
        for next in &waited_by[index] {
            waiting_for[*next] -= 1;
            if waiting_for[*next] == 0 {
                ready.insert(*next);
            }
        }
    }
    ordered.extend(drafts.into_iter().flatten());
    ordered
}

#[cfg(test)]
mod tests {
    use kubezt_model::plan::Gate;

    use super::*;

    fn draft(what: &str, needs: &[&str], something: bool) -> Draft {
        Draft {
            id: StepId::cluster(what),
            title: what.to_owned(),
            node: None,
            operation: something.then_some(Operation::Gate { gate: Gate::ApiReady, timeout_seconds: 1 }),
            needs: needs.iter().map(|need| StepId::cluster(need)).collect(),
            after: Vec::new(),
            interrupts: Disruption::None,
            changes: Vec::new(),
        }
    }

    #[test]
    fn needs_pass_through_steps_with_nothing_to_do() {
        let steps = resolve(vec![draft("a", &[], true), draft("b", &["a"], false), draft("c", &["b"], true)]);
        assert_eq!(steps.len(), 2);
        assert_eq!(steps[1].needs, [StepId::cluster("a")]);
    }

    #[test]
    fn what_another_node_has_already_is_only_waited_for() {
        let node = |name: &str| name.parse::<NodeName>().unwrap();
        let on = |name: &str, what: &str, needs: Vec<StepId>, something: bool| Draft {
            id: StepId::on(&node(name), what),
            node: Some(node(name)),
            needs,
            ..draft(what, &[], something)
        };
        let id = |name: &str, what: &str| StepId::on(&node(name), what);
        let steps = resolve(vec![
            on("cp1", "host", vec![], true),
            on("cp1", "authorities", vec![id("cp1", "host")], false),
            on("cp1", "certificates", vec![id("cp1", "authorities")], true),
            on("w1", "certificates", vec![id("cp1", "authorities")], true),
        ]);
        let waits = |at: usize| (steps[at].needs.clone(), steps[at].after.clone());
        assert_eq!(waits(1), (vec![id("cp1", "host")], vec![]));
        assert_eq!(waits(2), (vec![], vec![id("cp1", "host")]));
    }

    #[test]
    fn a_step_stands_after_what_it_needs() {
        let drafts = vec![
            draft("a", &["c"], true),
            draft("b", &[], true),
            draft("c", &["d"], false),
            draft("d", &[], true),
        ];
        let ids: Vec<String> = resolve(drafts).iter().map(|step| step.id.to_string()).collect();
        assert_eq!(ids, ["cluster/b", "cluster/d", "cluster/a"]);
    }

    #[test]
    fn nothing_to_do_is_an_empty_plan() {
        assert!(resolve(vec![draft("a", &[], false)]).is_empty());
    }
}
