//! The load bench: what the gateway costs beside plain nginx, on one core, with all on that is on in production.
//!
//! `cargo bench --bench load` takes all figures (half an hour), `cargo bench --bench load -- --case off --runs 1` a few in a minute. The
//! gateway is the built program, in a process and on a core of its own; the stand-in for model provider and LightOn ([`standin`]) and the
//! load generator ([`client`]) share the others. All targets are asked in turns, so that a busy machine is as busy for each of them.

#![expect(clippy::print_stdout, reason = "printing is what it is for")]

mod cases;
mod client;
mod process;
mod report;
mod standin;

use std::{
    path::PathBuf,
    time::{Duration, Instant},
};

use clap::Parser;

use self::{
    cases::{Case, Shape, Target},
    process::{Place, Process},
    report::{Facts, Report, Sample},
    standin::{Found, Standin},
};

/// Why the bench ended early.
type Error = Box<dyn std::error::Error + Send + Sync>;

/// How long each case is asked before it is measured, so that connections are open and caches warm.
const WARM_UP: Duration = Duration::from_millis(300);

/// Measures the gateway under load, beside nginx where that is installed.
#[derive(Debug, Parser)]
#[command(name = "load")]
struct Options {
    /// Only cases whose name contains this text, such as `stream-off`; may be given several times. `facts` is memory, start and size
    #[arg(long = "case", value_name = "TEXT")]
    cases: Vec<String>,
    /// For how many seconds each case is measured
    #[arg(long, default_value_t = 4.0)]
    seconds: f64,
    /// How often everything is measured: medians are told
    #[arg(long, default_value_t = 5)]
    runs: usize,
    /// After how many seconds of rest memory is looked at again
    #[arg(long, default_value_t = 60.0)]
    settle: f64,
    /// How many streams the largest cases, and the one of memory, hold open
    #[arg(long, default_value_t = 1000)]
    streams: usize,
    /// How many passages a search finds
    #[arg(long, default_value_t = 5)]
    passages: usize,
    /// How many characters each passage has
    #[arg(long, default_value_t = 800)]
    characters: usize,
    /// By how many characters the question is longer than its 200
    #[arg(long, default_value_t = 0)]
    longer: usize,
    /// The gateway to measure
    #[arg(long, default_value = env!("CARGO_BIN_EXE_groundwire"))]
    program: PathBuf,
    /// The nginx to compare with; where it cannot be started, there is no comparison
    #[arg(long, default_value = "nginx")]
    nginx: PathBuf,
    /// Prints JSON instead of tables
    #[arg(long)]
    json: bool,
    /// What `cargo bench` passes to every bench
    #[arg(long, hide = true)]
    bench: bool,
}

/// What the measuring needs, whatever is measured.
struct Bench {
    options: Options,
    place: Place,
    standin: Standin,
    runtime: tokio::runtime::Runtime,
    report: Report,
}

fn main() -> Result<(), Error> {
    let options = Options::parse();
    process::allow_many_sockets(options.streams)?;
    let place = Place::choose()?;
    place.take_the_rest()?;
    let mut bench = Bench {
        standin: standin::start(Found {
            passages: options.passages,
            characters: options.characters,
        })?,
        runtime: tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build()?,
        report: Report::default(),
        options,
        place,
    };
    bench.load()?;
    bench.facts()?;
    if bench.options.json {
        println!("{}", bench.report.json());
    } else {
        print!("{}", bench.report.text());
    }
    Ok(())
}

impl Bench {
    /// Asks every target for every chosen case, in turns.
    fn load(&mut self) -> Result<(), Error> {
        let cases = cases::chosen(&self.options.cases, self.options.streams);
        if cases.is_empty() {
            return Ok(());
        }
        let gateway = self.start(Target::Gateway)?;
        let nginx = self.start(Target::Nginx);
        if let Err(error) = &nginx {
            eprintln!("nginx is left out: {error}");
        }
        let nginx = nginx.ok();
        for run in 1..=self.options.runs {
            for case in &cases {
                let process = match case.target {
                    Target::Direct => None,
                    Target::Gateway => Some(&gateway),
                    Target::Nginx if nginx.is_none() => continue,
                    Target::Nginx => nginx.as_ref(),
                };
                eprintln!(
                    "run {run} of {}: {} {}",
                    self.options.runs,
                    case.target,
                    case.name()
                );
                let sample = self.measure(case, process)?;
                self.report.add(case, sample);
            }
        }
        Ok(())
    }

