//! Clocks that differ: what the preflight lets pass, and whether certificates hold on every node then.

use std::collections::BTreeSet;
use std::sync::{Arc, LazyLock};
use std::time::Duration;

use jiff::{SignedDuration, Timestamp};
use kubezt_model::Lifetime;
use kubezt_model::desired::Desired;
use kubezt_pki::{
    AuthorityKind, LeafSpec, Usage, generate, issue_intermediate, new_root, sign_leaf, spki_of, verify_chain,
};
use kubezt_plan::preflight::{ClockOffset, Finding, Seen, Severity, preflight};
use proptest::prelude::*;

use crate::cluster;

/// A control-plane node and two workers.
static DESIRED: LazyLock<Arc<Desired>> = LazyLock::new(|| cluster::desired("stig", 2));

const YEAR: Duration = Duration::from_secs(365 * 24 * 3600);
/// The shortest lifetime of a leaf.
const LIFETIME: Duration = Duration::from_secs(15 * 60);

/// What the preflight says of nodes whose clocks are so many seconds ahead of the operator's.
fn told(ahead: [i64; 3]) -> Option<Finding> {
    let names = DESIRED.nodes.iter().map(|node| node.node.name.clone());
    let clocks = names
        .zip(ahead)
        .map(|(name, seconds)| (name, ClockOffset { milliseconds: seconds * 1000, uncertainty: 0 }));
    let seen = Seen { clocks: clocks.collect(), ..Seen::default() };
    let nodes: BTreeSet<_> = DESIRED.nodes.iter().map(|node| node.node.name.clone()).collect();
    preflight(&DESIRED, &seen, &nodes).into_iter().find(|finding| finding.id == "clock")
}

fn is_refused(ahead: [i64; 3]) -> bool {
    told(ahead).is_some_and(|finding| finding.severity == Severity::Error)
}

/// Whether every node believes what was issued: authorities by the operator's clock, a leaf by the clock of who signs it, which is the
/// operator's at first and the control plane's when it is renewed.
fn holds_everywhere(ahead: [i64; 3]) -> bool {
    let now: Timestamp = "2026-11-20T12:00:00.7Z".parse().unwrap();
    let at = |seconds: i64| now + SignedDuration::from_secs(seconds);
    let root = new_root("kubezt demo", now, 10).unwrap();
    let key = generate().unwrap();
    let kind = AuthorityKind::Kubernetes;
    let intermediate = issue_intermediate(&root, kind, &spki_of(&key).unwrap(), now, YEAR).unwrap();
    let leaf = LeafSpec {
        authority: kind,
        common_name: "system:node:w1".to_owned(),
        organizations: Vec::new(),
        dns_names: vec!["w1".to_owned()],
        ip_addresses: Vec::new(),
        usage: Usage::ServerAndClient,
    };
    let public = spki_of(&generate().unwrap()).unwrap();
    [0, ahead[0]].into_iter().all(|signer| {
        let signed = sign_leaf(&intermediate, &key, &leaf, &public, at(signer), LIFETIME);
        signed.is_ok_and(|chain| {
            let anchors = root.certificate().as_slice();
            ahead.iter().all(|node| verify_chain(chain.as_slice(), anchors, None, at(*node)).is_ok())
        })
    })
}

#[test]
fn a_clock_that_is_an_hour_off_is_told_with_its_node_and_how_far_it_is_off() {
    for (ahead, said) in [([0, 3600, 0], "w1 +3600.0 s"), ([0, -3600, 0], "w1 -3600.0 s")] {
        let finding = told(ahead).unwrap();
        assert_eq!(finding.severity, Severity::Error);
        assert_eq!(finding.nodes, ["w1".parse().unwrap()]);
        assert!(finding.what.contains("differ by 3600.0 s") && finding.what.contains(said), "{finding:?}");
        assert!(!finding.remedy.is_empty() && !holds_everywhere(ahead), "{finding:?}");
    }
}

/// Five minutes, which certificates are dated back, are borne, and a second more is refused.
#[test]
fn what_certificates_are_dated_back_is_what_the_preflight_lets_pass() {
    let most = i64::try_from(Lifetime::BACKDATE.as_secs()).unwrap();
    for ahead in [[0, -most, 0], [most, 0, 0], [-most, -most, -most], [most / 2, -most / 2, 0]] {
        assert!(!is_refused(ahead) && holds_everywhere(ahead), "{ahead:?}");
    }
    for ahead in [[0, -most - 1, 0], [-most - 1, -most - 1, -most - 1], [0, most + 1, 0]] {
        assert!(is_refused(ahead), "{ahead:?}");
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 64, failure_persistence: None, ..ProptestConfig::default() })]

    /// Whatever the clocks say: where some node would not believe a certificate, the install does not begin.
    #[test]
    fn no_clocks_that_pass_make_a_certificate_invalid(ahead in prop::array::uniform3(-400_i64..400)) {
            prop_assert!(is_refused(ahead) || holds_everywhere(ahead), "{:?}", ahead);
    }
}
