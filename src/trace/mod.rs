//! Where a request stands in a trace (W3C Trace Context), and what it did step by step. Pure data: whoever answers it notes its steps here,
//! and `telemetry` tells them to a collector once the answer has ended.
//!
//! Nothing is noted of a request that nobody follows, which is every one unless `telemetry.otlp_endpoint` is set.

mod context;
mod steps;

pub use self::{
    context::{Context, SpanId, TraceId},
    steps::{Begun, Call, Search, Step, Steps, What},
};
