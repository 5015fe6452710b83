//! Members of etcd: those that go, those that come to their data, and those that get a vote.

use kubezt_model::action::{Action, EtcdCluster};
use kubezt_model::plan::{Disruption, StepId};

use super::NodeContext;
use super::draft::Actions;
use crate::members::MANIFEST;
use crate::order::Draft;

/// An election, and a member that is far behind on a slow disk.
const TIMEOUT_SECONDS: u32 = 180;

/// Removes members that are not wanted any more, one after the other; etcd itself refuses what would leave too few. They
/// go while all still trust each other.
pub(super) fn removal(context: &NodeContext<'_>) -> Draft {
    let mut actions = Actions::default();
    if let Some((node, members)) = context.etcd.unwanted()
        && node == context.name()
    {
        for (name, peer_url) in members {
            let action =
                Action::RemoveEtcdMember { peer_url: peer_url.to_owned(), timeout_seconds: TIMEOUT_SECONDS };
            actions.add(action, "remove", &format!("etcd member {name}"), "not in the cluster file");
        }
    }
    actions.into_draft(context, "etcd-removal", "Remove members of etcd", Vec::new(), Disruption::None)
}

/// Makes the data of a member: all at once where they found a cluster, one after the other where they join one.
pub(super) fn member(context: &NodeContext<'_>) -> Draft {
    let mut actions = Actions::default();
    let mut needs = vec![context.id("images"), context.id("certificates")];
    let found = context.etcd.member(context.name()).zip(context.etcd.formation(context.name()));
    if let Some((member, formation)) = found {
        if member.has_manifest {
            actions.follow(Action::RemoveFile { path: MANIFEST.to_owned() });
        }
        if formation.set_aside {
            let action = Action::SetAside { path: member.data.clone() };
            actions.add(action, "set aside", &member.data, formation.why);
        }
        let verb = match &formation.cluster {
            EtcdCluster::Founded { .. } => "found",
            EtcdCluster::Joined { .. } => {
                // Those that are members trust the new one, and run, when it comes.
                let ready = |node| ["control-plane", "kubelet"].map(|what| StepId::on(node, what));
                needs.extend(context.etcd.staying().flat_map(ready));
                let before = context.etcd.joining().take_while(|node| *node != context.name());
                needs.extend(before.map(|node| StepId::on(node, "etcd-promotion")));
                needs.extend(context.control_plane.iter().map(|node| StepId::on(node, "etcd-removal")));
                "join"
            }
        };
        let action = Action::FormEtcdMember {
            manifest: member.manifest.clone(),
            cluster: formation.cluster,
            timeout_seconds: TIMEOUT_SECONDS,
        };
        actions.add(action, verb, &format!("etcd member {}", member.node), formation.why);
    }
    actions.into_draft(context, "etcd-member", "Make a member of etcd", needs, Disruption::None)
}

/// Gives a member that joined its vote, once it has caught up. Its API server starts after that.
pub(super) fn promotion(context: &NodeContext<'_>) -> Draft {
    let mut actions = Actions::default();
    if let Some(member) = context.etcd.member(context.name())
        && context.etcd.joins(context.name())
    {
        let action = Action::PromoteEtcdMember {
            peer_url: member.peer_url.clone(),
            endpoints: context.etcd.voters_beside(context.name()),
            timeout_seconds: TIMEOUT_SECONDS,
        };
        actions.add(action, "promote", &format!("etcd member {}", member.node), "it has no vote yet");
    }
    let needs = vec![context.id("kubelet")];
    actions.into_draft(context, "etcd-promotion", "Let a member of etcd vote", needs, Disruption::None)
}
