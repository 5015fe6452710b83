//! `kubezt verify`

use std::collections::BTreeMap;
use std::future::Future;
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
use crate::context::{self, Context};
use crate::failure::Failure;
use crate::files;
use crate::printer::Printer;
use crate::probing::{self, Probed};
use crate::reach::Reach;
use crate::session::{Session, connect};

/// Report files to write.
#[derive(Debug, Clone, Default)]
pub struct Reports {
    json: Vec<PathBuf>,
}

impl Reports {
    /// Reads `FORMAT=FILE` arguments; all mistakes at once, of which a file that cannot be written is one: an install takes
    /// minutes, and its report comes last.
    pub fn parse(arguments: &[String]) -> Result<Self, Failure> {
        let mut reports = Self::default();
        let mut errors = Vec::new();
        for argument in arguments {
            match argument.split_once('=') {
                Some(("json", file)) if !file.is_empty() => {
                    let file = PathBuf::from(file);
                    let wrong = files::is_writable(&file).err();
                    errors.extend(wrong.map(|error| format!("`--report {argument}`: {error}")));
                    reports.json.push(file);
                }
                _ => errors.push(format!("`--report {argument}` is not FORMAT=FILE; formats: json")),
            }
        }
        if errors.is_empty() { Ok(reports) } else { Err(Failure::usage(context::all(&errors))) }
    }

    /// Writes them.
    pub fn write(&self, text: &str) -> Result<(), Failure> {
        self.json.iter().try_for_each(|file| fs_err::write(file, text).map_err(Failure::environment))
    }
}

/// Judges the running cluster.
pub async fn run(arguments: VerifyArgs, printer: Printer) -> Result<(), Failure> {
    let context = Context::load(&arguments.cluster)?;
    let reports = Reports::parse(&arguments.reports)?;
    let program = Arc::new(NodeProgram::this().map_err(Failure::environment)?);
    let desired = assemble::outline(&context)?;
    let (nodes, failures) = connect(Reach::of(&context, printer)?, program).await;
    let session = Session::look(&context, nodes, failures, desired).await?;
    let probes =
        async { if arguments.no_probes { None } else { Some(probing::run(&context, &session.fleet).await) } };
    let judged = judge_and_report(&context, &session.fleet, &reports, probes, arguments.all, printer).await;
    if session.failures.is_empty() {
        return judged;
    }
    // What is not compliant weighs more than what was not seen.
    let unreached = Failure::unreached(&session.failures, printer);
    judged.and(Err(unreached))
}

/// Gathers evidence, judges it, prints the table, writes the reports. `probes` are the behaviour that is or was tried;
/// `None` leaves it out. `all` shows what passed too.
pub async fn judge_and_report(
    context: &Context,
    fleet: &RemoteFleet,
    reports: &Reports,
    probes: impl Future<Output = Option<Probed>>,
    all: bool,
    printer: Printer,
) -> Result<(), Failure> {
    let (evidence, probed) = gather(context, fleet, probes).await;
    let mut findings = kubezt_controls::judge(&context.library, &context.cluster, &evidence);
    if !probed {
        findings.retain(|finding| finding.method == kubezt_model::finding::Method::Check);
    }
    printer.text(&report::table(&context.library, &context.cluster, &findings, all));
    let now = jiff::Timestamp::now();
    reports.write(&report::json(&context.library, &context.cluster, &findings, now))?;
    let red = findings.iter().filter(|finding: &&Finding| finding.verdict.is_failure()).count();
    if red == 0 {
        Ok(())
    } else {
        Err(Failure::findings(format!("{red} findings are not compliant"))
            .hint("`kubezt explain ID` says why a requirement matters and how to meet it"))
    }
}

/// Answers with the evidence and whether behaviour was tried.
async fn gather(
    context: &Context,
    fleet: &RemoteFleet,
    probes: impl Future<Output = Option<Probed>>,
) -> (Evidence, bool) {
    let now = jiff::Timestamp::now();
    let reads = context
        .cluster
        .nodes
        .iter()
        .map(|node| (node.name.clone(), kubezt_controls::reads(&context.library, &context.cluster, node)))
        .collect();
    let ((facts, _), (mut objects, server_version), probed) =
        tokio::join!(fleet.nodes.gather(reads, now), list(context, fleet), probes);
    let tried = probed.is_some();
    let Probed { outcomes: probes, namespace } = probed.unwrap_or_default();
    // What was made to be tried is nobody's workload.
    if let Some(namespace) = namespace {
        for items in objects.values_mut().flatten() {
            items.retain(|object| !belongs_to(object, &namespace));
        }
    }
    let today = now.to_zoned(jiff::tz::TimeZone::UTC).date();
    (Evidence { facts, objects, probes, today, server_version }, tried)
}

/// Whether an object is this namespace or in it.
fn belongs_to(object: &Value, namespace: &str) -> bool {
    let metadata = |key: &str| object.pointer("/metadata")?.get(key)?.as_str();
    match metadata("namespace") {
        Some(of) => of == namespace,
        None => metadata("name") == Some(namespace),
    }
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
