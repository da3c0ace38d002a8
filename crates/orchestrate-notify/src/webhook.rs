//! Webhooks as Standard Webhooks describes them: one signed POST a notice.

use orchestrate_core::ports::{DeliveryError, Notice};
use orchestrate_core::secrets::SecretText;
use orchestrate_core::time::Timestamp;
use reqwest::Url;
use reqwest::header::{CONTENT_TYPE, HeaderMap, HeaderValue};

use crate::http::{Http, later, never};
use crate::message::Event;
use crate::redact::masked;
use crate::signature::sign;

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
    let body = Event::of(notice).bytes()?;
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
