//! Settings of what commands of the user's run.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::time::Span;

/// A command a verb, each a program and its arguments; empty where there is none. `docs/custom.md` is the protocol.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct Custom {
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub deploy: Vec<String>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub start: Vec<String>,
    /// Without it, `status` says who is ready.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub health: Vec<String>,
    /// Without it, the built-in proxy routes.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub switch: Vec<String>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub stop: Vec<String>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub status: Vec<String>,
    pub timeouts: CustomTimeouts,
    /// Where users reach the service: the environment's `url`, where `switch` moves the traffic.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub url: Option<String>,
}

impl Custom {
    /// Whether its own command moves the traffic.
    pub fn switches(&self) -> bool {
        !self.switch.is_empty()
    }
}

/// How long each command may take before it is ended.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct CustomTimeouts {
    pub deploy: Span,
    pub start: Span,
    pub health: Span,
    pub switch: Span,
    pub stop: Span,
    pub status: Span,
}

impl Default for CustomTimeouts {
    fn default() -> Self {
        Self {
            deploy: Span::from_secs(600),
            start: Span::from_secs(300),
            health: Span::from_secs(30),
            switch: Span::from_secs(60),
            stop: Span::from_secs(300),
            status: Span::from_secs(30),
        }
    }
}
