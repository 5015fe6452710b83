//! `kubezt journal`

mod gantt;

use std::collections::BTreeMap;
use std::sync::Arc;

use kubezt_engine::journal::{self, Entry};
use kubezt_engine::link::NodeProgram;
use kubezt_engine::node::journal::JOURNAL_FOLDER;
use kubezt_engine::nodes::Nodes;
use kubezt_model::NodeName;
use kubezt_model::event::Event;
use kubezt_model::node::{FileKind, Read, Reading};

use crate::args::JournalArgs;
use crate::context::Context;
use crate::failure::Failure;
use crate::printer::Printer;
use crate::progress;
use crate::reach::Reach;
use crate::session::connect;

/// Lists runs, or shows one.
pub async fn run(arguments: JournalArgs, printer: Printer) -> Result<(), Failure> {
    let context = Context::load(&arguments.cluster)?;
    let texts = match &arguments.node {
        Some(node) => kept_on(&context, node, printer).await?,
        None => kept_here(&context)?,
    };
    let mut runs = BTreeMap::new();
    for (name, text) in &texts {
        let entries = journal::parse(text)
            .map_err(|error| Failure::findings(format!("{name}.jsonl is damaged: {error}")))?;
        runs.insert(name.as_str(), entries);
    }
    match &arguments.run {
        Some(run) => {
            let entries = runs.get(run.as_str()).ok_or_else(|| {
                Failure::usage(format!("there is no run {run}"))
                    .hint("`kubezt journal` lists those of this machine, with `--node` those of all")
            })?;
            if arguments.svg {
                printer.text(&gantt::svg(entries));
                return Ok(());
            }
            printer.line(&summary(run, entries));
            let lines = entries.iter().filter_map(|entry| Some((entry.at, progress::line(&entry.event)?)));
            lines.for_each(|(at, line)| printer.line(&format!("{} {line}", clock(at))));
        }
        None => runs.iter().rev().for_each(|(run, entries)| printer.line(&summary(run, entries))),
    }
    Ok(())
}

/// Texts of the journals of this machine, by name of the run.
fn kept_here(context: &Context) -> Result<BTreeMap<String, String>, Failure> {
    let folder = context.state.path("journal");
    let mut texts = BTreeMap::new();
    if folder.is_dir() {
        for entry in fs_err::read_dir(&folder).map_err(Failure::environment)? {
            let path = entry.map_err(Failure::environment)?.path();
            if let Some(run) = path.to_str().and_then(run_of) {
                texts.insert(run, fs_err::read_to_string(&path).map_err(Failure::environment)?);
            }
        }
    }
    Ok(texts)
}

/// Texts of the journals a node keeps, by name of the run.
async fn kept_on(
    context: &Context,
    node: &str,
    printer: Printer,
) -> Result<BTreeMap<String, String>, Failure> {
    let name = context.cluster.nodes.iter().map(|node| &node.name).find(|name| name.as_str() == node);
    let name = name.ok_or_else(|| Failure::usage(format!("the cluster file names no node {node}")))?;
    let program = Arc::new(NodeProgram::this().map_err(Failure::environment)?);
    let mut reach = Reach::of(context, printer)?;
    reach.targets.retain(|(target, _)| target == name);
    let (nodes, failures) = connect(reach, program).await;
    if let Some(failure) = failures.first() {
        return Err(Failure::environment(failure));
    }
    let tree = read(&nodes, name, vec![Read::Tree { path: JOURNAL_FOLDER.to_owned() }]).await?;
    let paths = tree.into_iter().flat_map(|reading| match reading {
        Reading::Tree(files) => files,
        _ => Vec::new(),
    });
    let paths = paths.filter(|file| file.kind == FileKind::File && run_of(&file.path).is_some());
    let reads = paths.map(|file| Read::File { path: file.path, text: true }).collect();
    let mut texts = BTreeMap::new();
    for reading in read(&nodes, name, reads).await? {
        if let Reading::File(file) = reading
            && let (Some(run), Some(text)) = (run_of(&file.path), file.text)
        {
            texts.insert(run, text.expose().to_owned());
        }
    }
    Ok(texts)
}

async fn read(nodes: &Nodes, node: &NodeName, reads: Vec<Read>) -> Result<Vec<Reading>, Failure> {
    let readings = nodes.look(node, reads).await.map_err(Failure::environment)?;
    Ok(readings.into_iter().map(|(_, reading)| reading).collect())
}

fn run_of(path: &str) -> Option<String> {
    let name = path.rsplit('/').next()?;
    name.strip_suffix(".jsonl").map(str::to_owned)
}

/// One line: when, who, how it ended.
fn summary(run: &str, entries: &[Entry]) -> String {
    let operator = entries.iter().find_map(|entry| match &entry.event {
        Event::RunStarted { operator, .. } if !operator.is_empty() => Some(operator.as_str()),
        _ => None,
    });
    let began = entries.first().map_or_else(String::new, |entry| date(entry.at));
    let ended = entries.iter().rev().find(|entry| matches!(entry.event, Event::RunFinished { .. }));
    let ended = ended.and_then(|entry| progress::line(&entry.event));
    let ended = ended.unwrap_or_else(|| "was cut off".to_owned());
    format!("{run}  {began}  {}: {ended}", operator.unwrap_or("unknown"))
}

fn date(milliseconds: i64) -> String {
    written(milliseconds, "%Y-%m-%d %H:%M:%SZ")
}

fn clock(milliseconds: i64) -> String {
    written(milliseconds, "%H:%M:%S")
}

fn written(milliseconds: i64, format: &str) -> String {
    jiff::Timestamp::from_millisecond(milliseconds)
        .map_or_else(|_| String::new(), |at| at.strftime(format).to_string())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_run_says_who_began_it_and_how_it_ended() {
        let began = Entry { at: 0, event: Event::RunStarted { steps: 3, operator: "ada@desk".to_owned() } };
        assert_eq!(
            summary("r", std::slice::from_ref(&began)),
            "r  1970-01-01 00:00:00Z  ada@desk: was cut off"
        );
        let ended = Event::RunFinished { changed: 2, failed: 1, skipped: 0, milliseconds: 1500 };
        let ended = Entry { at: 1500, event: ended };
        let summary = summary("r", &[began, ended]);
        assert!(summary.ends_with("ada@desk: 2 changes, 1 steps failed, 0 not run, 1.5 s"), "{summary}");
        assert_eq!(run_of("/var/lib/kubezt/journal/a.jsonl").as_deref(), Some("a"));
        assert_eq!(run_of("/var/lib/kubezt/journal"), None);
    }
}