    /// Takes the figures of one case: asks for a moment, then looks at the process before and after asking for longer.
    fn measure(&self, case: &Case, process: Option<&Process>) -> Result<Sample, Error> {
        let address = process.map_or(self.standin.address, |process| process.address);
        let mut connections = self
            .runtime
            .block_on(client::connect(address, case.clients))?;
        let request = case.request(self.options.longer);
        let warm_up = Case {
            shape: Shape::Whole,
            ..*case
        }
        .request(self.options.longer);
        self.runtime.block_on(client::load(
            &mut connections,
            &warm_up,
            &Shape::Whole,
            WARM_UP,
        ));

        let seconds = Duration::from_secs_f64(self.options.seconds);
        let cpu = || process.map(Process::cpu).transpose();
        let (before, began) = (cpu()?, Instant::now());
        let tally = self.runtime.block_on(client::load(
            &mut connections,
            &request,
            &case.shape,
            seconds,
        ));
        let (after, elapsed) = (cpu()?, began.elapsed());
        let cpu = after
            .zip(before)
            .map(|(after, before)| after.saturating_sub(before));
        Ok(Sample::new(tally, elapsed, cpu))
    }

    /// Takes what does not depend on the load: the time to the first answer, and memory at rest, under a thousand streams, and after them.
    fn facts(&mut self) -> Result<(), Error> {
        let chosen = &self.options.cases;
        if !chosen.is_empty() && !chosen.iter().any(|case| case == "facts") {
            return Ok(());
        }
        for run in 1..=self.options.runs {
            for target in [Target::Nginx, Target::Gateway] {
                eprintln!("run {run} of {}: {target} facts", self.options.runs);
                // A minute's rest in every run would be the longest part of all.
                let settle = if run == 1 { self.options.settle } else { 0.0 };
                match self.facts_of(target, Duration::from_secs_f64(settle)) {
                    Ok(facts) => self.report.tell(target, facts),
                    Err(error) if target == Target::Nginx => {
                        eprintln!("nginx is left out: {error}");
                    }
                    Err(error) => return Err(error),
                }
            }
        }
        Ok(())
    }

    fn facts_of(&self, target: Target, settle: Duration) -> Result<Facts, Error> {
        let began = Instant::now();
        let process = self.start(target)?;
        let first = Case {
            target,
            mode: "off",
            shape: Shape::Whole,
            clients: 1,
        };
        let mut connection = self.runtime.block_on(client::connect(process.address, 1))?;
        let answered = self
            .runtime
            .block_on(client::once(&mut connection, &first.request(0)))?;
        let start = began.elapsed();
        let idle = process.memory()?;

        let streams = Case {
            shape: cases::PACED,
            clients: self.options.streams,
            ..first
        };
        let mut connections = self
            .runtime
            .block_on(client::connect(process.address, streams.clients))?;
        let round = Duration::from_millis(1);
        let tally = self.runtime.block_on(client::load(
            &mut connections,
            &streams.request(0),
            &streams.shape,
            round,
        ));
        let peak = process.peak_memory()?;
        drop((connection, connections));
        std::thread::sleep(settle);
        Ok(Facts {
            start,
            size: process.size,
            idle,
            peak,
            after: (!settle.is_zero()).then(|| process.memory()).transpose()?,
            failed: tally.failed + u64::from(!answered),
        })
    }

    fn start(&self, target: Target) -> Result<Process, Error> {
        match target {
            Target::Gateway => Process::gateway(&self.options.program, self.standin, &self.place),
            Target::Nginx => Process::nginx(&self.options.nginx, self.standin, &self.place),
            Target::Direct => Err("the stand-in is no process".into()),
        }
    }
}
