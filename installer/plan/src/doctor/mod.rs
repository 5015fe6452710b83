//! Why a cluster is not well: what was seen of it, explained from cause to consequence.
//!
//! Each explanation is one [`Rule`]: a function that finds a sign in the evidence, what the sign means, what to do, and which
//! other rules bring it about. A further one is a function in [`rules`] and its line in the list there. Pure: whoever looks
//! fills in the [`Evidence`].

mod evidence;
mod finding;
mod rules;

use kubezt_model::desired::{Desired, DesiredNode};
use kubezt_model::node::Read;

pub use evidence::{
    ApiEvidence, CertificateSeen, CertificateState, EventSeen, Evidence, NodeCondition, NodeSeen, PodSeen,
};
pub use finding::Finding;
pub use rules::{RULES, Rule};

use evidence::Scene;

/// What is looked at on every node, in one message.
pub fn reads(desired: &DesiredNode) -> Vec<Read> {
    let mut reads = vec![Read::Containers, Read::Memory, Read::Lock, Read::ApiServers];
    for unit in desired.units.iter().cloned().chain(desired.timed_units()) {
        reads.extend([Read::Unit { name: unit.clone() }, Read::UnitLog { name: unit }]);
    }
    reads.extend(rules::FOLDERS.iter().map(|(path, _)| Read::FileSystem { path: (*path).to_owned() }));
    reads.extend(desired.static_pods().map(|(_, pod)| Read::Process { name: pod.to_owned() }));
    reads.extend(
        desired
            .certificates
            .iter()
            .map(|certificate| Read::File { path: certificate.certificate_path.clone(), text: true }),
    );
    let etcd = crate::members::reads(desired);
    if etcd.contains(&Read::EtcdMembers) {
        reads.push(Read::EtcdStatus);
    }
    reads.extend(etcd);
    reads.sort();
    reads.dedup();
    reads
}

/// Explains what was seen. What explains most comes first, and right after it what follows from it.
pub fn explain(desired: &Desired, evidence: &Evidence) -> Vec<Finding> {
    let scene = Scene { desired, evidence };
    let mut findings: Vec<Finding> = Vec::new();
    for rule in RULES {
        for sign in (rule.signs)(&scene) {
            let mut finding = Finding::of(rule, sign);
            finding.because = finding.cause(&findings, rule);
            findings.push(finding);
        }
    }
    finding::ordered(findings)
}

#[cfg(test)]
mod tests;
