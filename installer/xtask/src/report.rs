//! What tasks print: plain lines on stderr, each part with its wall time.

use std::io::Write;
use std::time::Instant;

use anyhow::Result;

/// Prints one line.
pub fn line(text: &str) {
    // Nobody is left to tell when stderr is gone.
    let _ = writeln!(std::io::stderr().lock(), "{text}");
}

/// Runs one part of a task and prints its name and how long it took, also when it failed.
pub fn timed<T>(name: &str, part: impl FnOnce() -> Result<T>) -> Result<T> {
    let started = Instant::now();
    let outcome = part();
    let seconds = started.elapsed().as_secs_f64();
    line(&match outcome {
        Ok(_) => format!("{name}: {seconds:.1} s"),
        Err(_) => format!("{name}: failed after {seconds:.1} s"),
    });
    outcome
}
