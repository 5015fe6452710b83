//! Changes that could cut the operator off.

use std::sync::Arc;

use kubezt_model::action::Action;
use kubezt_model::plan::{Disruption, Operation, StepId};

use crate::fleet::lock;
use crate::node::Node;
use crate::{assert_complete, bare, cluster, install, plan};

/// What could cut the operator off comes before what makes it last, and before everything that talks to other nodes.
#[test]
fn what_could_cut_the_operator_off_is_tried_before_it_is_written() {
    let world = bare(cluster::desired("stig", 1));
    let steps = plan(&world).steps;
    for node in &world.desired().cluster.nodes {
        let actions = |what: &str| {
            let step = steps.iter().find(|step| step.id == StepId::on(&node.name, what)).unwrap();
            let Operation::Node { actions } = &step.operation else { panic!("{step:?}") };
            actions.iter().map(Action::describe).collect::<Vec<_>>()
        };
        for (what, tried, lasts) in [
            ("host", "set net.ipv4.", "write /etc/sysctl.d/"),
            ("host", "set net.ipv4.", "load /etc/sysctl.d/"),
            ("firewall", "load the host firewall, undone after 60 s", "write /etc/kubezt/nftables.nft"),
            ("firewall", "load the host firewall, undone after 60 s", "load unit files"),
        ] {
            let actions = actions(what);
            let place = |word: &str| actions.iter().position(|action| action.starts_with(word));
            assert!(place(tried).unwrap() < place(lasts).unwrap(), "{lasts} too early: {actions:#?}");
        }
        let services = steps.iter().find(|step| step.id == StepId::on(&node.name, "services")).unwrap();
        assert!(services.needs.contains(&StepId::on(&node.name, "firewall")), "{:?}", services.needs);
    }
}

/// A firewall that is not the wanted one is replaced, on one node at a time; one that nobody confirmed counts for nothing, nor do
/// parameters.
#[test]
fn a_firewall_that_was_changed_or_not_confirmed_is_loaded_again() {
    let start = bare(cluster::desired("stig", 1));
    assert_complete(&start, &install(&start), "before");
    let name = start.desired().nodes[1].node.name.clone();
    let flushed = "table inet kubezt {\n\tchain input {\n\t}\n}\n".to_owned();
    type Tampering = fn(&mut Node, String);
    let cases: [(&str, Tampering, &[&str]); 3] = [
        ("flushed", |node, flushed| node.firewall = Some(flushed), &["firewall"]),
        ("gone", |node, _| node.firewall = None, &["firewall"]),
        (
            "not confirmed",
            |node, _| node.waiting = Some("load the host firewall".to_owned()),
            &["host", "firewall"],
        ),
    ];
    for (what, tamper, expected) in cases {
        let world = start.fork(Arc::clone(start.desired()), None);
        tamper(lock(&world.nodes).get_mut(&name).unwrap(), flushed.clone());
        // The gates that follow see whether pods still talk.
        let steps: Vec<_> = plan(&world).steps.into_iter().filter(|step| step.node.is_some()).collect();
        let ids: Vec<StepId> = steps.iter().map(|step| step.id.clone()).collect();
        let expected: Vec<StepId> = expected.iter().map(|step| StepId::on(&name, step)).collect();
        assert_eq!(ids, expected, "{what}");
        assert_eq!(steps.last().unwrap().interrupts, Disruption::DataPath, "{what}");
        assert_complete(&world, &install(&world), what);
    }
}
