//! Secrets that a person types. One question at a time: connections and the cluster's own secrets are opened side by side.

use std::sync::{Mutex, PoisonError};

use dialoguer::Password;
use zeroize::Zeroizing;

static ASKING: Mutex<()> = Mutex::new(());

/// Asks for a secret on the terminal.
///
/// # Errors
/// The terminal cannot be used.
pub fn secret(question: Password<'_>) -> Result<Zeroizing<String>, dialoguer::Error> {
    let _turn = ASKING.lock().unwrap_or_else(PoisonError::into_inner);
    question.interact().map(Zeroizing::new)
}
