//! The Go toolchain of the build host.

use std::path::{Path, PathBuf};

use crate::Error;

/// Go as it is installed.
#[derive(Debug, Clone)]
pub(crate) struct Go {
    /// Program.
    pub(crate) program: PathBuf,
    /// Version, such as `go1.26.8`.
    pub(crate) version: String,
}

impl Go {
    /// Finds `go` in a search path. Its version is read from the file every Go installation has, since running
    /// `go` would be most of the time a warm call takes.
    pub(crate) fn find(search: &std::ffi::OsStr) -> Result<Self, Error> {
        let missing = || Error::ProgramMissing {
            program: "go".to_owned(),
            hint:
                "`artifacts.source: source` compiles components with Go 1.26 or later (https://go.dev/dl); \
                   `release` needs no compiler"
                    .to_owned(),
        };
        let program =
            std::env::split_paths(search).map(|folder| folder.join("go")).find(|path| path.is_file());
        let program = program.ok_or_else(missing)?;
        let version = version_file(&program).map_or_else(|| ask(&program), Ok)?;
        Ok(Self { program, version })
    }
}

fn version_file(program: &Path) -> Option<String> {
    let root = fs_err::canonicalize(program).ok()?.parent()?.parent()?.to_owned();
    let text = fs_err::read_to_string(root.join("VERSION")).ok()?;
    text.lines().next().filter(|line| line.starts_with("go")).map(str::to_owned)
}

fn ask(program: &Path) -> Result<String, Error> {
    let output = std::process::Command::new(program)
        .args(["env", "GOVERSION"])
        .output()
        .map_err(Error::file(format!("cannot run {}", program.display())))?;
    Ok(String::from_utf8_lossy(&output.stdout).trim().to_owned())
}
