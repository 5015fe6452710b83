//! Programs: large files, whose digests are remembered.
//!
//! Planning looks at some three hundred megabytes of programs on every node, which seldom change. What the kernel says of a file (its
//! inode, size, and the time of its last change, which nobody sets but by turning the clock) is kept with the digest, on a file
//! system that is gone after the next boot. Whoever is root can forge that, as he can forge whatever else a node says of itself;
//! verification does not ask here and takes every digest anew.

use std::collections::BTreeMap;
use std::fs::Metadata;
use std::os::unix::fs::MetadataExt as _;
use std::sync::{Mutex, MutexGuard, PoisonError};

use jiff::Timestamp;
use kubezt_model::node::FileReading;
use kubezt_model::{Digest, Mode};
use serde::{Deserialize, Serialize};

use super::file;
use crate::node::accounts::Accounts;
use crate::node::files::{self, Attributes};
use crate::node::{NodeError, NodeRoot};

/// Where digests are remembered.
const RECORD: &str = "/run/kubezt-digests.json";
/// Seconds a file must have stayed as it is: the kernel's clock for files ticks every few milliseconds only, so that one which changes
/// again in the same tick looks the same.
const SETTLED: i64 = 2;

/// What the kernel says of one content of one file.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
struct State {
    device: u64,
    inode: u64,
    size: u64,
    modified: (i64, i64),
    changed: (i64, i64),
}

impl State {
    fn of(metadata: &Metadata) -> Self {
        Self {
            device: metadata.dev(),
            inode: metadata.ino(),
            size: metadata.size(),
            modified: (metadata.mtime(), metadata.mtime_nsec()),
            changed: (metadata.ctime(), metadata.ctime_nsec()),
        }
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
struct Known {
    state: State,
    digest: Digest,
}

/// Digests that were taken before, by path.
pub struct Programs {
    at: Timestamp,
    before: BTreeMap<String, Known>,
    now: Mutex<BTreeMap<String, Known>>,
}

impl Programs {
    /// Those that are remembered, looked at now; what cannot be read is not.
    pub fn load(root: &NodeRoot, at: Timestamp) -> Self {
        let text = files::text(&root.known(RECORD)).ok().flatten();
        let before: BTreeMap<String, Known> =
            text.and_then(|text| serde_json::from_str(&text).ok()).unwrap_or_default();
        Self { at, now: Mutex::new(before.clone()), before }
    }

    /// One program; `None` where nothing is there.
    ///
    /// # Errors
    /// As [`file::read`].
    pub fn read(
        &self,
        root: &NodeRoot,
        accounts: &Accounts,
        name: &str,
    ) -> Result<Option<FileReading>, NodeError> {
        let path = root.path(name)?;
        let Some(before) = files::metadata(&path)? else { return Ok(None) };
        let state = State::of(&before);
        if let Some(known) = self.before.get(name).filter(|known| known.state == state) {
            return Ok(Some(FileReading {
                digest: Some(known.digest),
                ..file::describe(accounts, name, &before)
            }));
        }
        let found = file::read(root, accounts, name, false)?;
        if let Some(digest) = found.as_ref().and_then(|file| file.digest)
            && state.changed.0 <= self.at.as_second() - SETTLED
            && files::metadata(&path)?.is_some_and(|after| State::of(&after) == state)
        {
            self.now().insert(name.to_owned(), Known { state, digest });
        }
        Ok(found)
    }

    /// Remembers what was taken anew. That it cannot costs time, and nothing else.
    pub fn save(&self, root: &NodeRoot) {
        let now = self.now();
        let attributes = Attributes { mode: Mode::new(0o600), ids: (0, 0) };
        if *now != self.before
            && let Ok(text) = serde_json::to_vec(&*now)
        {
            let _ = files::replace_with(&root.known(RECORD), attributes, &text);
        }
    }

    fn now(&self) -> MutexGuard<'_, BTreeMap<String, Known>> {
        self.now.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    const NAME: &str = "/usr/local/bin/kubelet";

    /// Looks at the program as a run would, so many seconds from now; whether something was remembered comes with the digest.
    fn look(root: &NodeRoot, later: u64) -> (Digest, bool) {
        let programs = Programs::load(root, Timestamp::now() + Duration::from_secs(later));
        let accounts = Accounts::load(root).unwrap();
        let found = programs.read(root, &accounts, NAME).unwrap().unwrap();
        programs.save(root);
        (found.digest.unwrap(), programs.before.contains_key(NAME))
    }

    fn bare() -> (tempfile::TempDir, NodeRoot) {
        let folder = tempfile::tempdir().unwrap();
        for place in ["etc", "run", "usr/local/bin"] {
            std::fs::create_dir_all(folder.path().join(place)).unwrap();
        }
        for file in ["etc/passwd", "etc/group"] {
            std::fs::write(folder.path().join(file), "").unwrap();
        }
        let root = NodeRoot::at(folder.path());
        (folder, root)
    }

    #[test]
    fn a_digest_is_remembered_of_what_has_settled_and_did_not_change_since() {
        let (folder, root) = bare();
        let file = folder.path().join(&NAME[1..]);
        std::fs::write(&file, "genuine").unwrap();
        let (genuine, altered) = (Digest::of(b"genuine"), Digest::of(b"altered"));
        assert_eq!(look(&root, 0), (genuine, false));
        assert_eq!(look(&root, 10), (genuine, false), "it was remembered before it had settled");
        assert_eq!(look(&root, 10), (genuine, true));

        // The same length and the same time of modification: the time of the change is the kernel's.
        let modified = std::fs::metadata(&file).unwrap().modified().unwrap();
        std::fs::write(&file, "altered").unwrap();
        std::fs::File::options().write(true).open(&file).unwrap().set_modified(modified).unwrap();
        assert_eq!(look(&root, 10).0, altered);
    }

    #[test]
    fn what_is_remembered_is_believed_and_what_cannot_be_read_is_not() {
        let (folder, root) = bare();
        std::fs::write(folder.path().join(&NAME[1..]), "genuine").unwrap();
        look(&root, 10);
        let (record, genuine, other) = (root.known(RECORD), Digest::of(b"genuine"), Digest::of(b"other"));
        let text = std::fs::read_to_string(&record).unwrap();
        std::fs::write(&record, text.replace(&genuine.to_string(), &other.to_string())).unwrap();
        assert_eq!(look(&root, 10).0, other);
        std::fs::write(&record, "{").unwrap();
        assert_eq!(look(&root, 10), (genuine, false));
    }
}
