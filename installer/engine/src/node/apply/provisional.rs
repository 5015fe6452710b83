//! Changes that could cut the operator off, which the node undoes by itself unless they are confirmed.
//!
//! ```text
//! what was before → record → timer armed → change ─┬─ confirmed over a new connection: record removed, timer stopped
//!                                                  ├─ nobody confirms it: the timer runs `kubezt node undo`
//!                                                  └─ the node restarts: record, timer and change are gone
//! ```
//!
//! The timer belongs to systemd, so it outlives this program, the connection and whoever made it. Record, timer and change are in
//! memory only. Whoever takes the record away first, to confirm or to undo, has decided.

use std::collections::BTreeMap;
use std::path::Path;
use std::time::Duration;

use kubezt_model::Mode;
use kubezt_model::action::KernelChange;
use kubezt_model::firewall::Table;
use serde::{Deserialize, Serialize};

use super::{Applied, kernel};
use crate::node::command::run;
use crate::node::files::{self, Attributes};
use crate::node::gather::kernel::sysctl;
use crate::node::{NodeError, NodeRoot, firewall};

/// How to undo what waits for its confirmation.
pub const RECORD: &str = "/run/kubezt-undo.json";
/// The same, while it is being undone.
const UNDOING: &str = "/run/kubezt-undoing.json";
/// Timer and service that undo it. They have a name of their own: nothing else stops them.
const UNIT: &str = "kubezt-undo";
const LIMIT: Duration = Duration::from_secs(20);

/// What waits for its confirmation.
#[derive(Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
struct Record {
    /// What was done, in words.
    done: String,
    /// What undoes it.
    undo: KernelChange,
    /// When the node undoes it by itself.
    until: jiff::Timestamp,
    /// Process that did it, whose connection was there before: it proves nothing.
    by: u32,
}

/// Makes a change that is undone after these seconds unless it is confirmed. What an earlier run left unconfirmed is undone first,
/// so that what is kept is the state that somebody last got through to.
///
/// # Errors
/// [`NodeError`]; nothing is changed then.
pub async fn begin(root: &NodeRoot, change: &KernelChange, seconds: u32) -> Result<Applied, NodeError> {
    undo(root).await?;
    let before = opposite(root, change).await?;
    if is_same(&before, change) {
        return Ok(Applied::changed(false));
    }
    let until = jiff::Timestamp::now() + Duration::from_secs(seconds.into());
    let record = Record { done: change.describe(), undo: before, until, by: std::process::id() };
    write(root, &record)?;
    let begun = match arm(root, seconds).await {
        Ok(()) => carry_out(root, change).await,
        Err(error) => Err(error),
    };
    if let Err(error) = begun {
        undo(root).await?;
        return Err(error);
    }
    Ok(Applied::changed(true))
}

/// Lets the change stay.
///
/// # Errors
/// [`NodeError::NotProvisional`] where it was undone, [`NodeError::SameConnection`] over the connection that made it.
pub async fn confirm(root: &NodeRoot) -> Result<Applied, NodeError> {
    let record = read(&root.known(RECORD))?.ok_or(NodeError::NotProvisional)?;
    if record.by == std::process::id() {
        return Err(NodeError::SameConnection);
    }
    if !files::remove(&root.known(RECORD))? {
        return Err(NodeError::NotProvisional);
    }
    disarm(root).await;
    Ok(Applied::changed(true))
}

/// Undoes the change; nothing to do where nothing waits for its confirmation.
///
/// # Errors
/// [`NodeError`]; the record is kept for another attempt.
pub async fn undo(root: &NodeRoot) -> Result<Applied, NodeError> {
    let (waiting, undoing) = (root.known(RECORD), root.known(UNDOING));
    match std::fs::rename(&waiting, &undoing) {
        Err(error) if !files::is_absent(&error) => return Err(NodeError::file("rename", &waiting)(error)),
        _ => {}
    }
    // An attempt that was cut off left this one.
    let Some(record) = read(&undoing)? else { return Ok(Applied::changed(false)) };
    carry_out(root, &record.undo).await?;
    files::remove(&undoing)?;
    disarm(root).await;
    Ok(Applied::changed(true))
}

/// What waits for its confirmation, in words.
///
/// # Errors
/// [`NodeError::File`], [`NodeError::Configuration`].
pub fn waiting(root: &NodeRoot) -> Result<Option<String>, NodeError> {
    for path in [RECORD, UNDOING] {
        if let Some(record) = read(&root.known(path))? {
            return Ok(Some(format!("{}, until {}", record.done, record.until.strftime("%H:%M:%SZ"))));
        }
    }
    Ok(None)
}

