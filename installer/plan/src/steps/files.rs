//! Rendered files, and the static pods among them.

use kubezt_model::action::{Action, Condition};
use kubezt_model::desired::{OnChange, RenderedFile, Sensitivity};
use kubezt_model::node::FileReading;
use kubezt_model::plan::Disruption;
use similar::TextDiff;

use super::NodeContext;
use super::draft::Actions;
use crate::order::Draft;

/// How long a static pod may take to run as its manifest says: an image start, plus etcd's first election.
const STATIC_POD_TIMEOUT_SECONDS: u32 = 180;

/// Plans every file of the node whose consequence is chosen by `chosen`; answers whether one of them changes.
pub(super) fn put_files(
    context: &NodeContext<'_>,
    actions: &mut Actions,
    chosen: impl Fn(&OnChange) -> bool,
) -> bool {
    let mut any = false;
    for file in context.desired.files.iter().filter(|file| chosen(&file.on_change)) {
        let seen = context.facts.file(&file.path);
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

fn difference(file: &RenderedFile, seen: Option<&FileReading>) -> Option<(&'static str, String)> {
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

fn diff(file: &RenderedFile, seen: Option<&FileReading>) -> String {
    match file.sensitivity {
        Sensitivity::Secret => format!("(secret; sha256 {})", file.digest().short()),
        Sensitivity::Public => {
            let old = seen.and_then(|seen| seen.text.as_ref()).map_or("", |text| text.expose());
            let diff = TextDiff::from_lines(old, file.body.expose());
            diff.unified_diff().context_radius(2).to_string()
        }
    }
}

/// Files nobody has to be restarted for, and files that must go.
pub(super) fn configuration(context: &NodeContext<'_>) -> Draft {
    let mut actions = Actions::default();
    put_files(context, &mut actions, |on_change| *on_change == OnChange::Nothing);
    super::certificates::keys(context, &mut actions);
    for path in &context.desired.absent {
        if context.facts.file(path).is_some() {
            actions.add(Action::RemoveFile { path: path.clone() }, "remove", path, "must not exist");
        }
    }
    let needs = vec![context.id("certificates"), context.id("host")];
    actions.into_draft(context, "configuration", "Write configuration", needs, Disruption::None)
}

/// Static-pod manifests: kubelet notices them and replaces the pod, which is waited for where kubelet runs already.
pub(super) fn control_plane(context: &NodeContext<'_>) -> Draft {
    let mut actions = Actions::default();
    let pods: Vec<(&RenderedFile, &str)> = context
        .desired
        .files
        .iter()
        .filter_map(|file| match &file.on_change {
            OnChange::StaticPod(name) => Some((file, name.as_str())),
            _ => None,
        })
        .collect();
    let kubelet_runs = super::kubelet::is_active(context, super::kubelet::KUBELET);
    let mut interrupts = Disruption::None;
    for (file, pod) in pods {
        // A manifest of the same content starts nothing, so after another mode or owner there is nothing to wait for.
        let replaces = context.facts.file(&file.path).and_then(|seen| seen.digest) != Some(file.digest());
        let changes = put_files(context, &mut actions, |on_change| *on_change == file.on_change);
        if changes && replaces && kubelet_runs {
            actions.follow(Action::Wait {
                condition: Condition::StaticPodCurrent { name: pod.to_owned(), manifest: file.path.clone() },
                timeout_seconds: STATIC_POD_TIMEOUT_SECONDS,
            });
            interrupts = interrupts.max(match pod {
                "etcd" => Disruption::EtcdMember,
                "kube-apiserver" => Disruption::ApiServer,
                _ => Disruption::Controllers,
            });
        }
    }
    let needs = vec![context.id("images"), context.id("configuration")];
    actions.into_draft(context, "control-plane", "Write static pods", needs, interrupts)
}
