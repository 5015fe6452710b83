//! Data goes to stdout, words for people to stderr. Nothing else in the program prints.

use std::io::{IsTerminal as _, Write as _};

/// Where output goes.
#[derive(Debug, Clone, Copy, Default)]
pub struct Printer;

impl Printer {
    /// Writes data and a line end; a closed pipe is the reader's decision and no error.
    pub fn line(&self, text: &str) {
        let mut stdout = std::io::stdout().lock();
        let _ = writeln!(stdout, "{text}");
        let _ = stdout.flush();
    }

    /// Writes data as it is.
    pub fn text(&self, text: &str) {
        let mut stdout = std::io::stdout().lock();
        let _ = stdout.write_all(text.as_bytes());
        let _ = stdout.flush();
    }

    /// Writes a line for people.
    pub fn note(&self, text: &str) {
        let _ = writeln!(std::io::stderr().lock(), "{text}");
    }

    /// Whether a person watches.
    pub fn is_terminal(&self) -> bool {
        std::io::stderr().is_terminal() && std::io::stdin().is_terminal()
    }
}
