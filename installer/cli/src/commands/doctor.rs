//! `kubezt doctor`

use std::collections::BTreeMap;
use std::sync::Arc;

use kubezt_engine::certificates::Authorities;
use kubezt_engine::doctor::look;
use kubezt_engine::fleet::{FleetParts, RemoteFleet};
use kubezt_engine::link::NodeProgram;
use kubezt_plan::doctor::explain;

use super::verify::Reports;
use crate::args::DoctorArgs;
use crate::assemble;
use crate::context::Context;
use crate::diagnosis::{Diagnosis, refuse_existing};
use crate::failure::Failure;
use crate::printer::Printer;
use crate::reach::Reach;
use crate::session::connect;

/// Explains why the cluster is not well.
pub async fn run(arguments: DoctorArgs, printer: Printer) -> Result<(), Failure> {
    let context = Context::load(&arguments.cluster)?;
    let reports = Reports::parse(&arguments.reports)?;
    // Before a minute is spent on looking.
    arguments.bundle.as_deref().map(refuse_existing).transpose()?;
    let program = Arc::new(NodeProgram::this().map_err(Failure::environment)?);
    let desired = Arc::new(assemble::outline(&context)?);
    let root = context.state.root_certificate().map_err(Failure::environment)?;
    let (nodes, failures) = connect(Reach::of(&context, printer)?, program).await;
    let at = jiff::Timestamp::now();
    let evidence = match root {
        Some(root) => {
            let parts = FleetParts {
                desired: Arc::clone(&desired),
                authorities: Authorities::read(root, &desired, &BTreeMap::new()),
                root: None,
                blobs: BTreeMap::new(),
                probe_image: assemble::probe_image().to_owned(),
                uploads: context.file.spec.concurrency.uploads,
                relays: context.file.spec.concurrency.relays,
            };
            let fleet = RemoteFleet::new(nodes, parts);
            look(&fleet.nodes, Some(&fleet), &desired, &failures, at).await
        }
        None => look(&nodes, None, &desired, &failures, at).await,
    };
    let diagnosis = Diagnosis::new(&context.cluster.name, explain(&desired, &evidence), &evidence);
    diagnosis.show(arguments.output, printer);
    reports.write(&diagnosis.pretty()?)?;
    if let Some(path) = &arguments.bundle {
        diagnosis.bundle(path)?;
        printer.note(&format!("{}: findings and evidence; read it before you pass it on", path.display()));
    }
    diagnosis.end()
}
