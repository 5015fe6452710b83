//! The Debian userland under an image that needs more than its programs.

use std::path::{Path, PathBuf};
use std::process::Stdio;

use tokio::process::Command;

use crate::Error;
use crate::layer::{Content, Layer, is_under};
use crate::recipe::{Architecture, BaseRecipe};
use crate::sources::compiled::last_lines;

/// Makes the userland below `workspace` with debootstrap.
///
/// # Errors
/// Not root, no debootstrap, or what debootstrap says.
pub(crate) async fn bootstrap(
    base: &BaseRecipe,
    reference: &str,
    architecture: Architecture,
    workspace: &Path,
) -> Result<PathBuf, Error> {
    if !rustix::process::geteuid().is_root() {
        return Err(Error::NeedsRoot { reference: reference.to_owned() });
    }
    let root = workspace.join("root");
    // A mount namespace of its own: what debootstrap mounts goes away with it, also when it is killed.
    let output = Command::new("unshare")
        .args(["--mount", "debootstrap", "--variant=minbase"])
        .arg(format!("--arch={architecture}"))
        .arg(format!("--include={}", base.packages.join(",")))
        .arg(&base.suite)
        .arg(&root)
        .env("LC_ALL", "C")
        .stdin(Stdio::null())
        .kill_on_drop(true)
        .output()
        .await
        .map_err(Error::file("cannot run unshare"))?;
    // 127 is what `unshare` ends with where it does not find the program.
    if output.status.code() == Some(127) {
        return Err(Error::ProgramMissing {
            program: "debootstrap".to_owned(),
            hint: format!(
                "image {reference} is assembled on a Debian userland; install the package `debootstrap`"
            ),
        });
    }
    if !output.status.success() {
        let mut lines = last_lines(&output.stdout);
        lines.push_str(&last_lines(&output.stderr));
        return Err(Error::ProgramFailed {
            doing: format!("cannot make the userland of {reference}"),
            program: "debootstrap".to_owned(),
            status: output.status.to_string(),
            output: lines,
        });
    }
    Ok(root)
}

/// The layer of a userland with what the recipe adds and leaves out.
///
/// # Errors
/// Files that cannot be read, and files the recipe takes from the module that are not there.
pub(crate) fn layer(base: &BaseRecipe, root: &Path, module: &Path) -> Result<Layer, Error> {
    let doing = || Error::file("cannot read the userland of an image");
    let keep = |path: &str| keeps(base, path);
    let mut layer = Layer::new();
    layer.add_tree(root, "", &keep).map_err(doing())?;
    for folder in &base.directories {
        layer.add(folder, 0o755, Content::Directory);
    }
    for (path, target) in &base.links {
        layer.add(path, 0o777, Content::Link(target.into()));
    }
    for (from, to) in &base.from_module {
        let path = module.join(from);
        if path.is_dir() {
            layer.add(to, 0o755, Content::Directory);
            layer.add_tree(&path, to, &keep).map_err(doing())?;
            layer.restore_modes(to);
        } else if path.is_file() {
            // Go's module cache is read-only and knows no executables; what is taken singly is a script.
            layer.add(to, 0o755, Content::File(path));
        } else {
            return Err(Error::MemberMissing { archive: module.display().to_string(), member: from.clone() });
        }
    }
    Ok(layer)
}

fn keeps(base: &BaseRecipe, path: &str) -> bool {
    if base.remove.iter().any(|pattern| is_under(pattern, path)) {
        return false;
    }
    base.keep_only.iter().all(|(folder, names)| {
        let inside = path.strip_prefix(folder.as_str()).and_then(|rest| rest.strip_prefix('/'));
        inside.is_none_or(|rest| names.contains(rest.split('/').next().unwrap_or(rest)))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn base() -> BaseRecipe {
        BaseRecipe {
            suite: "bookworm".to_owned(),
            packages: Vec::new(),
            directories: ["home/cilium".to_owned()].into(),
            links: [("usr/bin/clang".to_owned(), "../lib/clang".to_owned())].into(),
            from_module: [
                ("bpf".to_owned(), "var/lib/bpf".to_owned()),
                ("scripts/init.sh".to_owned(), "init.sh".to_owned()),
            ]
            .into(),
            remove: vec!["usr/share/doc".to_owned(), "var/lib/bpf/tests".to_owned()],
            keep_only: [("usr/lib/llvm/bin".to_owned(), ["clang".to_owned()].into())].into(),
        }
    }

    fn touch(root: &Path, paths: &[&str]) {
        for path in paths {
            let path = root.join(path);
            fs_err::create_dir_all(path.parent().unwrap()).unwrap();
            fs_err::write(path, b"x").unwrap();
        }
    }

    #[test]
    fn layers_have_what_the_recipe_says() {
        let folder = tempfile::tempdir().unwrap();
        let (root, module) = (folder.path().join("root"), folder.path().join("module"));
        touch(&root, &["usr/share/doc/a", "usr/lib/llvm/bin/clang", "usr/lib/llvm/bin/opt"]);
        touch(&module, &["bpf/main.c", "bpf/tests/t.c", "scripts/init.sh"]);
        let layer = layer(&base(), &root, &module).unwrap();
        let files: Vec<_> =
            layer.paths().into_iter().filter(|path| path.contains('.') || path.contains("bin/")).collect();
        assert_eq!(files, ["init.sh", "usr/bin/clang", "usr/lib/llvm/bin/clang", "var/lib/bpf/main.c"]);
        assert!(layer.paths().contains("home/cilium"));
        fs_err::remove_file(module.join("scripts/init.sh")).unwrap();
        assert!(super::layer(&base(), &root, &module).unwrap_err().to_string().contains("scripts/init.sh"));
    }

    #[tokio::test]
    async fn a_userland_without_root_is_refused_with_a_way_out() {
        if rustix::process::geteuid().is_root() {
            // Root cannot show the refusal; the message is shown instead.
            let error = Error::NeedsRoot { reference: "quay.io/cilium/cilium:v1".to_owned() };
            assert!(error.to_string().contains("release"), "{error}");
            return;
        }
        let folder = tempfile::tempdir().unwrap();
        let error = bootstrap(&base(), "a:1", Architecture::Amd64, folder.path()).await.unwrap_err();
        assert!(matches!(error, Error::NeedsRoot { .. }), "{error}");
    }
}
