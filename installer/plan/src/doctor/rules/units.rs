//! Units and static pods that do not run.

use kubezt_model::health::ContainerState;
use kubezt_model::node::{Read, Reading};

use super::{Scene, Sign};
use crate::doctor::evidence::Place;

const RUNTIME: &str = "containerd.service";
const KUBELET: &str = "kubelet.service";
const NODE_SERVICE: &str = "kubezt-node.service";

/// Name of etcd's static pod, which has rules of its own.
const ETCD: &str = "etcd";

pub(super) fn runtime(scene: &Scene<'_>) -> Vec<Sign> {
    signs(scene, |unit| unit == RUNTIME)
}

pub(super) fn kubelet(scene: &Scene<'_>) -> Vec<Sign> {
    signs(scene, |unit| unit == KUBELET)
}

pub(super) fn node_service(scene: &Scene<'_>) -> Vec<Sign> {
    signs(scene, |unit| unit == NODE_SERVICE)
}

pub(super) fn others(scene: &Scene<'_>) -> Vec<Sign> {
    signs(scene, |unit| ![RUNTIME, KUBELET, NODE_SERVICE].contains(&unit))
}

/// What timers start, where its last run failed.
pub(super) fn timed(scene: &Scene<'_>) -> Vec<Sign> {
    let failed = |place: Place<'_>| {
        let units = place.desired.timed_units().filter(move |unit| {
            let read = Read::Unit { name: unit.clone() };
            matches!(place.reading(&read), Some(Reading::Unit(seen)) if seen.active == "failed")
        });
        let sign = move |unit: String| {
            Sign::error([place.name()], format!("{unit} failed when it ran last")).saying(place.log(&unit))
        };
        units.map(sign).collect::<Vec<_>>()
    };
    scene.places().flat_map(failed).collect()
}

/// Units among the chosen ones that do not run.
fn signs(scene: &Scene<'_>, chosen: impl Fn(&str) -> bool) -> Vec<Sign> {
    let mut signs = Vec::new();
    for place in scene.places() {
        for unit in place.desired.units.iter().filter(|unit| chosen(unit)) {
            let what = match place.reading(&Read::Unit { name: unit.clone() }) {
                Some(Reading::Unit(seen)) if seen.active == "active" => continue,
                Some(Reading::Unit(seen)) => format!("{unit} is {}", seen.active),
                Some(Reading::Missing) => format!("{unit} was not set up"),
                _ => continue,
            };
            signs.push(Sign::error([place.name()], what).saying(place.log(unit)));
        }
    }
    signs
}

pub(super) fn static_pods(scene: &Scene<'_>) -> Vec<Sign> {
    let pods = |place: Place<'_>| {
        let pods = place.desired.static_pods().map(|(_, pod)| pod).filter(|pod| *pod != ETCD);
        pods.filter_map(|pod| static_pod(&place, pod)).collect::<Vec<_>>()
    };
    scene.control_plane().flat_map(pods).collect()
}

/// A static pod that does not run, or has ended and waits for its next start; `None` where it runs, or was never to.
pub(super) fn static_pod(place: &Place<'_>, pod: &str) -> Option<Sign> {
    if place.runs(pod) {
        return None;
    }
    let container = place.containers().iter().find(|container| container.name == pod);
    let (what, said) = match container {
        Some(container) if container.state != ContainerState::Running => {
            let what = format!("{pod} {}, started again {} times", container.state, container.restarts);
            (what, container.said.clone())
        }
        // It ended while the node was looked at.
        Some(_) => return None,
        // Without kubelet, which is judged as such, there are none.
        None => (format!("{pod} has no container"), place.log(KUBELET)),
    };
    Some(Sign::error([place.name()], what).saying(said))
}
