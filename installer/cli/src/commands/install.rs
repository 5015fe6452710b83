//! `kubezt install`

use std::collections::BTreeSet;
use std::path::Path;
use std::sync::{Arc, Mutex, PoisonError};

use kubezt_controls::Probe;
use kubezt_engine::executor::{self, Outcome, Sink};
use kubezt_engine::failures;
use kubezt_engine::journal::{Copies, Journal};
use kubezt_engine::link::session::operator_name;
use kubezt_model::event::{Event, StepResult};
use kubezt_model::plan::{Gate, Operation, Plan, Step, StepId};
use kubezt_plan::Ticket;
use kubezt_plan::preflight::{self, Seen};
use kubezt_plan::steps::NODE_OBJECTS;
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;

use super::init;
use super::plan::{Asked, Looked, Purpose, Ready, look};
use super::verify;
use crate::args::{InstallArgs, Output};
use crate::context::Context;
use crate::failure::Failure;
use crate::files;
use crate::preflight::{Answered, Ignored};
use crate::printer::Printer;
use crate::probing::{self, Probed};
use crate::progress;
use crate::session::Session;

/// Brings the nodes to the wanted state, then verifies.
pub async fn run(arguments: InstallArgs, printer: Printer) -> Result<(), Failure> {
    if init::offered(&arguments.cluster, printer)? {
        return Err(Failure::partial("the cluster file is written, and nothing is installed yet")
            .hint("go on with `kubezt trust`, then install again"));
    }
    let context = Context::load(&arguments.cluster)?;
    let reports = verify::Reports::parse(&arguments.reports)?;
    let ignored = Ignored::parse(&arguments.ignore.ignore)?;
    let ticket = arguments.plan.as_deref().map(|path| approved(path, &context)).transpose()?;
    let selection = match &ticket {
        Some((_, ticket)) => ticket.selection().clone(),
        None => arguments.selection.into(),
    };
    let purpose = Purpose::Change { take_over: arguments.take_over };
    let asked = Asked { purpose, selection: &selection };
    let ready = Ready::check(&context, &arguments.passphrase, asked, printer)?;
    let now = jiff::Timestamp::now();
    let _lock = context
        .state
        .lock(&format!("{} since {now}, process {}", operator_name(), std::process::id()))
        .map_err(Failure::environment)?;
    let Looked { mut plan, session, seen, had_secrets } = look(&context, ready, asked, printer).await?;
    if let Some((path, ticket)) = &ticket {
        stays_within(path, ticket, &plan, had_secrets)?;
    }
    begins(&session)?;
    let verifies = !arguments.no_verify && selection.is_everything();
    let warnings = checked(&session, seen, ignored, arguments.output, printer)?;
    if verifies && tries_data_path(&context) {
        // The verification that follows lets pods talk anyway, by the same means.
        plan.steps.retain(|step| !matches!(step.operation, Operation::Gate { gate: Gate::PodsTalk, .. }));
    }
    let sink = progress::sink(arguments.output, printer);
    let (applied, all_applied) = watch::channel(false);
    let executing = execute(&context, &plan, &session, &warnings, announcing(&plan, applied, sink));
    let probing = probe_when(all_applied, &context, &session);
    tokio::pin!(executing, probing);
    let mut probed = None;
    let outcome = tokio::select! {
        outcome = &mut executing => outcome?,
        early = &mut probing, if verifies => {
            probed = Some(early);
            executing.await?
        }
    };
    if !outcome.is_complete() || !session.failures.is_empty() {
        let unreached = &session.failures;
        let blocks = failures::blocks(&outcome, unreached);
        return Err(Failure::blocks(&blocks, failures::extent(&outcome, unreached), printer));
    }
    if plan.is_empty() {
        printer.note("Nothing to do: the cluster is as wanted");
    }
    if !verifies {
        if !arguments.no_verify {
            printer.note(
                "A part was asked for, so nothing was verified: `kubezt verify` judges the cluster as it is",
            );
        }
        return Ok(());
    }
    let probes = async {
        match probed {
            Some(probed) => probed,
            None => probing.await,
        }
    };
    verify::judge_and_report(&context, &session.fleet, &reports, probes, false, printer).await
}

/// Reads a plan that somebody approved.
fn approved<'a>(path: &'a Path, context: &Context) -> Result<(&'a Path, Ticket), Failure> {
    let text = files::read_text(path, files::PLAN).map_err(Failure::usage)?;
    let refuse = |why: String| Failure::usage(format!("{}: {why}", path.display()));
    let ticket = Ticket::parse(&text).map_err(|error| refuse(error.to_string()))?;
    let (planned, cluster) = (ticket.cluster(), &context.cluster.name);
    if planned != cluster {
        return Err(refuse(format!(
            "it is a plan of cluster {planned}, and the cluster file is {cluster}'s"
        )));
    }
    Ok((path, ticket))
}

/// Does nothing that was not approved.
fn stays_within(path: &Path, ticket: &Ticket, plan: &Plan, had_secrets: bool) -> Result<(), Failure> {
    let more = ticket.exceeded_by(plan, had_secrets);
    if more.is_empty() {
        return Ok(());
    }
    let path = path.display();
    Err(Failure::findings(format!("{path} is not what has to be done by now:\n  {}", more.join("\n  ")))
        .hint("nothing was changed; plan again, and have that approved"))
}

