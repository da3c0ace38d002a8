//! The `swarm` provider on a real swarm of one node: the contract of every provider, and what only services have.

#![allow(clippy::unwrap_used, clippy::expect_used, reason = "a test that cannot go on has failed")]

mod drift;
mod homes;
mod kept;
mod world;

use orchestrate_testkit::provider_contract;
use world::World;

provider_contract!(World);
