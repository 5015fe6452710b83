//! System accounts without a login.

use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::time::Duration;

use kubezt_model::Mode;

use super::Applied;
use crate::node::accounts::{Accounts, GROUP, PASSWD};
use crate::node::command::run;
use crate::node::files::{self, Attributes};
use crate::node::{NodeError, NodeRoot};

const LIMIT: Duration = Duration::from_secs(30);
const SHADOW: &str = "/etc/shadow";
const NO_LOGIN: &str = "/usr/sbin/nologin";
const NO_HOME: &str = "/nonexistent";

/// Creates user and group with this id where they are not there.
///
/// # Errors
/// [`NodeError::Account`] where the name has another id or the id another name.
pub async fn ensure(root: &NodeRoot, name: &str, uid: u32) -> Result<Applied, NodeError> {
    let accounts = Accounts::load(root)?;
    let refuse = |why: String| NodeError::Account { name: name.to_owned(), uid, why };
    if !is_account_name(name) {
        return Err(refuse("it is not a name of lower-case letters, digits, `-` and `_`".to_owned()));
    }
    let user = claim(accounts.user(name), accounts.user_name(uid), uid, "user").map_err(refuse)?;
    let group = claim(accounts.group(name), accounts.group_name(uid), uid, "group").map_err(refuse)?;
    let id = uid.to_string();
    if !group {
        match root.program("groupadd") {
            Ok(_) => drop(run(root, "groupadd", &["--system", "--gid", &id, name], LIMIT).await?),
            Err(_) => append(root, GROUP, &format!("{name}:x:{uid}:"))?,
        }
    }
    if !user {
        match root.program("useradd") {
            Ok(_) => {
                let arguments = [
                    "--system",
                    "--uid",
                    &id,
                    "--gid",
                    &id,
                    "--no-create-home",
                    "--home-dir",
                    NO_HOME,
                    "--shell",
                    NO_LOGIN,
                    name,
                ];
                drop(run(root, "useradd", &arguments, LIMIT).await?);
            }
            Err(_) => {
                append(root, PASSWD, &format!("{name}:x:{uid}:{uid}::{NO_HOME}:{NO_LOGIN}"))?;
                // `!` is no hash of anything: nobody logs in with a password.
                append(root, SHADOW, &format!("{name}:!:::::::"))?;
            }
        }
    }
    Ok(Applied::changed(!user || !group))
}

/// Whether it is there already; the reason why it cannot be.
fn claim(id: Option<u32>, holder: Option<&str>, uid: u32, what: &str) -> Result<bool, String> {
    match (id, holder) {
        (Some(id), _) if id == uid => Ok(true),
        (Some(id), _) => Err(format!("the {what} is there with id {id}")),
        (None, Some(holder)) => Err(format!("the {what} {holder} has this id")),
        (None, None) => Ok(false),
    }
}

fn is_account_name(name: &str) -> bool {
    let first = name.bytes().next();
    let valid = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || matches!(byte, b'-' | b'_');
    name.len() <= 32
        && first.is_some_and(|byte| byte.is_ascii_lowercase() || byte == b'_')
        && name.bytes().all(valid)
}

/// Adds a line to an account file of a host without the usual programs, keeping its mode and owner.
fn append(root: &NodeRoot, name: &'static str, line: &str) -> Result<(), NodeError> {
    let path = root.known(name);
    let Some(metadata) = files::metadata(&path)? else {
        // A host without shadow passwords has no such file.
        return if name == SHADOW {
            Ok(())
        } else {
            Err(NodeError::file("read", &path)(std::io::ErrorKind::NotFound.into()))
        };
    };
    let mut text = files::text(&path)?.unwrap_or_default();
    if !text.is_empty() && !text.ends_with('\n') {
        text.push('\n');
    }
    text.push_str(line);
    text.push('\n');
    let mode = Mode::new(metadata.permissions().mode());
    files::replace_with(&path, Attributes { mode, ids: (metadata.uid(), metadata.gid()) }, text.as_bytes())
}
