//! Programs that measure with kubezt's own crates: examples of the tests, since the tasks know nothing of those crates.

use std::path::PathBuf;

use anyhow::Result;

use crate::{command, places};

/// Builds them as the binary is built.
///
/// # Errors
/// One does not compile.
pub fn build(names: &[&str]) -> Result<()> {
    let arguments =
        ["build", "--locked", "--release", "--target", places::TARGET, "--package", "kubezt-tests"];
    let mut build = command::cargo(&places::checkout(), arguments);
    command::show(build.args(names.iter().flat_map(|name| ["--example", name])))
}

/// Where one is.
pub fn program(name: &str) -> PathBuf {
    places::binary().with_file_name("examples").join(name)
}
