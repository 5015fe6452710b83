//! Doing things. Every action may be repeated: it looks first, and says whether it changed anything.

pub mod blob;
pub mod etcd;
pub mod file;
pub mod image;
pub mod kernel;
pub mod key;
mod label;
pub mod pod;
pub mod provisional;
pub mod unit;
pub mod user;
pub mod wait;

use std::time::Duration;

use kubezt_model::action::{Action, Outcome};

use super::{NodeError, NodeRoot};

/// Seconds after which a long action says that it still goes on.
const SIGN_OF_LIFE: Duration = Duration::from_secs(5);

/// How an action ended well.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Applied {
    /// Whether anything changed.
    pub changed: bool,
    /// Answer, where the action gives one.
    pub output: Option<String>,
}

impl Applied {
    pub(super) const fn changed(changed: bool) -> Self {
        Self { changed, output: None }
    }
}

fn outcome(result: Result<Applied, NodeError>) -> Outcome {
    match result {
        Ok(Applied { changed: true, output }) => Outcome::Changed { output },
        Ok(Applied { changed: false, output }) => Outcome::Unchanged { output },
        Err(error) => Outcome::Failed { error: error.chain() },
    }
}

/// Does one thing. `progress` is told what goes on where it takes long; its text holds no secret.
pub async fn apply(root: &NodeRoot, action: Action, progress: &(dyn Fn(String) + Send + Sync)) -> Outcome {
    let described = action.describe();
    let doing = perform_and_label(root, action, progress);
    tokio::pin!(doing);
    loop {
        match tokio::time::timeout(SIGN_OF_LIFE, &mut doing).await {
            Ok(result) => return outcome(result),
            Err(_) => progress(described.clone()),
        }
    }
}

/// Does one thing, and where SELinux is on gives what was written the label of its path.
///
/// # Errors
/// [`NodeError`].
pub(super) async fn perform_and_label(
    root: &NodeRoot,
    action: Action,
    progress: &(dyn Fn(String) + Send + Sync),
) -> Result<Applied, NodeError> {
    let written = label::written(&action);
    let applied = perform(root, action, progress).await?;
    if let Some(path) = written.filter(|_| applied.changed) {
        label::restore(root, &path).await?;
    }
    Ok(applied)
}

async fn perform(
    root: &NodeRoot,
    action: Action,
    progress: &(dyn Fn(String) + Send + Sync),
) -> Result<Applied, NodeError> {
    match action {
        Action::EnsureUser { name, uid } => user::ensure(root, &name, uid).await,
        Action::EnsureDirectory { path, mode, owner } => {
            blocking(root, move |root| file::directory(root, &path, mode, &owner)).await
        }
        Action::PutFile { path, mode, owner, body, .. } => {
            blocking(root, move |root| file::put(root, &path, mode, &owner, body.expose().as_bytes())).await
        }
        Action::InstallBlob { digest, path, mode } => {
            blocking(root, move |root| blob::install(root, digest, &path, mode)).await
        }
        Action::RemoveFile { path } => blocking(root, move |root| file::remove(root, &path)).await,
        Action::MakeKey { path, owner } => blocking(root, move |root| key::make(root, &path, &owner)).await,
        Action::SignLeaf { authority_certificate, authority_key, leaf, public_key, lifetime } => {
            blocking(root, move |root| {
                key::sign(root, &authority_certificate, &authority_key, &leaf, &public_key, lifetime)
            })
            .await
        }
        Action::LoadSysctls { path } => blocking(root, move |root| kernel::load_sysctls(root, &path)).await,
        Action::Provisional { change, seconds } => provisional::begin(root, &change, seconds).await,
        Action::Confirm => provisional::confirm(root).await,
        Action::Undo => provisional::undo(root).await,
        Action::LoadModule { name } => kernel::load_module(root, &name).await,
        Action::ImportImage { digest, reference } => image::import(root, digest, &reference).await,
        Action::LoadUnits { enable } => unit::load(root, &enable).await,
        Action::DisableUnit { name } => unit::disable(root, &name).await,
        Action::StartUnit { name } => unit::start(root, &name).await,
        Action::RestartUnit { name } => unit::restart(root, &name).await,
        Action::RestartStaticPod { name, manifest, grace_seconds, timeout_seconds } => {
            let grace = Duration::from_secs(grace_seconds.into());
            pod::restart(root, name, manifest, grace, timeout_seconds, progress).await
        }
        Action::SetAside { path } => blocking(root, move |root| file::set_aside(root, &path)).await,
        Action::FormEtcdMember { manifest, cluster, timeout_seconds } => {
            etcd::form(root, &manifest, cluster, timeout_seconds, progress).await
        }
        Action::PromoteEtcdMember { peer_url, endpoints, timeout_seconds } => {
            etcd::promote(root, &peer_url, &endpoints, timeout_seconds, progress).await
        }
        Action::RemoveEtcdMember { peer_url, timeout_seconds } => {
            etcd::remove(root, &peer_url, timeout_seconds, progress).await
        }
        Action::Wait { condition, timeout_seconds } => {
            wait::until(root, &condition, timeout_seconds, progress).await
        }
    }
}

/// The ids of root, as the node's files have them.
fn file_ids(root: &NodeRoot) -> Result<(u32, u32), NodeError> {
    super::accounts::Accounts::load(root)?.ids(&kubezt_model::Owner::root())
}

/// Runs file operations where they may block.
async fn blocking<F>(root: &NodeRoot, work: F) -> Result<Applied, NodeError>
where
    F: FnOnce(&NodeRoot) -> Result<Applied, NodeError> + Send + 'static,
{
    let root = root.clone();
    match tokio::task::spawn_blocking(move || work(&root)).await {
        Ok(result) => result,
        Err(error) => Err(NodeError::Internal(error.to_string())),
    }
}

#[cfg(test)]
#[path = "tests.rs"]
mod tests;
