//! A notice as people read it, whatever shows it to them.

use orchestrate_core::notification::NoticeKind;
use orchestrate_core::ports::Notice;
use serde_json::Value;

use crate::template;

pub(crate) struct Message {
    /// A few words.
    pub title: &'static str,
    /// One sentence.
    pub text: String,
    /// What the sentence may not say.
    pub facts: Vec<(&'static str, String)>,
    pub tone: Tone,
    pub service: String,
    pub environment: String,
    /// Where users reach the service.
    pub link: Option<String>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Tone {
    Good,
    Bad,
    News,
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
        let (title, tone) = headline(notice.kind);
        let facts = FACTS.iter().filter_map(|(name, key)| Some((*name, shown(&payload[*key])?)));
        let link =
            payload["url"].as_str().filter(|url| url.starts_with("http://") || url.starts_with("https://"));
        Self {
            title,
            text: text(notice),
            facts: facts.collect(),
            tone,
            service: payload["service"].as_str().unwrap_or("a service").to_owned(),
            environment: payload["environment"].as_str().unwrap_or("an environment").to_owned(),
            link: link.map(str::to_owned),
        }
    }

    /// `shop in production: rolled back`.
    pub fn heading(&self) -> String {
        format!("{} in {}: {}", self.service, self.environment, self.title)
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

fn headline(kind: NoticeKind) -> (&'static str, Tone) {
    match kind {
        NoticeKind::DeploymentStarted => ("deployment begun", Tone::News),
        NoticeKind::Deployment => ("deployed", Tone::Good),
        NoticeKind::DeploymentFailed => ("deployment failed", Tone::Bad),
        NoticeKind::RollbackStarted => ("rollback begun", Tone::News),
        NoticeKind::Rollback => ("rolled back", Tone::Good),
        NoticeKind::RollbackFailed => ("rollback failed", Tone::Bad),
        NoticeKind::HoldSet => ("a version is held", Tone::News),
        NoticeKind::HoldLifted => ("a hold is lifted", Tone::News),
        NoticeKind::ApprovalWanted => ("approval wanted", Tone::News),
        NoticeKind::ReadinessLost => ("a rollback would not work now", Tone::Bad),
        NoticeKind::ReadinessBack => ("a rollback would work again", Tone::Good),
        NoticeKind::NeedsAttention => ("needs attention", Tone::Bad),
        NoticeKind::Test => ("a test notice", Tone::News),
    }
}
