//! The data plane: a process of its own that takes requests at listening addresses and gives them to the instances of
//! whichever release has the traffic. Told what to do over a Unix socket; see [`BuiltinRouter`] for the other end.
//!
//! [`run`] is the process. [`spawn_proxy`] and [`ListenerHold`] let a parent keep the listening sockets, so that
//! neither the death of the proxy nor that of the parent refuses a connection.

mod check;
mod control;
mod data;
mod fds;
#[cfg(any(test, feature = "fuzzing"))]
#[doc(hidden)]
pub mod fuzzing;
mod handover;
mod hold;
mod http_get;
mod listeners;
mod options;
mod process;
mod protocol;
mod prove;
mod registry;
mod router;
mod rules;
mod saved;
mod stats;
mod table;
mod unix;

pub use hold::{ListenerHold, spawn_proxy};
pub use options::{Limits, ProxyError, ProxyOptions, default_threads};
pub use process::run;
pub use protocol::Hello;
pub use router::BuiltinRouter;
pub use stats::{Latency, ReleaseStats};
