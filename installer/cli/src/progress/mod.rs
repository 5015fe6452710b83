//! How a run shows: bars on a terminal, lines with node names off it, JSON where asked for. All read the same events.

mod bars;
mod lines;

use std::sync::Arc;

use kubezt_engine::executor::Sink;

pub use self::lines::line;
use crate::args::Output;
use crate::printer::Printer;

/// The display for this run.
pub fn sink(output: Output, printer: Printer) -> Sink {
    match output {
        Output::Json => Arc::new(move |event| {
            if let Ok(line) = serde_json::to_string(&event) {
                printer.line(&line);
            }
        }),
        Output::Text if printer.is_terminal() => bars::sink(),
        Output::Text => lines::sink(printer),
    }
}
