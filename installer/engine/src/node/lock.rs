//! One operator at a time changes a node.
//!
//! The lock is the kernel's (flock(2)): it ends with the process that holds it, however that ends.

use std::fs::{File, OpenOptions, TryLockError};
use std::io::{Read, Seek, SeekFrom, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::time::Duration;

use super::{NodeError, NodeRoot};

/// The lock file.
pub const LOCK: &str = "/run/kubezt.lock";
/// How long a lock may be held by a run that is just ending, such as one whose connection was cut.
const PATIENCE: Duration = Duration::from_secs(8);
const PAUSE: Duration = Duration::from_millis(100);

/// The lock, while it is held.
#[derive(Debug)]
pub struct NodeLock {
    _file: File,
}

impl NodeLock {
    /// Takes the lock for `operator`.
    ///
    /// # Errors
    /// [`NodeError::Locked`] with who holds it and since when; [`NodeError::File`].
    pub async fn take(root: &NodeRoot, operator: &str) -> Result<Self, NodeError> {
        let until = tokio::time::Instant::now() + PATIENCE;
        loop {
            match Self::try_take(root, operator) {
                Err(NodeError::Locked { .. }) if tokio::time::Instant::now() < until => {
                    tokio::time::sleep(PAUSE).await;
                }
                result => return result,
            }
        }
    }

    /// Takes the lock if it is free now.
    ///
    /// # Errors
    /// As [`NodeLock::take`].
    pub fn try_take(root: &NodeRoot, operator: &str) -> Result<Self, NodeError> {
        let path = root.known(LOCK);
        let mut file = OpenOptions::new()
            .read(true)
            .write(true)
            .create(true)
            .truncate(false)
            .mode(0o600)
            .open(&path)
            .map_err(NodeError::file("open", &path))?;
        match file.try_lock() {
            Ok(()) => {}
            Err(TryLockError::WouldBlock) => {
                let mut holder = String::new();
                let _ = file.take(1024).read_to_string(&mut holder);
                let holder =
                    if holder.trim().is_empty() { "unknown".to_owned() } else { holder.trim().to_owned() };
                return Err(NodeError::Locked { holder });
            }
            Err(TryLockError::Error(error)) => return Err(NodeError::file("lock", &path)(error)),
        }
        let since = jiff::Timestamp::now().strftime("%Y-%m-%d %H:%M:%SZ");
        let printable: String =
            operator.chars().filter(|character| !character.is_control()).take(200).collect();
        file.set_len(0)
            .and_then(|()| file.seek(SeekFrom::Start(0)))
            .and_then(|_| writeln!(file, "{printable}, since {since}"))
            .map_err(NodeError::file("write", &path))?;
        Ok(Self { _file: file })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_second_operator_learns_who_was_first() {
        let folder = tempfile::tempdir().unwrap();
        std::fs::create_dir(folder.path().join("run")).unwrap();
        let root = NodeRoot::at(folder.path());
        let first = NodeLock::try_take(&root, "first@host\n").unwrap();
        let refused = NodeLock::try_take(&root, "second@host").unwrap_err().to_string();
        assert!(refused.contains("first@host, since 2"), "{refused}");
        drop(first);
        NodeLock::try_take(&root, "second@host").unwrap();
    }
}
