//! Journals of runs, kept on the nodes too: the operator's machine may be lost, and its run with it.

use std::fs::{DirBuilder, OpenOptions};
use std::io::Write;
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::path::Path;

use super::{NodeError, NodeRoot};

/// Folder of the journals: root's, 0700.
pub const JOURNAL_FOLDER: &str = "/var/lib/kubezt/journal";

/// Journals that are kept; the oldest go first.
const KEPT: usize = 50;

/// Appends whole lines to the journal of a run, and removes the oldest ones when a new one begins.
///
/// # Errors
/// [`NodeError::Journal`] where the name is none of a journal; [`NodeError::File`].
pub fn append(root: &NodeRoot, run: &str, lines: &str) -> Result<(), NodeError> {
    if !is_name(run) {
        return Err(NodeError::Journal(run.escape_default().take(100).collect()));
    }
    let folder = root.known(JOURNAL_FOLDER);
    let made = DirBuilder::new().recursive(true).mode(0o700).create(&folder);
    made.map_err(NodeError::file("make", &folder))?;
    let path = folder.join(run);
    if !path.exists() {
        make_room(&folder)?;
    }
    let file = OpenOptions::new().create(true).append(true).mode(0o600).open(&path);
    let written = file.and_then(|mut file| file.write_all(lines.as_bytes()));
    written.map_err(NodeError::file("write", &path))
}

/// A journal is named after the time its run began.
fn is_name(run: &str) -> bool {
    let stem = run.strip_suffix(".jsonl").unwrap_or_default();
    !stem.is_empty() && stem.len() <= 40 && stem.chars().all(|character| character.is_ascii_alphanumeric())
}

fn make_room(folder: &Path) -> Result<(), NodeError> {
    let entries = folder.read_dir().map_err(NodeError::file("read", folder))?;
    let mut names: Vec<String> = entries
        .filter_map(|entry| entry.ok()?.file_name().into_string().ok())
        .filter(|name| is_name(name))
        .collect();
    names.sort_unstable();
    for name in &names[..(names.len() + 1).saturating_sub(KEPT)] {
        let path = folder.join(name);
        std::fs::remove_file(&path).map_err(NodeError::file("remove", &path))?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_newest_journals_are_kept() {
        let folder = tempfile::tempdir().unwrap();
        let root = NodeRoot::at(folder.path());
        for run in 0..KEPT + 3 {
            append(&root, &format!("20260101T00{run:02}00000Z.jsonl"), "one\n").unwrap();
        }
        append(&root, "20260101T000900000Z.jsonl", "two\n").unwrap();
        let kept = root.known(JOURNAL_FOLDER);
        assert_eq!(kept.read_dir().unwrap().count(), KEPT);
        assert_eq!(std::fs::read_to_string(kept.join("20260101T000900000Z.jsonl")).unwrap(), "one\ntwo\n");
    }

    #[test]
    fn only_journals_are_written() {
        let folder = tempfile::tempdir().unwrap();
        let root = NodeRoot::at(folder.path());
        for name in ["", ".jsonl", "../a.jsonl", "a", "a.b.jsonl", "/a.jsonl"] {
            assert!(append(&root, name, "x\n").is_err(), "{name}");
        }
        assert_eq!(folder.path().read_dir().unwrap().count(), 0);
    }
}
