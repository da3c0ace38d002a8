//! What people are told: the kinds of notice, the channels, and what a notice says.

mod channel;
mod kind;
mod told;

pub use channel::{Channel, SECRET_SCOPE, SecretRef, Via};
pub use kind::{NoticeKind, NoticeOutcome};
pub use told::RollbackNotification;
pub(crate) use told::{Override, Told};
