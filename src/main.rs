//! Parses the command line, runs it, and turns the result into an exit code.

use std::process::ExitCode;

use clap::Parser;
use groundwire::cli::{self, Cli};
use mimalloc::MiMalloc;

/// A request allocates some hundred times. `docs/performance.md` has what was measured against the system's allocator.
#[global_allocator]
static ALLOCATOR: MiMalloc = MiMalloc;

fn main() -> ExitCode {
    let cli = Cli::parse();
    match cli.runtime().enable_all().build() {
        Ok(runtime) => {
            let code = runtime.block_on(cli::run(cli));
            // What still blocks a thread (a folder being read) is not waited for.
            runtime.shutdown_background();
            code
        }
        Err(error) => {
            eprintln!("groundwire: the system gives no threads: {error}");
            ExitCode::FAILURE
        }
    }
}
