//! The data path: what happens between a client's connection and an instance's. One worker thread has its own event
//! loop, its own connections to the instances, and shares nothing with the others but the routing tables.

mod body;
mod client;
mod clock;
mod exchange;
mod forward;
#[cfg(any(test, feature = "fuzzing"))]
pub(crate) mod fuzzing;
mod gate;
mod guard;
mod leash;
mod pool;
mod reaper;
mod refusal;
mod request;
mod response;
mod tunnel;
mod wire;
mod worker;

pub(crate) use worker::{Command, Finish, Shared, WorkerHandle, start};
