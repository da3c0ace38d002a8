//! The `docker` provider on a real engine: the contract of every provider, and what only images and containers have.

#![allow(clippy::unwrap_used, clippy::expect_used, reason = "a test that cannot go on has failed")]

mod containers;
mod engine;
mod images;
mod secrets;
mod waiting;
mod world;

use orchestrate_testkit::provider_contract;
use world::World;

provider_contract!(World);
