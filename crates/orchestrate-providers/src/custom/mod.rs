//! The `custom` provider and router: commands of the user's run the releases and move the traffic; `docs/custom.md` is
//! the protocol.
//!
//! What is ours is what must hold whatever the commands are: fences, time limits, bounds, one command at a time.

mod answer;
mod await_healthy;
mod call;
mod check;
mod place;
mod provider;
mod request;
mod router;

pub use check::{Conformance, Held};
pub use provider::CustomProvider;
pub use router::CustomRouter;
