//! Memory of the node.

use kubezt_model::health::MemoryReading;

use crate::node::{NodeError, NodeRoot, files};

const MEMORY: &str = "/proc/meminfo";
const EVENTS: &str = "/proc/vmstat";

/// How much there is and can be had (proc(5)).
///
/// # Errors
/// [`NodeError::File`], [`NodeError::Unsuitable`].
pub fn read(root: &NodeRoot) -> Result<MemoryReading, NodeError> {
    let path = root.known(MEMORY);
    let memory = files::text(&path)?.unwrap_or_default();
    let field = |name: &str| {
        let line = memory.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(':'));
        let kibibytes: Option<u64> = line.and_then(|line| line.split_whitespace().next()?.parse().ok());
        kibibytes
            .map(|size| size << 10)
            .ok_or_else(|| NodeError::Unsuitable { path: path.clone(), why: format!("it tells no {name}") })
    };
    let events = files::text(&root.known(EVENTS)).ok().flatten().unwrap_or_default();
    let killed = events.lines().find_map(|line| line.strip_prefix("oom_kill ")?.trim().parse().ok());
    Ok(MemoryReading {
        total: field("MemTotal")?,
        available: field("MemAvailable")?,
        killed: killed.unwrap_or(0),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn memory_is_read_or_refused() {
        let folder = tempfile::tempdir().unwrap();
        let root = NodeRoot::at(folder.path());
        assert!(read(&root).is_err());
        std::fs::create_dir(root.known("/proc")).unwrap();
        std::fs::write(root.known(MEMORY), "MemTotal:  2048 kB\nMemFree: 1 kB\nMemAvailable:  1024 kB\n")
            .unwrap();
        std::fs::write(root.known(EVENTS), "oom_kill_x 9\noom_kill 3\n").unwrap();
        assert_eq!(read(&root).unwrap(), MemoryReading { total: 2 << 20, available: 1 << 20, killed: 3 });
    }
}
