//! Collects the actions of a node step together with what they change.

use kubezt_model::action::Action;
use kubezt_model::plan::{Change, Disruption, Operation, StepId};

use super::NodeContext;
use crate::order::Draft;

/// Actions of one node step, in order.
#[derive(Default)]
pub(super) struct Actions {
    actions: Vec<Action>,
    changes: Vec<Change>,
}

impl Actions {
    /// Adds an action and what it changes.
    pub fn add(&mut self, action: Action, verb: &str, subject: &str, why: impl Into<String>) {
        self.add_with_diff(action, verb, subject, why, String::new());
    }

    /// Adds an action, what it changes, and the diff to show.
    pub fn add_with_diff(
        &mut self,
        action: Action,
        verb: &str,
        subject: &str,
        why: impl Into<String>,
        diff: String,
    ) {
        self.changes.push(Change {
            subject: subject.to_owned(),
            verb: verb.to_owned(),
            why: why.into(),
            diff,
        });
        self.actions.push(action);
    }

    /// Adds an action that only serves another one and is not worth a line of its own.
    pub fn follow(&mut self, action: Action) {
        self.actions.push(action);
    }

    /// Adds what others are, after these.
    pub fn extend(&mut self, others: Self) {
        self.actions.extend(others.actions);
        self.changes.extend(others.changes);
    }

    pub fn is_empty(&self) -> bool {
        self.actions.is_empty()
    }

    /// The step.
    pub fn into_draft(
        self,
        context: &NodeContext<'_>,
        what: &str,
        title: &str,
        needs: Vec<StepId>,
        interrupts: Disruption,
    ) -> Draft {
        Draft {
            id: context.id(what),
            title: title.to_owned(),
            node: Some(context.name().clone()),
            operation: (!self.actions.is_empty()).then_some(Operation::Node { actions: self.actions }),
            needs,
            after: Vec::new(),
            interrupts,
            changes: self.changes,
        }
    }
}
