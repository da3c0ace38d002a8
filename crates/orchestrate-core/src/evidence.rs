//! What a check of a live release found, and what that leads to: recorded with the deployment and with its rollback.

use serde::{Deserialize, Serialize};

use crate::environment::{OnBad, OnNoData};
use crate::measure::Measure;

/// What a check says of a release.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Finding {
    Good,
    Bad,
    /// It had nothing to go by.
    NoData,
}

/// What a finding leads to.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Consequence {
    None,
    Notify,
    Rollback,
}

/// One check with its numbers.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Evidence {
    /// Which check, e.g. `error_rate`, `latency_p95`, `smoke checkout`, `log panics`, `prometheus saturation`.
    pub check: String,
    pub finding: Finding,
    pub consequence: Consequence,
    /// One sentence for people, with the numbers.
    pub text: String,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub value: Option<Measure>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub limit: Option<Measure>,
    /// The value of the release before, or of the time before.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub before: Option<Measure>,
    /// How many requests it rests on.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub requests: Option<u64>,
}

impl Finding {
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Good => "good",
            Self::Bad => "bad",
            Self::NoData => "no_data",
        }
    }

    /// What it leads to, under what is configured for the check.
    pub const fn leads_to(self, on_bad: OnBad, on_no_data: OnNoData) -> Consequence {
        let bad = match on_bad {
            OnBad::Rollback => Consequence::Rollback,
            OnBad::Notify => Consequence::Notify,
        };
        match (self, on_no_data) {
            (Self::Good, _) | (Self::NoData, OnNoData::Good) => Consequence::None,
            (Self::Bad, _) | (Self::NoData, OnNoData::Bad) => bad,
            (Self::NoData, OnNoData::Notify) => Consequence::Notify,
        }
    }
}

impl Evidence {
    pub fn new(
        check: impl Into<String>,
        finding: Finding,
        consequence: Consequence,
        text: impl Into<String>,
    ) -> Self {
        Self {
            check: check.into(),
            finding,
            consequence,
            text: text.into(),
            value: None,
            limit: None,
            before: None,
            requests: None,
        }
    }

    /// What showed itself bad, or counts as that: the release is not proven.
    pub fn condemns(&self) -> bool {
        match self.finding {
            Finding::Good => false,
            Finding::Bad => true,
            // `on_no_data: bad` leads where a bad finding leads; `notify` does not take the proof away.
            Finding::NoData => self.consequence == Consequence::Rollback,
        }
    }
}
