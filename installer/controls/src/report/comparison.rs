//! The difference between two profiles in words.

use std::fmt::Write as _;

use serde_json::Value;

use super::deviations::{Deviation, Kind};
use crate::check::op::show;
use crate::compare::{Changes, Comparison};
use crate::library::Library;

/// Width of the text, in columns.
const WIDTH: usize = 110;

/// Settings from and to, requirements and rules won (`+`) and lost (`-`), what is loosened (`~`), and the
/// reasons the second profile gives.
pub fn write(library: &Library, comparison: &Comparison) -> String {
    let mut text = String::new();
    // Writing to a String cannot fail.
    let _infallible = write_all(&mut text, library, comparison);
    text
}

fn write_all(text: &mut String, library: &Library, comparison: &Comparison) -> std::fmt::Result {
    let Comparison { from, to, settings, requirements, controls, deviations } = comparison;
    writeln!(text, "{from} → {to}")?;
    let nothing_won = requirements.is_empty() && controls.values().all(Changes::is_empty);
    if settings.is_empty() && nothing_won && deviations.is_empty() {
        return writeln!(text, "\nno difference");
    }
    writeln!(text, "\nsettings: {} differ", settings.len())?;
    for change in settings {
        write_setting(text, &change.path, change.from.as_ref(), change.to.as_ref())?;
    }
    let (won, lost) = (&requirements.won, &requirements.lost);
    writeln!(text, "\nrequirements: {} won, {} lost", won.len(), lost.len())?;
    let title = |id: &str| library.requirement(id).map_or("", |requirement| requirement.title.as_str());
    for id in won {
        writeln!(text, "  + {id}: {}", title(id))?;
    }
    for id in lost {
        writeln!(text, "  - {id}: {}", title(id))?;
        let why = deviations.iter().find(|one| one.kind == Kind::Excluded && one.requirement == *id);
        for line in why.into_iter().flat_map(Deviation::lines) {
            writeln!(text, "      {line}")?;
        }
    }
    for loosened in deviations.iter().filter(|one| one.kind == Kind::Loosened) {
        writeln!(text, "  ~ {}: {}", loosened.requirement, title(&loosened.requirement))?;
        for line in loosened.lines() {
            writeln!(text, "      {line}")?;
        }
    }
    writeln!(text, "\ncontrols")?;
    for (framework, Changes { won, lost }) in controls {
        let title = library.catalogue(framework).map_or("", |catalogue| catalogue.title.as_str());
        writeln!(text, "  {framework} ({title}): {} won, {} lost", won.len(), lost.len())?;
        write_ids(text, '+', won)?;
        write_ids(text, '-', lost)?;
    }
    Ok(())
}

/// Of two lists only the items that differ.
fn write_setting(
    text: &mut String,
    path: &str,
    from: Option<&Value>,
    to: Option<&Value>,
) -> std::fmt::Result {
    if let (Some(Value::Array(from)), Some(Value::Array(to))) = (from, to) {
        let items = |sign: char, list: &[Value], other: &[Value]| -> String {
            let only = list.iter().filter(|item| !other.contains(item));
            only.map(|item| format!(" {sign}{}", show(item))).collect()
        };
        return writeln!(text, "  {path}:{}{}", items('+', to, from), items('-', from, to));
    }
    let word = |value: Option<&Value>| value.map_or_else(|| "(not set)".to_owned(), show);
    writeln!(text, "  {path}: {} → {}", word(from), word(to))
}

/// Ids after a sign, as many on a line as fit.
fn write_ids(text: &mut String, sign: char, ids: &[String]) -> std::fmt::Result {
    let mut line = String::new();
    for id in ids {
        if line.len() + id.len() + 7 > WIDTH {
            writeln!(text, "    {sign}{line}")?;
            line.clear();
        }
        line.push(' ');
        line.push_str(id);
    }
    if line.is_empty() { Ok(()) } else { writeln!(text, "    {sign}{line}") }
}
