//! How requests are told apart while two releases share the traffic of an environment.

use std::collections::BTreeMap;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::name::Fence;
use crate::ports::Placement;

/// By what one user's requests stay with the release that answered the first of them.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Sticky {
    /// A cookie of this name, which the router sets.
    Cookie(String),
    /// The value of this header, e.g. a user's number. Requests without it take turns.
    Header(String),
}

/// What decides about a request besides the weights.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct TrafficRules {
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub sticky: Option<Sticky>,
    /// A header whose value names the version that must answer, for testers.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub force_header: Option<String>,
}

/// Shares the traffic of an environment between two slots.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Shift {
    /// What gets `weight`.
    pub placement: Placement,
    /// In percent, at most 100.
    pub weight: u8,
    /// What gets the rest.
    pub rest: Placement,
    /// How many instances of each routed process type must be ready, if there is any weight.
    pub needs: BTreeMap<String, u32>,
    /// In force until all traffic is switched to one release.
    pub rules: TrafficRules,
    pub fence: Fence,
}
