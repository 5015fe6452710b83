//! The last lines somebody wrote. They leave the node without what looks like a secret, and few: what a person reads.

use std::fs::File;
use std::io::{Read as _, Seek as _, SeekFrom};
use std::path::Path;
use std::time::Duration;

use kubezt_model::redaction;

use crate::node::command::run;
use crate::node::{NodeError, NodeRoot};

/// Lines that are kept, the last ones.
const LINES: usize = 15;
/// Characters of a line that are kept, the first ones.
const WIDTH: usize = 400;
/// Bytes at the end of a file that are looked at.
const TAIL: u64 = 64 << 10;
/// How long the journal may take; a large one on a slow disk does.
const LIMIT: Duration = Duration::from_secs(15);

/// The end of a unit's journal; no lines where it has none.
///
/// # Errors
/// The journal does not answer.
pub async fn unit(root: &NodeRoot, name: &str) -> Result<Vec<String>, NodeError> {
    let count = LINES.to_string();
    let arguments = ["--unit", name, "--lines", &count, "--no-pager", "--quiet", "--output", "short-iso"];
    run(root, "journalctl", &arguments, LIMIT).await.map(|output| last(&output.stdout))
}

/// The end of a container's log, without what the runtime writes before each line: time, stream and whether it is whole
/// (Kubernetes, CRI logging format). The time stays.
///
/// # Errors
/// [`NodeError::File`].
pub fn container(path: &Path) -> Result<Vec<String>, NodeError> {
    let mut tail = Vec::new();
    let mut file = File::open(path).map_err(NodeError::file("open", path))?;
    file.metadata()
        .and_then(|metadata| file.seek(SeekFrom::Start(metadata.len().saturating_sub(TAIL))))
        .and_then(|_| file.take(TAIL).read_to_end(&mut tail))
        .map_err(NodeError::file("read", path))?;
    let text = String::from_utf8_lossy(&tail);
    let said = |line: &str| {
        let mut parts = line.splitn(4, ' ');
        match (parts.next(), parts.next(), parts.next(), parts.next()) {
            // To the second.
            (Some(time), Some(_), Some(_), Some(said)) => {
                format!("{} {said}", time.split('.').next().unwrap_or(time))
            }
            _ => line.to_owned(),
        }
    };
    Ok(last(&text.lines().map(said).collect::<Vec<_>>().join("\n")))
}

/// The last lines of a text, redacted as a whole: a secret may go over several lines.
fn last(text: &str) -> Vec<String> {
    let text = redaction::text(text);
    let lines: Vec<&str> = text.lines().map(str::trim_end).filter(|line| !line.is_empty()).collect();
    let from = lines.len().saturating_sub(LINES);
    lines[from..].iter().map(|line| line.chars().take(WIDTH).collect()).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_last_lines_of_a_container_are_short_few_and_redacted() {
        let file = tempfile::NamedTempFile::new().unwrap();
        let mut text: String =
            (0..99).map(|at| format!("2026-01-01T00:00:00.1Z stderr F line {at}\n")).collect();
        text.push_str(&format!("2026-01-01T00:00:01.5Z stderr F {}\n", "x".repeat(1000)));
        for line in
            ["-----BEGIN EC PRIVATE KEY-----", "MHcCAQEE", "-----END EC PRIVATE KEY-----", "token=hunter2"]
        {
            text.push_str(&format!("2026-01-01T00:00:02.5Z stderr F {line}\n"));
        }
        std::fs::write(file.path(), text).unwrap();
        let lines = container(file.path()).unwrap();
        assert!(lines.len() <= LINES && lines.iter().all(|line| line.chars().count() <= WIDTH), "{lines:?}");
        assert!(lines.iter().any(|line| line == "2026-01-01T00:00:00 line 98"), "{lines:?}");
        let said = lines.join("\n");
        assert!(!said.contains("MHcCAQEE") && !said.contains("hunter2"), "{said}");
    }
}
