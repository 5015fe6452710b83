//! A plan as a change ticket: what was approved is what is done, or nothing is.

use std::collections::BTreeMap;

use kubezt_model::action::Action;
use kubezt_model::cluster::API_VERSION;
use kubezt_model::desired::Sensitivity;
use kubezt_model::plan::{Operation, Plan, Step, StepId};
use kubezt_model::{Digest, NodeName, SecretText};
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use crate::select::Selection;

const KIND: &str = "Plan";

/// What stands for secrets that the install itself will make.
const TO_BE_MADE: &str = "made by the install";

/// A plan without its secrets, and its digest.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Ticket {
    api_version: String,
    kind: String,
    /// SHA-256 of everything else in it, as compact JSON with sorted keys.
    pub digest: Digest,
    #[serde(flatten)]
    content: Content,
}

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
struct Content {
    cluster: NodeName,
    /// Whether the cluster had its secrets already. Where it had not, nobody can know them beforehand.
    has_secrets: bool,
    selection: Selection,
    steps: Vec<Step>,
}

/// Why a file is no ticket.
#[derive(Debug, thiserror::Error)]
pub enum TicketError {
    /// It is something else.
    #[error("it is not a plan of this version of kubezt, as `kubezt plan -o json` writes it: {0}")]
    Unreadable(String),
    /// It was changed.
    #[error(
        "its content has the digest {actual:?} and it says {stated:?}: it was changed after it was planned"
    )]
    Changed {
        /// What it says.
        stated: Digest,
        /// What it is.
        actual: Digest,
    },
}

impl Ticket {
    /// The ticket of a plan, which is this selection of all that is due.
    pub fn of(plan: &Plan, selection: &Selection, has_secrets: bool) -> Self {
        let steps = plan.steps.iter().map(|step| public(step, has_secrets)).collect();
        let content =
            Content { cluster: plan.cluster.clone(), has_secrets, selection: selection.clone(), steps };
        let digest = content.digest();
        Self { api_version: API_VERSION.to_owned(), kind: KIND.to_owned(), digest, content }
    }

    /// Reads one.
    ///
    /// # Errors
    /// [`TicketError`].
    pub fn parse(text: &str) -> Result<Self, TicketError> {
        let ticket: Self =
            serde_json::from_str(text).map_err(|error| TicketError::Unreadable(error.to_string()))?;
        if ticket.api_version != API_VERSION || ticket.kind != KIND {
            let what = format!("it is a {} {}", ticket.api_version, ticket.kind);
            return Err(TicketError::Unreadable(what));
        }
        let actual = ticket.content.digest();
        if actual == ticket.digest {
            Ok(ticket)
        } else {
            Err(TicketError::Changed { stated: ticket.digest, actual })
        }
    }

    /// The cluster it is a plan of.
    pub fn cluster(&self) -> &NodeName {
        &self.content.cluster
    }

    /// What was selected of all that was due.
    pub fn selection(&self) -> &Selection {
        &self.content.selection
    }

    /// What this plan does that the ticket does not hold; nothing where it was approved. What is not due any more does not
    /// matter: a run that was interrupted has done it, or somebody else has.
    pub fn exceeded_by(&self, plan: &Plan, has_secrets: bool) -> Vec<String> {
        if plan.cluster != self.content.cluster {
            return vec![format!(
                "it is a plan of cluster {}, not of {}",
                self.content.cluster, plan.cluster
            )];
        }
        let approved: BTreeMap<&StepId, &Step> =
            self.content.steps.iter().map(|step| (&step.id, step)).collect();
        // Secrets that are made now cannot be compared with any; those that were made by a run of this ticket neither.
        let compared = has_secrets && self.content.has_secrets;
        let differences = plan.steps.iter().filter_map(|step| {
            let Some(approved) = approved.get(&step.id) else {
                return Some(format!("{}: was not planned", step.id));
            };
            let approved = if compared { (*approved).clone() } else { without_secrets((*approved).clone()) };
            let (wanted, approved) = (parts(&public(step, compared)), parts(&approved));
            let new = wanted.iter().filter(|part| !approved.contains(part)).count();
            (new > 0).then(|| format!("{}: {new} of its {} actions were not planned", step.id, wanted.len()))
        });
        differences.collect()
    }
}

impl Content {
    fn digest(&self) -> Digest {
        // A value sorts its keys; the text of the types would not.
        let value = serde_json::to_value(self).unwrap_or_default();
        Digest::of(value.to_string().as_bytes())
    }
}

/// The step as everybody may see it.
fn public(step: &Step, has_secrets: bool) -> Step {
    if has_secrets { step.redacted() } else { without_secrets(step.redacted()) }
}

fn without_secrets(mut step: Step) -> Step {
    if let Operation::Node { actions } = &mut step.operation {
        for action in actions {
            if let Action::PutFile { body, sensitivity: Sensitivity::Secret, .. } = action {
                *body = SecretText::new(TO_BE_MADE.to_owned());
            }
        }
    }
    for change in
        step.changes.iter_mut().filter(|change| change.diff.starts_with(crate::steps::files::SECRET_DIFF))
    {
        change.diff = format!("({TO_BE_MADE})");
    }
    step
}

