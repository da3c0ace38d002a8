//! A notice as people read it, whatever shows it to them.

use orchestrate_core::notification::{NoticeKind, NoticeOutcome};
use orchestrate_core::ports::{DeliveryError, Notice};
use orchestrate_core::time::Timestamp;
use serde::Serialize;
use serde_json::Value;

use crate::http::never;
use crate::template;

pub(crate) struct Message {
    /// A few words.
    pub title: &'static str,
    /// One sentence.
    pub text: String,
    /// What the sentence may not say.
    pub facts: Vec<(&'static str, String)>,
    pub outcome: NoticeOutcome,
    pub service: String,
    pub environment: String,
    /// Where users reach the service.
    pub link: Option<String>,
}

/// The keys of a payload that are worth a line of their own.
const FACTS: [(&str, &str); 9] = [
    ("Version", "version"),
    ("From", "from_version"),
    ("To", "target_version"),
    ("How", "rollback_type"),
    ("Path", "path"),
    ("Took (ms)", "duration_ms"),
    ("By", "actor"),
    ("Reason", "reason"),
    ("Error", "error_message"),
];

impl Message {
    pub fn of(notice: &Notice) -> Self {
        let payload = &notice.payload;
        let facts = FACTS.iter().filter_map(|(name, key)| Some((*name, shown(&payload[*key])?)));
        let link =
            payload["url"].as_str().filter(|url| url.starts_with("http://") || url.starts_with("https://"));
        Self {
            title: title(notice.kind),
            text: text(notice),
            facts: facts.collect(),
            outcome: notice.kind.outcome(),
            service: payload["service"].as_str().unwrap_or("a service").to_owned(),
            environment: payload["environment"].as_str().unwrap_or("an environment").to_owned(),
            link: link.map(str::to_owned),
        }
    }

    /// Whether somebody should look.
    pub fn is_bad(&self) -> bool {
        matches!(self.outcome, NoticeOutcome::Failure | NoticeOutcome::Attention)
    }

    /// `shop in production: rolled back`.
    pub fn heading(&self) -> String {
        format!("{} in {}: {}", self.service, self.environment, self.title)
    }
}

/// The notice as a webhook and a command get it.
#[derive(Serialize)]
pub(crate) struct Event<'a> {
    /// Where nothing beside it carries the key.
    #[serde(skip_serializing_if = "Option::is_none")]
    id: Option<&'a str>,
    r#type: &'a str,
    timestamp: Timestamp,
    data: Value,
}

impl<'a> Event<'a> {
    pub fn of(notice: &'a Notice) -> Self {
        let mut data = notice.payload.clone();
        if notice.channel.template.is_some() {
            data["text"] = text(notice).into();
        }
        Self { id: None, r#type: notice.kind.event_type(), timestamp: notice.created_at, data }
    }

    /// With the key of the notice in it.
    pub fn with_its_key(notice: &'a Notice) -> Self {
        Self { id: Some(&notice.key), ..Self::of(notice) }
    }

    pub fn bytes(&self) -> Result<Vec<u8>, DeliveryError> {
        serde_json::to_vec(self).map_err(|error| never(format!("the notice is not JSON: {error}")))
    }
}

fn text(notice: &Notice) -> String {
    let own = || notice.payload["text"].as_str().unwrap_or_else(|| notice.kind.event_type()).to_owned();
    match notice.channel.template.as_deref().map(|template| template::render(template, notice)) {
        Some(Ok(text)) if !text.trim().is_empty() => text,
        // Whatever is wrong with a template, people are told.
        Some(Err(problem)) => format!("{} (the channel's template: {problem})", own()),
        Some(Ok(_)) | None => own(),
    }
}

fn shown(value: &Value) -> Option<String> {
    match value {
        Value::String(text) if !text.is_empty() => Some(text.clone()),
        Value::Number(number) => Some(number.to_string()),
        Value::Null | Value::Bool(_) | Value::String(_) | Value::Array(_) | Value::Object(_) => None,
    }
}

fn title(kind: NoticeKind) -> &'static str {
    match kind {
        NoticeKind::DeploymentStarted => "deployment begun",
        NoticeKind::Deployment => "deployed",
        NoticeKind::DeploymentFailed => "deployment failed",
        NoticeKind::RollbackStarted => "rollback begun",
        NoticeKind::Rollback => "rolled back",
        NoticeKind::RollbackFailed => "rollback failed",
        NoticeKind::HoldSet => "a version is held",
        NoticeKind::HoldLifted => "a hold is lifted",
        NoticeKind::ApprovalWanted => "approval wanted",
        NoticeKind::BreakGlass => "policies were overridden",
        NoticeKind::ReadinessLost => "a rollback would not work now",
        NoticeKind::ReadinessBack => "a rollback would work again",
        NoticeKind::DrillCompleted => "a rollback was rehearsed",
        NoticeKind::DrillFailed => "the rehearsal of a rollback failed",
        NoticeKind::NeedsAttention => "needs attention",
        NoticeKind::Test => "a test notice",
    }
}
