//! Accounts, directories, kernel parameters, and the components' files.

use kubezt_model::Mode;
use std::collections::BTreeMap;

use kubezt_model::action::{Action, KernelChange};
use kubezt_model::desired::{ComponentFile, OnChange};
use kubezt_model::names::Owner;
use kubezt_model::node::{FileKind, Read, Reading};
use kubezt_model::plan::Disruption;

use super::NodeContext;
use super::draft::Actions;
use super::files::put_files;
use super::firewall::{provisional, waits_for_confirmation};
use crate::order::Draft;

/// Kernel parameters that could cut the operator off begin with this.
const NETWORK: &str = "net.";

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
    let waits = waits_for_confirmation(context);
    let is_unset = |key: &String, value: &String| {
        let seen = context.reading(&Read::Sysctl { key: key.clone() });
        *seen != Reading::Text(value.clone()) || (waits && key.starts_with(NETWORK))
    };
    let unset: BTreeMap<&String, &String> =
        context.desired.sysctls.iter().filter(|(key, value)| is_unset(key, value)).collect();
    let network = unset.iter().filter(|(key, _)| key.starts_with(NETWORK));
    let values: BTreeMap<String, String> =
        network.map(|(key, value)| ((*key).clone(), (*value).clone())).collect();
    if !values.is_empty() {
        let keys = values.keys().map(String::as_str).collect::<Vec<_>>().join(", ");
        actions.add(provisional(KernelChange::Sysctls { values }), "set", &keys, "");
    }
    let kernel = |on_change: &OnChange| *on_change == OnChange::LoadSysctls;
    let changed = put_files(context, &mut actions, kernel);
    for file in context.desired.files.iter().filter(|file| kernel(&file.on_change)) {
        let own: Vec<&str> =
            unset.keys().map(|key| key.as_str()).filter(|key| file.body.expose().contains(key)).collect();
        if changed || !own.is_empty() {
            actions.add(Action::LoadSysctls { path: file.path.clone() }, "load", &file.path, own.join(", "));
        }
    }
    actions.into_draft(context, "host", "Prepare the host", Vec::new(), Disruption::None)
}

/// Files of the components. A running unit whose program is replaced is restarted in its own step.
pub(super) fn components(context: &NodeContext<'_>) -> Draft {
    let mut actions = Actions::default();
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

pub(super) fn differs(context: &NodeContext<'_>, component: &ComponentFile) -> bool {
    context.facts.file(&component.path).is_none_or(|file| {
        file.digest != Some(component.digest) || file.mode != component.mode || file.owner != Owner::root()
    })
}
