//! A plan as a person reads it.

use std::fmt::Write as _;

use kubezt_model::plan::{Disruption, Plan};

/// The plan as text: a heading a node, a line a change, the diff of public files under it.
pub fn plan(plan: &Plan, diffs: bool) -> String {
    let mut out = String::new();
    if plan.is_empty() {
        out.push_str("Nothing to do: the cluster is as wanted\n");
        return out;
    }
    let mut places: Vec<Option<&kubezt_model::NodeName>> = Vec::new();
    for step in &plan.steps {
        if !places.contains(&step.node.as_ref()) {
            places.push(step.node.as_ref());
        }
    }
    for place in places {
        let heading = place.map_or_else(|| "cluster".to_owned(), ToString::to_string);
        let _ = writeln!(out, "{heading}");
        for step in plan.steps.iter().filter(|step| step.node.as_ref() == place) {
            let _ = write!(out, "  {}", step.title);
            if let Some(words) = disruption(step.interrupts) {
                let _ = write!(out, "  [interrupts {words}]");
            }
            out.push('\n');
            for change in &step.changes {
                let _ = write!(out, "    {:<8} {}", change.verb, change.subject);
                if !change.why.is_empty() {
                    let _ = write!(out, "  ({})", change.why);
                }
                out.push('\n');
                if diffs {
                    for line in change.diff.lines() {
                        let _ = writeln!(out, "      {line}");
                    }
                }
            }
        }
    }
    let changes: usize = plan.steps.iter().map(|step| step.changes.len()).sum();
    let _ = writeln!(out, "\n{changes} changes in {} steps", plan.steps.len());
    out
}

fn disruption(disruption: Disruption) -> Option<&'static str> {
    match disruption {
        Disruption::None => None,
        Disruption::EtcdMember => Some("this etcd member"),
        Disruption::ApiServer => Some("this API server"),
        Disruption::Controllers => Some("controllers and scheduler"),
        Disruption::Kubelet => Some("kubelet or container runtime; pods keep running"),
        Disruption::DataPath => Some("pod traffic"),
    }
}