/// The single things a step does.
fn parts(step: &Step) -> Vec<Value> {
    match &step.operation {
        Operation::Node { actions } => actions.iter().map(value).collect(),
        Operation::Certificates { keys, certificates, bundles } => {
            let (keys, certificates) = (keys.iter().map(value), certificates.iter().map(value));
            keys.chain(certificates).chain(bundles.iter().map(value)).collect()
        }
        Operation::Apply { manifests } => {
            let applied = manifests.objects.iter().map(|object| json!({"apply": object}));
            applied.chain(manifests.absent.iter().map(|object| json!({"remove": object}))).collect()
        }
        Operation::Gate { gate, .. } => vec![value(gate)],
    }
}

fn value(part: &impl Serialize) -> Value {
    serde_json::to_value(part).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use kubezt_model::plan::{Change, Disruption};
    use kubezt_model::{Mode, Owner};

    use super::*;

    fn plan(secret: &str, units: &[&str]) -> Plan {
        let file = |path: &str, sensitivity, body: &str| Action::PutFile {
            path: path.to_owned(),
            mode: Mode::new(0o600),
            owner: Owner::root(),
            body: SecretText::new(body.to_owned()),
            sensitivity,
        };
        let mut actions = vec![
            file("/secret", Sensitivity::Secret, secret),
            file("/public", Sensitivity::Public, "everybody"),
        ];
        actions.extend(units.iter().map(|unit| Action::StartUnit { name: (*unit).to_owned() }));
        let node: NodeName = "cp1".parse().unwrap();
        let diff = format!("{}{})", crate::steps::files::SECRET_DIFF, Digest::of(secret.as_bytes()).short());
        let change = |diff: String| Change {
            subject: "/secret".to_owned(),
            verb: "create".to_owned(),
            why: String::new(),
            diff,
        };
        Plan {
            cluster: "demo".parse().unwrap(),
            steps: vec![Step {
                id: StepId::on(&node, "host"),
                title: String::new(),
                node: Some(node),
                operation: Operation::Node { actions },
                needs: Vec::new(),
                after: Vec::new(),
                interrupts: Disruption::None,
                changes: vec![change(diff)],
            }],
        }
    }

    fn ticket(plan: &Plan, has_secrets: bool) -> Ticket {
        let text = serde_json::to_string(&Ticket::of(plan, &Selection::default(), has_secrets)).unwrap();
        assert!(!text.contains("word"), "{text}");
        Ticket::parse(&text).unwrap()
    }

    #[test]
    fn what_was_planned_is_not_exceeded_and_what_was_not_is() {
        let approved = ticket(&plan("word", &["a", "b"]), true);
        assert_eq!(approved, ticket(&plan("word", &["a", "b"]), true));
        assert!(approved.exceeded_by(&plan("word", &["a", "b"]), true).is_empty());
        assert!(approved.exceeded_by(&plan("word", &["b"]), true).is_empty(), "some of it is done");
        assert_eq!(
            approved.exceeded_by(&plan("word", &["a", "b", "c"]), true),
            ["cp1/host: 1 of its 5 actions were not planned"]
        );
        assert_eq!(approved.exceeded_by(&plan("another word", &["a"]), true).len(), 1);
        let mut more = plan("word", &["a"]);
        more.steps[0].id = StepId::cluster("cilium");
        assert_eq!(approved.exceeded_by(&more, true), ["cluster/cilium: was not planned"]);
        more.cluster = "other".parse().unwrap();
        assert_eq!(approved.exceeded_by(&more, true), ["it is a plan of cluster demo, not of other"]);
    }

    #[test]
    fn secrets_that_are_made_by_the_install_are_not_part_of_it() {
        let approved = ticket(&plan("word", &["a"]), false);
        assert_eq!(approved.digest, ticket(&plan("another word", &["a"]), false).digest);
        assert!(approved.exceeded_by(&plan("a third word", &["a"]), false).is_empty());
        assert!(
            approved.exceeded_by(&plan("a third word", &["a"]), true).is_empty(),
            "an interrupted first run"
        );
        assert_ne!(approved.digest, ticket(&plan("word", &["a"]), true).digest);
    }

    #[test]
    fn what_was_changed_afterwards_is_refused() {
        let text =
            serde_json::to_string(&Ticket::of(&plan("word", &["a"]), &Selection::default(), true)).unwrap();
        let changed = Ticket::parse(&text.replace("everybody", "nobody")).unwrap_err();
        assert!(changed.to_string().contains("was changed after it was planned"), "{changed}");
        for other in ["", "{}", &text.replace("\"Plan\"", "\"Cluster\"")] {
            assert!(matches!(Ticket::parse(other), Err(TicketError::Unreadable(_))), "{other}");
        }
    }
}
