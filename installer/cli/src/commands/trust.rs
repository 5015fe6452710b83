//! `kubezt trust`

use std::collections::BTreeSet;

use kubezt_engine::transport::{Connection, HostKey, HostName, Target, TransportError, scan_host_key, trust};
use kubezt_model::NodeName;

use crate::args::TrustArgs;
use crate::context::Context;
use crate::failure::Failure;
use crate::printer::Printer;
use crate::reach::Reach;

/// Shows the nodes' host keys and records them once they were confirmed. Hosts on the way come first: they are logged in to, so
/// their keys have to be known before anything behind them can be looked at.
pub async fn run(arguments: TrustArgs, printer: Printer) -> Result<(), Failure> {
    let context = Context::load(&arguments.cluster)?;
    let unknown: Vec<String> = arguments
        .nodes
        .iter()
        .filter(|wanted| !context.cluster.nodes.iter().any(|node| node.name.as_str() == *wanted))
        .map(|unknown| format!("there is no node `{unknown}` in the cluster file"))
        .collect();
    if !unknown.is_empty() {
        return Err(Failure::usage(unknown.join("\nerror: ")));
    }
    let mut reach = Reach::of(&context, printer)?;
    let chosen = |node: &NodeName| {
        arguments.nodes.is_empty() || arguments.nodes.iter().any(|wanted| wanted == node.as_str())
    };
    reach.targets.retain(|(node, _)| chosen(node));
    let longest = reach.targets.iter().map(|(_, target)| target.jumps.len()).max().unwrap_or(0);
    let mut recorded = 0;
    for depth in 0..longest {
        let mut seen = Vec::new();
        let mut asked = BTreeSet::new();
        for (_, target) in &reach.targets {
            let Some(host) = target.jumps.get(depth) else { continue };
            let host = Target { jumps: target.jumps[..depth].to_vec(), ..host.clone() };
            if asked.insert(format!("{host:?}")) && is_unknown(&host, &reach).await? {
                seen.push(look(&host, &reach, printer).await.map_err(Failure::chain)?);
            }
        }
        recorded += confirm_and_record(&seen, &arguments, &context, printer)?;
    }
    let mut seen = Vec::new();
    let mut errors = Vec::new();
    for (_, target) in &reach.targets {
        match look(target, &reach, printer).await {
            Ok(key) => seen.push(key),
            Err(error) => errors.push(Failure::chain_text(&error)),
        }
    }
    if !errors.is_empty() {
        return Err(Failure::environment(errors.join("\nerror: ")));
    }
    recorded += confirm_and_record(&seen, &arguments, &context, printer)?;
    let file = context.state.path("known_hosts");
    printer.note(&format!("{recorded} host keys recorded in {}", file.display()));
    Ok(())
}

/// Whether a jump host's key is not known yet. One that is known to be another one ends everything.
async fn is_unknown(host: &Target, reach: &Reach) -> Result<bool, Failure> {
    match Connection::open(host.clone(), &reach.access).await {
        Ok(_) => Ok(false),
        Err(TransportError::UnknownHostKey { .. }) => Ok(true),
        Err(error) => Err(Failure::chain(error)),
    }
}

/// Looks at a host's key and shows it.
async fn look(
    target: &Target,
    reach: &Reach,
    printer: Printer,
) -> Result<(HostName, HostKey), TransportError> {
    let key = scan_host_key(target, &reach.access).await?;
    printer.line(&format!(
        "{:<16} {:<24} {} {}",
        target.node,
        target.host_and_port(),
        key.algorithm(),
        key.fingerprint()
    ));
    Ok((target.host_names().first(), key))
}

fn confirm_and_record(
    seen: &[(HostName, HostKey)],
    arguments: &TrustArgs,
    context: &Context,
    printer: Printer,
) -> Result<usize, Failure> {
    if seen.is_empty() {
        return Ok(0);
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
    context.state.make().map_err(Failure::environment)?;
    for (host, key) in seen {
        trust::record(&context.state.path("known_hosts"), host, key).map_err(Failure::environment)?;
    }
    Ok(seen.len())
}
