//! What is wrong with a cluster file or a command line, and what kubezt says to it: all of it, where it is, and with nothing touched.
//!
//! `cases.rs` holds the faults, `expected/` what is said to each, whole. `UPDATE_GOLDEN=1 cargo test -p kubezt --test faults` writes
//! that anew; the review is the diff in git.

#![allow(clippy::unwrap_used, clippy::panic, reason = "a test that cannot go on says so by panicking")]

mod cases;

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::io::Read as _;
use std::net::TcpListener;
use std::os::unix::fs::{FileTypeExt as _, MetadataExt as _};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use cases::{Change, Fault};

const CLUSTER: &str = include_str!("cluster.yaml");

/// A bad input is told within this, however much else the machine has to do.
const PATIENCE: Duration = Duration::from_secs(240);
/// What a bad input may cost of a processor, in ticks of a hundredth of a second, without optimization.
const TICKS: u64 = 3000;
/// What a bad input may cost, in KiB: what a good one costs, and some more.
const MEMORY_KIB: u64 = 160 << 10;

#[test]
fn documents_that_are_none() {
    check("documents", &cases::documents());
}

#[test]
fn keys_and_types() {
    check("keys", &cases::keys());
}

#[test]
fn values_that_cannot_work() {
    check("values", &cases::values());
}

#[test]
fn files_beside_the_cluster_file() {
    check("files", &cases::files());
}

#[test]
fn arguments_that_cannot_be_meant() {
    check("arguments", &cases::arguments());
}

/// The checks can fail: a cluster file without a fault is read, and its nodes are connected to.
#[test]
fn without_a_fault_nodes_are_asked() {
    let place = Place::new();
    let run = place.run("trust --yes cp1");
    assert!(place.connections() > 0, "{}", run.said);
    assert_eq!(run.code, Some(3), "{}", run.said);
    assert!(run.said.contains("cp1"), "{}", run.said);
}

fn check(section: &str, faults: &[Fault]) {
    let mut actual = String::new();
    for fault in faults {
        let place = Place::new();
        place.change(&fault.change);
        let before = place.everything();
        let run = place.run(fault.arguments);
        let name = fault.name;
        let after = place.everything();
        let touched =
            || after.keys().filter(|path| after.get(*path) != before.get(*path)).collect::<Vec<_>>();
        assert!(after == before, "{name}: something was touched: {:?}\n{}", touched(), run.said);
        assert_eq!(place.connections(), 0, "{name}: a node was connected to");
        assert!(run.peak_kib < MEMORY_KIB, "{name}: {} MiB", run.peak_kib >> 10);
        assert!(run.ticks < TICKS, "{name}: {} ticks", run.ticks);
        assert!(matches!(run.code, Some(2 | 3)), "{name}: ended with {:?}\n{}", run.code, run.said);
        let _ = write!(
            actual,
            "## {name}\n$ kubezt {}\n{}exit {}\n\n",
            fault.arguments,
            run.said,
            run.code.unwrap()
        );
    }
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join(format!("tests/faults/expected/{section}.txt"));
    if std::env::var_os("UPDATE_GOLDEN").is_some() {
        fs_err::write(&path, &actual).unwrap();
    }
    let expected = fs_err::read_to_string(&path).unwrap_or_default();
    let difference =
        similar::TextDiff::from_lines(&expected, &actual).unified_diff().context_radius(4).to_string();
    assert!(
        difference.is_empty(),
        "what is said to bad input has changed:\n\n{difference}\nWhere this is meant:\n\n    \
         UPDATE_GOLDEN=1 cargo test -p kubezt --test faults\n"
    );
}

/// A folder with a cluster file, and nodes that count who connects.
struct Place {
    folder: tempfile::TempDir,
    port: u16,
    connections: Arc<AtomicUsize>,
}

/// How a command ended.
struct Run {
    code: Option<i32>,
    /// Everything it said, with what differs from run to run replaced.
    said: String,
    /// Largest resident memory.
    peak_kib: u64,
    /// Time of a processor.
    ticks: u64,
}

