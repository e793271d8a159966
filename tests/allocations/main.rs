//! How often the hot paths allocate: never for a relayed event, and seldom for a request.
//!
//! A binary of its own, because counting replaces the allocator of all of it.

#[path = "../../benches/paths/mod.rs"]
mod paths;

use allocation_counter::measure;
use paths::{Key, Upstream, drain, grounding, limits, progress, reads, relay};

/// How often relaying a stream of so many events allocates.
fn allocations(upstream: Upstream, key: Key, is_grounded: bool, events: usize) -> u64 {
    let grounding = is_grounded.then(|| grounding(None));
    let progress = progress(key, &limits());
    let relay = relay(&reads(upstream, events), progress, grounding);
    let mut bytes = 0;
    let counted = measure(|| bytes = drain(relay));
    assert!(bytes > events * 200, "only {bytes} bytes were relayed");
    counted.count_total
}

#[test]
fn an_event_is_relayed_without_an_allocation() {
    for upstream in [Upstream::Paced, Upstream::Burst] {
        for (key, is_grounded) in [
            (Key::Free, false),
            (Key::Metered, false),
            (Key::Free, true),
            (Key::Metered, true),
        ] {
            let few = allocations(upstream, key, is_grounded, 100);
            let many = allocations(upstream, key, is_grounded, 1100);
            assert_eq!(many, few, "a thousand more events allocate");
        }
    }
}

#[test]
fn a_hot_path_allocates_no_oftener_than_it_did() {
    let counted: Vec<(&str, u64)> = paths::ALL.iter().map(counted).collect();

    let most = counted.iter().zip(MOST);
    let above = most.filter(|((_, count), most)| count > most).count();

    assert_eq!(above, 0, "too many of {counted:?}");
}

/// How often a path allocates.
fn counted(path: &paths::HotPath) -> (&'static str, u64) {
    let mut operation = (path.prepare)();
    // What is made once and kept is no cost of the second time.
    operation();
    let counted = measure(|| {
        operation();
    });
    (path.name, counted.count_total)
}

/// The most allocations of each path of [`paths::ALL`], in that order. Lower one when its path has become cheaper.
const MOST: [u64; paths::ALL.len()] = [
    11, 23, 43, 39, 4, 39, 73, 21, 21, 107, 107, 188, 21, 3, 1, 0, 4,
];
