//! Evidence becomes findings: one for each requirement and node, one for each requirement of the cluster as a whole,
//! and one more for each probe.

use std::collections::{BTreeMap, BTreeSet};

use kubezt_model::NodeName;
use kubezt_model::cluster::{Role, Waiver};
use kubezt_model::desired::{Cluster, Node};
use kubezt_model::finding::{Finding, Method, Verdict};
use kubezt_model::node::{Facts, Read, Reading};
use kubezt_model::systems;
use serde_json::Value;

use crate::check::api::ApiRead;
use crate::check::{Check, ClusterContext, Judged, NodeContext, Terms, of_setting};
use crate::library::{ImageSupply, Library, Loosening, Profile, Requirement};
use crate::probe::{ProbeOutcome, ProbeResult};
use crate::resolve::merge;

/// Everything that was seen.
#[derive(Debug, Clone, PartialEq)]
pub struct Evidence {
    /// What was read from each node; a node that could not be reached is not in here.
    pub facts: BTreeMap<NodeName, Facts>,
    /// What the API answered, or why it did not.
    pub objects: BTreeMap<ApiRead, Result<Vec<Value>, String>>,
    /// What came of probes.
    pub probes: Vec<ProbeOutcome>,
    /// The day waivers and maintenance windows are measured against.
    pub today: jiff::civil::Date,
    /// What the API server says of its version, such as `v1.36.3`.
    pub server_version: Option<String>,
}

/// What has to be read from a node for the requirements of its cluster's profile; each once.
pub fn reads(library: &Library, cluster: &Cluster, node: &Node) -> Vec<Read> {
    let terms = Terms::new(cluster);
    let mut wanted = BTreeSet::new();
    for requirement in applicable(library, cluster) {
        for check in node_checks(requirement, node.role) {
            wanted.extend(check.reads(&terms, node));
            if !requirement.applies.os.is_empty() {
                wanted.insert(Read::Host);
            }
        }
    }
    wanted.into_iter().collect()
}

/// What has to be read from the API for the requirements of a cluster's profile; each once.
pub fn api_reads(library: &Library, cluster: &Cluster) -> Vec<ApiRead> {
    let wanted: BTreeSet<ApiRead> = applicable(library, cluster)
        .flat_map(|requirement| requirement.check.iter().flat_map(Check::api_reads))
        .collect();
    wanted.into_iter().collect()
}

/// Whether a requirement applies to a cluster of this version and network plug-in, as it is designed.
pub fn applies_to_design(requirement: &Requirement, kubernetes: &semver::Version, cni: &str) -> bool {
    inapplicable(requirement, kubernetes, cni).is_none()
}

fn inapplicable(requirement: &Requirement, kubernetes: &semver::Version, cni: &str) -> Option<String> {
    let applies = &requirement.applies;
    if let Some(range) = &applies.kubernetes
        && !range.matches(kubernetes)
    {
        return Some(format!("it is about Kubernetes {range}, this is {kubernetes}"));
    }
    if !applies.cni.is_empty() && !applies.cni.iter().any(|name| name == cni) {
        return Some(format!(
            "it is about the network plug-in {}, this cluster has {cni}",
            applies.cni.join(" or ")
        ));
    }
    (applies.images == Some(ImageSupply::Registry))
        .then(|| "it is about images pulled from a registry; here they are imported onto every node, and nothing is pulled".to_owned())
}

fn applicable<'a>(library: &'a Library, cluster: &'a Cluster) -> impl Iterator<Item = &'a Requirement> {
    let design = |requirement: &&Requirement| {
        applies_to_design(requirement, &cluster.kubernetes_version, &cluster.cni.name)
    };
    library.selected(cluster).into_iter().filter(design)
}

fn node_checks(requirement: &Requirement, role: Role) -> impl Iterator<Item = &Check> {
    let roles = &requirement.applies.roles;
    let meant = roles.is_empty() || roles.contains(&role);
    requirement.check.iter().filter(move |check| meant && !check.is_of_cluster() && check.runs_on(role))
}

