//! `verify:` — how a release is judged once it has traffic.
//!
//! These settings are sealed with a release, so every field that came later is left out where it is not used: a
//! release that was sealed before it existed keeps its content digest.

use std::collections::BTreeMap;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::VersionCheck;
use crate::measure::{Measure, Percent};
use crate::time::Span;

/// Requests below which shares and percentiles say nothing, where the settings name no other number.
pub const MINIMUM_REQUESTS: u64 = 50;

/// How a release is judged once it has traffic.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct Verify {
    #[serde(skip_serializing_if = "Option::is_none")]
    pub version: Option<VersionCheck>,
    /// How long a new live release is watched before it counts as proven.
    pub bake: Span,
    /// The share of 5xx answers that is still good, e.g. `1%`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub max_error_rate: Option<Percent>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub latency: Option<LatencyLimits>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub compare: Option<Comparison>,
    /// Fewer requests than these say nothing about error rate and latency.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub minimum_requests: Option<u64>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub smoke: Vec<SmokeTest>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub logs: Vec<LogPattern>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub prometheus: Option<Prometheus>,
    /// What a bad finding leads to, where the check itself says nothing else.
    #[serde(skip_serializing_if = "is_default")]
    pub on_bad: OnBad,
    /// What it leads to that a check had nothing to go by, where the check itself says nothing else.
    #[serde(skip_serializing_if = "is_default")]
    pub on_no_data: OnNoData,
}

/// What a bad finding leads to.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum OnBad {
    #[default]
    Rollback,
    /// People are told; the release stays live and is not proven.
    Notify,
}

/// What it leads to that a check had nothing to go by until the end of the bake.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum OnNoData {
    #[default]
    Good,
    /// As if the finding were bad.
    Bad,
    /// The release is proven, and people are told that nobody could judge it by this.
    Notify,
}

/// Percentiles that answers must keep. At least one of them, or `worse_by`.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct LatencyLimits {
    #[serde(skip_serializing_if = "Option::is_none")]
    pub p50: Option<Span>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub p90: Option<Span>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub p95: Option<Span>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub p99: Option<Span>,
    /// How many times the p95 of the release before is still good, e.g. `1.5`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub worse_by: Option<Measure>,
}

impl LatencyLimits {
    /// The percentiles with a limit: name, share of the answers that must keep it, the limit.
    pub fn limits(&self) -> impl Iterator<Item = (&'static str, f64, Span)> {
        let all = [
            ("p50", 0.5, self.p50),
            ("p90", 0.9, self.p90),
            ("p95", 0.95, self.p95),
            ("p99", 0.99, self.p99),
        ];
        all.into_iter().filter_map(|(name, share, limit)| limit.map(|limit| (name, share, limit)))
    }
}

/// Limits that only the release before gives.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct Comparison {
    /// How much higher than that of the release before its error rate may be, in percentage points, e.g. `0.5%`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub error_rate_worse_by: Option<Percent>,
}

/// Something that must work on the release itself, tried once it has traffic. One of `command` and `http`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct SmokeTest {
    pub name: String,
    /// The program and its arguments, run like an instance: in the release's directory, with its variables and secrets.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub command: Option<Vec<String>>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub http: Option<HttpTest>,
    /// How long it may take as a whole.
    #[serde(default = "smoke_timeout")]
    pub timeout: Span,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub on_bad: Option<OnBad>,
}

fn smoke_timeout() -> Span {
    Span::from_secs(10)
}

/// One request to an instance of the release, and what its answer must be.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct HttpTest {
    /// The process type whose instance is asked; `web`, or the first that is routed, where it is left out.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub process: Option<String>,
    pub path: String,
    #[serde(default = "get", skip_serializing_if = "is_get")]
    pub method: String,
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub headers: BTreeMap<String, String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub body: Option<String>,
    #[serde(default)]
    pub expect: Expected,
}

fn get() -> String {
    "GET".into()
}

fn is_get(method: &String) -> bool {
    method == "GET"
}

/// What an answer must be; all of it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct Expected {
    pub status: u16,
    /// Text that the body must contain; `{version}` stands for the release's version.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub contains: Option<String>,
    /// Headers that the answer must have, with exactly these values.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub header: BTreeMap<String, String>,
    /// How long the answer may take.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub within: Option<Span>,
}

impl Default for Expected {
    fn default() -> Self {
        Self { status: 200, contains: None, header: BTreeMap::new(), within: None }
    }
}

/// Lines in the output of the instances that show a release to be bad.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct LogPattern {
    pub name: String,
    /// The process type whose output is read; all of them, where it is left out.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub process: Option<String>,
    /// A regular expression; it is looked for in each line.
    pub pattern: String,
    /// How many lines may match.
    #[serde(default)]
    pub at_most: u64,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub on_bad: Option<OnBad>,
}

/// A metrics system, and what is asked of it.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Prometheus {
    /// E.g. `http://prometheus.internal:9090`.
    pub url: String,
    /// The pause between two looks.
    #[serde(default = "metric_interval")]
    pub interval: Span,
    pub queries: Vec<MetricQuery>,
}

fn metric_interval() -> Span {
    Span::from_secs(5)
}

/// An expression whose value must stay within its limits. At least one of `at_most` and `at_least`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct MetricQuery {
    pub name: String,
    /// A PromQL expression; `{version}` and `{environment}` are filled in.
    pub query: String,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub at_most: Option<Measure>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub at_least: Option<Measure>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub on_bad: Option<OnBad>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub on_no_data: Option<OnNoData>,
}

impl Verify {
    pub fn minimum_requests(&self) -> u64 {
        self.minimum_requests.unwrap_or(MINIMUM_REQUESTS)
    }

    /// Whether the router's counts decide anything.
    pub fn needs_counts(&self) -> bool {
        self.max_error_rate.is_some() || self.latency.is_some() || self.compare.is_some()
    }
}

fn is_default<T: Default + PartialEq>(value: &T) -> bool {
    *value == T::default()
}

#[cfg(test)]
mod tests {
    use super::*;

    /// What is sealed decides a release's content digest, so what was sealed before must be written as it was.
    #[test]
    fn settings_that_were_sealed_before_are_written_as_they_were() {
        for text in [
            r#"{"bake":"0s"}"#,
            r#"{"version":{"path":"/version","contains":"{version}"},"bake":"30s"}"#,
            r#"{"bake":"30s","max_error_rate":"1%"}"#,
        ] {
            let verify: Verify = serde_json::from_str(text).unwrap();
            assert_eq!(serde_json::to_string(&verify).unwrap(), text);
        }
    }
}
