//! Certificates that nobody takes.

use std::collections::{BTreeMap, BTreeSet};

use jiff::{SignedDuration, Timestamp};
use kubezt_model::desired::CertificateKind;

use super::{Scene, Sign};
use crate::doctor::CertificateState;
use crate::doctor::evidence::Place;

/// One sign a node and kind of fault; it names the certificates.
pub(super) fn certificates(scene: &Scene<'_>) -> Vec<Sign> {
    let mut signs = Vec::new();
    for place in scene.places() {
        let seen = scene.evidence.certificates.get(place.name()).map(Vec::as_slice).unwrap_or_default();
        // Validity is judged by the node's own clock.
        let ahead = scene.evidence.clocks.get(place.name()).map_or(0, |clock| clock.milliseconds);
        let now = scene.evidence.at.saturating_add(SignedDuration::from_millis(ahead));
        let now = now.unwrap_or(scene.evidence.at);
        let mut faults: BTreeMap<String, Vec<&str>> = BTreeMap::new();
        for certificate in seen {
            if let Some(fault) = fault(&certificate.state, &wanted(&place, &certificate.path), now) {
                faults.entry(fault).or_default().push(&certificate.path);
            }
        }
        // Before an install there are none, which no certificate is to blame for.
        if seen.iter().all(|certificate| certificate.state == CertificateState::Missing) {
            continue;
        }
        signs.extend(
            faults
                .into_iter()
                .map(|(fault, paths)| Sign::error([place.name()], format!("{}: {fault}", paths.join(", ")))),
        );
    }
    signs
}

fn fault(state: &CertificateState, wanted: &BTreeSet<String>, now: Timestamp) -> Option<String> {
    let day = |time: &Timestamp| time.strftime("%Y-%m-%d %H:%MZ").to_string();
    match state {
        CertificateState::Missing => Some("missing".to_owned()),
        CertificateState::Unreadable(why) => Some(format!("cannot be read: {why}")),
        CertificateState::Readable { until, .. } if *until < now => {
            Some(format!("expired on {}", day(until)))
        }
        CertificateState::Readable { from, .. } if *from > now => {
            Some(format!("not valid before {}, by the node's clock", day(from)))
        }
        CertificateState::Readable { names, .. } => {
            let lacks: Vec<&str> = wanted.difference(names).map(String::as_str).collect();
            (!lacks.is_empty()).then(|| format!("not for {}", lacks.join(", ")))
        }
    }
}

/// Names and addresses a certificate is to be for.
fn wanted(place: &Place<'_>, path: &str) -> BTreeSet<String> {
    let certificate = place.desired.certificates.iter().find(|one| one.certificate_path == path);
    match certificate.map(|certificate| &certificate.kind) {
        Some(CertificateKind::Leaf(leaf)) => {
            let addresses = leaf.ip_addresses.iter().map(ToString::to_string);
            leaf.dns_names.iter().cloned().chain(addresses).collect()
        }
        _ => BTreeSet::new(),
    }
}
