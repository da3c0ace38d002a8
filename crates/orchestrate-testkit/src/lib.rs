//! For tests and benchmarks only: real peers to talk to.

pub mod webhook_receiver;

pub use webhook_receiver::{Answer, Received, WebhookReceiver};
