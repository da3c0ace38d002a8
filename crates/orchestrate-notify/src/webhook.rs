//! Webhooks as Standard Webhooks describes them: one signed POST a notice.

use std::error::Error as StdError;
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use async_trait::async_trait;
use orchestrate_core::notification::{Channel, NoticeKind};
use orchestrate_core::ports::{DeliveryError, Notice, Notifier};
use orchestrate_core::secrets::SecretText;
use orchestrate_core::time::{Span, Timestamp};
use reqwest::header::{CONTENT_TYPE, HeaderMap, HeaderValue, RETRY_AFTER};
use reqwest::{Client, Response, StatusCode, Url, redirect};
use serde::Serialize;

use crate::redact::{excerpt, masked};
use crate::signature::sign;

const CONNECT_TIMEOUT: Duration = Duration::from_secs(5);
const TOTAL_TIMEOUT: Duration = Duration::from_secs(10);
/// More of an answer than this is neither read nor kept.
const ANSWER_BYTES: usize = 4_096;
const LONGEST_RETRY_AFTER_SECS: u64 = 3_600;

/// Delivers to `Channel::Webhook`.
///
/// Any 2xx is acceptance. A redirect is not followed, because a signed notice belongs to the address that was
/// configured, and proxies from the environment are not used.
pub struct WebhookNotifier {
    connect_timeout: Duration,
    total_timeout: Duration,
    /// Made at the first delivery: reading the system's certificates costs memory that most homes never need.
    clients: Mutex<Clients>,
}

#[derive(Default)]
struct Clients {
    plain: Option<Client>,
    tls: Option<Client>,
}

impl Default for WebhookNotifier {
    fn default() -> Self {
        Self::new()
    }
}

#[async_trait]
impl Notifier for WebhookNotifier {
    async fn deliver(&self, notice: &Notice, secret: Option<&SecretText>) -> Result<(), DeliveryError> {
        let Channel::Webhook { url, secret: wanted, .. } = &notice.channel;
        // The parser's message would repeat the URL.
        let url = Url::parse(url).map_err(|_| never("the webhook's URL cannot be read"))?;
        if wanted.is_some() && secret.is_none() {
            return Err(later(format!("the signing secret of {} is not available", masked(&url))));
        }
        let (headers, body) = compose(notice, secret, Timestamp::system_now())?;
        let request = self.client(&url)?.post(url.clone()).headers(headers).body(body);
        match request.send().await {
            Ok(response) if response.status().is_success() => Ok(()),
            Ok(response) => Err(refusal(response, &url, secret).await),
            Err(error) => Err(failure(error, &url)),
        }
    }
}

impl WebhookNotifier {
    pub fn new() -> Self {
        Self::with_timeouts(CONNECT_TIMEOUT, TOTAL_TIMEOUT)
    }

    /// `total` bounds one attempt, from the name's resolution to the end of the answer.
    pub fn with_timeouts(connect: Duration, total: Duration) -> Self {
        Self { connect_timeout: connect, total_timeout: total, clients: Mutex::default() }
    }

    fn client(&self, url: &Url) -> Result<Client, DeliveryError> {
        let tls = match url.scheme() {
            "http" => false,
            "https" => true,
            scheme => return Err(never(format!("a webhook needs http or https, not {scheme}"))),
        };
        let mut clients = self.clients.lock().unwrap_or_else(PoisonError::into_inner);
        let slot = if tls { &mut clients.tls } else { &mut clients.plain };
        if let Some(client) = slot {
            return Ok(client.clone());
        }
        let client = self.build(tls).map_err(|error| {
            later(format!("no client for {}: {}; is ca-certificates installed?", masked(url), causes(&error)))
        })?;
        Ok(slot.insert(client).clone())
    }

    fn build(&self, tls: bool) -> reqwest::Result<Client> {
        // An error means that the process has its provider already, which is as good.
        let _ = rustls::crypto::ring::default_provider().install_default();
        let builder = Client::builder()
            .connect_timeout(self.connect_timeout)
            .timeout(self.total_timeout)
            .redirect(redirect::Policy::none())
            .no_proxy()
            .http1_only()
            // Notices are rare: an idle connection would be dead by the next one.
            .pool_max_idle_per_host(0)
            .user_agent(concat!("orchestrate/", env!("CARGO_PKG_VERSION")));
        // Without roots the client needs no certificates on this machine, and trusts none.
        if tls { builder.build() } else { builder.tls_certs_only([]).build() }
    }
}

#[derive(Serialize)]
struct Body<'a> {
    r#type: &'a str,
    timestamp: Timestamp,
    data: &'a serde_json::Value,
}

