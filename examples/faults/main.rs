//! The worst day, for as long as you like: the built gateway between neighbours that refuse, hang, cut, garble, slow down and lie at
//! random, under a steady load of every kind of request, with clients that leave.
//!
//! ```sh
//! cargo run --release --example faults -- --seconds 600
//! ```
//!
//! It prints what was asked and answered, what was lost, and every ten seconds the gateway's memory and open sockets. It ends with 1 when
//! anything was lost (a request with neither an answer nor an error of the contract), or when memory or sockets are not back at the end
//! where they were at the start.

#![expect(
    clippy::print_stdout,
    clippy::unwrap_used,
    clippy::indexing_slicing,
    reason = "a bench: printing is what it is for, and it may fail where it cannot go on"
)]

mod asked;
mod gateway;
mod load;
mod neighbours;
mod provider;
mod tally;
mod verdict;

#[path = "../../tests/proxy/support"]
mod support {
    #![allow(dead_code, reason = "the bench uses its own part of the support")]

    pub(crate) mod connection;
    pub(crate) mod lighton;
    pub(crate) mod reply;
    pub(crate) mod server;
    pub(crate) mod upstream;
}

use std::{process::ExitCode, time::Duration};

use clap::Parser;
use tokio::time::{Instant, sleep, sleep_until};

use gateway::{Gateway, Size};
use load::Load;
use neighbours::Neighbours;
use tally::Tally;

/// How often memory and sockets are printed.
const EVERY: Duration = Duration::from_secs(10);

/// What memory may have grown by: an allocator keeps what it was given in pieces, and not always the same ones.
const NOISE_KIB: u64 = 16 << 10;

/// Lets neighbours and clients of the gateway fail at random for a while, and tells whether anything was lost.
#[derive(Parser)]
struct Arguments {
    /// How long the load lasts, after a warm-up of a tenth of it (10 to 60 seconds).
    #[arg(long, default_value_t = 60)]
    seconds: u64,
    /// How many clients ask, one request after the other each.
    #[arg(long, default_value_t = 64)]
    clients: u64,
    /// Repeats the choices of an earlier run, though not its timing; without it a new one.
    #[arg(long)]
    seed: Option<u64>,
}

#[tokio::main]
async fn main() -> ExitCode {
    let arguments = Arguments::parse();
    let seed = arguments.seed.unwrap_or_else(|| fastrand::u64(..1 << 32));
    let warm_up = Duration::from_secs((arguments.seconds / 10).clamp(10, 60));
    println!("seed {seed}, {} clients", arguments.clients);

    let neighbours = Neighbours::start(seed);
    let gateway = Gateway::start(&neighbours).await;
    let sockets = gateway.size().sockets;
    let load = |seed| Load {
        url: gateway.url().to_owned(),
        seed,
        clients: arguments.clients,
    };

    println!("warming up for {warm_up:?}: what the first answers allocate for good is no leak");
    let warm = Tally::default();
    run(&load(seed ^ 1), &gateway, &warm, warm_up).await;
    quiet(&neighbours).await;
    let start = gateway.size();

    println!("{} seconds of faults", arguments.seconds);
    let tally = Tally::default();
    let time = Duration::from_secs(arguments.seconds);
    run(&load(seed), &gateway, &tally, time).await;
    quiet(&neighbours).await;
    let end = gateway.settled(sockets).await;

    println!("\nthe warm-up:");
    warm.print();
    println!("\nthe load:");
    tally.print();
    let failures = gateway.failures();
    println!("\n{failures} failures of the gateway itself in its log");
    let fine = [
        told("anything lost", warm.lost() + tally.lost() + failures == 0),
        told_memory(start, end),
        told_sockets(sockets, end),
    ];
    println!("seed {seed}");
    if fine.iter().all(|fine| *fine) {
        ExitCode::SUCCESS
    } else {
        ExitCode::FAILURE
    }
}

/// The load for `time`, and a line every ten seconds.
async fn run(load: &Load, gateway: &Gateway, tally: &Tally, time: Duration) {
    let began = Instant::now();
    let watching = async {
        println!(
            "{:>8} {:>9} {:>9} {:>9} {:>9} {:>6} {:>10} {:>8}",
            "seconds", "asked", "answered", "errors", "left", "lost", "memory", "sockets"
        );
        for tick in 1_u32.. {
            sleep_until(began + EVERY * tick).await;
            let (counts, size) = (tally.counts(), gateway.size());
            println!(
                "{:>8} {:>9} {:>9} {:>9} {:>9} {:>6} {:>6} MiB {:>8}",
                began.elapsed().as_secs(),
                counts.asked,
                counts.answered,
                counts.errors,
                counts.left,
                counts.lost,
                size.memory_kib >> 10,
                size.sockets
            );
        }
    };
    tokio::select! {
        () = load.run(began + time, tally) => {}
        () = watching => {}
    }
}

/// Waits until the gateway is done with its neighbours and they have closed what rests.
async fn quiet(neighbours: &Neighbours) {
    neighbours.settled().await;
    // Pages that were freed a moment ago may still be on their way back.
    sleep(Duration::from_secs(1)).await;
}

fn told(what: &str, fine: bool) -> bool {
    println!("{what}: {}", if fine { "no" } else { "YES" });
    fine
}

fn told_memory(start: Size, end: Size) -> bool {
    let (from, to) = (start.memory_kib, end.memory_kib);
    println!(
        "memory at the start and at the end: {} and {} KiB (noise: {NOISE_KIB} KiB)",
        from, to
    );
    told("memory grown", to <= from + NOISE_KIB)
}

fn told_sockets(start: usize, end: Size) -> bool {
    println!(
        "sockets at the start and at the end: {start} and {}",
        end.sockets
    );
    told("sockets left open", end.sockets <= start)
}
