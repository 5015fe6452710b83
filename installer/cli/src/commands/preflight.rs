//! `kubezt preflight`

use std::sync::Arc;

use kubezt_engine::link::NodeProgram;
use kubezt_engine::preflight::{Extent, look};
use kubezt_plan::preflight::preflight;

use crate::args::PreflightArgs;
use crate::assemble;
use crate::context::Context;
use crate::failure::Failure;
use crate::preflight::{Answered, Ignored};
use crate::printer::Printer;
use crate::reach::Reach;
use crate::session::connect;

/// Shows what would make an install fail.
pub async fn run(arguments: PreflightArgs, printer: Printer) -> Result<(), Failure> {
    let context = Context::load(&arguments.cluster)?;
    let ignored = Ignored::parse(&arguments.ignore.ignore)?;
    let program = Arc::new(NodeProgram::this().map_err(Failure::environment)?);
    let desired = assemble::outline(&context)?;
    let root = context.root_fingerprint()?;
    let (nodes, failures) = connect(Reach::of(&context, printer)?, program).await;
    let seen = look(&nodes, &desired, &failures, root, Extent::All).await;
    let all = context.cluster.nodes.iter().map(|node| node.name.clone()).collect();
    let answered = Answered::new(preflight(&desired, &seen, &all), ignored);
    answered.show(context.cluster.name.as_str(), arguments.output, printer);
    if answered.errors() > 0 { Err(answered.failure("an install would end here")) } else { Ok(()) }
}
