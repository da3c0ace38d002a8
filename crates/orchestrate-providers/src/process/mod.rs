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

pub(crate) use await_healthy::instance_id;
#[cfg(any(test, feature = "fuzzing"))]
pub(crate) use book::reopen as reopen_record;
pub(crate) use book::replace;
pub use client::ProcessProvider;
pub(crate) use command::{cannot_run, environment as variables_of, find as find_program, hold};
pub use confine::launch;
pub use left::running_instances;
pub use output::log_path;
pub(crate) use output::{last_lines, open as open_log};
pub(crate) use proc_table::Mark;
pub use rotate::LogLimits;
pub(crate) use running::{Ending, Running};
pub(crate) use shared::blocking;
pub use supervisor::{RestartPolicy, Supervisor, SupervisorOptions};
