//! The property that everything else is for: over random keys, models, headers, bodies, tool arguments and conversations, every request that
//! reaches LightOn is inside the caller's scope, and every passage in any answer, in the cache, in a model's prompt or in the log comes from it.
//!
//! The real gateway runs between a LightOn and a model provider that answer over real sockets, and that are not to be trusted: the one
//! returns passages that nobody asked for, the other names workspaces in the arguments of its calls. Each text of a document carries a
//! marker of its workspace and of the search key that found it; an oracle of its own works out what each request may see; and all that
//! comes out is searched for markers. What is random comes from a seed, which is printed: `GROUNDWIRE_SCOPE_SEED` repeats a run, and
//! `GROUNDWIRE_SCOPE_ONLY` one of its configurations.

#![expect(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    clippy::panic,
    reason = "test code: a failure here is the test's failure"
)]

mod asker;
mod asking;
mod judge;
mod life;
mod lighton;
mod log;
mod memory;
mod model;
mod oracle;
mod tenants;
mod traces;
mod world;

#[path = "../watch/mod.rs"]
mod watch;

#[path = "../proxy/support"]
mod support {
    #![allow(
        dead_code,
        reason = "each test binary uses its own part of the support"
    )]

    pub(crate) mod connection;
    pub(crate) mod reply;
    pub(crate) mod server;
}

use std::{
    collections::BTreeMap,
    io::{self, Write as _},
    sync::atomic::{AtomicU64, Ordering},
    thread,
    time::Instant,
};

/// How many requests are made, at least.
const CASES: u64 = 100_000;

/// How many of them each configuration gets.
const CASES_EACH: u64 = 500;

/// How often each of these must be seen, or nothing is proved: a gateway that refuses everything leaks nothing.
const AT_LEAST: [(&str, u64); 10] = [
    ("cases", CASES),
    ("answers that refuse, rightly", 10_000),
    ("answers with passages or files", 20_000),
    ("answers from which passages were dropped", 5_000),
    ("answers from the cache", 1_000),
    ("answers that leave a tool to the client", 1_000),
    ("cases at the same moment as others", 20_000),
    ("links opened", 500),
    ("reloads", 200),
    ("spans of traces", 10_000),
];

/// What was seen, and how often.
type Seen = BTreeMap<&'static str, u64>;

#[test]
fn nothing_leaves_the_scope_of_its_caller() {
    let seed = variable("GROUNDWIRE_SCOPE_SEED").unwrap_or_else(|| fastrand::u64(..1 << 32));
    if let Some(only) = variable("GROUNDWIRE_SCOPE_ONLY") {
        tell(&lived(seed, only), seed, Instant::now());
        return;
    }
    let began = Instant::now();
    let lives = AtomicU64::new(0);
    let work = || {
        let _end = EndOfAll(&lives);
        let mut seen = Seen::new();
        loop {
            let number = lives.fetch_add(1, Ordering::Relaxed);
            if number >= CASES.div_ceil(CASES_EACH) {
                return seen;
            }
            add(&mut seen, lived(seed, number));
        }
    };
    let workers = thread::available_parallelism().map_or(2, usize::from);
    let mut seen = Seen::new();
    thread::scope(|scope| {
        let all: Vec<_> = (0..workers).map(|_| scope.spawn(work)).collect();
        for worker in all {
            let lived = worker
                .join()
                .unwrap_or_else(|wrong| std::panic::resume_unwind(wrong));
            add(&mut seen, lived);
        }
    });

    tell(&seen, seed, began);
    for (what, least) in AT_LEAST {
        let count = seen.get(what).copied().unwrap_or_default();
        assert!(
            count >= least,
            "{what}: {count}, and not the {least} that make a proof"
        );
    }
}

/// Ends the others' work as well where one has found a leak: what they would find is no better.
struct EndOfAll<'l>(&'l AtomicU64);

impl Drop for EndOfAll<'_> {
    fn drop(&mut self) {
        if thread::panicking() {
            self.0.store(CASES, Ordering::Relaxed);
        }
    }
}

/// What was seen in one configuration.
fn lived(seed: u64, number: u64) -> Seen {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .unwrap();
    let life = life::live(seed ^ (number << 32), number * CASES_EACH, CASES_EACH);
    runtime.block_on(life).unwrap_or_else(|wrong| {
        panic!("GROUNDWIRE_SCOPE_SEED={seed} GROUNDWIRE_SCOPE_ONLY={number} repeats this: {wrong}")
    })
}

fn add(all: &mut Seen, seen: Seen) {
    for (what, count) in seen {
        *all.entry(what).or_default() += count;
    }
}

/// Prints the numbers past the test harness, which would keep the words of a test that passes to itself.
fn tell(seen: &Seen, seed: u64, began: Instant) {
    let cases = seen.get("cases").copied().unwrap_or_default();
    let seconds = began.elapsed().as_secs();
    let mut text = format!("scope: {cases} random cases in {seconds} s, seed {seed}\n");
    for (what, count) in seen {
        text.push_str(&format!("{count:>9} {what}\n"));
    }
    let _ = io::stderr().write_all(text.as_bytes());
}

#[expect(
    clippy::disallowed_methods,
    reason = "a run of the test is repeated by its seed"
)]
fn variable(name: &str) -> Option<u64> {
    std::env::var(name).ok()?.parse().ok()
}
