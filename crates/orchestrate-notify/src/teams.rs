//! Microsoft Teams: an adaptive card for a workflow that posts what its webhook gets.

use orchestrate_core::notification::NoticeOutcome;
use orchestrate_core::ports::{DeliveryError, Notice};
use serde_json::{Value, json};

use crate::http::Http;
use crate::message::Message;
use crate::notifier;

pub(crate) async fn deliver(http: &Http, notice: &Notice) -> Result<(), DeliveryError> {
    let (headers, body) = notifier::json(&body(notice))?;
    http.post(&notice.channel.url, headers, body, None).await.map(drop)
}

fn body(notice: &Notice) -> Value {
    let message = Message::of(notice);
    let color = match message.outcome {
        NoticeOutcome::Success => "Good",
        NoticeOutcome::Failure | NoticeOutcome::Attention => "Attention",
        NoticeOutcome::Info => "Accent",
    };
    // Nothing of what people typed is read as markup: facts and a text run are shown as they are.
    let facts: Vec<Value> =
        message.facts.iter().map(|(name, value)| json!({ "title": name, "value": plain(value) })).collect();
    let mut card = json!({
        "type": "AdaptiveCard",
        "$schema": "http://adaptivecards.io/schemas/adaptive-card.json",
        "version": "1.4",
        "body": [
            { "type": "TextBlock", "size": "Medium", "weight": "Bolder", "color": color, "wrap": true, "text": plain(&message.heading()) },
            { "type": "RichTextBlock", "inlines": [{ "type": "TextRun", "text": message.text }] },
            { "type": "FactSet", "facts": facts },
        ],
        "msteams": { "width": "Full" },
    });
    if let Some(link) = message.link {
        card["actions"] = json!([{ "type": "Action.OpenUrl", "title": "Open the service", "url": link }]);
    }
    json!({
        "type": "message",
        "attachments": [{ "contentType": "application/vnd.microsoft.card.adaptive", "content": card }],
    })
}

/// Without what Markdown makes links, emphasis and code of.
fn plain(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for c in text.chars() {
        if matches!(c, '\\' | '*' | '_' | '[' | ']' | '(' | ')' | '`' | '#') {
            out.push('\\');
        }
        out.push(c);
    }
    out
}
