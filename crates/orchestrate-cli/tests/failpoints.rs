//! Something happens at an effect: the program is killed before or after it, it fails, its answer is lost, the disk is full.
//! Afterwards everything ends by itself, the service answers throughout, and what is recorded is what runs.
//!
//! `cargo test --workspace --features orchestrate-cli/failpoints --test failpoints`. A run tries what it has time for:
//! `ORCHESTRATE_FAILPOINTS_SECONDS` for each kind of deed (0: until all was tried), in an order that follows from
//! `ORCHESTRATE_FAILPOINTS_SEED`; `ORCHESTRATE_FAILPOINTS_RULES` tries one thing, as the test says it.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::print_stdout,
    clippy::print_stderr,
    reason = "a test"
)]

mod failpoints {
    pub mod chores;
    pub mod deed;
    pub mod panel;
    pub mod stage;
    pub mod sweep;
    pub mod tour;
    pub mod zombie;
}
mod luck;

use failpoints::deed::Deed;
use failpoints::sweep::sweep;

#[test]
fn a_blue_green_deployment_survives_whatever_happens_at_an_effect() {
    sweep(Deed::BlueGreen);
}

#[test]
fn a_rolling_deployment_survives_whatever_happens_at_an_effect() {
    sweep(Deed::Rolling);
}

#[test]
fn a_canary_survives_whatever_happens_at_an_effect() {
    sweep(Deed::Canary);
}

#[test]
fn a_warm_rollback_survives_whatever_happens_at_an_effect() {
    sweep(Deed::WarmRollback);
}

#[test]
fn a_cold_rollback_survives_whatever_happens_at_an_effect() {
    sweep(Deed::ColdRollback);
}

#[test]
fn going_forth_again_survives_whatever_happens_at_an_effect() {
    sweep(Deed::Undo);
}

#[test]
fn a_drill_there_and_back_survives_whatever_happens_at_an_effect() {
    sweep(Deed::WarmDrill);
}

#[test]
fn a_drill_beside_what_is_live_survives_whatever_happens_at_an_effect() {
    sweep(Deed::ColdDrill);
}

#[test]
fn a_command_that_falls_asleep_before_an_effect_has_none_once_others_went_on() {
    failpoints::zombie::fall_asleep_everywhere();
}

#[test]
fn every_failpoint_of_the_source_is_come_to_by_somebody() {
    failpoints::tour::every_failpoint_is_come_to();
}

#[test]
fn rotations_backups_and_restores_survive_whatever_happens_at_an_effect() {
    failpoints::chores::chores();
}
