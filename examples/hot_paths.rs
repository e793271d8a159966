//! Runs one of the hot paths a number of times, for valgrind to count its instructions: `hot_paths NAME TIMES`. Without arguments it prints
//! their names. `.ci/instructions` is what calls it.

#![expect(clippy::print_stdout, reason = "printing is what it is for")]

#[path = "../benches/paths/mod.rs"]
mod paths;

use std::{env, hint::black_box, process::ExitCode};

fn main() -> ExitCode {
    let asked: Vec<String> = env::args().skip(1).collect();
    let [name, times] = asked.as_slice() else {
        for path in &paths::ALL {
            println!("{}", path.name);
        }
        return ExitCode::SUCCESS;
    };
    let path = paths::ALL.iter().find(|path| path.name == name);
    let (Some(path), Ok(times)) = (path, times.parse::<usize>()) else {
        eprintln!("no hot path is called `{name}`, or `{times}` is no number");
        return ExitCode::from(2);
    };
    let mut operation = (path.prepare)();
    for _ in 0..times {
        black_box(operation());
    }
    ExitCode::SUCCESS
}