/// Whether a requirement is about the operating system of a node. Of a node that does not say what it runs it is not known, and
/// then nothing excuses it.
fn is_about_system(requirement: &Requirement, facts: Option<&Facts>) -> bool {
    let systems = &requirement.applies.os;
    let Some(Reading::Host(host)) = facts.and_then(|facts| facts.reading(&Read::Host)) else { return true };
    systems.is_empty()
        || systems::of(host).is_some_and(|system| systems.iter().any(|name| name == system.name))
}

/// Judges everything a cluster's profile asks for.
pub fn judge(library: &Library, cluster: &Cluster, evidence: &Evidence) -> Vec<Finding> {
    let terms = Terms::new(cluster);
    let loosened = library.loosenings_of(&cluster.profile);
    let mut findings = Vec::new();
    for requirement in library.selected(cluster) {
        let of_requirement = judge_requirement(requirement, cluster, evidence, &terms);
        let loosenings: Vec<_> = loosened
            .iter()
            .filter(|(_, loosening)| loosening.requirement == requirement.id)
            .copied()
            .collect();
        findings.extend(of_requirement.into_iter().map(|finding| {
            let finding = waived(finding, &cluster.waivers, evidence.today);
            loosened_by_profile(finding, &loosenings, cluster, evidence, &terms)
        }));
    }
    findings
}

fn judge_requirement(
    requirement: &Requirement,
    cluster: &Cluster,
    evidence: &Evidence,
    terms: &Terms,
) -> Vec<Finding> {
    let finding = |node: Option<&NodeName>, method: Method, judged: Judged| Finding {
        requirement: requirement.id.clone(),
        node: node.cloned(),
        method,
        verdict: judged.verdict,
        evidence: judged.evidence,
    };
    if let Some(reason) = inapplicable(requirement, &cluster.kubernetes_version, &cluster.cni.name) {
        let judged = with_version_evidence(reason, requirement, evidence);
        return vec![finding(None, Method::Check, judged)];
    }
    let mut findings = Vec::new();
    for node in &cluster.nodes {
        let facts = evidence.facts.get(&node.name);
        if !is_about_system(requirement, facts) {
            continue;
        }
        let context = NodeContext { terms, cluster, node, facts };
        let judged: Vec<Judged> =
            node_checks(requirement, node.role).map(|check| check.judge_node(&context)).collect();
        if !judged.is_empty() {
            findings.push(finding(Some(&node.name), Method::Check, Judged::all(judged)));
        }
    }
    let context = ClusterContext { terms, cluster, evidence };
    let of_cluster: Vec<Judged> = requirement
        .check
        .iter()
        .filter(|check| check.is_of_cluster())
        .map(|check| check.judge_cluster(&context))
        .collect();
    if !of_cluster.is_empty() {
        findings.push(finding(None, Method::Check, Judged::all(of_cluster)));
    }
    if findings.is_empty() && !requirement.check.is_empty() {
        let judged = Judged::not_applicable("the cluster has no node it is about");
        findings.push(finding(None, Method::Check, judged));
    }
    if requirement.probe.is_some() {
        let outcomes: Vec<&ProbeOutcome> =
            evidence.probes.iter().filter(|outcome| outcome.requirement == requirement.id).collect();
        if outcomes.is_empty() {
            findings.push(finding(None, Method::Probe, Judged::error("the probe was not run".to_owned())));
        }
        for outcome in outcomes {
            findings.push(finding(outcome.node.as_ref(), Method::Probe, of_probe(&outcome.result)));
        }
    }
    findings
}

