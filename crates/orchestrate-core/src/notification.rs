//! What people are told: the kinds of notice, the channels, and the payload of a rollback's notice.

use std::fmt;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::database::EnvironmentRecord;
use crate::deployment::{Deployment, DeploymentStatus};
use crate::error::{Error, Result};
use crate::evidence::Consequence;
use crate::rollback_event::RollbackEvent;
use crate::secrets::SecretText;

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
        /// With `address`, only as much of it as anybody may see.
        url: String,
        /// The name under which the whole URL is kept, because it may hold a token.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        address: Option<SecretRef>,
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
    /// The same channel with its whole URL, to be used and not kept.
    #[must_use]
    pub fn addressed(&self, whole: &SecretText) -> Self {
        let Self::Webhook { secret, on, .. } = self;
        Self::Webhook {
            url: whole.expose().to_owned(),
            address: None,
            secret: secret.clone(),
            on: on.clone(),
        }
    }

    pub fn wants(&self, kind: NoticeKind) -> bool {
        let Self::Webhook { on, .. } = self;
        on.is_empty() || kind == NoticeKind::Test || on.contains(&kind)
    }
}

/// The scope under which the signing secrets of channels are kept.
pub const SECRET_SCOPE: &str = "notifications";

/// What a notice tells of.
#[derive(Clone, Debug)]
pub(crate) enum Told {
    Deployment(Box<Deployment>),
    Rollback(Box<RollbackEvent>),
}

/// The body of a rollback's notice.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct RollbackNotification {
    pub service: String,
    pub url: Option<String>,
    /// One sentence for people.
    pub text: String,
    #[serde(flatten)]
    pub event: RollbackEvent,
}

impl Told {
    /// The beginning of the idempotency key.
    pub(crate) fn key(&self, kind: NoticeKind) -> String {
        match self {
            Self::Deployment(deployment) => format!("{kind}-d{}", deployment.id),
            Self::Rollback(event) => format!("{kind}-r{}", event.id),
        }
    }

    pub(crate) fn payload(
        &self,
        kind: NoticeKind,
        environment: &EnvironmentRecord,
    ) -> Result<serde_json::Value> {
        let (service, url) =
            (environment.environment.service.clone(), environment.environment.settings.url.clone());
        let value = match self {
            Self::Rollback(event) => {
                let text = rollback_text(kind, &service, event);
                serde_json::to_value(RollbackNotification { service, url, text, event: (**event).clone() })
            }
            Self::Deployment(deployment) => serde_json::to_value(deployment).map(|mut value| {
                value["text"] = deployment_text(kind, &service, deployment).into();
                value["service"] = service.into();
                value["url"] = url.into();
                value
            }),
        };
        value.map_err(|error| Error::bug(format!("a notice cannot be written: {error}")))
    }
}

fn rollback_text(kind: NoticeKind, service: &str, event: &RollbackEvent) -> String {
    let RollbackEvent { environment, from_version, target_version, actor, .. } = event;
    let why = event.reason.as_ref().map_or_else(String::new, |reason| format!(": {reason}"));
    match kind {
        NoticeKind::RollbackFailed => format!(
            "{service} in {environment}: the rollback from {from_version} to {target_version} by {actor} failed, users are \
             served as before: {}",
            event.error_message.as_deref().unwrap_or("no reason is known")
        ),
        NoticeKind::NeedsAttention => format!(
            "{service} in {environment}: the rollback from {from_version} to {target_version} by {actor} needs attention: {}",
            event.error_message.as_deref().unwrap_or("no reason is known")
        ),
        NoticeKind::Deployment | NoticeKind::DeploymentFailed | NoticeKind::Rollback | NoticeKind::Test => {
            format!(
                "{service} in {environment} was rolled back from {from_version} to {target_version} by {actor}{why}"
            )
        }
    }
}

fn deployment_text(kind: NoticeKind, service: &str, deployment: &Deployment) -> String {
    let Deployment { environment, version, actor, .. } = deployment;
    let error = deployment.error_message.as_deref().unwrap_or("no reason is known");
    let found = || {
        let worth_telling = deployment.evidence.iter().filter(|one| one.consequence == Consequence::Notify);
        worth_telling.map(|one| one.text.as_str()).collect::<Vec<_>>().join("; ")
    };
    match kind {
        NoticeKind::NeedsAttention if deployment.automatic_hold.is_some() => {
            let why = deployment.automatic_hold.as_deref().unwrap_or_default();
            let stays = if deployment.went_live_at.is_some() { "live" } else { "at its share" };
            format!(
                "{service} in {environment}: {version} turned out bad ({error}) and stays {stays}, because {why}; to \
                 go back, type: orchestrate deploy rollback --env {environment}"
            )
        }
        NoticeKind::NeedsAttention if deployment.status == DeploymentStatus::Completed => {
            format!(
                "{service} in {environment}: {version} stays live, but was not judged in full: {}",
                found()
            )
        }
        NoticeKind::NeedsAttention if deployment.status == DeploymentStatus::InProgress => {
            format!("{service} in {environment}: {version} shows itself bad and is watched on: {}", found())
        }
        NoticeKind::DeploymentFailed => {
            format!("{service} in {environment}: the deployment of {version} by {actor} failed: {error}")
        }
        NoticeKind::NeedsAttention => {
            format!(
                "{service} in {environment}: the deployment of {version} by {actor} needs attention: {error}"
            )
        }
        NoticeKind::Deployment | NoticeKind::Rollback | NoticeKind::RollbackFailed | NoticeKind::Test => {
            format!("{service} in {environment}: {version} was deployed by {actor}")
        }
    }
}
