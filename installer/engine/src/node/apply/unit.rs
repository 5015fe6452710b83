//! systemd units.

use std::time::Duration;

use kubezt_model::node::UnitReading;

use super::Applied;
use crate::node::command::{run, separated};
use crate::node::{NodeError, NodeRoot, gather};

/// systemd's own limit for starting is 90 s unless a unit says otherwise.
const START_LIMIT: Duration = Duration::from_secs(240);
const LIMIT: Duration = Duration::from_secs(60);

/// Reads unit files again and enables units.
///
/// # Errors
/// [`NodeError`].
pub async fn load(root: &NodeRoot, enable: &[String]) -> Result<Applied, NodeError> {
    // Enabling makes systemd read everything again by itself.
    let arguments: Vec<&str> = match enable {
        [] => vec!["daemon-reload"],
        units => ["enable", "--"].into_iter().chain(units.iter().map(String::as_str)).collect(),
    };
    run(root, "systemctl", &arguments, LIMIT).await.map(|_| Applied::changed(true))
}

/// Stops a unit and lets it not start with the node any more.
///
/// # Errors
/// [`NodeError`].
pub async fn disable(root: &NodeRoot, name: &str) -> Result<Applied, NodeError> {
    run(root, "systemctl", &["disable", "--now", "--", name], LIMIT).await.map(|_| Applied::changed(true))
}

/// Starts a unit where it is not active.
///
/// # Errors
/// [`NodeError::Unit`] with the end of its journal.
pub async fn start(root: &NodeRoot, name: &str) -> Result<Applied, NodeError> {
    let start = state(root, name).await?.is_none_or(|unit| unit.active != "active");
    if start {
        bring_up(root, "start", name).await?;
    }
    Ok(Applied::changed(start))
}

/// Restarts a unit.
///
/// # Errors
/// [`NodeError::Unit`] with the end of its journal.
pub async fn restart(root: &NodeRoot, name: &str) -> Result<Applied, NodeError> {
    bring_up(root, "restart", name).await.map(|()| Applied::changed(true))
}

async fn bring_up(root: &NodeRoot, verb: &str, name: &str) -> Result<(), NodeError> {
    // A unit that failed too often in a row is not started until this was forgotten.
    let _ = run(root, "systemctl", &["reset-failed", "--", name], LIMIT).await;
    let result = run(root, "systemctl", &[verb, "--", name], START_LIMIT).await;
    match (result, state(root, name).await?) {
        (Ok(_), Some(unit)) if unit.active == "active" => Ok(()),
        (Err(error), None) => Err(error),
        (_, unit) => Err(NodeError::Unit {
            name: name.to_owned(),
            state: unit.map_or_else(|| "unknown".to_owned(), |unit| unit.active),
            journal: journal(root, name).await,
        }),
    }
}

async fn state(root: &NodeRoot, name: &str) -> Result<Option<UnitReading>, NodeError> {
    Ok(gather::unit::read(root, &[name.to_owned()]).await?.remove(name))
}

async fn journal(root: &NodeRoot, name: &str) -> String {
    gather::log::unit(root, name).await.map_or_else(|_| String::new(), |lines| separated(&lines.join("\n")))
}
