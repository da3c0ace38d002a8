//! The `swarm` provider: releases run as services of a Docker Swarm, from the image that was sealed.
//!
//! Each instance is a service of its own with one task, so that orchestrate says which instance goes, and when. The swarm places
//! the task, keeps it running and moves it when its node is lost. What there is stands in the swarm alone: any daemon that reaches a
//! manager sees the same.

mod anchor;
mod await_healthy;
mod drift;
mod labels;
mod look;
mod output;
mod privileges;
mod provider;
mod secrets;
mod service;
mod shared;
mod start;
mod stop;
mod taken_in;
mod watching;

pub use provider::{Belongings, Swarm, SwarmOptions};