/// A rule about other versions is excused only by the running server's own word.
fn with_version_evidence(reason: String, requirement: &Requirement, evidence: &Evidence) -> Judged {
    let mut judged = Judged::not_applicable(reason);
    let Some(range) = &requirement.applies.kubernetes else { return judged };
    match &evidence.server_version {
        None => Judged::error(
            "the API server's version is not known, and only it could excuse this rule".to_owned(),
        ),
        Some(text) => match semver::Version::parse(text.trim_start_matches('v')) {
            Err(_) => Judged::error(format!("the API server reports `{text}`, which is not a version")),
            Ok(version) if range.matches(&version) => Judged::error(format!(
                "the API server reports {text}, to which this applies, but the cluster was resolved for another version"
            )),
            Ok(_) => {
                judged.evidence.push(format!("the API server reports {text}"));
                judged
            }
        },
    }
}

fn of_probe(result: &ProbeResult) -> Judged {
    match result {
        ProbeResult::Held { evidence } => Judged { verdict: Verdict::Pass, evidence: evidence.clone() },
        ProbeResult::Broken { wanted, got } => Judged::fail(wanted.clone(), got.clone()),
        ProbeResult::NotApplicable { reason } => Judged::not_applicable(reason.clone()),
        ProbeResult::Failed { reason } => Judged::error(reason.clone()),
    }
}

/// A failure somebody answers for is accepted until the day they named; an error never is, since nobody knows what
/// would be accepted.
fn waived(mut finding: Finding, waivers: &[Waiver], today: jiff::civil::Date) -> Finding {
    let Verdict::Fail { wanted, got } = &finding.verdict else { return finding };
    let covers = |waiver: &&Waiver| {
        waiver.requirement == finding.requirement
            && (waiver.nodes.is_empty()
                || finding.node.as_ref().is_some_and(|node| waiver.nodes.contains(node)))
    };
    let latest = waivers.iter().filter(covers).max_by_key(|waiver| waiver.expires);
    let Some(waiver) = latest else { return finding };
    if waiver.expires < today {
        let note = format!("the waiver of {} expired on {}", waiver.owner, waiver.expires);
        finding.evidence.push(note.clone());
        finding.verdict = Verdict::Fail { wanted: wanted.clone(), got: format!("{got}; {note}") };
    } else {
        finding.verdict = Verdict::Accepted {
            reason: waiver.reason.clone(),
            owner: waiver.owner.clone(),
            expires: Some(waiver.expires),
            wanted: wanted.clone(),
            got: got.clone(),
        };
    }
    finding
}

/// A failure of a requirement that the profile loosens is accepted, where what runs is what the profile
/// loosens it to.
fn loosened_by_profile(
    mut finding: Finding,
    loosenings: &[(&Profile, &Loosening)],
    cluster: &Cluster,
    evidence: &Evidence,
    terms: &Terms,
) -> Finding {
    let Verdict::Fail { wanted, got } = &finding.verdict else { return finding };
    // The last word is the one of the profile that extends the others.
    let Some((profile, loosening)) = loosenings.last() else { return finding };
    let node = finding.node.as_ref().and_then(|name| cluster.node(name));
    let in_force: Vec<Check> = merge::flatten(&loosening.settings)
        .iter()
        .filter(|entry| !entry.add)
        .filter_map(|entry| of_setting::is_in_force(&entry.keys, &entry.value))
        .collect();
    if let Some(node) = node {
        let context = NodeContext { terms, cluster, node, facts: evidence.facts.get(&node.name) };
        let others = in_force
            .iter()
            .filter(|check| check.runs_on(node.role))
            .map(|check| check.judge_node(&context))
            .find(|judged| judged.verdict != Verdict::Pass);
        if let Some(judged) = others {
            let note = format!("profile `{}` loosens it, but not to this", profile.name);
            finding.evidence.extend(judged.evidence);
            finding.evidence.push(note.clone());
            finding.verdict = Verdict::Fail { wanted: wanted.clone(), got: format!("{got}; {note}") };
            return finding;
        }
    }
    finding.verdict = Verdict::Accepted {
        reason: loosening.reason.trim().to_owned(),
        owner: format!("profile {}", profile.name),
        expires: None,
        wanted: wanted.clone(),
        got: got.clone(),
    };
    finding
}