impl Place {
    fn new() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let port = listener.local_addr().unwrap().port();
        let connections = Arc::new(AtomicUsize::new(0));
        let counted = Arc::clone(&connections);
        // Ends with the process; there is one for each case.
        std::thread::spawn(move || {
            for _connection in listener.incoming() {
                counted.fetch_add(1, Ordering::SeqCst);
            }
        });
        let place = Self { folder, port, connections };
        fs_err::create_dir(place.path("home")).unwrap();
        fs_err::create_dir(place.path("work")).unwrap();
        place.write("cluster.yaml", CLUSTER.replace("PORT", &port.to_string()).as_bytes());
        place.write("passphrase", b"a passphrase that is long enough\n");
        cases::set_mode(&place.path("work/passphrase"), 0o600);
        place.write(
            "id.pub",
            b"ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIJdD7y3aLq454yWBdwLWbieU1ebz9/cu7/QEXn9OIeZJ nobody\n",
        );
        place
    }

    fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    fn write(&self, name: &str, bytes: &[u8]) {
        fs_err::write(self.path("work").join(name), bytes).unwrap();
    }

    fn change(&self, change: &Change) {
        let path = self.path("work/cluster.yaml");
        let mut text = fs_err::read_to_string(&path).unwrap();
        match change {
            Change::None => {}
            Change::Swap(pairs) => {
                for (old, new) in *pairs {
                    assert!(text.contains(old), "the cluster file has no `{old}`");
                    text = text.replacen(old, new, 1);
                }
                fs_err::write(&path, text).unwrap();
            }
            Change::Add(lines) => fs_err::write(&path, text + lines).unwrap(),
            Change::Whole(bytes) => fs_err::write(&path, bytes()).unwrap(),
            Change::Around(change) => change(&self.path("work")),
        }
    }

    fn connections(&self) -> usize {
        self.connections.load(Ordering::SeqCst)
    }

    /// Kind, mode, size, times and content of everything.
    fn everything(&self) -> BTreeMap<PathBuf, (u32, u64, i64, Vec<u8>)> {
        let mut found = BTreeMap::new();
        let mut folders = vec![self.folder.path().to_owned()];
        while let Some(folder) = folders.pop() {
            for entry in fs_err::read_dir(&folder).unwrap() {
                let path = entry.unwrap().path();
                let metadata = path.symlink_metadata().unwrap();
                if metadata.is_dir() {
                    folders.push(path.clone());
                }
                // A large one is told by its time.
                let content =
                    match metadata.is_file() && metadata.len() < 4 << 20 && !metadata.file_type().is_fifo() {
                        true => fs_err::read(&path).unwrap(),
                        false => Vec::new(),
                    };
                found.insert(path, (metadata.mode(), metadata.len(), metadata.mtime_nsec(), content));
            }
        }
        found
    }

    fn run(&self, arguments: &str) -> Run {
        let log = tempfile::tempfile().unwrap();
        let mut child = Command::new(env!("CARGO_BIN_EXE_kubezt"))
            .args(arguments.split_whitespace())
            .current_dir(self.path("work"))
            .env_clear()
            .env("HOME", self.path("home"))
            .stdin(Stdio::null())
            .stdout(log.try_clone().unwrap())
            .stderr(log.try_clone().unwrap())
            .spawn()
            .unwrap();
        let started = Instant::now();
        let (mut peak_kib, mut ticks) = (0, 0);
        let status = loop {
            peak_kib = peak_kib.max(peak_of(child.id()).unwrap_or(0));
            ticks = ticks.max(ticks_of(child.id()).unwrap_or(0));
            match child.try_wait().unwrap() {
                Some(status) => break status,
                None if started.elapsed() < PATIENCE => std::thread::sleep(Duration::from_millis(2)),
                None => {
                    child.kill().unwrap();
                    panic!("`kubezt {arguments}` has not ended after {PATIENCE:?}");
                }
            }
        };
        let mut said = String::new();
        let mut log = log;
        std::io::Seek::rewind(&mut log).unwrap();
        log.read_to_string(&mut said).unwrap();
        let folder = self.folder.path().display().to_string();
        let said = said.replace(&folder, "FOLDER").replace(&self.port.to_string(), "PORT");
        Run { code: status.code(), said, peak_kib, ticks }
    }
}

/// Ticks that a process has had of processors: the fields `utime` and `stime` of proc_pid_stat(5).
fn ticks_of(process: u32) -> Option<u64> {
    let text = fs_err::read_to_string(format!("/proc/{process}/stat")).ok()?;
    // Behind the name, which may hold anything, the state is the first.
    let fields: Vec<&str> = text.rsplit_once(") ")?.1.split(' ').collect();
    Some(fields.get(11)?.parse::<u64>().ok()? + fields.get(12)?.parse::<u64>().ok()?)
}

/// The kernel's own high-water mark of a process.
fn peak_of(process: u32) -> Option<u64> {
    let status = fs_err::read_to_string(format!("/proc/{process}/status")).ok()?;
    let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:"))?;
    line.trim().strip_suffix("kB")?.trim().parse().ok()
}
