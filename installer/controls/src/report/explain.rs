//! A requirement in words.

use std::fmt::Write as _;

use crate::library::{Library, Requirement};
use kubezt_model::{systems, yaml};

/// Everything a requirement says; with a library also the titles of the rules it satisfies.
pub fn write(library: Option<&Library>, requirement: &Requirement) -> String {
    let mut text = String::new();
    // Writing to a String cannot fail.
    let _infallible = write_all(&mut text, library, requirement);
    text
}

fn write_all(text: &mut String, library: Option<&Library>, requirement: &Requirement) -> std::fmt::Result {
    writeln!(text, "{} ({})", requirement.id, requirement.severity.as_str())?;
    writeln!(text, "{}\n", requirement.title)?;
    writeln!(text, "Why\n  {}\n", requirement.why.trim())?;
    writeln!(text, "What to do\n  {}", requirement.remedy.trim())?;
    if !requirement.applies.os.is_empty() {
        writeln!(text, "\nAbout nodes that run")?;
        for system in requirement.applies.os.iter().filter_map(|name| systems::named(name)) {
            writeln!(text, "  {}", system.title)?;
        }
    }
    if !requirement.set.is_empty() {
        writeln!(text, "\nSets")?;
        for (path, value) in &requirement.set {
            writeln!(text, "  {path}: {value}")?;
        }
    }
    section(text, "Checked by", &requirement.check)?;
    if let Some(probe) = &requirement.probe {
        section(text, "Tried by", std::slice::from_ref(probe))?;
    }
    writeln!(text, "\nSatisfies")?;
    for (framework, ids) in &requirement.controls {
        for id in ids {
            let title = library
                .and_then(|library| library.catalogue(framework))
                .and_then(|catalogue| catalogue.rule(id))
                .map(|rule| rule.title.as_str());
            writeln!(
                text,
                "  {framework} {id}{}",
                title.map(|title| format!(": {title}")).unwrap_or_default()
            )?;
        }
    }
    writeln!(text, "\nFrom {}", requirement.place)
}

fn section<T: serde::Serialize>(text: &mut String, title: &str, items: &[T]) -> std::fmt::Result {
    if items.is_empty() {
        return Ok(());
    }
    writeln!(text, "\n{title}")?;
    for item in items {
        let written = yaml::write(item).unwrap_or_default();
        let kept = written.lines().filter(|line| !line.ends_with(": null") && !line.ends_with(": []"));
        for (index, line) in kept.enumerate() {
            writeln!(text, "  {} {line}", if index == 0 { "-" } else { " " })?;
        }
    }
    Ok(())
}
