//! Clocks: certificates are valid from a moment on, and etcd's members compare theirs.

use std::collections::BTreeMap;

use kubezt_model::NodeName;

use super::{Check, Remark, Scene, Severity, list, nothing};
use crate::preflight::ClockOffset;

/// Milliseconds from which on certificates of one machine are not valid yet on another: kubezt dates them five minutes back.
const CERTIFICATES: i64 = 5 * 60 * 1000;
/// Milliseconds from which on etcd warns of its peers' clocks (etcd: `rafthttp/probing_status.go`).
const ETCD: i64 = 1000;

pub(super) const CHECK: Check = Check { id: "clock", title: "Clocks agree", reads: nothing, judge };

fn judge(scene: &Scene<'_>) -> Vec<Remark> {
    disagreement(&scene.seen.clocks)
}

/// Clocks that differ from what most say, or all from this machine's. How bad it is depends on the earliest and the latest of all, this
/// machine's included: it dates the authorities, control-plane nodes date what they renew, and every node judges both.
pub(crate) fn disagreement(clocks: &BTreeMap<NodeName, ClockOffset>) -> Vec<Remark> {
    let clocks: Vec<(&NodeName, ClockOffset)> = clocks.iter().map(|(node, offset)| (node, *offset)).collect();
    let mut ahead: Vec<i64> = clocks.iter().map(|(_, offset)| offset.milliseconds).collect();
    ahead.sort_unstable();
    // What most nodes say; of an even number the earlier one.
    let Some(common) = ahead.get(ahead.len().saturating_sub(1) / 2).copied() else { return Vec::new() };
    // Only what no delay on the way can explain counts.
    let apart =
        |offset: &ClockOffset, from: i64| ((offset.milliseconds - from).abs() - offset.uncertainty).max(0);
    let wrong: Vec<&(&NodeName, ClockOffset)> =
        clocks.iter().filter(|(_, offset)| apart(offset, common) > ETCD).collect();
    let remedy = "let chrony or systemd-timesyncd set it, and wait until it has";
    let latest = clocks.iter().map(|(_, offset)| offset.milliseconds - offset.uncertainty).max();
    let earliest = clocks.iter().map(|(_, offset)| offset.milliseconds + offset.uncertainty).min();
    let worst = latest.unwrap_or(0).max(0) - earliest.unwrap_or(0).min(0);
    if !wrong.is_empty() {
        let told =
            list(clocks.iter().map(|(node, offset)| format!("{node} {}", seconds(offset.milliseconds))));
        let what = format!(
            "clocks differ by {} (against this machine's: {told})",
            seconds(worst).trim_start_matches('+')
        );
        let nodes = wrong.iter().map(|(node, _)| *node);
        return vec![Remark::new(severity(worst), nodes, what, remedy)];
    }
    let least = clocks.iter().map(|(_, offset)| apart(offset, 0)).min().unwrap_or(0);
    if least > ETCD {
        let what = format!("the nodes' clocks agree, and are {} from this machine's", seconds(common));
        return vec![Remark::new(severity(worst), [], what, format!("here or on the nodes: {remedy}"))];
    }
    Vec::new()
}

fn severity(milliseconds: i64) -> Severity {
    if milliseconds > CERTIFICATES { Severity::Error } else { Severity::Warning }
}

fn seconds(milliseconds: i64) -> String {
    let sign = if milliseconds < 0 { '-' } else { '+' };
    let milliseconds = milliseconds.unsigned_abs();
    format!("{sign}{}.{} s", milliseconds / 1000, milliseconds % 1000 / 100)
}

#[cfg(test)]
mod tests {
    use super::super::super::fixture::Fixture;
    use super::*;

    fn set(fixture: &mut Fixture, clocks: [(&str, i64, i64); 3]) {
        for (node, milliseconds, uncertainty) in clocks {
            fixture.seen.clocks.insert(fixture.name(node), ClockOffset { milliseconds, uncertainty });
        }
    }

    #[test]
    fn the_node_that_differs_is_named() {
        let mut fixture = Fixture::new();
        fixture.assert_none("clock");
        set(&mut fixture, [("cp1", 2, 5), ("w1", -2300, 10), ("w2", 0, 5)]);
        let finding = fixture.assert_one("clock", "warning", &["w1"], "differ by 2.2 s");
        assert!(finding.what.contains("cp1 +0.0 s, w1 -2.3 s"), "{}", finding.what);
        set(&mut fixture, [("cp1", 2, 5), ("w1", 3_600_000, 10), ("w2", 0, 5)]);
        fixture.assert_one("clock", "error", &["w1"], "3599.9 s");
        set(&mut fixture, [("cp1", 0, 5), ("w1", -3_600_000, 10), ("w2", 0, 5)]);
        fixture.assert_one("clock", "error", &["w1"], "w1 -3600.0 s");
    }

    /// What most say is three minutes from both, and they are six from each other.
    #[test]
    fn the_earliest_and_the_latest_decide_how_bad_it_is() {
        let mut fixture = Fixture::new();
        set(&mut fixture, [("cp1", 140_000, 0), ("w1", -140_000, 0), ("w2", 0, 0)]);
        fixture.assert_one("clock", "warning", &["cp1", "w1"], "differ by 280.0 s");
        set(&mut fixture, [("cp1", 180_000, 0), ("w1", -180_000, 0), ("w2", 0, 0)]);
        fixture.assert_one("clock", "error", &["cp1", "w1"], "differ by 360.0 s");
        // This machine dates the authorities.
        set(&mut fixture, [("cp1", -240_000, 0), ("w1", -480_000, 0), ("w2", -240_000, 0)]);
        fixture.assert_one("clock", "error", &["w1"], "differ by 480.0 s");
    }

    #[test]
    fn a_slow_way_is_no_difference_and_the_operators_own_clock_may_be_wrong() {
        let mut fixture = Fixture::new();
        set(&mut fixture, [("cp1", 0, 5), ("w1", 1900, 950), ("w2", 0, 5)]);
        fixture.assert_none("clock");
        set(&mut fixture, [("cp1", 400_000, 5), ("w1", 400_100, 5), ("w2", 400_000, 5)]);
        fixture.assert_one("clock", "error", &[], "from this machine's");
    }
}
