//! Webhooks as Standard Webhooks describes them: one signed POST a notice.

use orchestrate_core::ports::{DeliveryError, Notice};
use orchestrate_core::secrets::SecretText;
use orchestrate_core::time::Timestamp;
use reqwest::Url;
use reqwest::header::{CONTENT_TYPE, HeaderMap, HeaderValue};
use serde::Serialize;

use crate::http::{Http, later, never};
use crate::message::Message;
use crate::redact::masked;
use crate::signature::sign;

#[derive(Serialize)]
struct Body<'a> {
    r#type: &'a str,
    timestamp: Timestamp,
    data: &'a serde_json::Value,
}

pub(crate) async fn deliver(
    http: &Http,
    notice: &Notice,
    secret: Option<&SecretText>,
) -> Result<(), DeliveryError> {
    let url = &notice.channel.url;
    if notice.channel.secret.is_some() && secret.is_none() {
        let place = Url::parse(url).map_or_else(|_| "a webhook".to_owned(), |url| masked(&url));
        return Err(later(format!("the signing secret of {place} is not available")));
    }
    let (headers, body) = compose(notice, secret, Timestamp::system_now())?;
    http.post(url, headers, body, secret).await.map(drop)
}

fn compose(
    notice: &Notice,
    secret: Option<&SecretText>,
    now: Timestamp,
) -> Result<(HeaderMap, Vec<u8>), DeliveryError> {
    let mut data = notice.payload.clone();
    if notice.channel.template.is_some() {
        data["text"] = Message::of(notice).text.into();
    }
    let body = Body { r#type: notice.kind.event_type(), timestamp: notice.created_at, data: &data };
    let body =
        serde_json::to_vec(&body).map_err(|error| never(format!("the notice is not JSON: {error}")))?;
    let seconds = now.as_millis().div_euclid(1_000);
    let id = HeaderValue::from_str(&notice.key).map_err(|_| never("the notice's key cannot be a header"))?;
    let mut headers = HeaderMap::new();
    headers.insert(CONTENT_TYPE, HeaderValue::from_static("application/json"));
    headers.insert("webhook-id", id);
    headers.insert("webhook-timestamp", HeaderValue::from(seconds));
    if let Some(secret) = secret {
        let signature = sign(secret, &notice.key, seconds, &body).map_err(never)?;
        let signature =
            HeaderValue::from_str(&signature).map_err(|_| never("the signature cannot be a header"))?;
        headers.insert("webhook-signature", signature);
    }
    Ok((headers, body))
}
