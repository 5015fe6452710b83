//! Kernel parameters and modules.

use std::time::Duration;

use super::Applied;
use crate::node::command::run;
use crate::node::gather::kernel::{is_active, normal, sysctl, sysctl_path};
use crate::node::{NodeError, NodeRoot};

const MODPROBE_LIMIT: Duration = Duration::from_secs(30);

/// Sets the kernel parameters of a sysctl.d(5) file, and reads each one back. A line that begins with `-` may fail.
///
/// # Errors
/// [`NodeError::Sysctl`], [`NodeError::File`], [`NodeError::Configuration`].
pub fn load_sysctls(root: &NodeRoot, name: &str) -> Result<Applied, NodeError> {
    let path = root.path(name)?;
    let text = std::fs::read_to_string(&path).map_err(NodeError::file("read", &path))?;
    let mut changed = false;
    for (index, line) in text.lines().enumerate() {
        let line = line.trim();
        if line.is_empty() || line.starts_with(['#', ';']) {
            continue;
        }
        let Some((key, value)) = line.split_once('=') else {
            let why = format!("line {} is not of the form `name = value`", index + 1);
            return Err(NodeError::Configuration { path, why });
        };
        let (may_fail, key) = key.trim().strip_prefix('-').map_or((false, key.trim()), |key| (true, key));
        match set(root, key, &normal(value)) {
            Ok(differed) => changed |= differed,
            Err(_) if may_fail => {}
            Err(error) => return Err(error),
        }
    }
    Ok(Applied::changed(changed))
}

/// Sets one kernel parameter and reads it back; answers whether it differed.
///
/// # Errors
/// [`NodeError::Sysctl`], [`NodeError::File`].
pub(super) fn set(root: &NodeRoot, key: &str, wanted: &str) -> Result<bool, NodeError> {
    if sysctl(root, key)?.as_deref() == Some(wanted) {
        return Ok(false);
    }
    let path = sysctl_path(root, key)?;
    // Without `create`: a parameter that the kernel does not have must not appear as a file.
    std::fs::OpenOptions::new()
        .write(true)
        .open(&path)
        .and_then(|mut file| std::io::Write::write_all(&mut file, wanted.as_bytes()))
        .map_err(NodeError::file("set", &path))?;
    match sysctl(root, key)? {
        Some(actual) if actual == wanted => Ok(true),
        actual => Err(NodeError::Sysctl {
            key: key.to_owned(),
            actual: actual.unwrap_or_default(),
            wanted: wanted.to_owned(),
        }),
    }
}

/// Loads a kernel module where it is neither loaded nor built in.
///
/// # Errors
/// [`NodeError::Module`].
pub async fn load_module(root: &NodeRoot, name: &str) -> Result<Applied, NodeError> {
    if is_active(root, name) {
        return Ok(Applied::changed(false));
    }
    run(root, "modprobe", &["--", name], MODPROBE_LIMIT)
        .await
        .map(|_| Applied::changed(true))
        .map_err(|source| NodeError::Module { name: name.to_owned(), source: Box::new(source) })
}
