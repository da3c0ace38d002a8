//! The `docker` provider: releases run as containers of an engine of this machine, from the image that was sealed.
//!
//! [`Docker`] lives in the daemon. The engine keeps containers running, also while no daemon is there; the daemon sees
//! to it that the right ones run. No engine is asked before something is placed on it.

mod adopt;
mod await_healthy;
pub(crate) mod container;
pub(crate) mod credentials;
pub(crate) mod engine;
mod events;
mod follow;
mod health;
mod hook;
pub(crate) mod images;
mod keep;
mod keeper;
mod look;
mod one_off;
mod provider;
pub(crate) mod reference;
pub(crate) mod secrets;
mod shared;
mod start;
mod stop;

pub use engine::Engine;
pub use images::{find, resolve};
pub use provider::{Docker, DockerOptions};
pub use shared::home_mark;
