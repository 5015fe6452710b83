//! etcd as each of its members sees it.

use std::collections::BTreeSet;

use kubezt_model::NodeName;
use kubezt_model::node::{Read, Reading};

use super::units::static_pod;
use super::{Scene, Sign};
use crate::members;

/// Members that do not run. Where so many do not that the rest decides nothing, that is said once, of all.
pub(super) fn members_down(scene: &Scene<'_>) -> Vec<Sign> {
    if members::lost_quorum(scene.desired, &scene.evidence.facts).is_some() {
        Vec::new()
    } else {
        down(scene)
    }
}

fn down(scene: &Scene<'_>) -> Vec<Sign> {
    let founded = scene.control_plane().filter(|place| place.facts.file(members::MANIFEST).is_some());
    founded.filter_map(|place| static_pod(&place, "etcd")).collect()
}

/// Too few members run, or those that run agree on no leader.
pub(super) fn quorum(scene: &Scene<'_>) -> Vec<Sign> {
    if let Some(what) = members::lost_quorum(scene.desired, &scene.evidence.facts) {
        let running: Vec<&NodeName> =
            scene.control_plane().filter(|place| place.runs("etcd")).map(|place| place.name()).collect();
        let nodes = scene.desired.cluster.control_plane().map(|node| &node.name);
        let said = down(scene).into_iter().flat_map(|Sign { nodes, what, said, .. }| {
            let node = nodes.first().map(ToString::to_string).unwrap_or_default();
            std::iter::once(what).chain(said).map(move |line| format!("{node}: {line}"))
        });
        let sign = Sign::error(nodes.filter(|node| !running.contains(node)), what);
        return vec![sign.saying(said.collect()).everywhere()];
    }
    let leaders: Vec<(&NodeName, u64)> = scene
        .control_plane()
        .filter_map(|place| match place.reading(&Read::EtcdStatus)? {
            Reading::EtcdStatus(status) => Some((place.name(), status.leader)),
            _ => None,
        })
        .collect();
    let without = !leaders.is_empty() && leaders.iter().all(|(_, leader)| *leader == 0);
    if !without {
        return Vec::new();
    }
    let what = "members of etcd run and know no leader: they do not reach each other on port 2380";
    vec![Sign::error(leaders.into_iter().map(|(node, _)| node), what).everywhere()]
}

pub(super) fn alarms(scene: &Scene<'_>) -> Vec<Sign> {
    let alarms = scene.control_plane().filter_map(|place| match place.reading(&Read::EtcdStatus)? {
        // A member without a leader says so here as well, and has a rule of its own.
        Reading::EtcdStatus(status) if status.leader != 0 && !status.errors.is_empty() => {
            Some(Sign::error([place.name()], format!("etcd complains: {}", status.errors.join("; "))))
        }
        _ => None,
    });
    alarms.collect()
}

pub(super) fn split(scene: &Scene<'_>) -> Vec<Sign> {
    let known: Vec<(&NodeName, BTreeSet<u64>)> = scene
        .control_plane()
        .filter_map(|place| match place.reading(&Read::EtcdMembers)? {
            Reading::EtcdMembers(members) => {
                Some((place.name(), members.iter().map(|member| member.id).collect()))
            }
            _ => None,
        })
        .collect();
    let Some((first, members)) = known.first() else { return Vec::new() };
    let others = known.iter().filter(|(_, other)| other != members);
    others
        .map(|(node, other)| {
            let what = format!(
                "{first} knows {} members of etcd, and {node} {} other ones",
                members.len(),
                other.len()
            );
            Sign::error([*first, *node], what)
        })
        .collect()
}
