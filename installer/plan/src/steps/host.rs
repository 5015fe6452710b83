//! Accounts, directories, kernel parameters, and the components' files.

use kubezt_model::Mode;
use kubezt_model::action::Action;
use kubezt_model::desired::{ComponentFile, OnChange};
use kubezt_model::names::Owner;
use kubezt_model::node::{FileKind, Read, Reading};
use kubezt_model::plan::Disruption;

use super::NodeContext;
use super::draft::Actions;
use super::files::put_files;
use super::kubelet::{is_active, owe_restart};
use crate::order::Draft;

/// Where units and their drop-ins are written.
const UNIT_FOLDER: &str = "/etc/systemd/system/";

/// Accounts, directories and kernel parameters.
pub(super) fn host(context: &NodeContext<'_>) -> Draft {
    let mut actions = Actions::default();
    for user in &context.desired.users {
        let seen = context.reading(&Read::User { name: user.name.clone() });
        if *seen != Reading::User(user.uid) {
            let action = Action::EnsureUser { name: user.name.clone(), uid: user.uid };
            actions.add(action, "create", &format!("account {}", user.name), "");
        }
    }
    for directory in &context.desired.directories {
        let why = match context.facts.file(&directory.path) {
            None => "missing".to_owned(),
            Some(file) if file.kind != FileKind::Directory => "not a directory".to_owned(),
            Some(file) if file.mode != directory.mode => format!("mode {}", file.mode),
            Some(file) if file.owner != directory.owner => format!("owner {}", file.owner),
            Some(_) => continue,
        };
        let action = Action::EnsureDirectory {
            path: directory.path.clone(),
            mode: directory.mode,
            owner: directory.owner.clone(),
        };
        actions.add(action, "create", &directory.path, why);
    }
    for module in &context.desired.modules {
        if *context.reading(&Read::Module { name: module.clone() }) != Reading::Present {
            let action = Action::LoadModule { name: module.clone() };
            actions.add(action, "load", &format!("kernel module {module}"), "neither loaded nor built in");
        }
    }
    let kernel = |on_change: &OnChange| *on_change == OnChange::LoadSysctls;
    put_files(context, &mut actions, kernel);
    let unset: Vec<&str> = context
        .desired
        .sysctls
        .iter()
        .filter(|(key, value)| {
            *context.reading(&Read::Sysctl { key: (*key).clone() }) != Reading::Text((*value).clone())
        })
        .map(|(key, _)| key.as_str())
        .collect();
    if !unset.is_empty() {
        for file in context.desired.files.iter().filter(|file| kernel(&file.on_change)) {
            let action = Action::LoadSysctls { path: file.path.clone() };
            actions.add(action, "change", "kernel parameters", unset.join(", "));
        }
    }
    actions.into_draft(context, "host", "Prepare the host", Vec::new(), Disruption::None)
}

/// Files of the components. A running unit whose program is replaced owes a restart, which is written down before.
pub(super) fn components(context: &NodeContext<'_>) -> Draft {
    let mut actions = Actions::default();
    for unit in context.desired.units.iter().filter(|unit| program_changes(context, unit)) {
        if is_active(context, unit) {
            actions.follow(owe_restart(unit));
        }
    }
    for component in &context.desired.components {
        let verb = match context.facts.file(&component.path) {
            None => "create",
            Some(_) if differs(context, component) => "change",
            Some(_) => continue,
        };
        let action = Action::InstallBlob {
            digest: component.digest,
            path: component.path.clone(),
            mode: Mode::new(component.mode.bits()),
        };
        actions.add(action, verb, &component.path, component.component.clone());
    }
    let needs = vec![context.id("host")];
    actions.into_draft(context, "components", "Install components", needs, Disruption::None)
}

fn differs(context: &NodeContext<'_>, component: &ComponentFile) -> bool {
    context.facts.file(&component.path).is_none_or(|file| {
        file.digest != Some(component.digest) || file.mode != component.mode || file.owner != Owner::root()
    })
}

/// Whether this plan replaces the program of a unit: a component that one of the unit's own files names.
pub(super) fn program_changes(context: &NodeContext<'_>, unit: &str) -> bool {
    let files = context.desired.files.iter().filter(|file| {
        file.path.starts_with(UNIT_FOLDER) && file.on_change == OnChange::Restart(unit.to_owned())
    });
    let mut words = files.flat_map(|file| file.body.expose().split([' ', '\t', '\n', '=']));
    words.any(|word| {
        context
            .desired
            .components
            .iter()
            .any(|component| component.path == word && differs(context, component))
    })
}
