//! kubelet, and how units are kept current.

use std::collections::BTreeSet;

use kubezt_model::action::Action;
use kubezt_model::desired::{ComponentFile, OnChange, RenderedFile};
use kubezt_model::node::{Read, Reading};
use kubezt_model::plan::Disruption;

use super::NodeContext;
use super::draft::Actions;
use super::files::put_files;
use super::host::differs;
use crate::order::Draft;

/// Where units and their drop-ins are written.
const UNIT_FOLDER: &str = "/etc/systemd/system/";

/// Unit of kubelet.
pub(super) const KUBELET: &str = "kubelet.service";

/// Whether a unit runs.
pub(super) fn is_active(context: &NodeContext<'_>, unit: &str) -> bool {
    matches!(
        context.reading(&Read::Unit { name: unit.to_owned() }),
        Reading::Unit(seen) if seen.active == "active"
    )
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

/// Plans what a unit needs after its files: a restart where they change, or changed since it was started; a start where
/// it does not run. Answers whether a running unit is restarted.
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
    let program_changes = programs(context, unit).any(|program| differs(context, program));
    let read = files(context, unit).map(|file| file.path.as_str());
    let read = read.chain(programs(context, unit).map(|program| program.path.as_str()));
    let newer = context.changed_after(seen.map_or(0, |seen| seen.started), read);
    let why = match newer {
        _ if files_change => "its files change".to_owned(),
        _ if program_changes => "its program changes".to_owned(),
        Some(path) => format!("{path} changed after it started"),
        None if seen.is_some_and(|seen| seen.needs_reload) => {
            "systemd has not read its files again".to_owned()
        }
        None => String::new(),
    };
    let restart = active && !why.is_empty();
    if !restart && !files_change && active && enabled {
        return false;
    }
    actions.follow(Action::ReloadUnits);
    let idle = match (active, enabled) {
        (false, _) => "not running",
        (true, false) => "not enabled",
        (true, true) => "",
    };
    actions.add(Action::StartUnit { name: unit.to_owned() }, "start", unit, idle);
    if restart {
        actions.add(Action::RestartUnit { name: unit.to_owned() }, "restart", unit, why);
    }
    restart
}

/// Files the unit reads when it starts.
fn files<'a>(context: &NodeContext<'a>, unit: &str) -> impl Iterator<Item = &'a RenderedFile> {
    let wanted = OnChange::Restart(unit.to_owned());
    context.desired.files.iter().filter(move |file| file.on_change == wanted)
}

/// Components the unit runs: those that its unit file or a drop-in names.
fn programs<'a>(context: &NodeContext<'a>, unit: &str) -> impl Iterator<Item = &'a ComponentFile> {
    let definitions = files(context, unit).filter(|file| file.path.starts_with(UNIT_FOLDER));
    let words: BTreeSet<&str> =
        definitions.flat_map(|file| file.body.expose().split([' ', '\t', '\n', '='])).collect();
    context.desired.components.iter().filter(move |component| words.contains(component.path.as_str()))
}