/// Refuses to begin a control plane without all of its nodes; one that has begun goes on without some.
fn begins(session: &Session) -> Result<(), Failure> {
    let unseen = kubezt_plan::members::unseen_founders(&session.desired, &session.facts);
    if unseen.is_empty() {
        return Ok(());
    }
    let lost = session.failures.iter().filter(|failure| unseen.contains(&failure.node));
    let lines: Vec<String> = lost.map(ToString::to_string).collect();
    Err(Failure::environment(lines.join("\nerror: ")).hint(
        "nothing was changed: the first members of etcd found it together, so every control-plane node has to be reached; \
         workers may come later",
    ))
}

/// Judges the nodes that are about to become members. What would make the install fail ends it here, before anything is
/// changed; the rest is said when it begins, with what somebody answers for.
///
/// A node that was not reached stops no other one, so it is no finding here.
fn checked(
    session: &Session,
    seen: Seen,
    ignored: Ignored,
    output: Output,
    printer: Printer,
) -> Result<Vec<Event>, Failure> {
    let newcomers = preflight::candidates(&session.desired, &seen);
    let seen = Seen { unreachable: Vec::new(), ..seen };
    let findings = match newcomers.is_empty() {
        true => Vec::new(),
        false => preflight::preflight(&session.desired, &seen, &newcomers),
    };
    let answered = Answered::new(findings, ignored);
    if answered.errors() > 0 {
        answered.show(session.desired.cluster.name.as_str(), output, printer);
        return Err(answered.failure("nothing was changed on any node"));
    }
    Ok(answered.warnings())
}

/// Passes events on and tells when everything is on the nodes and in the API that probes need. What is left then is to
/// wait for nodes and workloads, which goes well with trying behaviour.
fn announcing(plan: &Plan, applied: watch::Sender<bool>, sink: Sink) -> Sink {
    let needed = |step: &&Step| match &step.operation {
        // A server that was restarted is not asked before it listens.
        Operation::Gate { gate, .. } => *gate == Gate::ApiReady,
        // Labels come after a gate, since a node has to register before it has any.
        Operation::Apply { manifests } => manifests.name != NODE_OBJECTS,
        Operation::Node { .. } | Operation::Certificates { .. } => true,
    };
    let left: BTreeSet<StepId> = plan.steps.iter().filter(needed).map(|step| step.id.clone()).collect();
    applied.send_replace(left.is_empty());
    let left = Mutex::new(left);
    Arc::new(move |event| {
        if let Event::StepFinished { step, result, .. } = &event
            && matches!(result, StepResult::Changed(_) | StepResult::Unchanged)
        {
            let mut left = left.lock().unwrap_or_else(PoisonError::into_inner);
            if left.remove(step) && left.is_empty() {
                applied.send_replace(true);
            }
        }
        sink(event);
    })
}

/// Probes once everything was applied; `None` where the run ends before that.
async fn probe_when(
    mut applied: watch::Receiver<bool>,
    context: &Context,
    session: &Session,
) -> Option<Probed> {
    applied.wait_for(|all| *all).await.ok()?;
    Some(probing::run(context, &session.fleet).await)
}

/// Whether verification lets a pod reach a pod on another node by its Service name.
fn tries_data_path(context: &Context) -> bool {
    let selected = context.library.selected(&context.cluster);
    selected.iter().any(|requirement| requirement.probe == Some(Probe::Dns {}))
}

/// Runs a plan with journal and display, which begin with `warnings`; the first interrupt ends it after the running steps.
pub async fn execute(
    context: &Context,
    plan: &Plan,
    session: &Session,
    warnings: &[Event],
    display: Sink,
) -> Result<Outcome, Failure> {
    if plan.is_empty() {
        return Ok(Outcome::default());
    }
    let (journal, lines) = Journal::create(&context.state.path("journal"), jiff::Timestamp::now())
        .map_err(Failure::environment)?;
    let (run, fleet) = (journal.name(), Arc::clone(&session.fleet));
    let copies = Copies::start(lines, move |lines| {
        let (run, fleet) = (run.clone(), Arc::clone(&fleet));
        async move { fleet.keep_journal(&run, &lines).await }
    });
    let sink: Sink = Arc::new(move |event| {
        // A full disk at the operator must not stop a run on the nodes half-way.
        let _ = journal.write(&event, jiff::Timestamp::now());
        display(event);
    });
    warnings.iter().for_each(|warning| sink(warning.clone()));
    let cancel = CancellationToken::new();
    let interrupted = cancel.clone();
    let watch = tokio::spawn(async move {
        if tokio::signal::ctrl_c().await.is_ok() {
            interrupted.cancel();
        }
    });
    let (fleet, joins) = (Arc::clone(&session.fleet), context.file.spec.concurrency.joins);
    let outcome = executor::run(plan, fleet, joins, Arc::clone(&sink), cancel).await;
    watch.abort();
    for (node, cost) in session.fleet.nodes.statistics() {
        sink(Event::NodeCost {
            node,
            bytes_sent: cost.bytes_sent,
            bytes_received: cost.bytes_received,
            round_trips: cost.round_trips,
        });
    }
    copies.finish().await;
    Ok(outcome)
}
