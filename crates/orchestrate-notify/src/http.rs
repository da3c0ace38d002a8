//! One POST to a receiver: what its answer means, and what no answer means.

use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use orchestrate_core::error::causes;
use orchestrate_core::ports::DeliveryError;
use orchestrate_core::secrets::SecretText;
use orchestrate_core::time::{Span, Timestamp};
use reqwest::header::{HeaderMap, RETRY_AFTER};
use reqwest::{Client, Response, StatusCode, Url, redirect};

use crate::redact::{excerpt, masked};

/// More of an answer than this is neither read nor kept.
const ANSWER_BYTES: usize = 4_096;
const LONGEST_RETRY_AFTER_SECS: u64 = 3_600;

/// Posts to receivers.
///
/// Any 2xx is acceptance. A redirect is not followed, because a notice belongs to the address that was configured, and
/// proxies from the environment are not used.
pub(crate) struct Http {
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

impl Http {
    /// `total` bounds one attempt, from the name's resolution to the end of the answer.
    pub fn new(connect: Duration, total: Duration) -> Self {
        Self { connect_timeout: connect, total_timeout: total, clients: Mutex::default() }
    }

    /// What bounds one attempt.
    pub fn limit(&self) -> Duration {
        self.total_timeout
    }

    /// Returns the start of the answer.
    pub async fn post(
        &self,
        url: &str,
        headers: HeaderMap,
        body: Vec<u8>,
        secret: Option<&SecretText>,
    ) -> Result<Vec<u8>, DeliveryError> {
        // The parser's message would repeat the URL.
        let url = Url::parse(url).map_err(|_| never("the channel's URL cannot be read"))?;
        self.post_to(&url, headers, body, secret, may_pass).await
    }

    /// The same for a receiver with another idea of which answers may be others later.
    pub async fn post_to(
        &self,
        url: &Url,
        headers: HeaderMap,
        body: Vec<u8>,
        secret: Option<&SecretText>,
        may_pass: fn(StatusCode) -> bool,
    ) -> Result<Vec<u8>, DeliveryError> {
        let request = self.client(url)?.post(url.clone()).headers(headers).body(body);
        match request.send().await {
            Ok(mut response) if response.status().is_success() => Ok(start_of_body(&mut response).await),
            Ok(response) => {
                let retry = may_pass(response.status());
                Err(refusal(response, url, secret, retry).await)
            }
            Err(error) => Err(failure(error, url)),
        }
    }

    fn client(&self, url: &Url) -> Result<Client, DeliveryError> {
        let tls = match url.scheme() {
            "http" => false,
            "https" => true,
            scheme => return Err(never(format!("a channel needs http or https, not {scheme}"))),
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

/// What an answer other than 2xx means.
async fn refusal(
    mut response: Response,
    url: &Url,
    secret: Option<&SecretText>,
    retry: bool,
) -> DeliveryError {
    let status = response.status();
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

pub(crate) fn never(message: impl Into<String>) -> DeliveryError {
    DeliveryError { message: message.into(), retry: false, retry_after: None }
}

pub(crate) fn later(message: impl Into<String>) -> DeliveryError {
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
        let http = Http::new(Duration::from_secs(1), Duration::from_secs(1));
        let url = Url::parse("https://hooks.example/x").unwrap();
        match http.client(&url) {
            Ok(_) => assert!(http.clients.lock().unwrap().tls.is_some()),
            Err(error) => assert!(error.retry && error.message.contains("ca-certificates"), "{error:?}"),
        }
    }
}
