//! How long the hot paths take, by the clock: `cargo bench --bench paths`.

#[path = "paths/mod.rs"]
mod paths;

use divan::Bencher;

fn main() {
    divan::main();
}

#[divan::bench(args = paths::ALL.map(|path| path.name))]
fn path(bencher: Bencher<'_, '_>, name: &str) {
    if let Some(path) = paths::ALL.iter().find(|path| path.name == name) {
        bencher.bench_local((path.prepare)());
    }
}
