//! `kubezt plan`

use std::sync::Arc;

use kubezt_engine::link::NodeProgram;
use kubezt_engine::link::message::SILENCE_SECONDS;
use kubezt_engine::nodes::NodeFailure;
use kubezt_engine::preflight::{self, Extent};
use kubezt_engine::state::Secrets;
use kubezt_model::plan::Plan;
use kubezt_plan::preflight::Seen;
use kubezt_plan::{Selection, Ticket};
use tokio_util::task::AbortOnDropHandle;
use zeroize::Zeroizing;

use crate::args::{Output, PassphraseArgs, PlanArgs};
use crate::assemble::{self, assemble};
use crate::context::Context;
use crate::failure::Failure;
use crate::printer::Printer;
use crate::reach::Reach;
use crate::session::{Session, connect};

/// Shows what install would change.
pub async fn run(arguments: PlanArgs, printer: Printer) -> Result<(), Failure> {
    let context = Context::load(&arguments.cluster)?;
    let selection = arguments.selection.into();
    let asked = Asked { purpose: Purpose::Show, selection: &selection };
    let ready = Ready::check(&context, &arguments.passphrase, asked, printer)?;
    let Looked { plan, session, had_secrets, .. } = look(&context, ready, asked, printer).await?;
    match arguments.output {
        Output::Text => printer.text(&kubezt_plan::text::plan(&plan, !arguments.summary)),
        Output::Json => {
            let ticket = Ticket::of(&plan, &selection, had_secrets);
            printer.line(&serde_json::to_string_pretty(&ticket).map_err(Failure::environment)?);
        }
    }
    if !session.failures.is_empty() {
        return Err(Failure::unreached(&session.failures, printer));
    }
    if arguments.exit_code && !plan.is_empty() { Err(Failure::has_changes()) } else { Ok(()) }
}

/// What a cluster is looked at for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Purpose {
    /// Nothing is changed, on the nodes or here: a cluster without secrets gets others, which are forgotten.
    Show,
    /// It is changed: secrets are made and kept, nodes that are no members yet are looked at closely, and no other operator changes
    /// a node until this run ends.
    Change {
        /// Whether an operator who is at work on a node has to end.
        take_over: bool,
    },
}

/// What a command wants of looking.
#[derive(Debug, Clone, Copy)]
pub struct Asked<'a> {
    /// What for.
    pub purpose: Purpose,
    /// What of all that is due.
    pub selection: &'a Selection,
}

/// What came of looking.
pub struct Looked {
    /// Whether the cluster had its secrets before.
    pub had_secrets: bool,
    /// What has to be done.
    pub plan: Plan,
    /// The cluster as it was seen.
    pub session: Session,
    /// What was seen of newcomers; nothing where they were not looked at closely.
    pub seen: Seen,
}

/// What looking takes, known to be there.
pub struct Ready {
    reach: Reach,
    passphrase: Option<Zeroizing<Vec<u8>>>,
}

impl Ready {
    /// Finds what was asked for wrongly before anything is touched, here or on a node: steps and nodes that do not exist, files that
    /// are named and cannot be used.
    pub fn check(
        context: &Context,
        passphrase: &PassphraseArgs,
        asked: Asked<'_>,
        printer: Printer,
    ) -> Result<Self, Failure> {
        if !asked.selection.is_everything() {
            let mistakes = kubezt_plan::mistakes(&assemble::sketch(context)?, asked.selection);
            if !mistakes.is_empty() {
                return Err(mistaken(&mistakes));
            }
        }
        let reach = Reach::of(context, printer)?;
        Ok(Self { reach, passphrase: at_hand(context, passphrase, asked.purpose, printer)? })
    }
}

