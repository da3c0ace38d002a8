//! How a handful of durations is spread.

use serde::Serialize;

/// Percentiles by nearest rank: each is one of the values, none is made up.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
pub struct Spread {
    pub count: usize,
    pub p50_ms: u64,
    pub p95_ms: u64,
    pub max_ms: u64,
}

impl Spread {
    /// None without a value.
    pub fn of(mut millis: Vec<u64>) -> Option<Self> {
        millis.sort_unstable();
        let max_ms = *millis.last()?;
        let at = |percent: usize| millis[(millis.len() * percent).div_ceil(100).max(1) - 1];
        Some(Self { count: millis.len(), p50_ms: at(50), p95_ms: at(95), max_ms })
    }
}
