//! Mode `tool`: the model searches, the gateway runs the searches, the client sees one answer.
//!
//! `session` is the state machine that both ways of answering share: `whole` reads turns as whole answers, `streamed` as events whose
//! text goes out as it comes, in the one `voice` that the client hears. `search` does what the model's calls ask for. `calls` gathers
//! what servers make of a tool call, `leak`, `extent` and `markup` those that leaked into the text, `spec` is the tool itself. `kept` remembers
//! what a client does not see while it runs tools of its own, and finds it again by the `trail` of the conversation.

mod calls;
mod extent;
mod kept;
mod leak;
mod markup;
mod search;
mod session;
mod spec;
mod streamed;
mod trail;
mod usage;
mod voice;
mod whole;
pub mod written;

pub use self::{kept::KeptTurns, spec::check};
pub(super) use self::{streamed::answer as stream, whole::answer as whole};
