//! `kubezt completions`

use clap::{Command, CommandFactory as _};
use clap_complete::Shell;

use crate::args::{Cli, CompletionsArgs};
use crate::printer::Printer;

/// What is completed.
const PROGRAM: &str = "kubezt";

/// Prints the completion script of a shell.
pub fn run(arguments: &CompletionsArgs, printer: Printer) {
    printer.text(&script(arguments.shell));
}

fn script(shell: Shell) -> String {
    let mut script = Vec::new();
    clap_complete::generate(shell, &mut visible(&Cli::command()), PROGRAM, &mut script);
    String::from_utf8_lossy(&script).into_owned()
}

/// The command without what is hidden: the scripts would offer it.
fn visible(command: &Command) -> Command {
    Command::new(PROGRAM)
        .version(env!("CARGO_PKG_VERSION"))
        .propagate_version(true)
        .args(command.get_arguments())
        .subcommands(command.get_subcommands().filter(|inner| !inner.is_hide_set()))
}

#[cfg(test)]
mod tests {
    use clap::ValueEnum as _;

    use super::*;

    #[test]
    fn scripts_offer_commands_and_flags_and_nothing_hidden() {
        for shell in Shell::value_variants() {
            let script = script(*shell);
            for word in ["preflight", "passphrase-file", "kubeconfig", "completions"] {
                assert!(script.contains(word), "{shell}: {word}");
            }
            for word in [
                "probe pods",
                "What runs on the nodes",
                "kubezt__node",
                "kubezt__subcmd__node",
                "kubezt;probe",
            ] {
                assert!(!script.contains(word), "{shell}: {word}");
            }
        }
    }
}
