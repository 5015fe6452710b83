//! The result as text: worst first, grouped by requirement, with counts.

use std::collections::BTreeMap;
use std::fmt::Write as _;

use kubezt_model::desired::Cluster;
use kubezt_model::finding::{Finding, Method, Verdict};

use super::deviations::{self, Deviation};
use super::{Counts, json, worst};
use crate::library::{Library, Requirement};

/// How much is shown.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Detail {
    /// What failed, could not be judged, was accepted or needs a person; the rest is counted.
    Findings,
    /// Everything with its evidence.
    All,
}

/// Writes the table.
pub fn write(library: &Library, cluster: &Cluster, findings: &[Finding], detail: Detail) -> String {
    let mut groups: BTreeMap<&str, Vec<&Finding>> = BTreeMap::new();
    for finding in findings {
        groups.entry(finding.requirement.as_str()).or_default().push(finding);
    }
    let mut order: Vec<(&str, Vec<&Finding>)> = groups.into_iter().collect();
    order.sort_by_key(|(id, group)| {
        let badness = worst(group.iter().copied()).map_or(0, Verdict::badness);
        let severity = library.requirement(id).map(|requirement| requirement.severity);
        (std::cmp::Reverse(badness), std::cmp::Reverse(severity), *id)
    });
    let mut text = String::new();
    for (id, group) in &order {
        let hidden = worst(group.iter().copied()).is_none_or(|verdict| verdict.badness() < 2);
        if detail == Detail::All || !hidden {
            write_group(&mut text, library.requirement(id), id, group, detail);
        }
    }
    for deviation in deviations::of(library, &cluster.profile) {
        if detail == Detail::All || deviation.is_worth_a_look() {
            write_deviation(&mut text, library, &deviation);
        }
    }
    write_summary(&mut text, library, cluster, findings);
    text
}

fn write_deviation(text: &mut String, library: &Library, deviation: &Deviation) {
    let requirement = library.requirement(&deviation.requirement);
    let severity = requirement.map_or("", |requirement| requirement.severity.as_str());
    let title = requirement.map_or("", |requirement| requirement.title.as_str());
    line(text, &format!("{:<9}{severity:<7}{}: {title}", deviation.kind.word(), deviation.requirement));
    for said in deviation.lines() {
        line(text, &format!("         {said}"));
    }
}

fn write_group(
    text: &mut String,
    requirement: Option<&Requirement>,
    id: &str,
    group: &[&Finding],
    detail: Detail,
) {
    let verdict = worst(group.iter().copied()).map_or("", |verdict| verdict.word());
    let severity = requirement.map_or("", |requirement| requirement.severity.as_str());
    let title = requirement.map_or("", |requirement| requirement.title.as_str());
    line(text, &format!("{verdict:<9}{severity:<7}{id}: {title}"));
    let mut sorted = group.to_vec();
    sorted.sort_by_key(|finding| std::cmp::Reverse(finding.verdict.badness()));
    for finding in sorted {
        if detail == Detail::All || finding.verdict.badness() >= 2 {
            write_finding(text, finding, detail);
        }
    }
}

fn write_finding(text: &mut String, finding: &Finding, detail: Detail) {
    let place = finding.node.as_ref().map_or("cluster", |node| node.as_str());
    let method = if finding.method == Method::Probe { ", probe" } else { "" };
    let place = format!("{place}{method}");
    let said = match &finding.verdict {
        Verdict::Pass => String::new(),
        Verdict::Fail { wanted, got } => format!("wanted {wanted}; got {got}"),
        Verdict::NotApplicable { reason } | Verdict::Error { reason } => reason.clone(),
        Verdict::Accepted { reason, owner, expires, got, .. } => {
            let until = expires.map(|day| format!(", until {day}")).unwrap_or_default();
            format!("{reason} ({owner}{until}); got {got}")
        }
        Verdict::Manual { question } => question.clone(),
    };
    line(text, &format!("         {place}: {} {said}", finding.verdict.word()));
    if detail == Detail::All {
        for evidence in &finding.evidence {
            line(text, &format!("           {evidence}"));
        }
    }
}

fn write_summary(text: &mut String, library: &Library, cluster: &Cluster, findings: &[Finding]) {
    let counts = Counts::of(findings);
    if !text.is_empty() {
        line(text, "");
    }
    line(
        text,
        &format!(
            "{} findings: {} pass, {} fail, {} error, {} accepted, {} manual, {} n/a",
            findings.len(),
            counts.pass,
            counts.fail,
            counts.error,
            counts.accepted,
            counts.manual,
            counts.not_applicable
        ),
    );
    let mut excluded = 0;
    for framework in library.frameworks_of(&cluster.profile) {
        let Some(catalogue) = library.catalogue(framework) else { continue };
        let results = json::control_results(library, cluster, findings, framework);
        let mut words: BTreeMap<&str, usize> = BTreeMap::new();
        for result in &results {
            *words.entry(result.verdict.as_str()).or_default() += 1;
        }
        excluded += words.get(json::EXCLUDED).copied().unwrap_or_default();
        let said: Vec<String> = words.iter().map(|(word, count)| format!("{count} {word}")).collect();
        let summary = format!(
            "{} {}: {} rules: {}",
            catalogue.title,
            catalogue.version,
            results.len(),
            said.join(", ")
        );
        line(text, &summary);
    }
    line(
        text,
        &match (counts.is_compliant(), excluded) {
            (false, _) => "not compliant".to_owned(),
            (true, 0) => "compliant".to_owned(),
            (true, 1) => "compliant, but for 1 rule that the profile excludes".to_owned(),
            (true, rules) => format!("compliant, but for {rules} rules that the profile excludes"),
        },
    );
}

fn line(text: &mut String, line: &str) {
    // Writing to a String cannot fail.
    let _infallible = writeln!(text, "{}", line.trim_end());
}
