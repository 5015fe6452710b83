//! What is restarted, and what is not.

use std::sync::Arc;

use kubezt_model::action::Action;
use kubezt_model::desired::Sensitivity;
use kubezt_model::{Mode, Owner, SecretText};

use crate::end_state::faults;
use crate::fleet::lock;
use crate::kills::killed_anywhere;
use crate::{assert_complete, bare, cluster, install};

#[test]
fn a_change_restarts_every_unit_once_and_no_unit_twice() {
    let before = bare(cluster::desired("stig", 2));
    assert_complete(&before, &install(&before), "before");
    let after = before.fork(cluster::changed("stig", 2), None);
    assert_complete(&after, &install(&after), "after");
    // Four units on each of three nodes.
    assert_eq!(after.restarts(), 12);
}

#[test]
fn new_programs_restart_the_units_that_run_them() {
    let before = bare(cluster::desired("stig", 2));
    assert_complete(&before, &install(&before), "before");
    let after = before.fork(cluster::rebuilt("stig", 2), None);
    assert_complete(&after, &install(&after), "after");
    // containerd, kubelet, the node service and the timer of renewal, on each of three nodes.
    assert_eq!(after.restarts(), 12);
}

/// The checks above can fail: a file that changes behind a running unit is noticed until the unit is restarted.
#[test]
fn a_unit_that_runs_with_older_files_is_noticed() {
    let world = bare(cluster::desired("stig", 1));
    assert_complete(&world, &install(&world), "before");
    let desired = Arc::clone(world.desired());
    let (node, wanted) = (&desired.nodes[1].node.name, &desired.nodes[1]);
    let act = |action: Action| {
        lock(&world.nodes).get_mut(node).unwrap().apply(wanted, &action, world.now).unwrap();
    };
    for (path, needs_reload) in [
        ("/var/lib/kubelet/config.yaml", false),
        ("/etc/systemd/system/kubelet.service.d/10-kubeadm.conf", true),
    ] {
        let file = wanted.files.iter().find(|file| file.path == path).unwrap();
        act(Action::PutFile {
            path: path.to_owned(),
            mode: Mode::new(0o600),
            owner: Owner::root(),
            body: SecretText::new(format!("{}\n# changed\n", file.body.expose())),
            sensitivity: Sensitivity::Public,
        });
        let stale = vec![format!("{node}: kubelet.service runs with older files")];
        assert_eq!(faults(&world), stale, "{path}");
        let restart = || act(Action::RestartUnit { name: "kubelet.service".to_owned() });
        if needs_reload {
            restart();
            assert_eq!(faults(&world), stale, "{path}: systemd was not told to read it again");
            act(Action::LoadUnits { enable: Vec::new() });
        }
        restart();
        assert_eq!(faults(&world), [""; 0], "{path}");
    }
    assert_complete(&world, &install(&world), "after");
}

/// Somebody changed a file that a pod reads only when it starts, the pod was started again by whatever cause, and the
/// file is right again, by hand or by an install that is killed: the pod is restarted, wherever the install dies.
#[test]
fn a_pod_that_started_with_a_wrong_file_is_restarted() {
    const POLICY: &str = "/etc/kubernetes/audit/policy.yaml";
    let world = bare(cluster::desired("stig", 1));
    assert_complete(&world, &install(&world), "before");
    let desired = Arc::clone(world.desired());
    let wanted = &desired.nodes[0];
    let (manifest, _) = wanted.static_pods().find(|(_, pod)| *pod == "kube-apiserver").unwrap();
    let right = wanted.files.iter().find(|file| file.path == POLICY).unwrap();
    let act = |action: Action| {
        let name = &wanted.node.name;
        lock(&world.nodes).get_mut(name).unwrap().apply(wanted, &action, world.now).unwrap();
    };
    let put = |text: &str| Action::PutFile {
        path: POLICY.to_owned(),
        mode: right.mode,
        owner: right.owner.clone(),
        body: SecretText::new(text.to_owned()),
        sensitivity: right.sensitivity,
    };
    let restart = || Action::RestartStaticPod {
        name: "kube-apiserver".to_owned(),
        manifest: manifest.path.clone(),
        grace_seconds: 30,
        timeout_seconds: 1,
    };
    act(put("rules: []\n"));
    act(restart());
    assert_eq!(faults(&world), [""; 0], "it runs with the wrong file, which is there");
    killed_anywhere(&world, &desired, 2);
    act(put(right.body.expose()));
    assert_eq!(faults(&world).len(), 1, "it runs with a file that is gone");
    killed_anywhere(&world, &desired, 1);
}
