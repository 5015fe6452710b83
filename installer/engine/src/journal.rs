//! The journal of a run: one JSON line an event, synced to disk at every step's end.
//!
//! A resumed run reads facts again and plans again; the journal is for people, evidence and the picture of where
//! the time went, and never decides what is done next.

use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::sync::Mutex;

use fs_err as fs;
use kubezt_model::event::Event;
use serde::{Deserialize, Serialize};

/// One line of a journal.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Entry {
    /// When, in milliseconds since 1970.
    pub at: i64,
    /// What.
    #[serde(flatten)]
    pub event: Event,
}

/// An open journal.
pub struct Journal {
    file: Mutex<fs::File>,
    path: PathBuf,
}

impl Journal {
    /// Opens a new journal named after the time the run began.
    ///
    /// # Errors
    /// The folder or the file cannot be written.
    pub fn create(folder: &Path, now: jiff::Timestamp) -> std::io::Result<Self> {
        fs::create_dir_all(folder)?;
        let path = folder.join(format!("{}.jsonl", now.strftime("%Y%m%dT%H%M%S%3fZ")));
        let file = fs::OpenOptions::new().create_new(true).append(true).open(&path)?;
        Ok(Self { file: Mutex::new(file), path })
    }

    /// Where it is.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Writes an event; progress lines are left out, they say nothing after the fact.
    ///
    /// # Errors
    /// The disk is full or gone.
    pub fn write(&self, event: &Event, now: jiff::Timestamp) -> std::io::Result<()> {
        if matches!(event, Event::Progress { .. }) {
            return Ok(());
        }
        let entry = Entry { at: now.as_millisecond(), event: event.clone() };
        let mut line = serde_json::to_vec(&entry)?;
        line.push(b'\n');
        let mut file = self.file.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
        file.write_all(&line)?;
        if matches!(event, Event::StepFinished { .. } | Event::RunFinished { .. }) {
            file.sync_data()?;
        }
        Ok(())
    }
}

/// Reads a journal; a last line cut short by a crash is left out.
///
/// # Errors
/// The file cannot be read, or a whole line is not an entry.
pub fn read(path: &Path) -> std::io::Result<Vec<Entry>> {
    let text = fs::read_to_string(path)?;
    let whole = text.rfind('\n').map_or("", |end| &text[..end]);
    whole.lines().map(|line| serde_json::from_str(line).map_err(std::io::Error::from)).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_cut_short_is_left_out() {
        let folder = tempfile::tempdir().unwrap();
        let journal = Journal::create(folder.path(), jiff::Timestamp::UNIX_EPOCH).unwrap();
        journal.write(&Event::RunStarted { steps: 3 }, jiff::Timestamp::UNIX_EPOCH).unwrap();
        fs::OpenOptions::new().append(true).open(journal.path()).unwrap().write_all(b"{\"at\":1,").unwrap();
        let entries = read(journal.path()).unwrap();
        assert_eq!(entries.len(), 1);
        assert_eq!(entries[0].event, Event::RunStarted { steps: 3 });
    }
}
