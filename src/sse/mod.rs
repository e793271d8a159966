//! Event streams: cut into whole events, relayed as they came, ended exactly once.
//!
//! Providers answer with server-sent events (<https://html.spec.whatwg.org/multipage/server-sent-events.html>), and a read from the
//! network ends anywhere: in a character, in a line end, in a JSON text. [`Decoder`] cuts the bytes into whole [`Event`]s whose
//! exact bytes stay at hand, because there are two ways through the gateway: most events are *relayed* as they came
//! ([`Event::relayed`]), a few are *read* ([`Event::payload`]) and written anew ([`encode`]). [`Events`] does this for the body of a
//! response, and [`EndingGuard`] reports how a stream ended, once, whoever drops it. Nothing here does I/O or logs.

mod decode;
pub mod encode;
mod ending;
mod event;
mod events;
mod fields;

pub use decode::{DecodeError, Decoder};
pub use ending::{Ending, EndingGuard};
pub use event::{Event, Payload};
pub use events::{Error, Events};
