//! `kubezt man`

use clap::CommandFactory as _;
use fs_err as fs;

use crate::args::{Cli, ManArgs};
use crate::failure::Failure;
use crate::printer::Printer;

/// Writes a manual page for every command that is not hidden.
pub fn run(arguments: &ManArgs, printer: Printer) -> Result<(), Failure> {
    let folder = &arguments.output;
    fs::create_dir_all(folder).map_err(Failure::environment)?;
    clap_mangen::generate_to(Cli::command(), folder)
        .map_err(|error| Failure::environment(format!("{}: {error}", folder.display())))?;
    printer.note(&format!(
        "manual pages in {}; `man {}/kubezt.1` shows the first",
        folder.display(),
        folder.display()
    ));
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_command_has_a_page_and_what_is_hidden_has_none() {
        let folder = tempfile::tempdir().unwrap();
        let output = folder.path().join("man");
        run(&ManArgs { output: output.clone() }, Printer).unwrap();
        let page = |name: &str| fs::read_to_string(output.join(name));
        let first = page("kubezt.1").unwrap();
        assert!(first.contains("Exit codes") && first.contains("preflight"), "{first}");
        assert!(!first.contains("probe pods"), "{first}");
        for name in ["kubezt-init.1", "kubezt-install.1", "kubezt-certs-renew.1"] {
            assert!(page(name).unwrap().contains(".SH OPTIONS"), "{name}");
        }
        for name in ["kubezt-node.1", "kubezt-probe.1", "kubezt-node-link.1"] {
            assert!(page(name).is_err(), "{name}");
        }
    }
}
