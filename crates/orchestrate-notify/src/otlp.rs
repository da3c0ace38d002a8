//! Traces for a collector of OpenTelemetry: OTLP over HTTP, in protobuf.

mod message;

use std::time::Duration;

use async_trait::async_trait;
use opentelemetry_proto::tonic::collector::trace::v1::ExportTraceServiceResponse;
use orchestrate_core::ports::{DeliveryError, Tracer};
use orchestrate_core::secrets::SecretText;
use orchestrate_core::time::Span;
use orchestrate_core::trace::Trace;
use prost::Message as _;
use reqwest::header::{CONTENT_TYPE, HeaderMap, HeaderName, HeaderValue};
use reqwest::{StatusCode, Url};

use crate::http::{Http, never};
use crate::redact::masked;

const CONNECT_TIMEOUT: Duration = Duration::from_secs(5);

/// Where traces go, and as whose.
pub struct Collector {
    /// The whole URL, `/v1/traces` with it.
    pub endpoint: String,
    /// They may let us in, so they are secret.
    pub headers: Vec<(String, SecretText)>,
    /// For one attempt.
    pub timeout: Span,
    /// `service.name` and what else is said of the one who sends, by name.
    pub resource: Vec<(String, String)>,
}

/// Sends one trace at a time, so that what is refused concerns no other.
pub struct OtlpTracer {
    http: Http,
    url: Url,
    headers: HeaderMap,
    secrets: Vec<SecretText>,
    resource: Vec<(String, String)>,
}

impl OtlpTracer {
    /// An error says what about the collector cannot be used, and repeats no secret.
    pub fn new(collector: Collector) -> Result<Self, String> {
        let url =
            Url::parse(&collector.endpoint).map_err(|error| format!("the endpoint is no URL: {error}"))?;
        if !matches!(url.scheme(), "http" | "https") {
            return Err(format!("the endpoint needs http or https, not {}", url.scheme()));
        }
        let mut headers = HeaderMap::new();
        for (name, value) in &collector.headers {
            let key = HeaderName::from_bytes(name.as_bytes());
            let key = key.map_err(|_| format!("`{}` is not the name of a header", name.escape_debug()))?;
            let value = HeaderValue::from_str(value.expose());
            let mut value = value.map_err(|_| format!("the value of the header {key} cannot be one"))?;
            value.set_sensitive(true);
            headers.insert(key, value);
        }
        headers.insert(CONTENT_TYPE, HeaderValue::from_static("application/x-protobuf"));
        let total = collector.timeout.duration();
        Ok(Self {
            http: Http::new(CONNECT_TIMEOUT.min(total), total),
            url,
            headers,
            secrets: collector.headers.into_iter().map(|(_, value)| value).collect(),
            resource: collector.resource,
        })
    }

    /// Where it sends to, for people.
    pub fn place(&self) -> String {
        masked(&self.url)
    }

    /// What the collector says may repeat what it was told.
    fn without_secrets(&self, error: DeliveryError) -> DeliveryError {
        let secrets = self.secrets.iter().map(SecretText::expose).filter(|secret| !secret.is_empty());
        let message = secrets.fold(error.message, |message, secret| message.replace(secret, "…"));
        DeliveryError { message, ..error }
    }
}

#[async_trait]
impl Tracer for OtlpTracer {
    async fn export(&self, trace: &Trace) -> Result<(), DeliveryError> {
        let body = message::of(trace, &self.resource).encode_to_vec();
        let answer = self.http.post_to(&self.url, self.headers.clone(), body, None, may_pass).await;
        judged(&answer.map_err(|error| self.without_secrets(error))?)
            .map_err(|error| self.without_secrets(error))
    }
}

/// Whether another attempt may do better. Of the others, some are about this very trace, which is given up; the rest are about
/// the settings or the way to the collector, and hold for every trace alike.
fn may_pass(status: StatusCode) -> bool {
    !matches!(status.as_u16(), 400 | 413 | 422 | 500)
}

/// An acceptance may say that spans were left out; they are not to be sent again.
fn judged(answer: &[u8]) -> Result<(), DeliveryError> {
    let Ok(answer) = ExportTraceServiceResponse::decode(answer) else { return Ok(()) };
    match answer.partial_success {
        Some(partial) if partial.rejected_spans > 0 => {
            let said = crate::redact::one_line(&partial.error_message);
            let said = said.map(|said| format!(": {said}")).unwrap_or_default();
            Err(never(format!("the collector left {} spans out{said}", partial.rejected_spans)))
        }
        Some(_) | None => Ok(()),
    }
}

#[cfg(test)]
mod tests;
