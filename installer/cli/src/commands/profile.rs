//! `kubezt profile`

use kubezt_controls::Library;
use kubezt_controls::compare::compare;
use kubezt_controls::library::Profile;
use kubezt_controls::nearest::nearest;
use kubezt_controls::report::{comparison, profile as words};
use kubezt_model::cluster::{CniSpec, default_kubernetes_version};

use crate::args::{Output, ProfileArgs, ProfileCommand};
use crate::context;
use crate::failure::Failure;
use crate::printer::Printer;

/// Lists profiles, shows one, or compares two.
pub fn run(arguments: ProfileArgs, printer: Printer) -> Result<(), Failure> {
    let mut library = context::library()?;
    match arguments.command {
        ProfileCommand::List => {
            for profile in library.profiles() {
                let count = library.requirements_of(&profile.name).len();
                printer.line(&format!("{:<12} {count:>4} requirements  {}", profile.name, profile.title));
            }
        }
        ProfileCommand::Show { name } => {
            let name = context::profile(&mut library, &name, "profile show")?;
            printer.text(&words::write(&library, known(&library, &name)?));
        }
        ProfileCommand::Diff { from, to, output } => {
            let from = context::profile(&mut library, &from, "profile diff")?;
            let to = context::profile(&mut library, &to, "profile diff")?;
            known(&library, &from)?;
            known(&library, &to)?;
            // As for a cluster file that says nothing of either.
            let (kubernetes, cni) = (default_kubernetes_version(), CniSpec::default().name);
            let difference = compare(&library, &from, &to, &kubernetes, &cni)
                .map_err(|errors| Failure::usage(context::all(&errors)))?;
            match output {
                Output::Text => printer.text(&comparison::write(&library, &difference)),
                Output::Json => {
                    printer.line(&serde_json::to_string_pretty(&difference).map_err(Failure::environment)?);
                }
            }
        }
    }
    Ok(())
}

fn known<'a>(library: &'a Library, name: &str) -> Result<&'a Profile, Failure> {
    library.profile(name).ok_or_else(|| {
        let names: Vec<&str> = library.profiles().map(|profile| profile.name.as_str()).collect();
        let failure = Failure::usage(format!("there is no profile `{name}`; there are {}", names.join(", ")));
        match nearest(name, names) {
            Some(near) => failure.hint(format!("did you mean `{near}`?")),
            None => failure.hint("a file of the site is named by a path, such as ./site.yaml"),
        }
    })
}
