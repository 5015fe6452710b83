//! Bars on a terminal: one line a running step, finished steps scroll away above them.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use indicatif::{MultiProgress, ProgressBar, ProgressStyle};
use kubezt_engine::executor::Sink;
use kubezt_model::event::Event;
use kubezt_model::plan::StepId;

use super::lines;

/// Bars on stderr.
pub fn sink() -> Sink {
    let bars = MultiProgress::new();
    let total = bars.add(ProgressBar::new(0));
    if let Ok(style) = ProgressStyle::with_template("{bar:30} {pos}/{len} {elapsed}") {
        total.set_style(style);
    }
    let running: Mutex<BTreeMap<StepId, ProgressBar>> = Mutex::new(BTreeMap::new());
    Arc::new(move |event| {
        let mut running = running.lock().unwrap_or_else(PoisonError::into_inner);
        match &event {
            Event::RunStarted { steps, .. } => total.set_length(*steps as u64),
            Event::StepStarted { step, node, title } => {
                let bar = bars.insert_before(&total, ProgressBar::new_spinner());
                bar.set_prefix(format!("{:<12}", node.as_ref().map_or("cluster", |node| node.as_str())));
                if let Ok(style) = ProgressStyle::with_template("{spinner} {prefix} {msg}") {
                    bar.set_style(style);
                }
                bar.set_message(title.clone());
                bar.enable_steady_tick(Duration::from_millis(120));
                running.insert(step.clone(), bar);
            }
            Event::Progress { step, message, .. } => {
                if let Some(bar) = running.get(step) {
                    bar.set_message(message.clone());
                }
            }
            Event::StepFinished { step, .. } => {
                if let Some(bar) = running.remove(step) {
                    bar.finish_and_clear();
                }
                total.inc(1);
                if let Some(line) = lines::line(&event) {
                    let _ = bars.println(line);
                }
            }
            Event::Warning { .. } => {
                if let Some(line) = lines::line(&event) {
                    let _ = bars.println(line);
                }
            }
            Event::NodeCost { .. } | Event::LastWords { .. } => {}
            Event::RunFinished { .. } => {
                total.finish_and_clear();
                if let Some(line) = lines::line(&event) {
                    let _ = bars.println(line);
                }
            }
        }
    })
}
