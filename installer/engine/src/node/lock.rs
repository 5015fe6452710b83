//! One operator at a time changes a node.
//!
//! The lock is the kernel's (flock(2)): it ends with the process that holds it, however that ends. Whoever may not wait asks for it
//! with a file beside it, and the holder gives it up between two file operations.

use std::fs::{File, OpenOptions, TryLockError};
use std::io::{self, Read, Seek, SeekFrom, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};
use std::time::Duration;

use super::{NodeError, NodeRoot, files};

/// The lock file.
pub const LOCK: &str = "/run/kubezt.lock";
/// Who asks the holder to give the lock up; there for as long as that takes.
pub const TAKE_OVER: &str = "/run/kubezt.takeover";
/// How long a lock may be held by a run that is just ending, such as one whose connection was cut.
const PATIENCE: Duration = Duration::from_secs(8);
const PAUSE: Duration = Duration::from_millis(100);
/// How long the holder may take to give it up. What it was doing is ended, but no file is left half-written.
const HANDING_OVER: Duration = Duration::from_secs(30);
/// How often the holder looks whether it is asked to.
const LOOK: Duration = Duration::from_millis(250);

/// The lock, while it is held.
#[derive(Debug)]
pub struct NodeLock {
    _file: File,
    request: PathBuf,
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

    /// Takes the lock away from whoever holds it: asks, and waits until it is given up.
    ///
    /// # Errors
    /// [`NodeError::Locked`] where the holder does not answer within half a minute, as one that is stopped; [`NodeError::File`].
    pub async fn take_over(root: &NodeRoot, operator: &str) -> Result<Self, NodeError> {
        let request = root.known(TAKE_OVER);
        let until = tokio::time::Instant::now() + HANDING_OVER;
        loop {
            match Self::try_take(root, operator) {
                Err(NodeError::Locked { .. }) if tokio::time::Instant::now() < until => {}
                result => return result,
            }
            // Another one that only waited may have got it, and removed the request.
            if !request.exists() {
                write_private(&request, &printable(operator)).map_err(NodeError::file("write", &request))?;
            }
            tokio::time::sleep(PAUSE).await;
        }
    }

    /// Waits until another operator wants the lock at once; answers with who.
    pub async fn asked_for(&self) -> String {
        loop {
            tokio::time::sleep(LOOK).await;
            match std::fs::read_to_string(&self.request) {
                Ok(who) if !who.is_empty() => return who,
                _ => {}
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
            Err(TryLockError::WouldBlock) => return Err(NodeError::Locked { holder: named(file) }),
            Err(TryLockError::Error(error)) => return Err(NodeError::file("lock", &path)(error)),
        }
        let since = jiff::Timestamp::now().strftime("%Y-%m-%d %H:%M:%SZ");
        let printable = printable(operator);
        file.set_len(0)
            .and_then(|()| file.seek(SeekFrom::Start(0)))
            .and_then(|_| writeln!(file, "{printable}, since {since}"))
            .map_err(NodeError::file("write", &path))?;
        // Whatever was asked of the holder before is settled.
        let request = root.known(TAKE_OVER);
        files::remove(&request)?;
        Ok(Self { _file: file, request })
    }
}

/// A name as others may print it.
fn printable(operator: &str) -> String {
    operator.chars().filter(|character| !character.is_control()).take(200).collect()
}

fn write_private(path: &Path, text: &str) -> io::Result<()> {
    let mut file = OpenOptions::new().write(true).create(true).truncate(true).mode(0o600).open(path)?;
    file.write_all(text.as_bytes())
}

/// Who holds the lock, and since when; `None` where nobody does. Whoever takes it meanwhile tries again at once.
///
/// # Errors
/// [`NodeError::File`].
pub fn holder(root: &NodeRoot) -> Result<Option<String>, NodeError> {
    let path = root.known(LOCK);
    let file = match File::open(&path) {
        Ok(file) => file,
        Err(error) if files::is_absent(&error) => return Ok(None),
        Err(error) => return Err(NodeError::file("open", &path)(error)),
    };
    match file.try_lock_shared() {
        Ok(()) => Ok(None),
        Err(TryLockError::WouldBlock) => Ok(Some(named(file))),
        Err(TryLockError::Error(error)) => Err(NodeError::file("lock", &path)(error)),
    }
}

/// Whom the file names.
fn named(file: File) -> String {
    let mut holder = String::new();
    let _ = file.take(1024).read_to_string(&mut holder);
    if holder.trim().is_empty() { "unknown".to_owned() } else { holder.trim().to_owned() }
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
        assert!(holder(&root).unwrap().unwrap().starts_with("first@host, since 2"));
        drop(first);
        assert_eq!(holder(&root).unwrap(), None);
        NodeLock::try_take(&root, "second@host").unwrap();
    }

    #[tokio::test]
    async fn who_may_not_wait_asks_and_the_holder_learns_by_whom() {
        let folder = tempfile::tempdir().unwrap();
        std::fs::create_dir(folder.path().join("run")).unwrap();
        let root = NodeRoot::at(folder.path());
        std::fs::write(root.known(TAKE_OVER), "long ago").unwrap();
        let first = NodeLock::try_take(&root, "first@host").unwrap();
        let holding = async {
            let who = first.asked_for().await;
            drop(first);
            who
        };
        let (who, second) = tokio::join!(holding, NodeLock::take_over(&root, "second@host"));
        assert_eq!(who, "second@host");
        second.unwrap();
        assert!(!root.known(TAKE_OVER).exists());
    }
}
