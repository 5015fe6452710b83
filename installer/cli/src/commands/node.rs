//! `kubezt node`: what runs on the nodes.

use kubezt_engine::node::{NodeRoot, renew};

use crate::args::{NodeArgs, NodeCommand};
use crate::failure::Failure;
use crate::printer::Printer;

/// Runs a node command.
pub async fn run(arguments: NodeArgs, printer: Printer) -> Result<(), Failure> {
    match arguments.command {
        NodeCommand::Link => kubezt_engine::node::serve_link::run().await.map_err(Failure::environment),
        NodeCommand::Dial { address } => {
            kubezt_engine::node::dial::run(&address).await.map_err(Failure::environment)
        }
        NodeCommand::Undo => {
            let undone = kubezt_engine::node::apply::provisional::undo(&NodeRoot::host()).await;
            undone.map(drop).map_err(Failure::environment)
        }
        NodeCommand::Serve { config } => {
            kubezt_engine::node::serve::run(&config).await.map_err(Failure::environment)
        }
        NodeCommand::Renew => {
            let (root, now) = (NodeRoot::host(), jiff::Timestamp::now());
            let report = renew::run(&root, now).await.map_err(Failure::environment)?;
            report.said.iter().for_each(|line| printer.line(line));
            if report.failed.is_empty() {
                Ok(())
            } else {
                Err(Failure::findings(report.failed.join("\nerror: ")))
            }
        }
    }
}