/// What brings the present state back.
async fn opposite(root: &NodeRoot, change: &KernelChange) -> Result<KernelChange, NodeError> {
    match change {
        KernelChange::Firewall { .. } => Ok(KernelChange::Firewall { rules: firewall::listing(root).await? }),
        KernelChange::Sysctls { values } => {
            let mut before = BTreeMap::new();
            for key in values.keys() {
                // One that the kernel does not have is refused when it is set.
                if let Some(value) = sysctl(root, key)? {
                    before.insert(key.clone(), value);
                }
            }
            Ok(KernelChange::Sysctls { values: before })
        }
    }
}

/// Rules are compared as statements: comments and the order of a set say nothing.
fn is_same(before: &KernelChange, wanted: &KernelChange) -> bool {
    let table = |change: &KernelChange| match change {
        KernelChange::Firewall { rules } => rules.as_deref().and_then(Table::parse),
        KernelChange::Sysctls { .. } => None,
    };
    before == wanted || matches!((table(before), table(wanted)), (Some(one), Some(other)) if one == other)
}

async fn carry_out(root: &NodeRoot, change: &KernelChange) -> Result<(), NodeError> {
    match change {
        KernelChange::Firewall { rules } => firewall::load(root, rules.as_deref()).await,
        KernelChange::Sysctls { values } => {
            values.iter().try_for_each(|(key, value)| kernel::set(root, key, value).map(drop))
        }
    }
}

async fn arm(root: &NodeRoot, seconds: u32) -> Result<(), NodeError> {
    disarm(root).await;
    let program = std::env::current_exe().map_err(NodeError::file("find", Path::new("/proc/self/exe")))?;
    let after = format!("--on-active={seconds}s");
    let unit = format!("--unit={UNIT}");
    let arguments = [
        "--quiet",
        "--collect",
        unit.as_str(),
        "--description=kubezt: undoes a change that nobody confirmed",
        after.as_str(),
        "--timer-property=AccuracySec=100ms",
        "--property=Restart=on-failure",
        "--property=RestartSec=5s",
        "--",
        &program.to_string_lossy(),
        "node",
        "undo",
    ];
    run(root, "systemd-run", &arguments, LIMIT).await.map(drop)
}

/// Stops the timer. One that is gone, or that fires nonetheless, finds no record and does nothing.
async fn disarm(root: &NodeRoot) {
    let _ = run(root, "systemctl", &["stop", "--", &format!("{UNIT}.timer")], LIMIT).await;
}

fn write(root: &NodeRoot, record: &Record) -> Result<(), NodeError> {
    let text = serde_json::to_vec(record).map_err(|error| NodeError::Internal(error.to_string()))?;
    let attributes = Attributes { mode: Mode::new(0o600), ids: super::file_ids(root)? };
    files::replace_with(&root.known(RECORD), attributes, &text)
}

