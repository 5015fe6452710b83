//! How a command ends when it does not succeed: exit code, message, hint. Only this crate knows exit codes.

use std::fmt;

use kubezt_engine::executor::Outcome;
use kubezt_engine::failures::{self, Block, Extent};
use kubezt_engine::nodes::NodeFailure;
use kubezt_model::NodeName;

use crate::printer::Printer;

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
    Interrupted = 130,
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

    /// What failed, a block a node on stderr, and how the command ends because of it. `extent` tells how much came of it.
    pub fn blocks(blocks: &[Block], extent: Extent, printer: Printer) -> Self {
        let again = same_command();
        for block in blocks {
            printer.note(&format!("\n{}", block.text(&again).trim_end()));
        }
        let named: Vec<&str> =
            blocks.iter().map(|block| block.node.as_ref().map_or("cluster", NodeName::as_str)).collect();
        let message = match extent {
            Extent::Part => format!("not all is done: {}", named.join(", ")),
            Extent::Whole | Extent::Nothing => format!("nothing was done: {}", named.join(", ")),
        };
        let failure = if extent == Extent::Part { Self::partial(message) } else { Self::findings(message) };
        failure.hint(format!(
            "what was done is kept; mend what the lines above name and run `{again}` again; `kubezt doctor` says what else is wrong"
        ))
    }

    /// Nodes that were not reached, a block each, where the others were looked at.
    pub fn unreached(failures: &[NodeFailure], printer: Printer) -> Self {
        Self::blocks(&failures::blocks(&Outcome::default(), failures), Extent::Part, printer)
    }

    /// Part of the work is done; running the same command again goes on.
    pub fn partial(message: impl fmt::Display) -> Self {
        Self::new(Code::Partial, message)
    }

    /// A person broke off; the code is what a shell says of an interrupt.
    pub fn interrupted(message: impl fmt::Display) -> Self {
        Self::new(Code::Interrupted, message)
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

/// The command that runs, as it can be typed again. No argument of kubezt is a secret.
fn same_command() -> String {
    let words = std::env::args().enumerate();
    words
        .map(|(at, word)| if at == 0 { "kubezt".to_owned() } else { quoted(&word) })
        .collect::<Vec<_>>()
        .join(" ")
}

/// A word as a shell takes it.
fn quoted(word: &str) -> String {
    let is_plain = |character: char| character.is_ascii_alphanumeric() || "-_./=,:@%+".contains(character);
    match !word.is_empty() && word.chars().all(is_plain) {
        true => word.to_owned(),
        false => format!("'{}'", word.replace('\'', "'\\''")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_exit_code_tells_a_part_from_nothing() {
        let failures =
            [NodeFailure { node: "w1".parse().unwrap(), why: "silence".to_owned(), privilege: false }];
        let blocks = failures::blocks(&Outcome::default(), &failures);
        let part = Failure::blocks(&blocks, Extent::Part, Printer);
        assert_eq!(part.code(), 4);
        assert!(part.to_string().starts_with("error: not all is done: w1\nhint: "), "{part}");
        assert_eq!(Failure::blocks(&blocks, Extent::Nothing, Printer).code(), 1);
        assert_eq!(Failure::unreached(&failures, Printer).code(), 4);
    }

    #[test]
    fn words_are_quoted_where_a_shell_would_take_them_apart() {
        assert_eq!(quoted("--report=json=/a/b.json"), "--report=json=/a/b.json");
        assert_eq!(quoted("swap=it's fine"), "'swap=it'\\''s fine'");
        assert_eq!(quoted(""), "''");
    }
}
