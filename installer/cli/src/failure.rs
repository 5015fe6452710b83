//! How a command ends when it does not succeed: exit code, message, hint. Only this crate knows exit codes.

use std::fmt;

/// A command that did not succeed.
#[derive(Debug)]
pub struct Failure {
    code: Code,
    message: String,
    hint: Option<String>,
}

/// Exit codes, as `--help` documents them.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Code {
    Findings = 1,
    Usage = 2,
    Environment = 3,
    Partial = 4,
    HasChanges = 5,
}

impl Failure {
    /// Requirements are not met, or nodes failed.
    pub fn findings(message: impl fmt::Display) -> Self {
        Self::new(Code::Findings, message)
    }

    /// Bad input.
    pub fn usage(message: impl fmt::Display) -> Self {
        Self::new(Code::Usage, message)
    }

    /// Something outside is not as it has to be: an unreachable node, a missing tool, a full disk.
    pub fn environment(message: impl fmt::Display) -> Self {
        Self::new(Code::Environment, message)
    }

    /// The same for an error with its causes.
    pub fn chain(error: impl std::error::Error) -> Self {
        Self::environment(Self::chain_text(&error))
    }

    /// An error and its causes on one line.
    pub fn chain_text(error: &dyn std::error::Error) -> String {
        let causes = std::iter::successors(Some(error), |error| error.source());
        causes.map(ToString::to_string).collect::<Vec<_>>().join(": ")
    }

    /// Part of the work is done; running the same command again goes on.
    pub fn partial(message: impl fmt::Display) -> Self {
        Self::new(Code::Partial, message)
    }

    /// The plan has changes, and the exit code was asked to say so.
    pub fn has_changes() -> Self {
        Self::new(Code::HasChanges, "")
    }

    /// The cluster was never installed from this folder.
    pub fn no_root() -> Self {
        Self::usage("this cluster has no root yet").hint("`kubezt install` makes one")
    }

    /// Adds what to try.
    #[must_use]
    pub fn hint(mut self, hint: impl fmt::Display) -> Self {
        self.hint = Some(hint.to_string());
        self
    }

    /// Exit code.
    pub fn code(&self) -> u8 {
        self.code as u8
    }

    fn new(code: Code, message: impl fmt::Display) -> Self {
        Self { code, message: message.to_string(), hint: None }
    }
}

impl fmt::Display for Failure {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        if !self.message.is_empty() {
            write!(formatter, "error: {}", self.message)?;
        }
        if let Some(hint) = &self.hint {
            write!(formatter, "\nhint: {hint}")?;
        }
        Ok(())
    }
}
