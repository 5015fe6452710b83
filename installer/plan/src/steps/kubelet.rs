//! kubelet, and how units are kept current.

use kubezt_model::SecretText;
use kubezt_model::action::Action;
use kubezt_model::desired::{OnChange, Sensitivity};
use kubezt_model::names::{Mode, Owner};
use kubezt_model::node::{Read, Reading};
use kubezt_model::plan::Disruption;

use super::NodeContext;
use super::draft::Actions;
use super::files::put_files;
use super::host::program_changes;
use crate::facts::owed_restart;
use crate::order::Draft;

/// Unit of kubelet.
pub(super) const KUBELET: &str = "kubelet.service";

/// Whether a unit runs.
pub(super) fn is_active(context: &NodeContext<'_>, unit: &str) -> bool {
    matches!(
        context.reading(&Read::Unit { name: unit.to_owned() }),
        Reading::Unit(seen) if seen.active == "active"
    )
}

/// Writes down that a unit owes a restart.
pub(super) fn owe_restart(unit: &str) -> Action {
    Action::PutFile {
        path: owed_restart(unit),
        mode: Mode::new(0o600),
        owner: Owner::root(),
        body: SecretText::new(String::new()),
        sensitivity: Sensitivity::Public,
    }
}

/// kubelet's files and unit.
pub(super) fn kubelet(context: &NodeContext<'_>) -> Draft {
    let mut actions = Actions::default();
    let mut interrupts = Disruption::None;
    if context.desired.units.iter().any(|unit| unit == KUBELET) {
        let wanted = OnChange::Restart(KUBELET.to_owned());
        let changed = put_files(context, &mut actions, |on_change| *on_change == wanted);
        if keep_units_current(context, &mut actions, KUBELET, changed) {
            interrupts = Disruption::Kubelet;
        }
    }
    let needs =
        ["services", "configuration", "certificates", "control-plane"].map(|what| context.id(what)).to_vec();
    actions.into_draft(context, "kubelet", "Start kubelet", needs, interrupts)
}

/// Plans what a unit needs after its files: a restart where they changed (or one is owed from a run that was
/// killed), a start where it does not run. Answers whether a running unit is restarted.
pub(super) fn keep_units_current(
    context: &NodeContext<'_>,
    actions: &mut Actions,
    unit: &str,
    files_change: bool,
) -> bool {
    let seen = match context.reading(&Read::Unit { name: unit.to_owned() }) {
        Reading::Unit(seen) => Some(seen),
        _ => None,
    };
    let active = seen.is_some_and(|seen| seen.active == "active");
    let enabled = seen.is_some_and(|seen| seen.enabled == "enabled");
    let owed = context.restart_is_owed(unit) || (active && program_changes(context, unit));
    let stale = seen.is_some_and(|seen| seen.needs_reload);
    if !(files_change || owed || stale || !active || !enabled) {
        return false;
    }
    let restart = active && (files_change || owed || stale);
    if restart || files_change {
        actions.precede(owe_restart(unit));
    }
    actions.follow(Action::ReloadUnits);
    actions.add(
        Action::StartUnit { name: unit.to_owned() },
        "start",
        unit,
        if !active {
            "not running"
        } else if !enabled {
            "not enabled"
        } else {
            ""
        },
    );
    if restart {
        let why = if files_change {
            "its files change"
        } else if program_changes(context, unit) {
            "its program changes"
        } else {
            "a restart is owed"
        };
        actions.add(Action::RestartUnit { name: unit.to_owned() }, "restart", unit, why);
    }
    if restart || files_change || owed {
        actions.follow(Action::RemoveFile { path: owed_restart(unit) });
    }
    restart
}
