//! `kubezt status`

use std::collections::BTreeMap;
use std::sync::Arc;

use kubezt_engine::link::NodeProgram;
use kubezt_model::node::{Read, Reading};
use kubezt_plan::members::lost_quorum;
use serde_json::{Value, json};

use crate::args::{Output, StatusArgs};
use crate::assemble;
use crate::context::Context;
use crate::failure::Failure;
use crate::printer::Printer;
use crate::reach::Reach;
use crate::session::{Session, connect};

/// Shows nodes, components and certificates.
pub async fn run(arguments: StatusArgs, printer: Printer) -> Result<(), Failure> {
    let context = Context::load(&arguments.cluster)?;
    let program = Arc::new(NodeProgram::this().map_err(Failure::environment)?);
    let desired = assemble::outline(&context)?;
    let (nodes, failures) = connect(Reach::of(&context, printer)?, program).await;
    let session = Session::look(&context, nodes, failures, desired).await?;
    let registered = registered(&session).await;
    let rows: Vec<Value> = session
        .desired
        .nodes
        .iter()
        .map(|node| {
            let name = node.node.name.as_str();
            json!({
                "node": name,
                "role": node.node.role.as_str(),
                "reached": session.facts.contains_key(&node.node.name),
                "ready": registered.get(name).map_or("unknown", String::as_str),
                "units": units(&session, node),
                "certificatesDue": session.assessment.certificates.get(&node.node.name).map_or(0, Vec::len),
            })
        })
        .collect();
    match arguments.output {
        Output::Json => {
            let status = json!({"cluster": context.cluster.name.as_str(), "apiReachable": session.assessment.api_reachable, "nodes": rows});
            printer.line(&serde_json::to_string_pretty(&status).map_err(Failure::environment)?);
        }
        Output::Text => table(&context, &session, &rows, printer),
    }
    let bad = !session.failures.is_empty()
        || !session.assessment.api_reachable
        || !session.assessment.unready.is_empty();
    if bad { Err(Failure::findings(trouble(&session))) } else { Ok(()) }
}

fn table(context: &Context, session: &Session, rows: &[Value], printer: Printer) {
    let api = if session.assessment.api_reachable { "answers" } else { "does not answer" };
    printer.line(&format!(
        "{}: Kubernetes {}, the API {api}",
        context.cluster.name, context.cluster.kubernetes_version
    ));
    printer.line(&format!("{:<16} {:<14} {:<8} {:<36} CERTIFICATES DUE", "NODE", "ROLE", "READY", "UNITS"));
    for row in rows {
        let text = |key: &str| row[key].as_str().unwrap_or_default();
        printer.line(&format!(
            "{:<16} {:<14} {:<8} {:<36} {}",
            text("node"),
            text("role"),
            text("ready"),
            text("units"),
            row["certificatesDue"]
        ));
    }
}

fn trouble(session: &Session) -> String {
    let mut lines: Vec<String> = session.failures.iter().map(ToString::to_string).collect();
    if !session.assessment.api_reachable {
        lines.push("the API does not answer".to_owned());
        lines.extend(lost_quorum(&session.desired, &session.facts));
    }
    lines.extend(session.assessment.unready.iter().cloned());
    lines.join("\nerror: ")
}

/// Units that do not run, what a timer starts and failed last, or `running`.
fn units(session: &Session, node: &kubezt_model::desired::DesiredNode) -> String {
    let Some(facts) = session.facts.get(&node.node.name) else { return "unknown".to_owned() };
    let mut down: Vec<String> = node
        .units
        .iter()
        .filter_map(|name| match facts.reading(&Read::Unit { name: name.clone() }) {
            Some(Reading::Unit(unit)) if unit.active == "active" => None,
            Some(Reading::Unit(unit)) => Some(format!("{name} {}", unit.active)),
            _ => Some(format!("{name} missing")),
        })
        .collect();
    down.extend(node.timed_units().filter_map(
        |name| match facts.reading(&Read::Unit { name: name.clone() }) {
            Some(Reading::Unit(unit)) if unit.active == "failed" => Some(format!("{name} failed")),
            _ => None,
        },
    ));
    if down.is_empty() { "running".to_owned() } else { down.join(", ") }
}

/// What the API says of each node's readiness.
async fn registered(session: &Session) -> BTreeMap<String, String> {
    if !session.assessment.api_reachable {
        return BTreeMap::new();
    }
    let Ok(client) = session.fleet.api().await else { return BTreeMap::new() };
    let nodes = client.list("/api/v1/nodes").await.unwrap_or_default();
    nodes
        .iter()
        .filter_map(|node| {
            let name = node.pointer("/metadata/name")?.as_str()?.to_owned();
            let ready =
                node.pointer("/status/conditions")?.as_array()?.iter().find(|one| one["type"] == "Ready")?;
            Some((name, ready["status"].as_str()?.to_lowercase()))
        })
        .collect()
}
