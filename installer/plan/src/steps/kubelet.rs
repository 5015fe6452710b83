//! kubelet.

use kubezt_model::plan::Disruption;

use super::NodeContext;
use super::draft::Actions;
use super::units::keep_current;
use crate::order::Draft;

/// Unit of kubelet.
pub(super) const KUBELET: &str = "kubelet.service";

/// kubelet's files and unit.
pub(super) fn kubelet(context: &NodeContext<'_>) -> Draft {
    let mut actions = Actions::default();
    let unit = context.desired.units.iter().filter(|unit| *unit == KUBELET);
    let restarted = keep_current(context, &mut actions, unit);
    let interrupts = if restarted.is_empty() { Disruption::None } else { Disruption::Kubelet };
    let needs =
        ["services", "configuration", "certificates", "control-plane"].map(|what| context.id(what)).to_vec();
    actions.into_draft(context, "kubelet", "Start kubelet", needs, interrupts)
}
