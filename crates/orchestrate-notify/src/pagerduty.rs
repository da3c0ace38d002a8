//! PagerDuty, Events API v2: an incident for each environment, triggered by what is bad and resolved by what is well again.

use orchestrate_core::notification::NoticeKind;
use orchestrate_core::ports::{DeliveryError, Notice};
use orchestrate_core::secrets::SecretText;
use serde_json::{Value, json};

use crate::http::{Http, later};
use crate::message::Message;
use crate::notifier;

const LONGEST_SUMMARY: usize = 1_024;

pub(crate) async fn deliver(
    http: &Http,
    notice: &Notice,
    secret: Option<&SecretText>,
) -> Result<(), DeliveryError> {
    let Some(action) = action(notice.kind) else { return Ok(()) };
    let Some(key) = secret else { return Err(later("the routing key of PagerDuty is not available")) };
    let mut event = event(notice, action);
    event["routing_key"] = key.expose().into();
    let (headers, body) = notifier::json(&event)?;
    http.post(&notice.channel.url, headers, body, secret).await.map(drop)
}

/// None for what is no incident's affair.
fn action(kind: NoticeKind) -> Option<&'static str> {
    match kind {
        NoticeKind::DeploymentFailed
        | NoticeKind::RollbackFailed
        | NoticeKind::NeedsAttention
        | NoticeKind::ReadinessLost
        | NoticeKind::BreakGlass
        | NoticeKind::DrillFailed
        | NoticeKind::Test => Some("trigger"),
        NoticeKind::Deployment
        | NoticeKind::Rollback
        | NoticeKind::ReadinessBack
        | NoticeKind::DrillCompleted => Some("resolve"),
        NoticeKind::DeploymentStarted
        | NoticeKind::RollbackStarted
        | NoticeKind::HoldSet
        | NoticeKind::HoldLifted
        | NoticeKind::ApprovalWanted => None,
    }
}

fn event(notice: &Notice, action: &str) -> Value {
    let message = Message::of(notice);
    let severity = match notice.kind {
        NoticeKind::NeedsAttention => "critical",
        NoticeKind::RollbackFailed | NoticeKind::DeploymentFailed => "error",
        NoticeKind::ReadinessLost | NoticeKind::DrillFailed | NoticeKind::BreakGlass => "warning",
        _ => "info",
    };
    // Readiness and drills have incidents of their own: a deployment that completes does not bring them back.
    let about = match notice.kind {
        NoticeKind::ReadinessLost | NoticeKind::ReadinessBack => "/readiness",
        // What was done on purpose is no failure of the service, and nothing that completes resolves it.
        NoticeKind::BreakGlass => "/policy",
        NoticeKind::DrillFailed | NoticeKind::DrillCompleted => "/drill",
        NoticeKind::Test => "/test",
        _ => "",
    };
    let mut event = json!({
        "event_action": action,
        "dedup_key": format!("orchestrate/{}/{}{about}", message.service, message.environment),
    });
    if action == "trigger" {
        event["payload"] = json!({
            "summary": message.text.chars().take(LONGEST_SUMMARY).collect::<String>(),
            "source": message.environment,
            "severity": severity,
            "timestamp": notice.created_at,
            "component": message.service,
            "class": notice.kind.event_type(),
            "custom_details": notice.payload,
        });
        if let Some(link) = message.link {
            event["links"] = json!([{ "href": link, "text": "the service" }]);
        }
    }
    event
}
