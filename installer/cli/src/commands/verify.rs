//! `kubezt verify`

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::Arc;

use kubezt_controls::{ApiRead, Evidence, report};
use kubezt_engine::api::collection_path;
use kubezt_engine::fleet::RemoteFleet;
use kubezt_engine::link::NodeProgram;
use kubezt_model::finding::Finding;
use serde_json::Value;

use crate::args::VerifyArgs;
use crate::assemble;
use crate::context::Context;
use crate::failure::Failure;
use crate::printer::Printer;
use crate::probing;
use crate::session::{Session, connect};

/// How much of the verification is done and shown.
#[derive(Debug, Clone, Copy)]
pub struct Detail {
    /// Whether behaviour is tried as well.
    pub probes: bool,
    /// Whether passed requirements are shown.
    pub all: bool,
}

impl Default for Detail {
    fn default() -> Self {
        Self { probes: true, all: false }
    }
}

/// Report files to write.
#[derive(Debug, Clone, Default)]
pub struct Reports {
    json: Vec<PathBuf>,
}

impl Reports {
    /// Reads `FORMAT=FILE` arguments.
    pub fn parse(arguments: &[String]) -> Result<Self, Failure> {
        let mut reports = Self::default();
        for argument in arguments {
            match argument.split_once('=') {
                Some(("json", file)) if !file.is_empty() => reports.json.push(PathBuf::from(file)),
                _ => {
                    return Err(Failure::usage(format!("`--report {argument}` is not FORMAT=FILE"))
                        .hint("formats: json"));
                }
            }
        }
        Ok(reports)
    }
}

/// Judges the running cluster.
pub async fn run(arguments: VerifyArgs, printer: Printer) -> Result<(), Failure> {
    let context = Context::load(&arguments.cluster)?;
    let reports = Reports::parse(&arguments.reports)?;
    let program = Arc::new(NodeProgram::this().map_err(Failure::environment)?);
    let desired = assemble::outline(&context)?;
    let (nodes, failures) = connect(&context, program).await;
    let session = Session::open(&context, nodes, failures, desired, BTreeMap::new(), None).await?;
    for failure in &session.failures {
        printer.note(&format!("warning: {failure}"));
    }
    let detail = Detail { probes: !arguments.no_probes, all: arguments.all };
    judge_and_report(&context, &session.fleet, &reports, detail, printer).await
}

/// Gathers evidence, judges it, prints the table, writes the reports.
pub async fn judge_and_report(
    context: &Context,
    fleet: &RemoteFleet,
    reports: &Reports,
    detail: Detail,
    printer: Printer,
) -> Result<(), Failure> {
    let evidence = gather(context, fleet, detail.probes).await;
    let mut findings = kubezt_controls::judge(&context.library, &context.cluster, &evidence);
    if !detail.probes {
        findings.retain(|finding| finding.method == kubezt_model::finding::Method::Check);
    }
    printer.text(&report::table(&context.library, &context.cluster, &findings, detail.all));
    let now = jiff::Timestamp::now();
    for file in &reports.json {
        let text = report::json(&context.library, &context.cluster, &findings, now);
        fs_err::write(file, text).map_err(Failure::environment)?;
    }
    let red = findings.iter().filter(|finding: &&Finding| finding.verdict.is_failure()).count();
    if red == 0 {
        Ok(())
    } else {
        Err(Failure::findings(format!("{red} findings are not compliant"))
            .hint("`kubezt explain ID` says why a requirement matters and how to meet it"))
    }
}

async fn gather(context: &Context, fleet: &RemoteFleet, probes: bool) -> Evidence {
    let now = jiff::Timestamp::now();
    let reads = context
        .cluster
        .nodes
        .iter()
        .map(|node| (node.name.clone(), kubezt_controls::reads(&context.library, &context.cluster, node)))
        .collect();
    // Probes make and remove a namespace of their own; objects are listed before, so that they do not judge it.
    let ((facts, _), (objects, server_version)) =
        tokio::join!(fleet.nodes.gather(reads, now), list(context, fleet));
    let probes = if probes { probing::run(context, fleet).await } else { Vec::new() };
    Evidence { facts, objects, probes, today: now.to_zoned(jiff::tz::TimeZone::UTC).date(), server_version }
}

/// Lists every kind of object the checks look at, once each.
async fn list(
    context: &Context,
    fleet: &RemoteFleet,
) -> (BTreeMap<ApiRead, Result<Vec<Value>, String>>, Option<String>) {
    let wanted = kubezt_controls::api_reads(&context.library, &context.cluster);
    let client = match fleet.api().await {
        Ok(client) => client,
        Err(error) => {
            let failed = |read: ApiRead| (read, Err(error.clone()));
            return (wanted.into_iter().map(failed).collect(), None);
        }
    };
    let lists = wanted.into_iter().map(|read| async move {
        let (group, version) = read.api_version.split_once('/').unwrap_or(("", &read.api_version));
        let path = collection_path(group, version, &read.plural, "");
        let items = client.list(&path).await.map_err(|error| error.to_string());
        (read, items)
    });
    let (objects, version) = tokio::join!(futures::future::join_all(lists), client.read("/version"));
    let version =
        version.ok().flatten().and_then(|version| Some(version.get("gitVersion")?.as_str()?.to_owned()));
    (objects.into_iter().collect(), version)
}
