//! CDEvents 0.4.1 in the HTTP binding of CloudEvents, binary mode: a service was deployed, upgraded, rolled back.

use orchestrate_core::notification::NoticeKind;
use orchestrate_core::ports::{DeliveryError, Notice};
use orchestrate_core::uri;
use reqwest::header::{CONTENT_TYPE, HeaderMap, HeaderName, HeaderValue};
use serde_json::{Value, json};

use crate::http::{Http, never};

const SPEC: &str = "0.4.1";

pub(crate) async fn deliver(http: &Http, notice: &Notice) -> Result<(), DeliveryError> {
    let Some(event) = event(notice) else { return Ok(()) };
    let body =
        serde_json::to_vec(&event).map_err(|error| never(format!("the event is not JSON: {error}")))?;
    http.post(&notice.channel.url, headers(&event)?, body, None).await.map(drop)
}

fn headers(event: &Value) -> Result<HeaderMap, DeliveryError> {
    let context = &event["context"];
    let mut headers = HeaderMap::from_iter([(CONTENT_TYPE, HeaderValue::from_static("application/json"))]);
    headers.insert("ce-specversion", HeaderValue::from_static("1.0"));
    for (name, key) in
        [("ce-id", "id"), ("ce-source", "source"), ("ce-type", "type"), ("ce-time", "timestamp")]
    {
        let value = HeaderValue::from_str(context[key].as_str().unwrap_or_default());
        let value = value.map_err(|_| never(format!("the event's {key} cannot be a header")))?;
        headers.insert(HeaderName::from_static(name), value);
    }
    let subject = event["subject"]["id"].as_str().unwrap_or_default();
    if let Ok(value) = HeaderValue::from_str(subject) {
        headers.insert("ce-subject", value);
    }
    Ok(headers)
}

/// None for what CDEvents has no word for.
pub(crate) fn event(notice: &Notice) -> Option<Value> {
    let payload = &notice.payload;
    let (what, version) = match notice.kind {
        NoticeKind::Deployment if payload["first"] == true => ("deployed", "version"),
        NoticeKind::Deployment => ("upgraded", "version"),
        NoticeKind::Rollback => ("rolledback", "target_version"),
        NoticeKind::DeploymentStarted
        | NoticeKind::DeploymentFailed
        | NoticeKind::RollbackStarted
        | NoticeKind::RollbackFailed
        | NoticeKind::HoldSet
        | NoticeKind::HoldLifted
        | NoticeKind::ApprovalWanted
        | NoticeKind::BreakGlass
        | NoticeKind::ReadinessLost
        | NoticeKind::ReadinessBack
        | NoticeKind::DrillCompleted
        | NoticeKind::DrillFailed
        | NoticeKind::NeedsAttention
        | NoticeKind::Test => return None,
    };
    let text = |key: &str| payload[key].as_str().unwrap_or("unknown");
    let source = format!("/orchestrate/{}", uri::component(text("service")));
    Some(json!({
        "context": {
            "version": SPEC,
            "id": notice.key,
            "source": source,
            "type": format!("dev.cdevents.service.{what}.0.2.0"),
            "timestamp": notice.created_at,
        },
        "subject": {
            "id": text("service"),
            "source": source,
            "type": "service",
            "content": {
                "environment": { "id": text("environment"), "source": source },
                "artifactId": format!("pkg:generic/{}@{}", uri::component(text("service")), uri::component(text(version))),
            },
        },
        "customData": payload,
        "customDataContentType": "application/json",
    }))
}
