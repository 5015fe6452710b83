//! The binary under test, as a user runs it: no terminal, output caught.

use std::path::PathBuf;
use std::process::{Child, Command, Stdio};

use anyhow::{Context as _, Result, bail};
use serde_json::Value;

use crate::lab::Lab;
use crate::running::Running;

/// The binary and the cluster file it is run on.
#[derive(Debug, Clone)]
pub struct Kubezt {
    binary: PathBuf,
    file: PathBuf,
    environment: Vec<(String, PathBuf)>,
}

/// What came of a run.
#[derive(Debug, Clone)]
pub struct Run {
    /// Exit code.
    pub code: i32,
    /// Standard output.
    pub stdout: String,
    /// Standard error.
    pub stderr: String,
}

impl Kubezt {
    /// The binary named by `KUBEZT_BINARY`, on the lab's cluster file.
    pub fn from_environment(lab: &Lab) -> Result<Self> {
        let binary = std::env::var("KUBEZT_BINARY").context("KUBEZT_BINARY names no binary")?.into();
        Ok(Self { binary, file: lab.cluster_file(), environment: Vec::new() })
    }

    /// The same binary on another cluster file.
    #[must_use]
    pub fn on(&self, file: PathBuf) -> Self {
        Self { file, ..self.clone() }
    }

    /// The same with a variable of the environment that names a path.
    #[must_use]
    pub fn with(mut self, variable: &str, path: &std::path::Path) -> Self {
        self.environment.push((variable.to_owned(), path.to_owned()));
        self
    }

    /// Runs a command to its end.
    pub fn run(&self, command: &str, arguments: &[&str]) -> Result<Run> {
        let output = self.command(command, arguments).output()?;
        let run = Run {
            code: output.status.code().context("killed by a signal")?,
            stdout: String::from_utf8(output.stdout)?,
            stderr: String::from_utf8(output.stderr)?,
        };
        Ok(run)
    }

    /// Starts a command, for tests that kill it.
    pub fn start(&self, command: &str, arguments: &[&str]) -> Result<Child> {
        Ok(self.command(command, arguments).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn()?)
    }

    /// Starts a command and listens to it, for tests that do something meanwhile.
    pub fn begin(&self, command: &str, arguments: &[&str]) -> Result<Running> {
        Running::listen(self.start(command, arguments)?)
    }

    /// Runs a command that must succeed.
    pub fn succeed(&self, command: &str, arguments: &[&str]) -> Result<Run> {
        let run = self.run(command, arguments)?;
        if run.code != 0 {
            bail!("kubezt {command}: exit code {}\n{}\n{}", run.code, run.stdout, run.stderr);
        }
        Ok(run)
    }

    fn command(&self, command: &str, arguments: &[&str]) -> Command {
        let mut process = Command::new(&self.binary);
        process.arg(command).envs(self.environment.iter().map(|(name, path)| (name, path)));
        // `certs renew` takes the cluster file before its own command.
        process.arg("-f").arg(&self.file).args(arguments).stdin(Stdio::null());
        process
    }
}

/// Findings of a JSON report.
pub fn findings(report: &std::path::Path) -> Result<Vec<Value>> {
    let report: Value = serde_json::from_str(&fs_err::read_to_string(report)?)?;
    report["findings"].as_array().cloned().context("the report has no findings")
}

/// Verdict word of a finding in a JSON report.
pub fn verdict(finding: &Value) -> &str {
    finding.pointer("/verdict/verdict").and_then(Value::as_str).unwrap_or_default()
}
