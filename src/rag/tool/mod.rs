//! Mode `tool`: the model searches, the gateway runs the searches, the client sees one answer.
//!
//! `session` is the state machine that both ways of answering share: `whole` reads turns as whole answers, `streamed` as events whose
//! text goes out as it comes. `calls` gathers what servers make of a tool call, `spec` is the tool itself, `kept` remembers what a client
//! does not see while it runs tools of its own.

mod calls;
mod kept;
mod leak;
mod session;
mod spec;
mod streamed;
mod usage;
mod whole;

pub use self::{kept::KeptTurns, spec::check};
pub(super) use self::{streamed::answer as stream, whole::answer as whole};
