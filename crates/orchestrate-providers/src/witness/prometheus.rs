//! One value of a Prometheus, by its HTTP API (`/api/v1/query`).

use std::sync::OnceLock;

use orchestrate_core::error::causes;
use orchestrate_core::ports::{Metric, PortError, PortErrorKind, PortResult};
use reqwest::{Client, Url, redirect};
use serde::Deserialize;

/// More of an answer than this is not one value.
const MOST_ANSWER: usize = 1 << 20;

/// Each client is made when it is first needed.
#[derive(Default)]
pub(super) struct Prometheus {
    plain: OnceLock<Client>,
    tls: OnceLock<Client>,
}

/// The answer, as far as it matters here.
#[derive(Deserialize)]
struct Reply {
    #[serde(default)]
    data: Option<Data>,
    #[serde(default)]
    error: Option<String>,
}

#[derive(Deserialize)]
#[serde(tag = "resultType", content = "result", rename_all = "lowercase")]
enum Data {
    Scalar(Sample),
    Vector(Vec<Series>),
    Matrix(serde::de::IgnoredAny),
    String(serde::de::IgnoredAny),
}

#[derive(Deserialize)]
struct Series {
    value: Sample,
}

/// A time, and the value as text, because it may be `NaN` or `+Inf`.
#[derive(Deserialize)]
struct Sample(serde::de::IgnoredAny, String);

impl Prometheus {
    pub async fn value(&self, metric: &Metric) -> PortResult<Option<f64>> {
        let url = address(metric)?;
        let (shown, is_tls) = (shown(&url), url.scheme() == "https");
        let call = async {
            let mut response =
                self.client(is_tls)?.get(url).send().await.map_err(|error| failure(&shown, error))?;
            let mut body = Vec::new();
            while let Some(chunk) = response.chunk().await.map_err(|error| failure(&shown, error))? {
                body.extend_from_slice(&chunk);
                if body.len() > MOST_ANSWER {
                    return Err(PortError::failed(format!("{shown} answered with more than one value")));
                }
            }
            Ok((response.status(), body))
        };
        let (status, body) =
            tokio::time::timeout(metric.timeout.duration(), call).await.unwrap_or_else(|_| {
                Err(PortError::new(
                    PortErrorKind::TimedOut,
                    format!("{shown} did not answer within {}", metric.timeout),
                ))
            })?;
        let reply: Reply = serde_json::from_slice(&body)
            .map_err(|_| PortError::failed(format!("{shown} answered {status}, not as a Prometheus does")))?;
        match (reply.data, reply.error) {
            (_, Some(error)) => Err(PortError::failed(format!("{shown} refuses the query: {error}"))),
            (Some(data), None) => one_value(data),
            (None, None) => Err(PortError::failed(format!("{shown} answered {status} without data"))),
        }
    }

    fn client(&self, is_tls: bool) -> PortResult<&Client> {
        let kept = if is_tls { &self.tls } else { &self.plain };
        if let Some(client) = kept.get() {
            return Ok(client);
        }
        // An error means that the process has its provider already, which is as good.
        let _ = rustls::crypto::ring::default_provider().install_default();
        let builder = Client::builder()
            .redirect(redirect::Policy::none())
            .no_proxy()
            .http1_only()
            .user_agent(concat!("orchestrate/", env!("CARGO_PKG_VERSION")));
        // Without roots the client needs no certificates on this machine, and trusts none.
        let built = if is_tls { builder.build() } else { builder.tls_certs_only([]).build() };
        let built =
            built.map_err(|error| PortError::failed(format!("no HTTP client can be made: {error}")))?;
        Ok(kept.get_or_init(|| built))
    }
}

fn address(metric: &Metric) -> PortResult<Url> {
    let base = metric.url.trim_end_matches('/');
    let mut url = Url::parse(&format!("{base}/api/v1/query"))
        .map_err(|error| PortError::failed(format!("the address of the Prometheus is not one: {error}")))?;
    url.query_pairs_mut().append_pair("query", &metric.query);
    if let Some(at) = metric.at {
        let (seconds, millis) = (at.as_millis().div_euclid(1000), at.as_millis().rem_euclid(1000));
        url.query_pairs_mut().append_pair("time", &format!("{seconds}.{millis:03}"));
    }
    Ok(url)
}

/// The address as people may see it: a password in it is nobody's business, and the query is known.
fn shown(url: &Url) -> String {
    let port = url.port().map_or_else(String::new, |port| format!(":{port}"));
    format!("{}://{}{port}", url.scheme(), url.host_str().unwrap_or_default())
}

fn one_value(data: Data) -> PortResult<Option<f64>> {
    let sample = match data {
        Data::Scalar(sample) => sample,
        Data::Vector(mut series) => match (series.pop(), series.is_empty()) {
            (None, _) => return Ok(None),
            (Some(one), true) => one.value,
            (Some(_), false) => {
                return Err(PortError::failed(format!(
                    "the query gives {} values instead of one; put for example `max(…)` around it",
                    series.len() + 1
                )));
            }
        },
        Data::Matrix(_) | Data::String(_) => {
            return Err(PortError::failed("the query gives no single value; leave its range out"));
        }
    };
    match sample.1.parse::<f64>() {
        Ok(value) if value.is_finite() => Ok(Some(value)),
        // `0 / 0` is what a rate without traffic gives.
        Ok(_) => Ok(None),
        Err(_) => Err(PortError::failed(format!("`{}` is not a value", sample.1))),
    }
}

fn failure(shown: &str, error: reqwest::Error) -> PortError {
    PortError::unreachable(format!("{shown} does not answer: {}", causes(&error.without_url())))
}
