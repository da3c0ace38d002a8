//! What people are told: the kinds of notice, the channels, and the payload of a rollback's notice.

use std::fmt;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// What a notice is about; `on:` of a channel names these.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum NoticeKind {
    /// A deployment went live.
    Deployment,
    DeploymentFailed,
    /// A rollback completed.
    Rollback,
    RollbackFailed,
    NeedsAttention,
    /// Sent by `orchestrate notify test`.
    Test,
}

impl NoticeKind {
    pub const ALL: [Self; 6] = [
        Self::Deployment,
        Self::DeploymentFailed,
        Self::Rollback,
        Self::RollbackFailed,
        Self::NeedsAttention,
        Self::Test,
    ];

    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Deployment => "deployment",
            Self::DeploymentFailed => "deployment_failed",
            Self::Rollback => "rollback",
            Self::RollbackFailed => "rollback_failed",
            Self::NeedsAttention => "needs_attention",
            Self::Test => "test",
        }
    }

    pub fn parse(text: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|kind| kind.as_str() == text)
    }
}

impl fmt::Display for NoticeKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.as_str())
    }
}

/// Where notices go. Only `webhook` is built yet; the config file refuses the others by name.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "type", rename_all = "snake_case")]
pub enum Channel {
    Webhook {
        url: String,
        /// The name under which its signing secret is kept, if it has one.
        secret: Option<SecretRef>,
        /// Empty means every kind.
        on: Vec<NoticeKind>,
    },
}

/// A secret value by name and version, so that the value itself is stored only once, encrypted.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct SecretRef {
    pub name: String,
    pub version: i64,
}

impl Channel {
    pub fn wants(&self, kind: NoticeKind) -> bool {
        let Self::Webhook { on, .. } = self;
        on.is_empty() || kind == NoticeKind::Test || on.contains(&kind)
    }
}
