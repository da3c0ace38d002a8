//! Tells people what happened. Each channel makes one attempt; the outbox decides when there is another, by [`backoff`].

mod backoff;
mod redact;
mod signature;
mod webhook;

pub use backoff::backoff;
pub use webhook::WebhookNotifier;
