//! The `process` provider: releases run as plain processes of this machine, supervised by the daemon.
//!
//! [`Supervisor`] does it and lives in the daemon; [`ProcessProvider`] asks it over the daemon's socket.

mod await_healthy;
pub(crate) mod book;
mod client;
mod command;
mod confine;
pub(crate) mod health;
pub(crate) mod hook;
mod keep;
mod keeper;
mod left;
pub(crate) mod lines;
mod one_off;
mod open;
pub(crate) mod output;
pub(crate) mod proc_table;
pub(crate) mod rotate;
mod running;
pub(crate) mod shared;
mod start;
mod stop;
mod supervisor;
mod working_copy;

#[cfg(any(test, feature = "fuzzing"))]
pub(crate) use book::reopen as reopen_record;
pub use client::ProcessProvider;
pub use confine::launch;
pub use left::running_instances;
pub use output::log_path;
pub use rotate::LogLimits;
pub use supervisor::{RestartPolicy, Supervisor, SupervisorOptions};
