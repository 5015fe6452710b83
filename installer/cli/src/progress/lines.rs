//! Plain lines, for logs: node, step, what came of it.

use std::sync::Arc;

use kubezt_engine::executor::Sink;
use kubezt_model::NodeName;
use kubezt_model::event::{Event, StepResult};

use crate::printer::Printer;

/// Lines on stderr.
pub fn sink(printer: Printer) -> Sink {
    Arc::new(move |event| {
        if let Some(line) = line(&event) {
            printer.note(&line);
        }
    })
}

/// The line of an event, where it is worth one.
pub fn line(event: &Event) -> Option<String> {
    match event {
        Event::StepStarted { node, title, .. } => Some(format!("{} {title} …", place(node.as_ref()))),
        Event::StepFinished { step, node, result, milliseconds } => {
            let what = step.as_str().split_once('/').map_or(step.as_str(), |(_, what)| what);
            let seconds = format!("{}.{:01} s", milliseconds / 1000, milliseconds % 1000 / 100);
            let place = place(node.as_ref());
            Some(match result {
                StepResult::Changed(1) => format!("{place} {what}: 1 change in {seconds}"),
                StepResult::Changed(count) => format!("{place} {what}: {count} changes in {seconds}"),
                StepResult::Unchanged => format!("{place} {what}: as wanted ({seconds})"),
                StepResult::Failed(error) => format!("{place} {what}: FAILED after {seconds}: {error}"),
                StepResult::Skipped(cause) => format!("{place} {what}: not run, {cause} failed"),
            })
        }
        Event::Warning { node, message } => Some(format!("{} warning: {message}", place(node.as_ref()))),
        Event::RunFinished { changed, failed, skipped, milliseconds } => Some(format!(
            "{changed} changes, {failed} steps failed, {skipped} not run, {}.{:01} s",
            milliseconds / 1000,
            milliseconds % 1000 / 100
        )),
        // Last words are told at the end, with the node they belong to.
        Event::RunStarted { .. }
        | Event::Progress { .. }
        | Event::NodeCost { .. }
        | Event::LastWords { .. } => None,
    }
}

fn place(node: Option<&NodeName>) -> String {
    format!("{:<12}", node.map_or("cluster", NodeName::as_str))
}
