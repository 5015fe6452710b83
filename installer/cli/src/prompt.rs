//! What a person is asked on the terminal. One question at a time: connections and the cluster's own secrets are opened side by side.

use std::sync::{Mutex, PoisonError};

use dialoguer::{Confirm, Input, Password};
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
}

impl Terminal {
    /// The terminal this program runs on; whether it is one was asked before.
    pub const fn new(printer: Printer) -> Self {
        Self { printer }
    }
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
        let answer = input.validate_with(trimmed).interact_text().map_err(Failure::environment)?;
        Ok(answer.trim().to_owned())
    }

    fn yes(&mut self, question: &str, default: bool) -> Result<bool, Failure> {
        let _turn = ASKING.lock().unwrap_or_else(PoisonError::into_inner);
        let confirm = Confirm::new().with_prompt(question).default(default);
        confirm.interact().map_err(Failure::environment)
    }
}
