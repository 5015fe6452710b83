//! Running processes, from /proc.

use std::path::Path;

use kubezt_model::node::{ProcessReading, START_STEP};

use super::{NodeError, NodeRoot};

/// A process and the base name of its executable.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Process {
    /// Base name of the executable.
    pub name: String,
    /// What was seen of it.
    pub reading: ProcessReading,
}

/// All processes that have an executable, by process id. One that ends meanwhile is left out.
///
/// # Errors
/// [`NodeError::File`] where /proc cannot be read.
pub fn all(root: &NodeRoot) -> Result<Vec<Process>, NodeError> {
    let folder = root.known("/proc");
    let entries = std::fs::read_dir(&folder).map_err(NodeError::file("read", &folder))?;
    let mut processes: Vec<Process> = entries
        .filter_map(Result::ok)
        .filter_map(|entry| {
            let pid = entry.file_name().to_str()?.parse().ok()?;
            process(pid, &entry.path())
        })
        .collect();
    processes.sort_by_key(|process| process.reading.pid);
    Ok(processes)
}

/// The processes whose executable has this name.
///
/// # Errors
/// As [`all`].
pub fn named(root: &NodeRoot, name: &str) -> Result<Vec<ProcessReading>, NodeError> {
    Ok(all(root)?.into_iter().filter(|process| process.name == name).map(|process| process.reading).collect())
}

fn process(pid: u32, folder: &Path) -> Option<Process> {
    // Kernel threads and zombies have no executable.
    let executable = std::fs::read_link(folder.join("exe")).ok()?;
    let name = executable.file_name()?.to_str()?;
    let name = name.strip_suffix(" (deleted)").unwrap_or(name).to_owned();
    let read = |file| std::fs::read(folder.join(file)).ok();
    let status = String::from_utf8(read("status")?).ok()?;
    let field =
        |key: &str| status.lines().find_map(|line| line.strip_prefix(key)?.strip_prefix(':').map(str::trim));
    let reading = ProcessReading {
        pid,
        arguments: arguments(&read("cmdline")?),
        uid: field("Uid")?.split_whitespace().nth(1)?.parse().ok()?,
        started: started(&String::from_utf8_lossy(&read("stat")?))?,
        capabilities: field("CapEff")?.to_owned(),
        seccomp: field("Seccomp").and_then(|mode| mode.parse().ok()).unwrap_or(0),
    };
    Some(Process { name, reading })
}

/// Every argument ends with a zero byte.
fn arguments(bytes: &[u8]) -> Vec<String> {
    let bytes = bytes.strip_suffix(&[0]).unwrap_or(bytes);
    match bytes.is_empty() {
        true => Vec::new(),
        false => {
            bytes.split(|byte| *byte == 0).map(|part| String::from_utf8_lossy(part).into_owned()).collect()
        }
    }
}

/// When a process started, in microseconds since boot; `None` where it has ended.
pub fn start_of(root: &NodeRoot, pid: u32) -> Option<u64> {
    started(&std::fs::read_to_string(root.known("/proc").join(format!("{pid}/stat"))).ok()?)
}

/// The 22nd field (proc(5)); the second one is a name in parentheses that may hold anything.
fn started(stat: &str) -> Option<u64> {
    let ticks: u64 = stat.rsplit_once(')')?.1.split_whitespace().nth(19)?.parse().ok()?;
    Some(ticks.saturating_mul(START_STEP))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn this_process_is_found_with_its_arguments() {
        let executable = std::env::current_exe().unwrap();
        let name = executable.file_name().unwrap().to_str().unwrap();
        let found = named(&NodeRoot::host(), name).unwrap();
        let own = found.iter().find(|process| process.pid == std::process::id()).unwrap();
        assert_eq!(own.arguments, std::env::args().collect::<Vec<_>>());
        assert!(own.started > 0 && own.capabilities.len() == 16);
    }

    #[test]
    fn odd_names_and_empty_arguments_are_read_right() {
        assert_eq!(started(&format!("1 (a) b) S {} 4711 0", ["0"; 18].join(" "))), Some(47_110_000));
        assert_eq!(arguments(b"a\0\0--x=1\0"), ["a", "", "--x=1"]);
        assert!(arguments(b"").is_empty());
    }
}
