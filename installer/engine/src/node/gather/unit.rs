//! systemd units, all of them with one call.

use std::collections::BTreeMap;
use std::time::Duration;

use kubezt_model::node::{LastRun, UnitReading};

use crate::node::command::run;
use crate::node::{NodeError, NodeRoot, processes};

const LIMIT: Duration = Duration::from_secs(30);
const PROPERTIES: &str = "--property=LoadState,ActiveState,UnitFileState,MainPID,ActiveEnterTimestampMonotonic,\
                          InactiveEnterTimestampMonotonic,Result,NeedDaemonReload";

/// The units of these names; one that systemd does not know is left out.
///
/// # Errors
/// Where systemd does not answer.
pub async fn read(root: &NodeRoot, names: &[String]) -> Result<BTreeMap<String, UnitReading>, NodeError> {
    if names.is_empty() {
        return Ok(BTreeMap::new());
    }
    let mut arguments = vec!["show", PROPERTIES, "--"];
    arguments.extend(names.iter().map(String::as_str));
    let output = run(root, "systemctl", &arguments, LIMIT).await?;
    let blocks: Vec<Option<UnitReading>> = parse(root, &output.stdout, now());
    if blocks.len() != names.len() {
        return Err(NodeError::Command {
            command: "systemctl show".to_owned(),
            status: "an odd answer".to_owned(),
            output: format!(": {} units were asked for, {} came", names.len(), blocks.len()),
        });
    }
    Ok(names.iter().cloned().zip(blocks).filter_map(|(name, unit)| Some((name, unit?))).collect())
}

/// Microseconds on the clock systemd writes such times by.
fn now() -> u64 {
    let time = rustix::time::clock_gettime(rustix::time::ClockId::Monotonic);
    u64::try_from(time.tv_sec).unwrap_or(0) * 1_000_000 + u64::try_from(time.tv_nsec).unwrap_or(0) / 1000
}

/// One block of `Key=value` lines a unit, in the order asked, separated by blank lines.
fn parse(root: &NodeRoot, text: &str, now: u64) -> Vec<Option<UnitReading>> {
    let blocks = text.split("\n\n").map(str::trim).filter(|block| !block.is_empty());
    blocks.map(|block| unit(root, block, now)).collect()
}

fn unit(root: &NodeRoot, block: &str, now: u64) -> Option<UnitReading> {
    let property = |key: &str| {
        block.lines().find_map(|line| line.strip_prefix(key)?.strip_prefix('=')).unwrap_or("").to_owned()
    };
    (property("LoadState") != "not-found").then(|| {
        let active = property("ActiveState");
        // A unit without a process has process id 0. One that did its work and is active since has no process either.
        let process = property("MainPID").parse().ok().and_then(|pid| processes::start_of(root, pid));
        let entered =
            || property("ActiveEnterTimestampMonotonic").parse().ok().filter(|_| active == "active");
        // Microseconds; 0 where it never ended. While it runs again, the result is not known yet, and is that of success.
        let ended: u64 = property("InactiveEnterTimestampMonotonic").parse().unwrap_or(0);
        let last_run = (ended > 0).then(|| LastRun {
            succeeded: property("Result") == "success",
            seconds_ago: now.saturating_sub(ended) / 1_000_000,
        });
        UnitReading {
            last_run,
            started: process.or_else(entered).unwrap_or(0),
            active,
            enabled: property("UnitFileState"),
            needs_reload: property("NeedDaemonReload") == "yes",
        }
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn blocks_become_units_and_unknown_ones_nothing() {
        let text = "LoadState=loaded\nActiveState=active\nUnitFileState=enabled\nMainPID=7\n\
                    ActiveEnterTimestampMonotonic=180000\nNeedDaemonReload=yes\n\n\
                    LoadState=not-found\nActiveState=inactive\nUnitFileState=\n\n\
                    LoadState=loaded\nActiveState=active\nMainPID=0\nActiveEnterTimestampMonotonic=5\n\n\
                    LoadState=loaded\nActiveState=inactive\nMainPID=0\nActiveEnterTimestampMonotonic=5\n\
                    InactiveEnterTimestampMonotonic=7000000\nResult=exit-code\n";
        let root = tempfile::tempdir().unwrap();
        std::fs::create_dir_all(root.path().join("proc/7")).unwrap();
        std::fs::write(root.path().join("proc/7/stat"), format!("7 (a) S {} 17", ["0"; 18].join(" ")))
            .unwrap();
        let units = parse(&NodeRoot::at(root.path()), text, 9_500_000);
        assert_eq!(units.len(), 4);
        assert_eq!(
            units[0],
            Some(UnitReading {
                active: "active".into(),
                enabled: "enabled".into(),
                started: 170_000,
                needs_reload: true,
                last_run: None,
            })
        );
        assert_eq!(units[1], None);
        let started = |unit: &Option<UnitReading>| unit.as_ref().map(|unit| unit.started);
        assert_eq!([started(&units[2]), started(&units[3])], [Some(5), Some(0)]);
        let ended = units[3].as_ref().unwrap().last_run;
        assert_eq!(ended, Some(LastRun { succeeded: false, seconds_ago: 2 }));
    }
}
