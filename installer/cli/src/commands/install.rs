//! `kubezt install`

use std::sync::Arc;

use kubezt_controls::Probe;
use kubezt_engine::executor::{self, Outcome, Sink};
use kubezt_engine::journal::Journal;
use kubezt_engine::link::session::operator_name;
use kubezt_model::event::Event;
use kubezt_model::plan::{Gate, Operation, Plan};
use tokio_util::sync::CancellationToken;

use super::plan::look;
use super::verify;
use crate::args::InstallArgs;
use crate::context::Context;
use crate::failure::Failure;
use crate::printer::Printer;
use crate::progress;
use crate::session::Session;

/// Brings the nodes to the wanted state, then verifies.
pub async fn run(arguments: InstallArgs, printer: Printer) -> Result<(), Failure> {
    let context = Context::load(&arguments.cluster)?;
    let reports = verify::Reports::parse(&arguments.reports)?;
    let now = jiff::Timestamp::now();
    let _lock = context
        .state
        .lock(&format!("{} since {now}, process {}", operator_name(), std::process::id()))
        .map_err(Failure::environment)?;
    let (mut plan, session) = look(&context, &arguments.passphrase, printer).await?;
    if !arguments.no_verify && tries_data_path(&context) {
        // The verification that follows lets pods talk anyway, by the same means.
        plan.steps.retain(|step| !matches!(step.operation, Operation::Gate { gate: Gate::PodsTalk, .. }));
    }
    let sink = progress::sink(arguments.output, printer);
    let outcome = execute(&context, &plan, &session, sink).await?;
    if !outcome.is_complete() || !session.failures.is_empty() {
        return Err(incomplete(&outcome, &session));
    }
    if plan.is_empty() {
        printer.note("Nothing to do: the cluster is as wanted");
    }
    if arguments.no_verify {
        return Ok(());
    }
    verify::judge_and_report(&context, &session.fleet, &reports, verify::Detail::default(), printer).await
}

/// Whether verification lets a pod reach a pod on another node by its Service name.
fn tries_data_path(context: &Context) -> bool {
    let selected = context.library.selected(&context.cluster);
    selected.iter().any(|requirement| requirement.probe == Some(Probe::Dns {}))
}

/// Runs a plan with journal and display; the first interrupt ends it after the running steps.
pub async fn execute(
    context: &Context,
    plan: &Plan,
    session: &Session,
    display: Sink,
) -> Result<Outcome, Failure> {
    if plan.is_empty() {
        return Ok(Outcome::default());
    }
    let journal = Journal::create(&context.state.path("journal"), jiff::Timestamp::now())
        .map_err(Failure::environment)?;
    let sink: Sink = Arc::new(move |event| {
        // A full disk at the operator must not stop a run on the nodes half-way.
        let _ = journal.write(&event, jiff::Timestamp::now());
        display(event);
    });
    let cancel = CancellationToken::new();
    let interrupted = cancel.clone();
    let watch = tokio::spawn(async move {
        if tokio::signal::ctrl_c().await.is_ok() {
            interrupted.cancel();
        }
    });
    let outcome = executor::run(plan, Arc::clone(&session.fleet), Arc::clone(&sink), cancel).await;
    watch.abort();
    for (node, cost) in session.fleet.nodes.statistics() {
        sink(Event::NodeCost {
            node,
            bytes_sent: cost.bytes_sent,
            bytes_received: cost.bytes_received,
            round_trips: cost.round_trips,
        });
    }
    Ok(outcome)
}

fn incomplete(outcome: &Outcome, session: &Session) -> Failure {
    let mut lines: Vec<String> = session.failures.iter().map(ToString::to_string).collect();
    lines.extend(outcome.failed.iter().map(|(step, error)| format!("{step}: {error}")));
    if outcome.cancelled {
        lines.push("interrupted".to_owned());
    }
    let failure = match outcome.changed {
        0 if !outcome.cancelled => Failure::findings(lines.join("\nerror: ")),
        _ => Failure::partial(lines.join("\nerror: ")),
    };
    failure.hint("what was done is kept; run the same command again to go on")
}
