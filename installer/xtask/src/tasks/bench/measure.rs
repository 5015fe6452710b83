//! Wall time and memory of one program.

use std::path::Path;
use std::process::{Command, Stdio};
use std::thread;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use anyhow::{Context, Result, bail};

use crate::report;

/// How often the program is looked at; what it adds to a time stays below what differs from run to run.
const PAUSE: Duration = Duration::from_millis(10);

/// What a program took.
#[derive(Debug, Clone, Copy)]
pub struct Measured {
    /// Wall time from its start to its end.
    pub seconds: f64,
    /// Largest resident memory, in KiB, of the program alone and not of programs that it started.
    pub peak_kib: u64,
    /// Processor time of the program and of those programs that it started and that had ended before it did.
    pub processor_seconds: f64,
    /// When it was started, in milliseconds since 1970, as journals count.
    pub began: u64,
}

/// Runs a program with its output in a file.
///
/// # Errors
/// It cannot be started or fails; the error has the end of what it printed.
pub fn run(name: &str, command: &mut Command, log: &Path) -> Result<Measured> {
    let output = fs_err::File::create(log)?.into_file();
    command.stdin(Stdio::null()).stdout(output.try_clone()?).stderr(output);
    let began = now()?;
    let started = Instant::now();
    let mut child = command.spawn().with_context(|| format!("cannot start {name}"))?;
    let mut peak_kib = 0;
    let mut processor_seconds = 0.0;
    let status = loop {
        // A process that has ended has no memory any more: the last look before counts.
        peak_kib = peak_kib.max(peak_of(child.id()).unwrap_or(0));
        processor_seconds = processor_seconds_of(child.id()).unwrap_or(processor_seconds);
        match child.try_wait()? {
            Some(status) => break status,
            None => thread::sleep(PAUSE),
        }
    };
    let seconds = started.elapsed().as_secs_f64();
    report::line(&format!("{name}: {seconds:.1} s ({status})"));
    if !status.success() {
        let said = fs_err::read_to_string(log)?;
        let lines: Vec<_> = said.lines().collect();
        let last = lines[lines.len().saturating_sub(40)..].join("\n");
        bail!("{name} failed: {status}\n{last}");
    }
    Ok(Measured { seconds, peak_kib, processor_seconds, began })
}

#[expect(clippy::disallowed_methods, reason = "what is measured is compared with journals of real runs")]
fn now() -> Result<u64> {
    Ok(SystemTime::now().duration_since(UNIX_EPOCH)?.as_millis().try_into()?)
}

/// The kernel's own high-water mark of a process.
fn peak_of(process: u32) -> Option<u64> {
    let status = fs_err::read_to_string(format!("/proc/{process}/status")).ok()?;
    let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:"))?;
    line.trim().strip_suffix("kB")?.trim().parse().ok()
}

/// Hundredths of a second that a process and its children took (proc_pid_stat(5)), as seconds.
fn processor_seconds_of(process: u32) -> Option<f64> {
    let stat = fs_err::read_to_string(format!("/proc/{process}/stat")).ok()?;
    // The name before may hold anything; what follows it begins with the third field, and times are the fields 14 to 17.
    let fields = stat.rsplit_once(')')?.1.split_whitespace();
    let ticks: Vec<u64> = fields.skip(11).take(4).filter_map(|field| field.parse().ok()).collect();
    Some(ticks.iter().sum::<u64>() as f64 / 100.0)
}

/// The median of some figures; the mean of the two in the middle where their number is even, and no number where there is none.
pub fn median(figures: impl IntoIterator<Item = f64>) -> f64 {
    let mut figures: Vec<f64> = figures.into_iter().collect();
    figures.sort_unstable_by(f64::total_cmp);
    let half = figures.len() / 2;
    match (figures.len().checked_sub(half + 1).and_then(|low| figures.get(low)), figures.get(half)) {
        (Some(low), Some(high)) => f64::midpoint(*low, *high),
        _ => f64::NAN,
    }
}

/// Waits until the machine is mostly idle, so that a short measurement does not count what an earlier one left to be done:
/// network plug-ins go on compiling for a while after they are ready. Gives up after two minutes.
///
/// # Errors
/// The kernel does not say how busy it is.
pub fn settle() -> Result<()> {
    let deadline = Instant::now() + Duration::from_secs(120);
    let mut before = busy_and_idle()?;
    while Instant::now() < deadline {
        thread::sleep(Duration::from_secs(2));
        let now = busy_and_idle()?;
        let (busy, idle) = (now.0 - before.0, now.1 - before.1);
        if idle > 2 * busy {
            break;
        }
        before = now;
    }
    Ok(())
}

/// Ticks that all processors together were busy and idle since the boot (proc_stat(5)).
fn busy_and_idle() -> Result<(u64, u64)> {
    let text = fs_err::read_to_string("/proc/stat")?;
    let line = text.lines().next().context("/proc/stat is empty")?;
    let ticks: Vec<u64> = line.split_whitespace().skip(1).filter_map(|word| word.parse().ok()).collect();
    // user, nice, system, idle, iowait, ...; guest time is part of user time already.
    let idle = ticks.iter().skip(3).take(2).sum();
    Ok((ticks.iter().take(8).sum::<u64>() - idle, idle))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::command::program;

    #[test]
    fn medians_are_in_the_middle() {
        for (figures, expected) in [(&[3.0][..], 3.0), (&[9.0, 1.0], 5.0), (&[9.0, 1.0, 2.0], 2.0)] {
            assert!((median(figures.iter().copied()) - expected).abs() < 1e-9, "{figures:?}");
        }
        assert!(median([]).is_nan());
    }

    #[test]
    fn time_memory_and_failure_are_seen() {
        let log = std::env::temp_dir().join(format!("kubezt-measure-{}", std::process::id()));
        let measured = run("sleep", &mut program("sleep", ["0.2"]), &log).unwrap();
        assert!((0.2..5.0).contains(&measured.seconds), "{measured:?}");
        assert!(measured.peak_kib > 0, "{measured:?}");
        assert!(measured.processor_seconds < 0.2, "{measured:?}");
        let work = "i=0; while [ $i -lt 200000 ]; do i=$((i + 1)); done";
        let busy = run("sh", &mut program("sh", ["-c", &format!("{work}; sleep 0.2")]), &log).unwrap();
        assert!((0.02..busy.seconds).contains(&busy.processor_seconds), "{busy:?}");
        let failed = run("sh", &mut program("sh", ["-c", "echo the reason; exit 3"]), &log).unwrap_err();
        assert!(format!("{failed}").contains("the reason"), "{failed}");
        fs_err::remove_file(log).unwrap();
    }
}
