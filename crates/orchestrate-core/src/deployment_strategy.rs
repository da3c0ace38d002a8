//! How a new release takes the place of the one before it.

use std::fmt;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::time::Span;

/// The ways of deploying that the config file knows.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum StrategyKind {
    /// Stop the old instances, then start the new ones: a gap, but never two versions at once.
    Recreate,
    Rolling,
    /// Start the new release beside the old one, switch all traffic at once, keep the old one warm.
    #[default]
    BlueGreen,
    Canary,
}

impl StrategyKind {
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Recreate => "recreate",
            Self::Rolling => "rolling",
            Self::BlueGreen => "blue_green",
            Self::Canary => "canary",
        }
    }
}

impl fmt::Display for StrategyKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.as_str())
    }
}

/// The `strategy:` of an environment.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Strategy {
    /// recreate | rolling | blue_green | canary.
    #[serde(rename = "type", default)]
    pub kind: StrategyKind,
    /// How long the release before stays warm after it lost its traffic (blue_green).
    #[serde(default = "default_warm_for")]
    pub warm_for: Span,
}

fn default_warm_for() -> Span {
    Span::from_secs(15 * 60)
}

impl Default for Strategy {
    fn default() -> Self {
        Self { kind: StrategyKind::default(), warm_for: default_warm_for() }
    }
}
