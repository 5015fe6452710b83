//! A profile in words.

use std::fmt::Write as _;

use super::deviations;
use crate::library::{Library, Profile};

/// What a profile adds to which others, what it leaves out or loosens and why, its own settings, and its
/// requirements with what they set.
pub fn write(library: &Library, profile: &Profile) -> String {
    let mut text = String::new();
    // Writing to a String cannot fail.
    let _infallible = write_all(&mut text, library, profile);
    text
}

fn write_all(text: &mut String, library: &Library, profile: &Profile) -> std::fmt::Result {
    writeln!(text, "{}: {}", profile.name, profile.title)?;
    let lineage = library.lineage(&profile.name);
    if lineage.len() > 1 {
        let names: Vec<&str> = lineage.iter().rev().map(|profile| profile.name.as_str()).collect();
        writeln!(text, "extends {}", names[1..].join(", which extends "))?;
    }
    let frameworks = library.frameworks_of(&profile.name);
    let titles: Vec<String> = frameworks
        .into_iter()
        .filter_map(|name| library.catalogue(name))
        .map(|catalogue| format!("{} {}", catalogue.title, catalogue.version))
        .collect();
    if !titles.is_empty() {
        writeln!(text, "judged against every rule of {}", titles.join(" and "))?;
    }
    for deviation in deviations::of(library, &profile.name) {
        writeln!(text, "\n{} {}", deviation.kind.word(), deviation.requirement)?;
        for line in deviation.lines() {
            writeln!(text, "    {line}")?;
        }
    }
    for one in lineage.iter().filter(|one| !one.settings.is_empty()) {
        writeln!(text, "\nsettings of profile {}", one.name)?;
        for (path, value) in &one.settings {
            writeln!(text, "    {path}: {value}")?;
        }
    }
    for requirement in library.requirements_of(&profile.name) {
        writeln!(text, "\n{:<28} {}", requirement.id, requirement.title)?;
        for (path, value) in &requirement.set {
            writeln!(text, "    {path}: {value}")?;
        }
    }
    Ok(())
}
