//! Tells people what happened. Each channel makes one attempt; the outbox decides when there is another, by [`backoff`].

mod backoff;
mod cdevents;
mod command;
mod email;
mod http;
mod message;
mod notifier;
mod otlp;
mod pagerduty;
mod redact;
mod signature;
mod slack;
mod teams;
mod template;
mod webhook;

pub use backoff::backoff;
pub use email::is_mailbox;
pub use notifier::ChannelNotifier;
pub use otlp::{Collector, OtlpTracer};
pub use template::{Problem as TemplateProblem, check as check_template};