fn read(path: &Path) -> Result<Option<Record>, NodeError> {
    let Some(text) = files::text(path)? else { return Ok(None) };
    let record = serde_json::from_str(&text);
    record
        .map(Some)
        .map_err(|error| NodeError::Configuration { path: path.to_owned(), why: error.to_string() })
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::{MetadataExt as _, PermissionsExt as _};

    use super::*;

    const OLD: &str = "table inet kubezt {\n\tchain input {\n\t\ttcp dport 2379 drop\n\t}\n}\n";
    const NEW: &str = "# comment\ntable inet kubezt {\n\tchain input {\n\t\ttcp dport 10250 drop\n\t}\n}\n";

    /// A node whose nft keeps the table in a file, and whose systemd writes down what it is told.
    struct Node {
        folder: tempfile::TempDir,
        root: NodeRoot,
    }

    impl Node {
        fn new(table: Option<&str>) -> Self {
            let folder = tempfile::tempdir().unwrap();
            let root = NodeRoot::at(folder.path());
            let node = Self { folder, root };
            let metadata = std::fs::metadata(node.folder.path()).unwrap();
            node.write("etc/passwd", &format!("root:x:{}:0::/root:/bin/sh\n", metadata.uid()));
            node.write("etc/group", &format!("root:x:{}:\n", metadata.gid()));
            node.write("run/told", "");
            node.write("proc/sys/net/ipv4/ip_forward", "0\n");
            if let Some(table) = table {
                node.write("run/table", table);
            }
            node.program(
                "nft",
                "case \"$1 $2\" in\n'list tables') [ ! -s $R/table ] || echo table inet kubezt ;;\n'list table') cat $R/table ;;\n\
                 *) [ ! -e $R/refuses ] || { echo no such thing >&2; exit 1; }; sed 1,2d \"$2\" >$R/table ;;\nesac",
            );
            node.program("systemd-run", "echo armed \"$@\" >>$R/told; [ ! -e $R/unarmed ]");
            node.program("systemctl", "echo \"$@\" >>$R/told");
            node
        }

        fn write(&self, path: &str, text: &str) {
            let path = self.folder.path().join(path);
            std::fs::create_dir_all(path.parent().unwrap()).unwrap();
            std::fs::write(path, text).unwrap();
        }

        fn program(&self, name: &str, script: &str) {
            let run = self.folder.path().join("run");
            self.write(&format!("usr/sbin/{name}"), &format!("#!/bin/sh\nR={}\n{script}\n", run.display()));
            let path = self.folder.path().join("usr/sbin").join(name);
            std::fs::set_permissions(path, std::fs::Permissions::from_mode(0o755)).unwrap();
        }

        fn text(&self, path: &str) -> String {
            std::fs::read_to_string(self.folder.path().join(path)).unwrap_or_default()
        }

        /// As if the change had been made over another connection.
        fn as_another(&self) {
            let mut record = read(&self.root.known(RECORD)).unwrap().unwrap();
            record.by += 1;
            write(&self.root, &record).unwrap();
        }

        async fn begin(&self, change: &KernelChange) -> Result<Applied, NodeError> {
            begin(&self.root, change, 60).await
        }

        fn waits(&self) -> bool {
            waiting(&self.root).unwrap().is_some()
        }
    }

    fn firewall_of(rules: &str) -> KernelChange {
        KernelChange::Firewall { rules: Some(rules.to_owned()) }
    }

    #[tokio::test]
    async fn what_is_not_confirmed_is_undone() {
        for table in [None, Some(OLD)] {
            let node = Node::new(table);
            assert!(node.begin(&firewall_of(NEW)).await.unwrap().changed);
            assert!(node.text("run/table").contains("10250"));
            let told = node.text("run/told");
            assert!(told.contains("armed") && told.contains("--on-active=60s"), "{told}");
            assert!(told.trim_end().ends_with("node undo"), "{told}");
            assert!(waiting(&node.root).unwrap().unwrap().starts_with("load the host firewall, until "));
            assert!(undo(&node.root).await.unwrap().changed);
            assert_eq!(node.text("run/table"), table.unwrap_or_default());
            assert!(!node.waits() && !undo(&node.root).await.unwrap().changed);
            let late = confirm(&node.root).await.unwrap_err();
            assert!(matches!(late, NodeError::NotProvisional), "{late}");
        }
    }

    #[tokio::test]
    async fn only_another_connection_confirms_it() {
        let node = Node::new(Some(OLD));
        node.begin(&firewall_of(NEW)).await.unwrap();
        let own = confirm(&node.root).await.unwrap_err();
        assert!(matches!(own, NodeError::SameConnection) && node.waits(), "{own}");
        node.as_another();
        assert!(confirm(&node.root).await.unwrap().changed);
        assert!(node.text("run/told").ends_with("stop -- kubezt-undo.timer\n"));
        // The timer that fires nonetheless.
        assert!(!undo(&node.root).await.unwrap().changed);
        assert!(node.text("run/table").contains("10250"));
    }

    #[tokio::test]
    async fn what_is_so_already_needs_no_confirmation() {
        let node = Node::new(Some(NEW));
        assert!(!node.begin(&firewall_of(NEW)).await.unwrap().changed);
        assert!(!node.waits() && !node.text("run/told").contains("armed"));
        let none = Node::new(None);
        assert!(!none.begin(&KernelChange::Firewall { rules: None }).await.unwrap().changed);
    }

    /// The run that made the first change was killed: what it kept is what must come back.
    #[tokio::test]
    async fn a_second_attempt_keeps_what_was_before_the_first() {
        let node = Node::new(Some(OLD));
        node.begin(&firewall_of(&NEW.replace("10250", "1"))).await.unwrap();
        node.begin(&firewall_of(NEW)).await.unwrap();
        undo(&node.root).await.unwrap();
        assert_eq!(node.text("run/table"), OLD);
    }

    #[tokio::test]
    async fn without_a_timer_or_where_the_kernel_refuses_nothing_changes() {
        for fault in ["run/unarmed", "run/refuses"] {
            let node = Node::new(None);
            node.write(fault, "");
            if fault == "run/refuses" {
                let error = node.begin(&firewall_of(NEW)).await.unwrap_err().chain();
                assert!(error.contains("no such thing"), "{error}");
                std::fs::remove_file(node.folder.path().join(fault)).unwrap();
                undo(&node.root).await.unwrap();
            } else {
                node.begin(&firewall_of(NEW)).await.unwrap_err();
            }
            assert_eq!(node.text("run/table"), "", "{fault}");
            assert!(!node.waits(), "{fault}");
        }
    }

    #[tokio::test]
    async fn kernel_parameters_come_back_too() {
        let node = Node::new(None);
        let change = KernelChange::Sysctls {
            values: BTreeMap::from([("net.ipv4.ip_forward".to_owned(), "1".to_owned())]),
        };
        assert!(node.begin(&change).await.unwrap().changed);
        assert_eq!(node.text("proc/sys/net/ipv4/ip_forward").trim(), "1");
        undo(&node.root).await.unwrap();
        assert_eq!(node.text("proc/sys/net/ipv4/ip_forward").trim(), "0");
    }
}
