//! The `kubezt` command: thin commands over the crates beside it. Only this crate prints and knows exit codes.
//!
//! | module | what it does |
//! |---|---|
//! | [`args`] | every command and flag |
//! | [`commands`] | one file a command |
//! | [`context`] | what most commands start from: cluster file, profile, operator state |
//! | [`diagnosis`] | what the doctor found as people read it, for programs, and bundled for support |
//! | [`draft`] | a cluster file that is being written, and what its choices mean |
//! | [`assemble`] | resolved cluster, rendered files and components become the desired state |
//! | [`embedded`] | templates, profiles and recipes inside the binary |
//! | [`preflight`] | findings as people read them, and those that somebody answers for |
//! | [`printer`], [`progress`] | output |
//! | [`files`] | files that people name: read within bounds, known to be writable |
//! | [`supported`] | what of a cluster file this release can do |
//! | [`failure`] | exit codes |

mod args;
mod assemble;
mod chart;
mod commands;
mod context;
mod diagnosis;
mod draft;
mod embedded;
mod failure;
mod files;
mod preflight;
mod printer;
mod probing;
mod progress;
mod prompt;
mod reach;
mod session;
mod supported;

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::process::ExitCode;

use clap::Parser as _;

use args::{Cli, Command};
use failure::Failure;
use printer::Printer;

/// musl's own asks the kernel for every block of an upload and gives it back, and the kernel clears it each time. Huge pages are left
/// out (`no_thp`): clearing two megabytes wherever a few bytes are wanted takes a third of a second until a run is under way.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

/// Exit code of a bug in kubezt itself.
const BUG: u8 = 70;

fn main() -> ExitCode {
    let cli = Cli::parse();
    let printer = Printer;
    let runtime = match tokio::runtime::Builder::new_multi_thread().enable_all().build() {
        Ok(runtime) => runtime,
        Err(error) => {
            printer.note(&format!("error: the runtime does not start: {error}"));
            return ExitCode::from(3);
        }
    };
    let result = catch_unwind(AssertUnwindSafe(|| runtime.block_on(run(cli, printer))));
    // Tasks that drain connections may still wait for the other end; nothing of ours is lost by leaving them.
    runtime.shutdown_background();
    match result {
        Ok(Ok(())) => ExitCode::SUCCESS,
        Ok(Err(failure)) => {
            let text = failure.to_string();
            if !text.is_empty() {
                printer.note(&text);
            }
            ExitCode::from(failure.code())
        }
        Err(_) => {
            printer.note("error: this is a bug in kubezt; please report it with the lines above");
            ExitCode::from(BUG)
        }
    }
}

async fn run(cli: Cli, printer: Printer) -> Result<(), Failure> {
    match cli.command {
        Command::Init(arguments) => commands::init::run(&arguments, printer),
        Command::Plan(arguments) => commands::plan::run(arguments, printer).await,
        Command::Install(arguments) => commands::install::run(arguments, printer).await,
        Command::Verify(arguments) => commands::verify::run(arguments, printer).await,
        Command::Render(arguments) => commands::render::run(arguments, printer).await,
        Command::Trust(arguments) => commands::trust::run(arguments, printer).await,
        Command::Profile(arguments) => commands::profile::run(arguments, printer),
        Command::Explain(arguments) => commands::explain::run(&arguments, printer),
        Command::Certs(arguments) => commands::certs::run(arguments, printer).await,
        Command::Status(arguments) => commands::status::run(arguments, printer).await,
        Command::Doctor(arguments) => commands::doctor::run(arguments, printer).await,
        Command::Journal(arguments) => commands::journal::run(arguments, printer).await,
        Command::Kubeconfig(arguments) => commands::kubeconfig::run(arguments, printer).await,
        Command::Images(arguments) => commands::images::run(arguments, printer).await,
        Command::Schema => commands::schema::run(printer),
        Command::Completions(arguments) => {
            commands::completions::run(&arguments, printer);
            Ok(())
        }
        Command::Man(arguments) => commands::man::run(&arguments, printer),
        Command::Version => commands::version::run(printer),
        Command::Preflight(arguments) => commands::preflight::run(arguments, printer).await,
        Command::Node(arguments) => commands::node::run(arguments, printer).await,
        Command::Probe(arguments) => commands::probe::run(arguments, &printer).await,
    }
}
