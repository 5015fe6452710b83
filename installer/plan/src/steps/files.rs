//! Rendered files.

use kubezt_model::action::Action;
use kubezt_model::desired::{OnChange, RenderedFile, Sensitivity};
use kubezt_model::node::FileReading;
use kubezt_model::plan::Disruption;
use similar::TextDiff;

use super::NodeContext;
use super::draft::Actions;
use crate::order::Draft;

/// Plans every file of the node whose consequence is chosen by `chosen`; answers whether one of them changes.
pub(super) fn put_files(
    context: &NodeContext<'_>,
    actions: &mut Actions,
    chosen: impl Fn(&OnChange) -> bool,
) -> bool {
    let mut any = false;
    for file in context.desired.files.iter().filter(|file| chosen(&file.on_change)) {
        let seen = context.file(&file.path);
        let Some((verb, why)) = difference(file, seen) else { continue };
        let action = Action::PutFile {
            path: file.path.clone(),
            mode: file.mode,
            owner: file.owner.clone(),
            body: file.body.clone(),
            sensitivity: file.sensitivity,
        };
        actions.add_with_diff(action, verb, &file.path, why, diff(file, seen));
        any = true;
    }
    any
}

pub(super) fn difference(file: &RenderedFile, seen: Option<&FileReading>) -> Option<(&'static str, String)> {
    let Some(seen) = seen else { return Some(("create", String::new())) };
    if seen.digest != Some(file.digest()) {
        Some(("change", "content".to_owned()))
    } else if seen.mode != file.mode {
        Some(("change", format!("mode {} to {}", seen.mode, file.mode)))
    } else if seen.owner != file.owner {
        Some(("change", format!("owner {} to {}", seen.owner, file.owner)))
    } else {
        None
    }
}

/// What stands for the diff of a secret file, before the beginning of its digest and a parenthesis.
pub(crate) const SECRET_DIFF: &str = "(secret; sha256 ";

fn diff(file: &RenderedFile, seen: Option<&FileReading>) -> String {
    match file.sensitivity {
        Sensitivity::Secret => format!("{SECRET_DIFF}{})", file.digest().short()),
        Sensitivity::Public => {
            let old = seen.and_then(|seen| seen.text.as_ref()).map_or("", |text| text.expose());
            let diff = TextDiff::from_lines(old, file.body.expose());
            diff.unified_diff().context_radius(2).to_string()
        }
    }
}

/// Files that are in no other step's care, and files that must go.
pub(super) fn configuration(context: &NodeContext<'_>) -> Draft {
    let mut actions = Actions::default();
    let here = |on_change: &OnChange| matches!(on_change, OnChange::Nothing | OnChange::ReadAtStart(_));
    put_files(context, &mut actions, here);
    for path in context.desired.absent.iter().filter(|path| !super::firewall::is_own(path)) {
        if context.facts.file(path).is_some() {
            actions.add(Action::RemoveFile { path: path.clone() }, "remove", path, "must not exist");
        }
    }
    let needs = vec![context.id("certificates"), context.id("host")];
    actions.into_draft(context, "configuration", "Write configuration", needs, Disruption::None)
}
