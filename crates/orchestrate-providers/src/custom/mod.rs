//! The `custom` provider and router: commands of the user's run the releases and move the traffic; `docs/custom.md` is
//! the protocol.
//!
//! What is ours is what must hold whatever the commands are: fences, time limits, bounds, one command at a time.

mod answer;
mod await_healthy;
mod book;
mod call;
mod place;
mod provider;
mod request;
mod run;
mod turn;

pub use provider::CustomProvider;
