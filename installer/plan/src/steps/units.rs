//! How units are kept current.

use std::collections::BTreeSet;

use kubezt_model::action::Action;
use kubezt_model::desired::{ComponentFile, DesiredBundle, OnChange, RenderedFile};
use kubezt_model::node::{Read, Reading, UnitReading};

use super::NodeContext;
use super::draft::Actions;
use super::files::put_files;
use super::host::differs;
use super::kubelet::KUBELET;

/// Where units and their drop-ins are written.
const UNIT_FOLDER: &str = "/etc/systemd/system/";

/// What a unit needs once its files are there.
struct Need<'a> {
    unit: &'a str,
    enable: bool,
    start: bool,
    /// Why it is restarted.
    restart: Option<String>,
}

/// Plans the units' files, and then what each needs: a restart where they change, or changed since it was started; a start
/// where it does not run. systemd reads its files once for all of them. Answers which running units are restarted.
pub(super) fn keep_current<'a>(
    context: &NodeContext<'a>,
    actions: &mut Actions,
    units: impl Iterator<Item = &'a String>,
) -> Vec<&'a str> {
    let mut needs = Vec::new();
    for unit in units {
        let wanted = OnChange::Restart(unit.clone());
        let bundle_due =
            |bundle: &DesiredBundle| context.assessment.bundle(context.name(), &bundle.path).is_some();
        let files_change = put_files(context, actions, |on_change| *on_change == wanted)
            || bundles(context, unit).any(bundle_due);
        put_files(context, actions, |on_change| *on_change == OnChange::NoticedBy(unit.clone()));
        needs.extend(need(context, unit, files_change));
    }
    if needs.is_empty() {
        return Vec::new();
    }
    let enable: Vec<String> =
        needs.iter().filter(|need| need.enable).map(|need| need.unit.to_owned()).collect();
    let enabled = enable.join(", ");
    let load = Action::LoadUnits { enable };
    if enabled.is_empty() {
        actions.follow(load)
    } else {
        actions.add(load, "enable", &enabled, "")
    }
    let mut restarted = Vec::new();
    for Need { unit, start, restart, .. } in needs {
        if start {
            actions.add(Action::StartUnit { name: unit.to_owned() }, "start", unit, "not running");
        }
        if let Some(why) = restart {
            actions.add(Action::RestartUnit { name: unit.to_owned() }, "restart", unit, why);
            restarted.push(unit);
        }
    }
    restarted
}

/// Whether a unit runs.
pub(super) fn is_active(context: &NodeContext<'_>, unit: &str) -> bool {
    reading(context, unit).is_some_and(|seen| seen.active == "active")
}

fn need<'a>(context: &NodeContext<'a>, unit: &'a str, files_change: bool) -> Option<Need<'a>> {
    let seen = reading(context, unit);
    let active = is_active(context, unit);
    let enabled = seen.is_some_and(|seen| seen.enabled == "enabled");
    let program_changes = programs(context, unit).any(|program| differs(context, program));
    let read = files(context, unit).map(|file| file.path.as_str());
    let read = read.chain(programs(context, unit).map(|program| program.path.as_str()));
    let read = read.chain(bundles(context, unit).map(|bundle| bundle.path.as_str()));
    let newer = context.changed_after(seen.map_or(0, |seen| seen.started), read);
    let changed = match newer {
        _ if files_change => Some("its files change".to_owned()),
        _ if program_changes => Some("its program changes".to_owned()),
        Some(path) => Some(format!("{path} changed after it started")),
        // kubelet registers its node when it starts, and never again where somebody deletes it.
        None if unit == KUBELET && context.assessment.unregistered.contains(context.name()) => {
            Some("the API does not know this node".to_owned())
        }
        None if seen.is_some_and(|seen| seen.needs_reload) => {
            Some("systemd has not read its files again".to_owned())
        }
        None => None,
    };
    let restart = changed.filter(|_| active);
    let need = Need { unit, enable: !enabled, start: !active, restart };
    (need.enable || need.start || need.restart.is_some()).then_some(need)
}

fn reading<'a>(context: &NodeContext<'a>, unit: &str) -> Option<&'a UnitReading> {
    match context.facts.reading(&Read::Unit { name: unit.to_owned() }) {
        Some(Reading::Unit(seen)) => Some(seen),
        _ => None,
    }
}

/// Files the unit reads when it starts.
fn files<'a>(context: &NodeContext<'a>, unit: &str) -> impl Iterator<Item = &'a RenderedFile> {
    let wanted = OnChange::Restart(unit.to_owned());
    context.desired.files.iter().filter(move |file| file.on_change == wanted)
}

/// Trust bundles whose change restarts the unit.
fn bundles<'a>(context: &NodeContext<'a>, unit: &str) -> impl Iterator<Item = &'a DesiredBundle> {
    let wanted = OnChange::Restart(unit.to_owned());
    context.desired.bundles.iter().filter(move |bundle| bundle.on_change == wanted)
}

/// Components the unit runs: those that its unit file or a drop-in names.
fn programs<'a>(context: &NodeContext<'a>, unit: &str) -> impl Iterator<Item = &'a ComponentFile> {
    let definitions = files(context, unit).filter(|file| file.path.starts_with(UNIT_FOLDER));
    let words: BTreeSet<&str> =
        definitions.flat_map(|file| file.body.expose().split([' ', '\t', '\n', '='])).collect();
    context.desired.components.iter().filter(move |component| words.contains(component.path.as_str()))
}
