//! `kubezt trust`

use kubezt_engine::transport::{scan_host_key, trust};
use kubezt_model::NodeName;

use crate::args::TrustArgs;
use crate::context::Context;
use crate::failure::Failure;
use crate::printer::Printer;
use crate::session::targets;

/// Shows the nodes' host keys and records them once they were confirmed.
pub async fn run(arguments: TrustArgs, printer: Printer) -> Result<(), Failure> {
    let context = Context::load(&arguments.cluster)?;
    let mut seen = Vec::new();
    let mut errors = Vec::new();
    for unknown in arguments
        .nodes
        .iter()
        .filter(|wanted| !context.cluster.nodes.iter().any(|node| node.name.as_str() == *wanted))
    {
        errors.push(format!("there is no node `{unknown}` in the cluster file"));
    }
    let chosen = |node: &NodeName| {
        arguments.nodes.is_empty() || arguments.nodes.iter().any(|wanted| wanted == node.as_str())
    };
    for (node, target) in targets(&context).into_iter().filter(|(node, _)| chosen(node)) {
        match scan_host_key(&target).await {
            Ok(key) => {
                printer.line(&format!(
                    "{node:<16} {:<24} {} {}",
                    target.host_and_port(),
                    key.algorithm(),
                    key.fingerprint()
                ));
                seen.push((target.host_name(), key));
            }
            Err(error) => errors.push(error.to_string()),
        }
    }
    if !errors.is_empty() {
        return Err(Failure::environment(errors.join("\nerror: ")));
    }
    if !arguments.yes {
        if !printer.is_terminal() {
            return Err(Failure::usage("nothing was recorded: there is no terminal to confirm on")
                .hint("compare the fingerprints with the nodes' own, then use --yes"));
        }
        let confirmed = dialoguer::Confirm::new()
            .with_prompt("Did you compare these fingerprints with the nodes' own?")
            .default(false)
            .interact()
            .map_err(Failure::environment)?;
        if !confirmed {
            return Err(Failure::usage("nothing was recorded"));
        }
    }
    let file = context.state.path("known_hosts");
    for (host, key) in &seen {
        trust::record(&file, host, key).map_err(Failure::environment)?;
    }
    printer.note(&format!("{} host keys recorded in {}", seen.len(), file.display()));
    Ok(())
}
