//! What a program says of its own version.

use std::time::Duration;

use kubezt_model::node::Reading;

use crate::node::command::run_path;
use crate::node::{NodeError, NodeRoot};

const LIMIT: Duration = Duration::from_secs(15);

/// Runs the program; what it prints to standard output, or where that is empty to standard error.
pub async fn read(root: &NodeRoot, program: &str, arguments: &[String]) -> Reading {
    match run(root, program, arguments).await {
        Ok(Some(text)) => Reading::Text(text),
        Ok(None) => Reading::Missing,
        Err(error) => Reading::Failed(error.chain()),
    }
}

async fn run(root: &NodeRoot, program: &str, arguments: &[String]) -> Result<Option<String>, NodeError> {
    let path = root.path(program)?;
    if !path.exists() {
        return Ok(None);
    }
    let arguments: Vec<&str> = arguments.iter().map(String::as_str).collect();
    let output = run_path(&path, &arguments, LIMIT).await?;
    let said = if output.stdout.trim().is_empty() { output.stderr } else { output.stdout };
    Ok(Some(said.trim().to_owned()))
}
