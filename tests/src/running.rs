//! A run that is under way.

use std::io::{BufRead as _, BufReader, Read as _};
use std::process::Child;
use std::sync::mpsc::{self, Receiver, RecvTimeoutError};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, anyhow, bail};

use crate::Run;

/// A run of kubezt that is under way. It is killed where it is dropped.
pub struct Running {
    child: Child,
    stdout: Option<JoinHandle<String>>,
    stderr: Receiver<String>,
    said: String,
}

impl Running {
    /// Listens to a run that was just started with its output piped.
    ///
    /// # Errors
    /// It is not piped.
    pub fn listen(mut child: Child) -> Result<Self> {
        let mut stdout = child.stdout.take().context("no standard output")?;
        let stderr = child.stderr.take().context("no standard error")?;
        let (sender, lines) = mpsc::channel();
        thread::spawn(move || {
            for line in BufReader::new(stderr).lines().map_while(Result::ok) {
                let _ = sender.send(line);
            }
        });
        let stdout = thread::spawn(move || {
            let mut text = String::new();
            let _ = stdout.read_to_string(&mut text);
            text
        });
        Ok(Self { child, stdout: Some(stdout), stderr: lines, said: String::new() })
    }

    /// Its process id.
    pub fn id(&self) -> u32 {
        self.child.id()
    }

    /// What it said on standard error so far, as far as that was waited for.
    pub fn said(&self) -> &str {
        &self.said
    }

    /// Waits until it says this of a node.
    ///
    /// # Errors
    /// It does not within `limit`, or ends before.
    pub fn wait(&mut self, node: &str, what: &str, limit: Duration) -> Result<()> {
        let deadline = Instant::now() + limit;
        loop {
            let left = deadline.saturating_duration_since(Instant::now());
            let line = self.stderr.recv_timeout(left);
            let line = line.with_context(|| format!("`{what}` did not come of {node}:\n{}", self.said))?;
            self.hear(&line);
            if line.starts_with(node) && line.contains(what) {
                return Ok(());
            }
        }
    }

    /// Waits for its end.
    ///
    /// # Errors
    /// It goes on for longer than `limit`, or was killed.
    pub fn end(mut self, limit: Duration) -> Result<Run> {
        let deadline = Instant::now() + limit;
        loop {
            match self.stderr.recv_timeout(deadline.saturating_duration_since(Instant::now())) {
                Ok(line) => self.hear(&line),
                Err(RecvTimeoutError::Disconnected) => break,
                Err(RecvTimeoutError::Timeout) => {
                    bail!("the run did not end within {} s:\n{}", limit.as_secs(), self.said)
                }
            }
        }
        let code = self.child.wait()?.code().context("killed by a signal")?;
        let stdout = self.stdout.take().map_or(Ok(String::new()), JoinHandle::join);
        let stdout = stdout.map_err(|_| anyhow!("a thread panicked"))?;
        Ok(Run { code, stdout, stderr: std::mem::take(&mut self.said) })
    }

    fn hear(&mut self, line: &str) {
        self.said.push_str(line);
        self.said.push('\n');
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        // One that has ended is gone already.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