/// The type of the event, as receivers filter by it.
fn event_type(kind: NoticeKind) -> &'static str {
    match kind {
        NoticeKind::Deployment => "deployment.completed",
        NoticeKind::DeploymentFailed => "deployment.failed",
        NoticeKind::Rollback => "rollback.completed",
        NoticeKind::RollbackFailed => "rollback.failed",
        NoticeKind::NeedsAttention => "operation.needs_attention",
        NoticeKind::Test => "notification.test",
    }
}

fn compose(
    notice: &Notice,
    secret: Option<&SecretText>,
    now: Timestamp,
) -> Result<(HeaderMap, Vec<u8>), DeliveryError> {
    let body = Body { r#type: event_type(notice.kind), timestamp: notice.created_at, data: &notice.payload };
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

/// What an answer other than 2xx means.
async fn refusal(mut response: Response, url: &Url, secret: Option<&SecretText>) -> DeliveryError {
    let status = response.status();
    let retry = may_pass(status);
    let retry_after = response
        .headers()
        .get(RETRY_AFTER)
        .filter(|_| retry)
        .and_then(|value| parse_retry_after(value.to_str().ok()?, Timestamp::system_now()));
    let mut message = format!("{} answered {status}", masked(url));
    if status.is_redirection() {
        message.push_str("; redirects are not followed, configure the final URL");
    } else if let Some(text) = excerpt(&start_of_body(&mut response).await, url, secret) {
        message.push_str(": ");
        message.push_str(&text);
    }
    DeliveryError { message, retry, retry_after }
}

/// Whether the same notice may be accepted later.
fn may_pass(status: StatusCode) -> bool {
    match status.as_u16() {
        302 | 303 | 307 | 408 | 429 => true,
        code => code >= 500,
    }
}

/// `Retry-After` in seconds or as an HTTP date, at most an hour; none where it asks for no pause.
fn parse_retry_after(text: &str, now: Timestamp) -> Option<Span> {
    let text = text.trim();
    let wait = if !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit()) {
        Span::from_secs(text.parse().unwrap_or(u64::MAX).min(LONGEST_RETRY_AFTER_SECS))
    } else {
        let until =
            jiff::fmt::rfc2822::DateTimeParser::new().relaxed_weekday(true).parse_timestamp(text).ok()?;
        let millis = Timestamp::from_millis(until.as_millisecond()).millis_since(now);
        Span::from_millis(millis.min(LONGEST_RETRY_AFTER_SECS * 1_000))
    };
    (!wait.is_zero()).then_some(wait)
}

/// Best effort: the status has said what matters.
async fn start_of_body(response: &mut Response) -> Vec<u8> {
    let mut start = Vec::new();
    while start.len() < ANSWER_BYTES {
        let Ok(Some(chunk)) = response.chunk().await else { break };
        start.extend_from_slice(&chunk[..chunk.len().min(ANSWER_BYTES - start.len())]);
    }
    start
}

/// What no answer at all means: only a request that could not be made will never be.
fn failure(error: reqwest::Error, url: &Url) -> DeliveryError {
    let retry = !error.is_builder();
    let what = if error.is_timeout() { "did not answer in time" } else { "did not answer" };
    DeliveryError {
        message: format!("{} {what}: {}", masked(url), causes(&error.without_url())),
        retry,
        retry_after: None,
    }
}

fn causes(error: &reqwest::Error) -> String {
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(error) = cause {
        let line = error.to_string();
        if !text.ends_with(&line) {
            text.push_str(": ");
            text.push_str(&line);
        }
        cause = error.source();
    }
    text
}

fn never(message: impl Into<String>) -> DeliveryError {
    DeliveryError { message: message.into(), retry: false, retry_after: None }
}

fn later(message: impl Into<String>) -> DeliveryError {
    DeliveryError { message: message.into(), retry: true, retry_after: None }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn retry_after_is_seconds_or_a_date_and_at_most_an_hour() {
        let now = "1994-11-06T08:49:07.000Z".parse().unwrap();
        let parse = |text| parse_retry_after(text, now);
        assert_eq!(parse("120"), Some(Span::from_secs(120)));
        assert_eq!(parse("Sun, 06 Nov 1994 08:49:37 GMT"), Some(Span::from_secs(30)));
        for long in ["86400", "99999999999999999999999", "Sun, 06 Nov 2094 08:49:37 GMT"] {
            assert_eq!(parse(long), Some(Span::from_secs(3_600)), "{long}");
        }
        for none in ["0", "", "-1", "soon", "Sun, 06 Nov 1994 08:00:00 GMT"] {
            assert_eq!(parse(none), None, "{none}");
        }
    }

    #[test]
    fn the_system_has_what_https_needs_or_the_error_says_so() {
        let notifier = WebhookNotifier::new();
        let url = Url::parse("https://hooks.example/x").unwrap();
        match notifier.client(&url) {
            Ok(_) => assert!(notifier.clients.lock().unwrap().tls.is_some()),
            Err(error) => assert!(error.retry && error.message.contains("ca-certificates"), "{error:?}"),
        }
    }
}
