//! How long small writes take to be on disk, as etcd makes them.

use std::fs::File;
use std::io::Write as _;
use std::time::{Duration, Instant};

use kubezt_model::node::Reading;
use kubezt_model::survey::FsyncReading;

use super::survey::nearest_folder;
use crate::node::{NodeError, NodeRoot};

/// Bytes of one write: what etcd's own advice on measuring disks takes for an entry of its log.
const WRITE: usize = 2300;
/// Writes that are made at most, which bounds the file to less than 1 MiB.
const WRITES: usize = 400;
/// How long it goes on at most; a write that has begun is waited for.
const LIMIT: Duration = Duration::from_millis(400);
/// How long that write is waited for.
const PATIENCE: Duration = Duration::from_secs(5);

/// Measures, and waits for it no longer than is sensible.
pub async fn read(root: &NodeRoot, path: &str) -> Reading {
    let (root, path) = (root.clone(), path.to_owned());
    let measuring = tokio::task::spawn_blocking(move || measure(&root, &path));
    match tokio::time::timeout(PATIENCE, measuring).await {
        Ok(Ok(Ok(took))) => Reading::Fsync(took),
        Ok(Ok(Err(error))) => Reading::Failed(error.chain()),
        Ok(Err(error)) => Reading::Failed(error.to_string()),
        Err(_) => Reading::Failed(format!("a write was not on disk after {} s", PATIENCE.as_secs())),
    }
}

/// Writes to a file without a name in this folder, which is gone when it is closed, however that happens.
///
/// # Errors
/// [`NodeError::Path`]; [`NodeError::File`] where the folder cannot be written to.
fn measure(root: &NodeRoot, path: &str) -> Result<FsyncReading, NodeError> {
    let (place, folder) = nearest_folder(root, path)?;
    let mut file = tempfile::tempfile_in(&place).map_err(NodeError::file("create a file in", &place))?;
    let begun = Instant::now();
    let mut took = Vec::with_capacity(WRITES);
    while took.len() < WRITES && begun.elapsed() < LIMIT {
        let one = write(&mut file).map_err(NodeError::file("write to a file in", &place))?;
        took.push(u64::try_from(one.as_micros()).unwrap_or(u64::MAX));
    }
    took.sort_unstable();
    Ok(FsyncReading {
        folder,
        writes: u32::try_from(took.len()).unwrap_or(u32::MAX),
        p50: percentile(&took, 50),
        p99: percentile(&took, 99),
    })
}

fn write(file: &mut File) -> std::io::Result<Duration> {
    let begun = Instant::now();
    file.write_all(&[0; WRITE])?;
    file.sync_data()?;
    Ok(begun.elapsed())
}

/// The smallest value that so many of 100 do not exceed; 0 where there is none.
fn percentile(sorted: &[u64], percent: usize) -> u64 {
    let position = (sorted.len() * percent).div_ceil(100).saturating_sub(1);
    sorted.get(position).copied().unwrap_or(0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn writes_are_timed_and_nothing_is_left() {
        let folder = tempfile::tempdir().unwrap();
        let root = NodeRoot::at(folder.path());
        std::fs::create_dir_all(root.known("/var/lib")).unwrap();
        let begun = Instant::now();
        let Reading::Fsync(seen) = read(&root, "/var/lib/etcd").await else { panic!() };
        assert_eq!(seen.folder, "/var/lib");
        assert!(seen.writes > 0 && seen.p50 <= seen.p99 && seen.p99 > 0, "{seen:?}");
        assert!(begun.elapsed() < LIMIT + Duration::from_secs(5));
        assert_eq!(std::fs::read_dir(root.known("/var/lib")).unwrap().count(), 0);
        assert!(matches!(read(&root, "var").await, Reading::Failed(_)));
    }

    #[test]
    fn percentiles_of_few_values_are_the_longest() {
        let hundred: Vec<u64> = (1..=100).collect();
        assert_eq!([percentile(&hundred, 50), percentile(&hundred, 99)], [50, 99]);
        assert_eq!([percentile(&[7, 9], 50), percentile(&[7, 9], 99)], [7, 9]);
        assert_eq!(percentile(&[], 99), 0);
    }
}
