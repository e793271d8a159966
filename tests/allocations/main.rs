//! How often the hot paths allocate: never for a relayed event, and seldom for a request.
//!
//! A binary of its own, because counting replaces the allocator of all of it.

#[path = "../../benches/paths/mod.rs"]
mod paths;

use allocation_counter::measure;
use paths::{Upstream, drain, reads, relay};

/// How often relaying a stream of so many events allocates.
fn allocations(upstream: Upstream, events: usize) -> u64 {
    let relay = relay(&reads(upstream, events), None);
    let mut bytes = 0;
    let counted = measure(|| bytes = drain(relay));
    assert!(bytes > events * 200, "only {bytes} bytes were relayed");
    counted.count_total
}

#[test]
fn an_event_is_relayed_without_an_allocation() {
    for upstream in [Upstream::Paced, Upstream::Burst] {
        let (few, many) = (allocations(upstream, 100), allocations(upstream, 1100));
        assert_eq!(many, few, "a thousand more events allocate");
    }
}

#[test]
fn a_hot_path_allocates_no_oftener_than_it_did() {
    for (path, most) in paths::ALL.iter().zip(MOST) {
        let mut operation = (path.prepare)();
        // What is made once and kept is no cost of the second time.
        operation();

        let counted = measure(|| {
            operation();
        });

        let (name, count) = (path.name, counted.count_total);
        assert!(
            count <= most,
            "`{name}` allocates {count} times, more than {most}"
        );
    }
}

/// The most allocations of each path of [`paths::ALL`], in that order. Lower one when its path has become cheaper.
const MOST: [u64; paths::ALL.len()] = [25, 93, 164, 28, 169, 253, 21, 706, 906, 21, 9, 9, 9, 9];
