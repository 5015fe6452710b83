//! The container runtime, kubezt's own node service, and images.

use kubezt_model::action::{Action, Condition};
use kubezt_model::desired::ComponentImage;
use kubezt_model::firewall;
use kubezt_model::node::{Read, Reading};
use kubezt_model::plan::Disruption;

use super::NodeContext;
use super::draft::Actions;
use super::kubelet::KUBELET;
use super::units::keep_current;
use crate::order::Draft;

/// Unit of the container runtime.
const CONTAINERD: &str = "containerd.service";

/// Everything that runs as a unit, but the firewall, which comes before, and kubelet, which comes last.
pub(super) fn services(context: &NodeContext<'_>) -> Draft {
    let mut actions = Actions::default();
    let units =
        context.desired.units.iter().filter(|unit| ![firewall::UNIT, KUBELET].contains(&unit.as_str()));
    let restarted = keep_current(context, &mut actions, units);
    let interrupts = if restarted.contains(&CONTAINERD) { Disruption::Kubelet } else { Disruption::None };
    if !actions.is_empty() && context.desired.units.iter().any(|unit| unit == CONTAINERD) {
        actions.follow(Action::Wait {
            condition: Condition::SocketOpen { path: "/run/containerd/containerd.sock".to_owned() },
            timeout_seconds: 60,
        });
    }
    let needs = ["components", "firewall"].map(|what| context.id(what)).to_vec();
    actions.into_draft(context, "services", "Start services", needs, interrupts)
}

/// Images that files on the node name: those of static pods, and the runtime's own. Imported without a registry and
/// pinned against garbage collection.
pub(super) fn images(context: &NodeContext<'_>) -> Draft {
    let actions = import(context, |image| is_named_on_node(context, image));
    let needs = vec![context.id("services")];
    actions.into_draft(context, "images", "Import images", needs, Disruption::None)
}

/// Images that only objects in the API name; they come after the others, while the control plane starts.
pub(super) fn workload_images(context: &NodeContext<'_>) -> Draft {
    let actions = import(context, |image| !is_named_on_node(context, image));
    let needs = vec![context.id("images")];
    actions.into_draft(context, "workload-images", "Import images of workloads", needs, Disruption::None)
}

fn is_named_on_node(context: &NodeContext<'_>, image: &ComponentImage) -> bool {
    context.desired.files.iter().any(|file| file.body.expose().contains(&image.reference))
}

fn import(context: &NodeContext<'_>, chosen: impl Fn(&ComponentImage) -> bool) -> Actions {
    let mut actions = Actions::default();
    for image in context.desired.images.iter().filter(|image| chosen(image)) {
        let why = match context.reading(&Read::Image { reference: image.reference.clone() }) {
            Reading::Image(seen) if !seen.pinned => "not pinned",
            Reading::Image(seen) if seen.archive != Some(image.digest) => "another build",
            Reading::Image(_) => continue,
            _ => "missing",
        };
        let action = Action::ImportImage { digest: image.digest, reference: image.reference.clone() };
        actions.add(action, "import", &image.reference, why);
    }
    actions
}
