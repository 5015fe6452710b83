//! kubezt's side.

use anyhow::{Context, Result, bail, ensure};
use serde::Deserialize;

use super::Bench;
use super::measure::{self, Measured};
use crate::report;

/// What was measured.
pub struct Kubezt {
    /// `install` on nodes that have the artifacts and nothing else.
    pub install: Measured,
    /// Seconds of `install --no-verify` where there is nothing to do: the median of [`AGAIN`] runs.
    pub second_install: f64,
    /// `verify`.
    pub verify: Measured,
    /// What `install` cost on the wire.
    pub cost: Cost,
}

/// What the node that cost most did cost.
#[derive(Debug, Default, Clone, Copy, PartialEq, Eq, Deserialize)]
pub struct Cost {
    /// Bytes sent to the node.
    pub bytes_sent: u64,
    /// Questions that were waited for.
    pub round_trips: u64,
}

/// How often is installed where there is nothing to do: it takes a second or two, of which whatever else runs makes much.
const AGAIN: usize = 3;

/// Installs, installs again and verifies.
///
/// # Errors
/// A command fails, findings of the verification included, or the second install had something to do.
pub fn measure(bench: &Bench) -> Result<Kubezt> {
    let install = run(bench, "kubezt install", &["install"])?;
    let journals = bench.journals()?;
    let cost = journals.iter().try_fold(Cost::default(), |most, journal| {
        let text = fs_err::read_to_string(journal)?;
        // The lab goes, and with it the journal; what steps took is asked for afterwards.
        fs_err::write(bench.folder.join(journal.file_name().context("a journal has a name")?), &text)?;
        show_timeline(&text, install.began)?;
        Ok::<_, anyhow::Error>(most.or_more(most_expensive(&text)?))
    })?;
    ensure!(cost != Cost::default(), "the journal does not say what a node cost");

    report::timed("the machine is idle again", measure::settle)?;
    let mut again = Vec::new();
    for _ in 0..AGAIN {
        again.push(run(bench, "kubezt second install", &["install", "--no-verify"])?.seconds);
    }
    // A run that has something to do writes a journal.
    if bench.journals()?.len() > journals.len() {
        bail!(
            "the second install had something to do; its journal is in {}",
            bench.journal_folder().display()
        );
    }
    let verify = run(bench, "kubezt verify", &["verify"])?;
    Ok(Kubezt { install, second_install: measure::median(again), verify, cost })
}

/// One command on the lab, with its log among the bench's files.
///
/// # Errors
/// It fails.
pub fn run(bench: &Bench, name: &str, arguments: &[&str]) -> Result<Measured> {
    let log = bench.folder.join(format!("{}.log", name.replace(' ', "-")));
    measure::run(name, &mut bench.kubezt(arguments), &log)
}

/// Prints where a run's time went; `began` is when its program did, in milliseconds.
///
/// # Errors
/// The journal is none.
pub fn show_timeline(journal: &str, began: u64) -> Result<()> {
    timeline(journal, began)?.iter().for_each(|line| report::line(line));
    Ok(())
}

/// When the first step began, and when those ended that took a while, in seconds since the program did, which is in milliseconds.
fn timeline(journal: &str, began: u64) -> Result<Vec<String>> {
    let mut lines = Vec::new();
    for line in journal.lines() {
        let event: serde_json::Value =
            serde_json::from_str(line).with_context(|| format!("journal: `{line}`"))?;
        let milliseconds = |key: &str| event[key].as_u64().unwrap_or_default();
        let after = milliseconds("at").saturating_sub(began);
        let took = milliseconds("milliseconds");
        let seconds = |milliseconds: u64| milliseconds as f64 / 1000.0;
        if lines.is_empty() {
            lines.push(format!("  first step after {:.1} s", seconds(after)));
        }
        if event["event"] == "step-finished" && took >= 500 {
            let step = event["step"].as_str().unwrap_or_default();
            lines.push(format!("  {step} after {:.1} s ({:.1} s)", seconds(after), seconds(took)));
        }
    }
    Ok(lines)
}

/// The largest costs of any node in a journal.
fn most_expensive(journal: &str) -> Result<Cost> {
    journal.lines().try_fold(Cost::default(), |most, line| {
        let event: serde_json::Value =
            serde_json::from_str(line).with_context(|| format!("journal: `{line}`"))?;
        if event["event"] != "node-cost" {
            return Ok(most);
        }
        Ok(most.or_more(Cost::deserialize(event).with_context(|| format!("journal: `{line}`"))?))
    })
}

impl Cost {
    fn or_more(self, other: Self) -> Self {
        Self {
            bytes_sent: self.bytes_sent.max(other.bytes_sent),
            round_trips: self.round_trips.max(other.round_trips),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_most_expensive_node_counts() {
        let journal = r#"{"at":1,"event":"run-started","steps":2}
{"at":2,"event":"node-cost","node":"a-cp1","bytes_sent":10,"bytes_received":5,"round_trips":7}
{"at":2,"event":"node-cost","node":"a-w1","bytes_sent":30,"bytes_received":5,"round_trips":6}
"#;
        assert_eq!(most_expensive(journal).unwrap(), Cost { bytes_sent: 30, round_trips: 7 });
        assert!(most_expensive("{\"event\":\"node-cost\"}").is_err());
        assert!(most_expensive("cut o").is_err());
    }
}
