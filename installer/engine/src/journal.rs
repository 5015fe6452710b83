//! The journal of a run: one JSON line an event, synced to disk at every step's end, and copied to the control plane: the
//! operator's machine may be lost.
//!
//! A resumed run reads facts again and plans again; the journal is for people, evidence and the picture of where
//! the time went, and never decides what is done next.

use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use fs_err as fs;
use kubezt_model::event::Event;
use serde::{Deserialize, Serialize};
use tokio::sync::mpsc::{UnboundedReceiver, UnboundedSender, unbounded_channel};
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;

/// One line of a journal.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Entry {
    /// When, in milliseconds since 1970.
    pub at: i64,
    /// What.
    #[serde(flatten)]
    pub event: Event,
}

/// How long lines are gathered before they are copied.
const TOGETHER: Duration = Duration::from_secs(1);
/// How long the last copies may take.
const LAST: Duration = Duration::from_secs(10);

/// An open journal.
pub struct Journal {
    file: Mutex<fs::File>,
    path: PathBuf,
    copies: UnboundedSender<String>,
}

impl Journal {
    /// Opens a new journal named after the time the run began. Its lines come out of the other half as well.
    ///
    /// # Errors
    /// The folder or the file cannot be written.
    pub fn create(folder: &Path, now: jiff::Timestamp) -> std::io::Result<(Self, UnboundedReceiver<String>)> {
        fs::create_dir_all(folder)?;
        let path = folder.join(format!("{}.jsonl", now.strftime("%Y%m%dT%H%M%S%3fZ")));
        let file = fs::OpenOptions::new().create_new(true).append(true).open(&path)?;
        let (copies, lines) = unbounded_channel();
        Ok((Self { file: Mutex::new(file), path, copies }, lines))
    }

    /// Name of its file.
    pub fn name(&self) -> String {
        self.path.file_name().map_or_else(String::new, |name| name.to_string_lossy().into_owned())
    }

    /// Writes an event; progress lines are left out, they say nothing after the fact.
    ///
    /// # Errors
    /// The disk is full or gone; the copies go on.
    pub fn write(&self, event: &Event, now: jiff::Timestamp) -> std::io::Result<()> {
        if matches!(event, Event::Progress { .. }) {
            return Ok(());
        }
        let entry = Entry { at: now.as_millisecond(), event: event.clone() };
        let line = serde_json::to_string(&entry)? + "\n";
        let mut file = self.file.lock().unwrap_or_else(PoisonError::into_inner);
        let _ = self.copies.send(line.clone());
        file.write_all(line.as_bytes())?;
        if matches!(event, Event::StepFinished { .. } | Event::RunFinished { .. }) {
            file.sync_data()?;
        }
        Ok(())
    }
}

/// Keeps copies of a journal while its run goes on.
pub struct Copies {
    end: CancellationToken,
    task: JoinHandle<()>,
}

impl Copies {
    /// Hands the first line to `keep` at once, and what comes after it many lines at a time.
    pub fn start<F, K>(mut lines: UnboundedReceiver<String>, keep: K) -> Self
    where
        K: Fn(String) -> F + Send + 'static,
        F: Future<Output = ()> + Send,
    {
        let end = CancellationToken::new();
        let ended = end.clone();
        let task = tokio::spawn(async move {
            loop {
                // The first line goes at once: it says who began the run, which is what an operator's lost machine leaves unsaid.
                let first = tokio::select! { () = ended.cancelled() => None, line = lines.recv() => line };
                let last = first.is_none();
                let mut together = first.unwrap_or_default();
                while let Ok(line) = lines.try_recv() {
                    together.push_str(&line);
                }
                if !together.is_empty() {
                    keep(together).await;
                }
                if last {
                    return;
                }
                tokio::select! { () = ended.cancelled() => {}, () = tokio::time::sleep(TOGETHER) => {} }
            }
        });
        Self { end, task }
    }

    /// Waits until the last lines are kept, for some seconds.
    pub async fn finish(mut self) {
        self.end.cancel();
        if tokio::time::timeout(LAST, &mut self.task).await.is_err() {
            self.task.abort();
        }
    }
}

/// Reads a journal; a last line cut short by a crash is left out.
///
/// # Errors
/// A whole line is not an entry.
pub fn parse(text: &str) -> serde_json::Result<Vec<Entry>> {
    let whole = text.rfind('\n').map_or("", |end| &text[..end]);
    whole.lines().map(serde_json::from_str).collect()
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::*;

    const STARTED: Event = Event::RunStarted { steps: 3, operator: String::new() };

    #[test]
    fn a_line_cut_short_is_left_out() {
        let folder = tempfile::tempdir().unwrap();
        let (journal, _lines) = Journal::create(folder.path(), jiff::Timestamp::UNIX_EPOCH).unwrap();
        journal.write(&STARTED, jiff::Timestamp::UNIX_EPOCH).unwrap();
        let mut text = fs::read_to_string(folder.path().join(journal.name())).unwrap();
        text.push_str("{\"at\":1,");
        let entries = parse(&text).unwrap();
        assert_eq!(entries.len(), 1);
        assert_eq!(entries[0].event, STARTED);
    }

    /// A journal in a folder, and copies of its lines, each of which takes this long.
    fn copied(folder: &Path, pause: Duration) -> (Journal, Copies, Arc<Mutex<String>>) {
        let (journal, lines) = Journal::create(folder, jiff::Timestamp::UNIX_EPOCH).unwrap();
        let kept = Arc::new(Mutex::new(String::new()));
        let keeping = Arc::clone(&kept);
        let copies = Copies::start(lines, move |lines| {
            keeping.lock().unwrap().push_str(&lines);
            tokio::time::sleep(pause)
        });
        (journal, copies, kept)
    }

    #[tokio::test]
    async fn copies_hold_what_the_journal_holds() {
        let folder = tempfile::tempdir().unwrap();
        let (journal, copies, kept) = copied(folder.path(), Duration::ZERO);
        for _ in 0..3 {
            journal.write(&STARTED, jiff::Timestamp::UNIX_EPOCH).unwrap();
            tokio::task::yield_now().await;
        }
        copies.finish().await;
        let written = fs::read_to_string(folder.path().join(journal.name())).unwrap();
        assert_eq!(*kept.lock().unwrap(), written);
        assert_eq!(written.lines().count(), 3);
    }

    /// The run ends while a copy is on its way: what was written meanwhile is kept too.
    #[tokio::test]
    async fn lines_written_during_a_copy_are_kept() {
        let folder = tempfile::tempdir().unwrap();
        let (journal, copies, kept) = copied(folder.path(), Duration::from_millis(200));
        journal.write(&STARTED, jiff::Timestamp::UNIX_EPOCH).unwrap();
        tokio::time::sleep(Duration::from_millis(50)).await;
        assert_eq!(kept.lock().unwrap().lines().count(), 1, "the first line goes at once");
        journal.write(&STARTED, jiff::Timestamp::UNIX_EPOCH).unwrap();
        copies.finish().await;
        assert_eq!(kept.lock().unwrap().lines().count(), 2);
    }
}
