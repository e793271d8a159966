//! The fuzzer: calls the target that `FUZZ_TARGET` names with what libFuzzer makes up.

#![no_main]

mod targets;

use std::sync::OnceLock;

static TARGET: OnceLock<targets::Target> = OnceLock::new();

libfuzzer_sys::fuzz_target!(
    init: {
        let wanted = std::env::var("FUZZ_TARGET").unwrap_or_default();
        let Some((_, target)) = targets::ALL.iter().find(|(name, _)| *name == wanted) else {
            let names: Vec<_> = targets::ALL.iter().map(|(name, _)| *name).collect();
            panic!("set FUZZ_TARGET to one of {names:?}");
        };
        let _ = TARGET.set(*target);
    },
    |data: &[u8]| {
        if let Some(target) = TARGET.get() {
            target(data);
        }
    }
);
