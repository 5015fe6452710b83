//! systemd units.

use kubezt_model::cluster::Role;
use kubezt_model::node::{Read, Reading, UnitReading};
use serde::{Deserialize, Serialize};

use super::{Judged, NodeContext, unexpected};

/// What is wanted of units.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct UnitCheck {
    /// Units. Where something has to be off, all of them; where something has to be on, one of them is enough, since
    /// distributions name the same thing differently.
    pub units: Vec<String>,
    /// Whether it runs.
    #[serde(default)]
    pub active: Option<bool>,
    /// Whether it starts with the host.
    #[serde(default)]
    pub enabled: Option<bool>,
    /// Its last run ended well, this many seconds ago at most: for what a timer starts.
    #[serde(default)]
    pub succeeded_within: Option<u64>,
    /// Node roles; empty means all.
    #[serde(default)]
    pub roles: Vec<Role>,
}

/// States of a unit file that do not start the unit. `static` ones start only when something asks for them.
const NOT_ENABLED: [&str; 5] = ["", "disabled", "masked", "masked-runtime", "static"];

impl UnitCheck {
    /// Whether the parts fit.
    ///
    /// # Errors
    /// They do not.
    pub fn validate(&self) -> Result<(), String> {
        let wants_nothing =
            self.active.is_none() && self.enabled.is_none() && self.succeeded_within.is_none();
        if self.units.is_empty() || wants_nothing {
            return Err("a unit check needs `units`, and `active`, `enabled` or `succeededWithin`".to_owned());
        }
        Ok(())
    }

    /// The units.
    pub fn reads(&self) -> Vec<Read> {
        self.units.iter().map(|name| Read::Unit { name: name.clone() }).collect()
    }

    /// Judges the units.
    ///
    /// # Errors
    /// A unit could not be read.
    pub fn judge(&self, context: &NodeContext<'_>) -> Result<Judged, String> {
        let mut seen = Vec::new();
        for read in self.reads() {
            let Read::Unit { name } = &read else { continue };
            match context.reading(&read)? {
                Reading::Unit(unit) => seen.push((name.clone(), Some(unit))),
                Reading::Missing => seen.push((name.clone(), None)),
                _ => return Err(unexpected(&read)),
            }
        }
        let mut judged = Vec::new();
        if let Some(wanted) = self.active {
            judged.push(decide(&seen, wanted, ["active", "inactive"], is_active));
        }
        if let Some(wanted) = self.enabled {
            judged.push(decide(&seen, wanted, ["enabled", "disabled"], is_enabled));
        }
        if let Some(seconds) = self.succeeded_within {
            judged.push(last_run(&seen, seconds));
        }
        Ok(Judged::all(judged))
    }
}

/// Anything that is not surely down counts as running.
fn is_active(unit: &UnitReading) -> bool {
    !["inactive", "failed"].contains(&unit.active.as_str())
}

fn is_enabled(unit: &UnitReading) -> bool {
    !NOT_ENABLED.contains(&unit.enabled.as_str())
}

/// Where several units are named, one of them is enough.
fn last_run(seen: &[(String, Option<&UnitReading>)], within: u64) -> Judged {
    let run = |unit: &Option<&UnitReading>| unit.and_then(|unit| unit.last_run);
    let describe = |(name, unit): &(String, Option<&UnitReading>)| match (unit, run(unit)) {
        (None, _) => format!("{name} does not exist"),
        (_, None) => format!("{name} never ran"),
        (_, Some(run)) => {
            let how = if run.succeeded { "succeeded" } else { "failed" };
            format!("{name} {how} {} s ago", run.seconds_ago)
        }
    };
    let holds =
        seen.iter().any(|(_, unit)| run(unit).is_some_and(|run| run.succeeded && run.seconds_ago <= within));
    let names = seen.iter().map(|(name, _)| name.as_str()).collect::<Vec<_>>().join(", ");
    let got = seen.iter().map(describe).collect::<Vec<_>>().join(", ");
    Judged::of(holds, format!("one of {names} succeeded within {within} s"), got)
}

fn decide(
    seen: &[(String, Option<&UnitReading>)],
    wanted: bool,
    words: [&str; 2],
    state: impl Fn(&UnitReading) -> bool,
) -> Judged {
    let on = |unit: &Option<&UnitReading>| unit.is_some_and(&state);
    let describe = |(name, unit): &(String, Option<&UnitReading>)| match unit {
        Some(unit) => format!("{name} {} {}", unit.active, unit.enabled).trim_end().to_owned(),
        None => format!("{name} does not exist"),
    };
    let got = seen.iter().map(describe).collect::<Vec<_>>().join(", ");
    let names = seen.iter().map(|(name, _)| name.as_str()).collect::<Vec<_>>();
    if wanted {
        // `active` in a positive sense is only the state of that name, not "activating".
        let holds = seen.iter().any(|(_, unit)| {
            on(unit) && unit.is_some_and(|unit| words[0] != "active" || unit.active == "active")
        });
        Judged::of(holds, format!("one of {} {}", names.join(", "), words[0]), got)
    } else {
        Judged::of(!seen.iter().any(|(_, unit)| on(unit)), format!("{} {}", names.join(", "), words[1]), got)
    }
}
