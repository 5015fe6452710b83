//! The host firewall's table in the kernel, by the system's own nft(8).

use std::io::Write as _;
use std::os::unix::fs::OpenOptionsExt as _;
use std::time::Duration;

use kubezt_model::firewall::TABLE;

use super::command::run;
use super::{NodeError, NodeRoot};

/// Rules on their way to nft: a table has no place in a command line.
const SCRIPT: &str = "/run/kubezt-firewall.nft";

/// nft waits for nobody but the kernel.
const LIMIT: Duration = Duration::from_secs(20);

/// The table as the kernel holds it; `None` where it is not loaded.
///
/// # Errors
/// [`NodeError`]: nft is not there or fails.
pub async fn listing(root: &NodeRoot) -> Result<Option<String>, NodeError> {
    let tables = run(root, "nft", &["list", "tables"], LIMIT).await?.stdout;
    let own = format!("table {TABLE}");
    if !tables.lines().any(|line| line.trim() == own) {
        return Ok(None);
    }
    let arguments: Vec<&str> = ["list", "table"].into_iter().chain(TABLE.split(' ')).collect();
    run(root, "nft", &arguments, LIMIT).await.map(|output| Some(output.stdout))
}

/// Puts this table, or none, into the place of the one that is loaded: one transaction, so that nothing changes where the kernel
/// refuses a part of it. No other table is touched.
///
/// # Errors
/// [`NodeError`].
pub async fn load(root: &NodeRoot, rules: Option<&str>) -> Result<(), NodeError> {
    let path = root.known(SCRIPT);
    let script = replacing(rules.unwrap_or_default());
    let mut options = std::fs::OpenOptions::new();
    options
        .write(true)
        .create(true)
        .truncate(true)
        .mode(0o600)
        .open(&path)
        .and_then(|mut file| file.write_all(script.as_bytes()))
        .map_err(NodeError::file("write", &path))?;
    run(root, "nft", &["-f", &path.to_string_lossy()], LIMIT).await?;
    std::fs::remove_file(&path).map_err(NodeError::file("remove", &path))
}

/// Rules after the removal of the table that may be there; it has to be there to be removed.
fn replacing(rules: &str) -> String {
    format!("table {TABLE}\ndelete table {TABLE}\n{rules}")
}
