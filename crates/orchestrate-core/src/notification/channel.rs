//! Where notices go, and which.

use serde::{Deserialize, Serialize};

use super::NoticeKind;
use crate::secrets::SecretText;
use crate::time::Span;

/// Where notices go. What is secret of it is kept elsewhere, encrypted, and named here.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Channel {
    #[serde(flatten)]
    pub via: Via,
    /// Where to; with `address`, only as much of it as anybody may see.
    pub url: String,
    /// The name under which the whole URL is kept, because it may hold a token.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub address: Option<SecretRef>,
    /// The name under which its secret is kept, if it has one: what signs, or what lets us in.
    pub secret: Option<SecretRef>,
    /// Empty means all that do not only announce.
    pub on: Vec<NoticeKind>,
    /// What takes the place of the sentence for people.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub template: Option<String>,
}

/// The service, with what it needs to know beside an address and a secret.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "type", rename_all = "snake_case")]
pub enum Via {
    /// Standard Webhooks; the secret signs.
    Webhook,
    /// With a bot's token as the secret, to this channel and a thread for each operation; else by an incoming webhook.
    Slack {
        #[serde(default, skip_serializing_if = "Option::is_none")]
        channel: Option<String>,
    },
    /// A workflow that takes adaptive cards.
    Teams,
    /// Events API v2; the secret is the routing key.
    Pagerduty,
    /// By SMTP; the URL names the server, and may hold user and password.
    Email { from: String, to: Vec<String> },
    /// CDEvents in CloudEvents.
    Cdevents,
    /// A program of this machine, without a shell.
    Command { command: Vec<String>, timeout: Span },
}

impl Via {
    /// As the config file names it.
    pub const fn as_str(&self) -> &'static str {
        match self {
            Self::Webhook => "webhook",
            Self::Slack { .. } => "slack",
            Self::Teams => "teams",
            Self::Pagerduty => "pagerduty",
            Self::Email { .. } => "email",
            Self::Cdevents => "cdevents",
            Self::Command { .. } => "command",
        }
    }

    /// Whether later notices of an operation hang on the first one.
    pub const fn has_threads(&self) -> bool {
        matches!(self, Self::Slack { channel: Some(_) } | Self::Email { .. })
    }
}

/// A secret value by name and version, so that the value itself is stored only once, encrypted.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct SecretRef {
    pub name: String,
    pub version: i64,
}

impl Channel {
    /// A webhook that gets these kinds.
    pub fn webhook(url: impl Into<String>, on: &[NoticeKind]) -> Self {
        Self {
            via: Via::Webhook,
            url: url.into(),
            address: None,
            secret: None,
            on: on.to_vec(),
            template: None,
        }
    }

    /// The same channel with its whole URL, to be used and not kept.
    #[must_use]
    pub fn addressed(&self, whole: &SecretText) -> Self {
        Self { url: whole.expose().to_owned(), address: None, ..self.clone() }
    }

    pub fn wants(&self, kind: NoticeKind) -> bool {
        match kind {
            NoticeKind::Test => true,
            kind if self.on.is_empty() => !kind.announces(),
            kind => self.on.contains(&kind),
        }
    }
}

/// The scope under which the secrets of channels are kept.
pub const SECRET_SCOPE: &str = "notifications";
