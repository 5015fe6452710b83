//! `kubezt profile`

use std::collections::BTreeMap;

use crate::args::{ProfileArgs, ProfileCommand};
use crate::context;
use crate::failure::Failure;
use crate::printer::Printer;

/// Lists profiles or shows one.
pub fn run(arguments: ProfileArgs, printer: Printer) -> Result<(), Failure> {
    let library = context::library()?;
    match arguments.command {
        ProfileCommand::List => {
            for profile in library.profiles() {
                let count = library.requirements_of(&profile.name).len();
                printer.line(&format!("{:<12} {count:>4} requirements  {}", profile.name, profile.title));
            }
            Ok(())
        }
        ProfileCommand::Show { name } => {
            let Some(profile) = library.profile(&name) else {
                let known: Vec<&str> = library.profiles().map(|profile| profile.name.as_str()).collect();
                return Err(Failure::usage(format!(
                    "there is no profile `{name}`; there are {}",
                    known.join(", ")
                )));
            };
            printer.line(&format!("{}: {}", profile.name, profile.title));
            for requirement in library.requirements_of(&name) {
                printer.line(&format!("\n{:<28} {}", requirement.id, requirement.title));
                let set: BTreeMap<_, _> = requirement.set.iter().collect();
                for (key, value) in set {
                    printer.line(&format!("    {key}: {value}"));
                }
            }
            Ok(())
        }
    }
}
