//! Programs compiled from a Go module that `go.sum` pins.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::process::Stdio;

use tokio::process::Command;

use crate::Error;
use crate::catalogue::Component;
use crate::recipe::{Architecture, Module};
use crate::toolchain::Go;

/// Flags of every build: no path of the build host in the program, nothing beyond `go.mod` and `go.sum`.
pub(crate) const FLAGS: &str = "-trimpath -mod=readonly -buildvcs=false";

/// How far Go's compiler and linker let their heap grow before they collect it, in percent (`GOGC`). They live for seconds, and
/// building etcd's tools took 91 processor seconds in place of 129 with Go's own 100; with 1000 it took no less.
const COLLECT_AT: &str = "400";

/// A module that was written to a folder.
pub(crate) struct Build<'a> {
    pub(crate) go: &'a Go,
    pub(crate) component: &'a Component,
    pub(crate) module: &'a Module,
    pub(crate) architecture: Architecture,
    folder: PathBuf,
}

impl<'a> Build<'a> {
    /// Writes the module's files into `workspace`.
    pub(crate) fn prepare(
        go: &'a Go,
        component: &'a Component,
        module: &'a Module,
        architecture: Architecture,
        workspace: &Path,
    ) -> Result<Self, Error> {
        let folder = workspace.join("module");
        for (path, bytes) in &component.module_files {
            let path = folder.join(path);
            let parent = path.parent().unwrap_or(&folder);
            fs_err::create_dir_all(parent)
                .and_then(|()| fs_err::write(&path, bytes))
                .map_err(Error::file("cannot write a Go module"))?;
        }
        Ok(Self { go, component, module, architecture, folder })
    }

    /// Compiles every program of the component; returns where each is.
    pub(crate) async fn compile(&self, out: &Path) -> Result<BTreeMap<String, PathBuf>, Error> {
        let binaries = &self.component.recipe.binaries;
        let packages = binaries.iter().filter_map(|(name, binary)| Some((name, binary.package.as_deref()?)));
        let packages: BTreeMap<_, _> = packages.collect();
        let mut arguments = vec!["build".to_owned(), "-ldflags".to_owned(), self.linker_flags()];
        if !self.module.tags.is_empty() {
            arguments.extend(["-tags".to_owned(), self.module.tags.join(",")]);
        }
        arguments.extend(["-o".to_owned(), format!("{}/", out.display())]);
        arguments.extend(packages.values().map(|package| (*package).to_owned()));
        fs_err::create_dir_all(out).map_err(Error::file("cannot make a folder to build in"))?;
        self.run(&arguments, &format!("cannot compile {}", self.component.recipe.name)).await?;
        let own = module_name(&self.component.module_files);
        let located = packages.into_iter().map(|(name, package)| {
            let package = if package == "." { own.as_str() } else { package };
            (name.clone(), out.join(program_name(package)))
        });
        Ok(located.collect())
    }

    /// Folder of the module the version comes from, in Go's module cache, checked against `go.sum` by Go itself.
    pub(crate) async fn module_folder(&self) -> Result<PathBuf, Error> {
        let name = &self.component.recipe.name;
        let path = self.module.path.as_deref().ok_or_else(|| Error::Recipe {
            file: format!("{name}/component.yaml"),
            problem: "`module.path` is needed to take files from the module".to_owned(),
        })?;
        let doing = format!("cannot find the module of {name}");
        self.run(&["mod".to_owned(), "download".to_owned(), path.to_owned()], &doing).await?;
        let list = ["list", "-m", "-f", "{{.Dir}}", path].map(str::to_owned);
        let folder = self.run(&list, &doing).await?;
        Ok(PathBuf::from(folder.trim()))
    }

    fn linker_flags(&self) -> String {
        let mut flags = vec!["-s".to_owned(), "-w".to_owned()];
        for (variable, value) in &self.module.stamps {
            flags.push(format!("-X {variable}={}", self.component.expand(value, self.architecture)));
        }
        if self.module.r#static {
            flags.push("-extldflags -static".to_owned());
        }
        flags.join(" ")
    }

    async fn run(&self, arguments: &[String], doing: &str) -> Result<String, Error> {
        let flags = if arguments.first().is_some_and(|verb| verb == "mod") { "" } else { FLAGS };
        let output = Command::new(&self.go.program)
            .args(arguments)
            .current_dir(&self.folder)
            .env("GOFLAGS", flags)
            .env("GOGC", COLLECT_AT)
            .env("GOWORK", "off")
            .env("GOOS", "linux")
            .env("GOARCH", self.architecture.as_str())
            .env("GOAMD64", "v1")
            .env("CGO_ENABLED", if self.module.cgo { "1" } else { "0" })
            .stdin(Stdio::null())
            .kill_on_drop(true)
            .output()
            .await
            .map_err(Error::file(format!("cannot run {}", self.go.program.display())))?;
        if output.status.success() {
            return Ok(String::from_utf8_lossy(&output.stdout).into_owned());
        }
        let mut lines = last_lines(&output.stderr);
        if let Some(needs) = &self.module.needs {
            lines.push_str(&format!("\nthis component also needs {needs}"));
        }
        Err(Error::ProgramFailed {
            doing: doing.to_owned(),
            program: format!("go {}", arguments.first().map_or("", String::as_str)),
            status: output.status.to_string(),
            output: lines,
        })
    }
}

/// The last lines of what a program wrote, for an error.
pub(crate) fn last_lines(output: &[u8]) -> String {
    let text = String::from_utf8_lossy(output);
    let lines: Vec<_> = text.lines().collect();
    lines[lines.len().saturating_sub(20)..].join("\n")
}

/// What `go build` names the program of a package: the last part of its path that is not a major version.
fn program_name(package: &str) -> &str {
    let is_major = |part: &str| {
        part.strip_prefix('v')
            .is_some_and(|digits| !digits.is_empty() && digits.bytes().all(|byte| byte.is_ascii_digit()))
    };
    package.rsplit('/').find(|part| !is_major(part)).unwrap_or(package)
}

fn module_name(files: &BTreeMap<String, Vec<u8>>) -> String {
    let go_mod = files.get("go.mod").map(|bytes| String::from_utf8_lossy(bytes)).unwrap_or_default();
    go_mod.lines().find_map(|line| line.strip_prefix("module ")).unwrap_or_default().trim().to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn programs_are_named_as_go_names_them() {
        for (package, name) in [
            ("go.etcd.io/etcd/server/v3", "server"),
            ("github.com/containerd/containerd/v2/cmd/ctr", "ctr"),
            ("github.com/opencontainers/runc", "runc"),
            ("example.org/vault", "vault"),
        ] {
            assert_eq!(program_name(package), name);
        }
        let files =
            BTreeMap::from([("go.mod".to_owned(), b"// x\nmodule kubezt.dev/images/pause\n".to_vec())]);
        assert_eq!(program_name(&module_name(&files)), "pause");
    }

    #[test]
    fn long_output_is_cut_to_its_end() {
        let output: String = (0..100).map(|line| format!("{line}\n")).collect();
        assert!(last_lines(output.as_bytes()).starts_with("80\n"));
        assert_eq!(last_lines(b"one"), "one");
    }
}
