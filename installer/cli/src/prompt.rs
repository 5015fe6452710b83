//! What a person is asked on the terminal. One question at a time: connections and the cluster's own secrets are opened side by side.

use std::sync::{Mutex, PoisonError};

use dialoguer::console::Term;
use dialoguer::{Confirm, Input, Password};
use tokio::signal::unix::{Signal, SignalKind, signal};
use zeroize::Zeroizing;

use crate::draft::wizard::Ask;
use crate::failure::Failure;
use crate::printer::Printer;

static ASKING: Mutex<()> = Mutex::new(());

/// Asks for a secret on the terminal.
///
/// # Errors
/// The terminal cannot be used.
pub fn secret(question: Password<'_>) -> Result<Zeroizing<String>, dialoguer::Error> {
    let _turn = ASKING.lock().unwrap_or_else(PoisonError::into_inner);
    question.interact().map(Zeroizing::new)
}

/// A person at the terminal.
pub struct Terminal {
    printer: Printer,
    /// While somebody listens, Ctrl-C ends a question and not the program, which would leave the terminal as the question had it.
    _interrupts: Option<Signal>,
}

impl Terminal {
    /// The terminal this program runs on; whether it is one was asked before.
    pub fn new(printer: Printer) -> Self {
        // Outside of a runtime nobody can listen.
        let listens = tokio::runtime::Handle::try_current().is_ok();
        let interrupts = listens.then(|| signal(SignalKind::interrupt()).ok()).flatten();
        Self { printer, _interrupts: interrupts }
    }
}

/// An answer; or why there is none, with the terminal as it was before the question.
fn answered<T>(answer: dialoguer::Result<T>) -> Result<T, Failure> {
    answer.map_err(|error| {
        // Some questions hide the cursor; where it cannot be shown again, there is nobody to see it either.
        let _ = Term::stderr().show_cursor();
        let dialoguer::Error::IO(error) = error;
        match error.kind() {
            std::io::ErrorKind::Interrupted => Failure::interrupted("broken off, and nothing was written"),
            _ => Failure::environment(error),
        }
    })
}

impl Ask for Terminal {
    fn say(&mut self, line: &str) {
        self.printer.note(line);
    }

    fn text(
        &mut self,
        question: &str,
        default: Option<&str>,
        check: &mut dyn FnMut(&str) -> Result<(), String>,
    ) -> Result<String, Failure> {
        let _turn = ASKING.lock().unwrap_or_else(PoisonError::into_inner);
        let input = Input::<String>::new().with_prompt(question);
        let input = match default {
            None => input,
            Some("") => input.allow_empty(true),
            Some(default) => input.default(default.to_owned()),
        };
        let trimmed = |text: &String| check(text.trim());
        let answer = answered(input.validate_with(trimmed).interact_text())?;
        Ok(answer.trim().to_owned())
    }

    fn yes(&mut self, question: &str, default: bool) -> Result<bool, Failure> {
        let _turn = ASKING.lock().unwrap_or_else(PoisonError::into_inner);
        let confirm = Confirm::new().with_prompt(question).default(default);
        answered(confirm.interact())
    }
}
