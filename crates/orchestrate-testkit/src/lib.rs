//! For tests and benchmarks only: what every provider and every router must do, and real peers to talk to.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    reason = "what a test finds wrong ends it; nothing else uses this crate"
)]

pub mod contract;
pub mod corpus;
pub mod docker;
pub mod sample;
pub mod user;
pub mod webhook_receiver;

pub use corpus::replay;
pub use sample::SampleInstance;
pub use user::User;
pub use webhook_receiver::{Answer, Received, WebhookReceiver};
