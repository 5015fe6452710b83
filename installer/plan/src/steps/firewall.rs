//! The host firewall: its table in the kernel, and the unit that loads it when the node starts.

use kubezt_model::action::{Action, KernelChange};
use kubezt_model::desired::RenderedFile;
use kubezt_model::firewall::{PROVISIONAL_SECONDS, RULES, TABLE, Table, UNIT, UNIT_FILE};
use kubezt_model::node::{Read, Reading};
use kubezt_model::plan::{Disruption, StepId};

use super::NodeContext;
use super::draft::Actions;
use super::units::{is_active, keep_current};
use crate::order::Draft;

/// The table first, for as long as nobody confirmed it; files and unit after that. It names every node, so those that leave etcd
/// have left it before.
pub(super) fn firewall(context: &NodeContext<'_>) -> Draft {
    let mut actions = Actions::default();
    let change = match context.desired.files.iter().find(|file| file.path == RULES) {
        Some(file) => switch_on(context, &mut actions, file),
        None => switch_off(context, &mut actions),
    };
    // Where nothing runs yet there is nothing to interrupt.
    let runs = is_active(context, super::kubelet::KUBELET);
    let interrupts = if change && runs { Disruption::DataPath } else { Disruption::None };
    let needs = vec![context.id("host")];
    let mut draft = actions.into_draft(context, "firewall", "Switch the host firewall", needs, interrupts);
    draft.after = context.control_plane.iter().map(|node| StepId::on(node, "etcd-removal")).collect();
    draft
}

/// Files of the firewall, which this step writes and removes.
pub(super) fn is_own(path: &str) -> bool {
    [RULES, UNIT_FILE].contains(&path)
}

/// A change that the node undoes by itself where it cuts the operator off.
pub(super) fn provisional(change: KernelChange) -> Action {
    Action::Provisional { change, seconds: PROVISIONAL_SECONDS }
}

/// Whether something waits for its confirmation: what is seen then will not last.
pub(super) fn waits_for_confirmation(context: &NodeContext<'_>) -> bool {
    !matches!(context.reading(&Read::Provisional), Reading::Missing)
}

/// Answers whether the table changes.
fn switch_on(context: &NodeContext<'_>, actions: &mut Actions, file: &RenderedFile) -> bool {
    let rules = file.body.expose();
    let loaded = match context.reading(&Read::Firewall) {
        Reading::Text(text) => Table::parse(text),
        _ => None,
    };
    let why = match &loaded {
        _ if waits_for_confirmation(context) => Some("nobody confirmed it yet"),
        None => Some("not loaded"),
        Some(table) if Table::parse(rules).as_ref() != Some(table) => Some("other rules are loaded"),
        Some(_) => None,
    };
    if let Some(why) = why {
        let change = KernelChange::Firewall { rules: Some(rules.to_owned()) };
        actions.add(provisional(change), "load", &format!("table {TABLE}"), why);
    }
    keep_current(context, actions, context.desired.units.iter().filter(|unit| *unit == UNIT));
    why.is_some()
}

/// Answers whether the table changes.
fn switch_off(context: &NodeContext<'_>, actions: &mut Actions) -> bool {
    let unwanted = "the settings switch it off";
    let is_loaded = matches!(context.reading(&Read::Firewall), Reading::Text(_));
    if is_loaded {
        let change = provisional(KernelChange::Firewall { rules: None });
        actions.add(change, "remove", &format!("table {TABLE}"), unwanted);
    }
    if context.facts.file(UNIT_FILE).is_some() {
        actions.add(Action::DisableUnit { name: UNIT.to_owned() }, "disable", UNIT, unwanted);
    }
    let files = context.desired.absent.iter().filter(|path| is_own(path));
    for path in files.filter(|path| context.facts.file(path).is_some()) {
        actions.add(Action::RemoveFile { path: path.clone() }, "remove", path, "must not exist");
    }
    is_loaded
}
