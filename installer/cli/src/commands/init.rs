//! `kubezt init`

use std::io::Write as _;
use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;

use crate::args::{ClusterArgs, InitArgs};
use crate::context;
use crate::draft::Draft;
use crate::draft::meaning::{Written, meaning};
use crate::draft::wizard::{self, Ask as _};
use crate::failure::Failure;
use crate::printer::Printer;
use crate::prompt::Terminal;

/// Writes a new cluster file from what the command line says and, on a terminal, from what a person answers.
pub fn run(arguments: &InitArgs, printer: Printer) -> Result<(), Failure> {
    let file = arguments.file.as_path();
    if file.symlink_metadata().is_ok() {
        return Err(exists(file));
    }
    let folder = context::folder_of(file);
    if !folder.is_dir() {
        return Err(Failure::usage(format!("there is no folder `{}` to write into", folder.display())));
    }
    let library = context::library()?;
    let mut draft = Draft::of(arguments).map_err(|errors| Failure::usage(context::all(&errors)))?;
    let missing = draft.missing();
    if !missing.is_empty() {
        if !printer.is_terminal() {
            let list = missing.join("\n  ");
            return Err(Failure::usage(format!(
                "there is no terminal to ask on, and this is missing:\n  {list}"
            ))
            .hint("`kubezt init --help` shows every flag; nothing was written"));
        }
        printer.note(&format!(
            "A new cluster file, {}. Nothing is written before the last answer.",
            file.display()
        ));
        wizard::complete(&mut draft, &library, &folder, &mut Terminal::new(printer))?;
    }
    let reference = draft.profile.as_deref().unwrap_or_default();
    let (library, profile) = wizard::known_profile(&library, &folder, reference).map_err(refused)?;
    let cluster = draft.resolve(&library, &profile).map_err(|errors| refused(context::all(&errors)))?;
    write_new(file, &draft.to_yaml())?;
    let passphrase = draft.passphrase_file.as_deref().map(|path| context::path_from(&folder, path));
    let has_passphrase = passphrase.is_none_or(|path| path.exists());
    printer.note(&format!("\n{} is written.\n", file.display()));
    let written = Written { cluster: &cluster, library: &library, file, has_passphrase };
    printer.note(meaning(&draft, &written).trim_end());
    Ok(())
}

/// Offers a person to write the cluster file that a command misses; `true` where one was written.
pub fn offered(cluster: &ClusterArgs, printer: Printer) -> Result<bool, Failure> {
    if cluster.file.symlink_metadata().is_ok() || !printer.is_terminal() {
        return Ok(false);
    }
    let question = format!("There is no cluster file at `{}`. Write one now?", cluster.file.display());
    if !Terminal::new(printer).yes(&question, true)? {
        return Ok(false);
    }
    // A profile that is a file was named from here, and the cluster file names it from its own folder.
    let profile = cluster.profile.clone().filter(|name| !kubezt_controls::library::is_file(name));
    run(&InitArgs { file: cluster.file.clone(), profile, ..InitArgs::default() }, printer)?;
    Ok(true)
}

fn exists(file: &Path) -> Failure {
    Failure::usage(format!("`{}` exists, and a cluster file is never overwritten", file.display()))
        .hint("name another one with `-f FILE`, or edit this one")
}

fn refused(problem: String) -> Failure {
    Failure::usage(problem).hint("nothing was written")
}

/// Writes a file that is not there yet: all of it or nothing, and never over another one, even if that appeared just now.
fn write_new(file: &Path, text: &str) -> Result<(), Failure> {
    let folder = context::folder_of(file);
    let mut temporary = tempfile::Builder::new()
        .prefix(".kubezt-init")
        .permissions(std::fs::Permissions::from_mode(0o644))
        .tempfile_in(&folder)
        .map_err(|error| Failure::environment(format!("{}: {error}", folder.display())))?;
    let written = temporary.write_all(text.as_bytes()).and_then(|()| temporary.as_file().sync_all());
    written.map_err(|error| Failure::environment(format!("{}: {error}", temporary.path().display())))?;
    match temporary.persist_noclobber(file) {
        Ok(_) => Ok(()),
        Err(error) if error.error.kind() == std::io::ErrorKind::AlreadyExists => Err(exists(file)),
        Err(error) => Err(Failure::environment(format!("{}: {}", file.display(), error.error))),
    }
}

