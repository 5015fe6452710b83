//! `kubezt plan`

use std::sync::Arc;

use kubezt_engine::link::NodeProgram;
use kubezt_model::plan::{Plan, Step};
use tokio_util::task::AbortOnDropHandle;

use crate::args::{Output, PassphraseArgs, PlanArgs};
use crate::assemble::assemble;
use crate::context::Context;
use crate::failure::Failure;
use crate::printer::Printer;
use crate::session::{Session, connect};

/// Shows what install would change.
pub async fn run(arguments: PlanArgs, printer: Printer) -> Result<(), Failure> {
    let context = Context::load(&arguments.cluster)?;
    let (plan, session) = look(&context, &arguments.passphrase, printer).await?;
    match arguments.output {
        Output::Text => printer.text(&kubezt_plan::text::plan(&plan, !arguments.summary)),
        Output::Json => {
            let steps: Vec<Step> = plan.steps.iter().map(Step::redacted).collect();
            let ticket = Plan { cluster: plan.cluster.clone(), steps };
            printer.line(&serde_json::to_string_pretty(&ticket).map_err(Failure::environment)?);
        }
    }
    if !session.failures.is_empty() {
        return Err(Failure::findings(session.failure_text()));
    }
    if arguments.exit_code && !plan.is_empty() { Err(Failure::has_changes()) } else { Ok(()) }
}

/// Looks at the cluster and plans; nodes are connected to while the desired state is put together.
pub async fn look(
    context: &Context,
    passphrase: &PassphraseArgs,
    printer: Printer,
) -> Result<(Plan, Session), Failure> {
    let program = Arc::new(NodeProgram::this().map_err(Failure::environment)?);
    let connecting = AbortOnDropHandle::new(tokio::spawn(connect(context, Arc::clone(&program))));
    // Deriving the key that seals the secrets is meant to take long.
    let secrets = tokio::task::block_in_place(|| context.secrets(passphrase, printer))?;
    let assembled = assemble(context, &secrets.encryption_key, &program, printer).await?;
    let (nodes, failures) = connecting.await.map_err(Failure::environment)?;
    let session =
        Session::open(context, nodes, failures, assembled.desired, assembled.blobs, Some(secrets.root))
            .await?;
    let plan = kubezt_plan::plan(&session.desired, &session.facts, &session.assessment);
    Ok((plan, session))
}
