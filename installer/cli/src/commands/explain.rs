//! `kubezt explain`

use kubezt_controls::report::explain;

use crate::args::ExplainArgs;
use crate::context;
use crate::failure::Failure;
use crate::printer::Printer;

/// Explains a requirement, or every requirement a control maps to.
pub fn run(arguments: &ExplainArgs, printer: Printer) -> Result<(), Failure> {
    let library = context::library()?;
    let wanted: Vec<_> = match library.requirement(&arguments.id) {
        Some(requirement) => vec![requirement],
        None => library
            .requirements()
            .filter(|requirement| {
                requirement.controls.values().flatten().any(|control| *control == arguments.id)
            })
            .collect(),
    };
    if wanted.is_empty() {
        let ids = library.requirements().map(|requirement| requirement.id.as_str());
        let failure = Failure::usage(format!("there is no requirement or control `{}`", arguments.id));
        return Err(match kubezt_controls::nearest::nearest(&arguments.id, ids) {
            Some(near) => failure.hint(format!("did you mean `{near}`?")),
            None => failure.hint("`kubezt profile show stig` lists them"),
        });
    }
    for requirement in wanted {
        printer.line(&explain(requirement));
    }
    Ok(())
}