/// Looks at the cluster and plans. Nodes are connected to, secrets opened and charts rendered side by side.
pub async fn look(
    context: &Arc<Context>,
    ready: Ready,
    asked: Asked<'_>,
    printer: Printer,
) -> Result<Looked, Failure> {
    let had_secrets = context.state.has_secrets();
    let program = Arc::new(NodeProgram::this().map_err(Failure::environment)?);
    let outline = match asked.purpose {
        Purpose::Change { take_over } => {
            Some((take_over, assemble::outline(context)?, context.root_fingerprint()?))
        }
        Purpose::Show => None,
    };
    let reaching = connect(ready.reach, Arc::clone(&program));
    let connecting = AbortOnDropHandle::new(tokio::spawn(async move {
        let (nodes, failures) = reaching.await;
        let seen = match outline {
            Some((take_over, desired, root)) => {
                unclaimed(&nodes.claim(take_over).await)?;
                preflight::look(&nodes, &desired, &failures, root, Extent::Newcomers).await
            }
            None => Seen::default(),
        };
        Ok((nodes, failures, seen))
    }));
    let charts = Arc::clone(context);
    let manifests =
        AbortOnDropHandle::new(tokio::spawn(async move { assemble::manifests(&charts, printer).await }));
    let manifests = async { manifests.await.map_err(Failure::environment)? };
    let secrets = secrets(context, ready.passphrase, asked.purpose).await?;
    let assembled = assemble(context, &secrets.encryption_key, &program, printer).await?;
    let (nodes, failures, seen) = connecting.await.map_err(Failure::environment)??;
    let session = Session::open(context, nodes, failures, assembled, manifests, Some(secrets.root)).await?;
    if let Some(why) = kubezt_plan::members::refusal(&session.desired, &session.facts) {
        return Err(Failure::usage(why)
            .hint("nothing was changed; make a cluster of its own, or keep the roles as they are"));
    }
    let plan = kubezt_plan::plan_part(&session.desired, &session.facts, &session.assessment, asked.selection)
        .map_err(|mistakes| mistaken(&mistakes))?;
    Ok(Looked { had_secrets, plan, session, seen })
}

fn mistaken(mistakes: &[String]) -> Failure {
    Failure::usage(mistakes.join("\nerror: ")).hint("nothing was changed")
}

/// Where another operator keeps a node, none is changed: half of one run and half of another would be nobody's plan.
fn unclaimed(kept: &[NodeFailure]) -> Result<(), Failure> {
    if kept.is_empty() {
        return Ok(());
    }
    let kept: Vec<String> = kept.iter().map(ToString::to_string).collect();
    Err(Failure::environment(kept.join("\nerror: ")).hint(format!(
        "nothing was changed; wait for that run's end, or talk to whoever began it. A node whose operator's machine is gone is free \
         {SILENCE_SECONDS} s later; `kubezt install --take-over` ends that run now, between two of its actions, and goes on from there"
    )))
}

/// The passphrase, where it is needed and a file holds it; a file that does not is told before anything else is done.
pub fn at_hand(
    context: &Context,
    passphrase: &PassphraseArgs,
    purpose: Purpose,
    printer: Printer,
) -> Result<Option<Zeroizing<Vec<u8>>>, Failure> {
    if purpose == Purpose::Show && !context.state.has_secrets() {
        return Ok(None);
    }
    context.passphrase_at_hand(passphrase, printer)
}

/// The operator's secrets, opened beside whatever else goes on; a person is asked where no passphrase is at hand.
pub async fn secrets(
    context: &Arc<Context>,
    passphrase: Option<Zeroizing<Vec<u8>>>,
    purpose: Purpose,
) -> Result<Secrets, Failure> {
    if purpose == Purpose::Show && !context.state.has_secrets() {
        return context.new_secrets();
    }
    let passphrase = match passphrase {
        Some(passphrase) => passphrase,
        // Somebody has to type it, and the connections must not wait for that.
        None => tokio::task::block_in_place(|| context.ask_passphrase())?,
    };
    let context = Arc::clone(context);
    tokio::task::spawn_blocking(move || context.secrets(&passphrase)).await.map_err(Failure::environment)?
}