#[cfg(test)]
mod tests {
    use kubezt_model::NodeName;

    use super::*;

    fn arguments(file: &Path) -> InitArgs {
        let text = |text: &str| Some(text.to_owned());
        InitArgs {
            file: file.to_owned(),
            name: "prod".parse::<NodeName>().ok(),
            profile: text("stig"),
            nodes: vec!["cp1=control-plane@10.0.0.1".to_owned(), "w1=worker@10.0.0.2".to_owned()],
            ssh_user: text("admin"),
            ..InitArgs::default()
        }
    }

    #[test]
    fn flags_alone_write_a_file_that_every_command_reads() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("cluster.yaml");
        run(&arguments(&file), Printer).unwrap();
        let cluster = ClusterArgs { file: file.clone(), profile: None };
        let context = crate::context::Context::load(&cluster).unwrap();
        assert_eq!((context.cluster.nodes.len(), context.cluster.profile.as_str()), (2, "stig"));
        assert_eq!(context.file.spec.ssh.user.as_deref(), Some("admin"));
        assert!(!offered(&cluster, Printer).unwrap());
    }

    #[test]
    fn a_file_that_exists_is_never_touched() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("cluster.yaml");
        fs_err::write(&file, "mine").unwrap();
        for failure in [run(&arguments(&file), Printer).unwrap_err(), write_new(&file, "ours").unwrap_err()] {
            assert_eq!(failure.code(), 2);
            assert!(failure.to_string().contains("never overwritten"), "{failure}");
        }
        assert_eq!(fs_err::read_to_string(&file).unwrap(), "mine");
        let left: Vec<_> = fs_err::read_dir(folder.path()).unwrap().collect();
        assert_eq!(left.len(), 1, "{left:?}");
        // Where a link leads nowhere, something would still be replaced.
        let link = folder.path().join("link.yaml");
        std::os::unix::fs::symlink("nowhere", &link).unwrap();
        assert!(run(&arguments(&link), Printer).unwrap_err().to_string().contains("never overwritten"));
    }

    #[test]
    fn nothing_is_written_where_something_is_wrong() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("cluster.yaml");
        let twice = InitArgs {
            nodes: vec!["a=control-plane@10.0.0.1".to_owned(), "b=worker@10.0.0.1".to_owned()],
            ..arguments(&file)
        };
        let unknown = InitArgs { profile: Some("stik".to_owned()), ..arguments(&file) };
        let nowhere = arguments(&folder.path().join("none/cluster.yaml"));
        for (wrong, part) in
            [(twice, "share the address"), (unknown, "did you mean `stig`?"), (nowhere, "no folder")]
        {
            let failure = run(&wrong, Printer).unwrap_err();
            assert_eq!(failure.code(), 2);
            assert!(failure.to_string().contains(part), "{failure}");
        }
        assert_eq!(fs_err::read_dir(folder.path()).unwrap().count(), 0);
    }

    #[test]
    fn a_profile_of_the_site_is_found_beside_the_file() {
        let folder = tempfile::tempdir().unwrap();
        fs_err::write(folder.path().join("site.yaml"), "name: acme\ntitle: What Acme runs\nextends: cis\n")
            .unwrap();
        let file = folder.path().join("cluster.yaml");
        run(&InitArgs { profile: Some("./site.yaml".to_owned()), ..arguments(&file) }, Printer).unwrap();
        let context = crate::context::Context::load(&ClusterArgs { file, profile: None }).unwrap();
        assert_eq!(context.cluster.profile, "acme");
    }
}
