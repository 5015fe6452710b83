//! Programs on the node: by absolute path, without a shell, with a time limit.

use std::path::Path;
use std::process::Stdio;
use std::time::Duration;

use tokio::process::Command;

use super::{NodeError, NodeRoot};

/// Characters of output an error shows, the last ones.
const SHOWN: usize = 2000;

/// What a program printed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Output {
    /// Standard output.
    pub stdout: String,
    /// Standard error.
    pub stderr: String,
}

/// Runs a program from the usual folders and waits for its end. It is ended when the time is up or when the caller
/// goes away. Arguments show in the process list: no secret may be among them.
///
/// # Errors
/// [`NodeError::NoProgram`], and those of [`run_path`].
pub async fn run(
    root: &NodeRoot,
    program: &str,
    arguments: &[&str],
    limit: Duration,
) -> Result<Output, NodeError> {
    run_path(&root.program(program)?, arguments, limit).await
}

/// Runs a program by its path, as [`run`] does.
///
/// # Errors
/// [`NodeError::Run`], [`NodeError::Command`] where it ends with another status than 0, [`NodeError::CommandTimeout`].
pub async fn run_path(program: &Path, arguments: &[&str], limit: Duration) -> Result<Output, NodeError> {
    let described = || {
        let name = program.file_name().unwrap_or(program.as_os_str()).to_string_lossy().into_owned();
        std::iter::once(name.as_str()).chain(arguments.iter().copied()).collect::<Vec<_>>().join(" ")
    };
    let running = Command::new(program)
        .args(arguments)
        .env_clear()
        .env("PATH", "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin")
        // Output is parsed: it must not depend on the language of whoever logged in.
        .env("LC_ALL", "C")
        .env("HOME", "/root")
        .current_dir("/")
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .kill_on_drop(true)
        .output();
    let output = match tokio::time::timeout(limit, running).await {
        Ok(Ok(output)) => output,
        Ok(Err(source)) => return Err(NodeError::Run { command: described(), source }),
        Err(_) => return Err(NodeError::CommandTimeout { command: described(), seconds: limit.as_secs() }),
    };
    let stdout = String::from_utf8_lossy(&output.stdout).into_owned();
    let stderr = String::from_utf8_lossy(&output.stderr).into_owned();
    if output.status.success() {
        return Ok(Output { stdout, stderr });
    }
    let said = if stderr.trim().is_empty() { &stdout } else { &stderr };
    Err(NodeError::Command {
        command: described(),
        status: output.status.to_string(),
        output: separated(said),
    })
}

/// The end of a text with a separator in front, or nothing where it is blank.
pub(super) fn separated(text: &str) -> String {
    let text = text.trim();
    let skipped = text.chars().count().saturating_sub(SHOWN);
    match text.is_empty() {
        true => String::new(),
        false => format!(": {}", text.chars().skip(skipped).collect::<String>()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_program_that_fails_or_hangs_is_named() {
        let shell = Path::new("/bin/sh");
        let limit = Duration::from_millis(200);
        let output = run_path(shell, &["-c", "echo out; echo err >&2"], limit).await.unwrap();
        assert_eq!((output.stdout.as_str(), output.stderr.as_str()), ("out\n", "err\n"));
        let failed = run_path(shell, &["-c", "echo why >&2; exit 3"], limit).await.unwrap_err().to_string();
        assert!(failed.contains("exit status: 3") && failed.contains("why"), "{failed}");
        let late = run_path(shell, &["-c", "exec sleep 5"], limit).await.unwrap_err().to_string();
        assert!(late.contains("did not end"), "{late}");
    }
}
