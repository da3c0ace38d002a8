//! How a new release takes the place of the one before it.

use std::fmt;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::time::Span;
use crate::traffic::{Sticky, TrafficRules};

/// The ways of deploying that the config file knows.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum StrategyKind {
    /// Stop the old instances, then start the new ones: a gap, but never two versions at once.
    Recreate,
    /// Replace the instances batch by batch.
    Rolling,
    /// Start the new release beside the old one, switch all traffic at once, keep the old one warm.
    #[default]
    BlueGreen,
    /// Start the new release beside the old one and give it a growing share of the traffic.
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

/// So many instances, or such a part of them: `2`, `25%`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(try_from = "Written", into = "Written")]
#[schemars(with = "Written")]
pub enum Amount {
    Count(u32),
    Percent(u8),
}

#[derive(Serialize, Deserialize, JsonSchema)]
#[serde(untagged)]
enum Written {
    Count(u32),
    Percent(String),
}

impl Default for Amount {
    fn default() -> Self {
        Self::Count(0)
    }
}

impl Amount {
    /// The instances that it means of `all`; a part of one counts as a whole one if `up`, else as none.
    pub fn of(self, all: u32, up: bool) -> u32 {
        match self {
            Self::Count(count) => count,
            Self::Percent(percent) if up => (all * u32::from(percent)).div_ceil(100),
            Self::Percent(percent) => all * u32::from(percent) / 100,
        }
    }

    /// From `25%`.
    pub fn percent(text: &str) -> Option<Self> {
        let percent = text.strip_suffix('%')?.trim().parse().ok()?;
        (percent <= 100).then_some(Self::Percent(percent))
    }
}

impl TryFrom<Written> for Amount {
    type Error = String;

    fn try_from(written: Written) -> Result<Self, String> {
        match written {
            Written::Count(count) => Ok(Self::Count(count)),
            Written::Percent(text) => {
                Self::percent(&text).ok_or_else(|| format!("`{text}` is no part; write `25%`"))
            }
        }
    }
}

impl From<Amount> for Written {
    fn from(amount: Amount) -> Self {
        match amount {
            Amount::Count(count) => Self::Count(count),
            Amount::Percent(percent) => Self::Percent(format!("{percent}%")),
        }
    }
}

/// The `strategy:` of an environment.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Strategy {
    /// recreate | rolling | blue_green | canary.
    #[serde(rename = "type", default)]
    pub kind: StrategyKind,
    /// How long the release before stays warm after it lost its traffic (blue_green, canary).
    #[serde(default = "default_warm_for")]
    pub warm_for: Span,
    /// The shares of the traffic that the new release gets one after another, in percent (canary).
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub steps: Vec<u8>,
    /// How long the new release is watched at each step (canary), or how long it rests after each batch (rolling).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub wait: Option<Span>,
    /// How many instances of each process type are replaced at a time (rolling).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub batch: Option<Amount>,
    /// How many instances of each process type may be missing meanwhile (rolling).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub max_unavailable: Option<Amount>,
    /// How many instances of each process type there may be too many meanwhile (rolling).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub max_surge: Option<Amount>,
    /// By what a user stays with one release while two share the traffic (canary).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub sticky: Option<Sticky>,
    /// A header whose value names the version that must answer, while there are two (canary, `--no-switch`).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub force_header: Option<String>,
}

/// The steps of a canary that names none.
const USUAL_STEPS: [u8; 4] = [10, 25, 50, 100];
const USUAL_WAIT: Span = Span::from_secs(60);

impl Strategy {
    /// The shares of a canary, rising, with all of the traffic at the end.
    pub fn shares(&self) -> Vec<u8> {
        let mut shares = if self.steps.is_empty() { USUAL_STEPS.to_vec() } else { self.steps.clone() };
        if shares.last() != Some(&100) {
            shares.push(100);
        }
        shares
    }

    /// How long a canary stays at each of its steps.
    pub fn pause(&self) -> Span {
        self.wait.unwrap_or(USUAL_WAIT)
    }

    pub fn rules(&self) -> TrafficRules {
        TrafficRules { sticky: self.sticky.clone(), force_header: self.force_header.clone() }
    }
}

fn default_warm_for() -> Span {
    Span::from_secs(15 * 60)
}

impl Default for Strategy {
    fn default() -> Self {
        Self {
            kind: StrategyKind::default(),
            warm_for: default_warm_for(),
            steps: Vec::new(),
            wait: None,
            batch: None,
            max_unavailable: None,
            max_surge: None,
            sticky: None,
            force_header: None,
        }
    }
}
