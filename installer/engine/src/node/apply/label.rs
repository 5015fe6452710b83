//! SELinux labels of what is written.
//!
//! A file gets the label of the folder it is made in, unless somebody asks for the one that the policy has for its path: kubelet
//! and containerd below /usr/local/bin would stay `bin_t`, and would not run in the domains that the policy has for them. What
//! is labelled otherwise by hand, with one of the types that the policy leaves to administrators, stays so (restorecon(8)).

use std::time::Duration;

use kubezt_model::action::Action;

use crate::node::command::run;
use crate::node::{NodeError, NodeRoot};

const LIMIT: Duration = Duration::from_secs(30);

/// There where SELinux is on, enforcing or not.
const SWITCHED_ON: &str = "/sys/fs/selinux/enforce";

/// The path an action makes or replaces.
pub(super) fn written(action: &Action) -> Option<String> {
    match action {
        Action::EnsureDirectory { path, .. }
        | Action::PutFile { path, .. }
        | Action::InstallBlob { path, .. }
        | Action::MakeKey { path, .. } => Some(path.clone()),
        _ => None,
    }
}

/// Gives a path the label that the policy has for it. Nothing to do where SELinux is off.
///
/// # Errors
/// [`NodeError::NoProgram`], [`NodeError::Command`]: a path with the wrong label is one that somebody may be refused later.
pub(super) async fn restore(root: &NodeRoot, path: &str) -> Result<(), NodeError> {
    if !root.known(SWITCHED_ON).exists() {
        return Ok(());
    }
    let path = root.path(path)?;
    run(root, "restorecon", &["--", &path.to_string_lossy()], LIMIT).await.map(drop)
}
