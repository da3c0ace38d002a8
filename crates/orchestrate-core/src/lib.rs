//! What a deployment and a rollback are: decides, journals, records; knows its database and no other IO.

pub mod deployment_strategy;
pub mod environment;
pub mod error;
pub mod name;
pub mod notification;
pub mod ports;
pub mod release;
pub mod secrets;
pub mod slot;
pub mod time;

pub use error::{Error, ErrorKind, Result};
