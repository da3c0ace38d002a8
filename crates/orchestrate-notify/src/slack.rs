//! Slack: blocks. With a bot's token, `chat.postMessage` and a thread for each operation; else an incoming webhook.

use orchestrate_core::notification::NoticeOutcome;
use orchestrate_core::ports::{DeliveryError, Notice, Receipt};
use orchestrate_core::secrets::SecretText;
use orchestrate_core::time::Span;
use reqwest::header::{AUTHORIZATION, HeaderValue};
use serde_json::{Value, json};

use crate::http::{Http, later, never};
use crate::message::Message;
use crate::notifier;

/// Slack refuses longer texts.
const LONGEST_TEXT: usize = 2_900;
const LONGEST_HEADER: usize = 140;

pub(crate) async fn deliver(
    http: &Http,
    notice: &Notice,
    channel: Option<&str>,
    secret: Option<&SecretText>,
) -> Result<Option<Receipt>, DeliveryError> {
    let (mut headers, body) = notifier::json(&body(notice, channel))?;
    if channel.is_some() {
        let Some(token) = secret else {
            return Err(later("the token of the Slack channel is not available"));
        };
        let mut value = HeaderValue::from_str(&format!("Bearer {}", token.expose()))
            .map_err(|_| never("the token of the Slack channel cannot be a header"))?;
        value.set_sensitive(true);
        headers.insert(AUTHORIZATION, value);
    }
    let answer = http.post(&notice.channel.url, headers, body, secret).await?;
    if channel.is_some() { posted(&answer, notice).map(Some) } else { Ok(None) }
}

fn body(notice: &Notice, channel: Option<&str>) -> Value {
    let message = Message::of(notice);
    let mut body = json!({ "text": cut(&escaped(&message.text), LONGEST_TEXT), "blocks": blocks(&message) });
    if let Some(channel) = channel {
        body["channel"] = channel.into();
        // A second one of the same key is dropped by whoever looks at it; Slack itself promises no such thing.
        body["metadata"] = json!({
            "event_type": "orchestrate_notice", "event_payload": { "key": notice.key, "kind": notice.kind },
        });
        if let Some(Receipt(first)) = &notice.thread {
            body["thread_ts"] = first.as_str().into();
            // What is bad is seen in the channel itself, too.
            body["reply_broadcast"] = message.is_bad().into();
        }
    }
    body
}

fn blocks(message: &Message) -> Value {
    let mark = match message.outcome {
        NoticeOutcome::Success => ":white_check_mark:",
        NoticeOutcome::Failure | NoticeOutcome::Attention => ":rotating_light:",
        NoticeOutcome::Info => ":information_source:",
    };
    let header = cut(&format!("{mark} {}", message.heading()), LONGEST_HEADER);
    let mut blocks = vec![
        json!({ "type": "header", "text": { "type": "plain_text", "text": header, "emoji": true } }),
        json!({ "type": "section", "text": { "type": "mrkdwn", "text": cut(&escaped(&message.text), LONGEST_TEXT) } }),
    ];
    let field = |(name, value): &(&str, String)| json!({ "type": "mrkdwn", "text": format!("*{name}*\n{}", cut(&escaped(value), 1_900)) });
    if !message.facts.is_empty() {
        let fields: Vec<Value> = message.facts.iter().take(10).map(field).collect();
        blocks.push(json!({ "type": "section", "fields": fields }));
    }
    if let Some(link) = &message.link {
        let text = format!("<{}>", escaped(link).replace(['|', ' '], ""));
        blocks.push(json!({ "type": "context", "elements": [{ "type": "mrkdwn", "text": text }] }));
    }
    Value::Array(blocks)
}

/// The three characters that mean something in Slack's texts: nobody is mentioned by a reason.
fn escaped(text: &str) -> String {
    text.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;")
}

fn cut(text: &str, longest: usize) -> String {
    if text.chars().count() <= longest {
        return text.to_owned();
    }
    text.chars().take(longest - 1).chain(['…']).collect()
}

/// Slack answers 200 to what it refuses, and says so in the body.
fn posted(answer: &[u8], notice: &Notice) -> Result<Receipt, DeliveryError> {
    let Ok(answer) = serde_json::from_slice::<Value>(answer) else {
        return Err(later("Slack's answer is not JSON"));
    };
    if answer["ok"] == true {
        let ts = answer["ts"].as_str().map(str::to_owned);
        // A thread hangs on its first message.
        let receipt = notice.thread.clone().or(ts.map(Receipt));
        return receipt.ok_or_else(|| never("Slack accepted a message and did not name it"));
    }
    let error: String = answer["error"].as_str().unwrap_or("no reason").chars().take(80).collect();
    let passing = [
        "ratelimited",
        "rate_limited",
        "internal_error",
        "fatal_error",
        "service_unavailable",
        "request_timeout",
    ];
    let retry = passing.contains(&error.as_str());
    let retry_after = (error.starts_with("rate")).then(|| Span::from_secs(30));
    Err(DeliveryError { message: format!("Slack refused it: {error}"), retry, retry_after })
}
