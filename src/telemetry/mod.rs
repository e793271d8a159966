//! What is seen from outside: the log, the numbers in [`metrics`], and what a collector is sent in [`otlp`].

mod log;
pub mod metrics;
pub mod otlp;

pub use self::log::{Running, dropped_lines, set_level, start, start_to};
