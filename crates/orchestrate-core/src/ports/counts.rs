//! What the router counted of each release's answers.

use serde::{Deserialize, Serialize};

use crate::name::ReleaseId;
use crate::slot::Slot;

/// What one release answered in one slot since the router started to count.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ReleaseCounts {
    pub slot: Slot,
    pub release: ReleaseId,
    pub tally: Tally,
}

/// Answers by outcome and by time. Counts only grow; one that is smaller than before means that the router started anew.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Tally {
    pub requests: u64,
    /// Answers with a status of 500 or above, the router's own for this release among them.
    pub errors: u64,
    /// By time from a request's head to its answer's head, ascending; empty buckets are left out.
    pub latency: Vec<Bucket>,
}

/// Answers that took longer than `over` and at most `up_to` microseconds.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Bucket {
    pub over: u64,
    pub up_to: u64,
    pub count: u64,
}

impl Tally {
    /// What was counted after `mark`; everything, if the router started anew since.
    #[must_use]
    pub fn since(&self, mark: &Self) -> Self {
        if self.requests < mark.requests || self.errors < mark.errors {
            return self.clone();
        }
        let before = |bucket: &Bucket| {
            mark.latency.iter().find(|old| old.up_to == bucket.up_to).map_or(0, |old| old.count)
        };
        let left = |bucket: &Bucket| Bucket { count: bucket.count.saturating_sub(before(bucket)), ..*bucket };
        Self {
            requests: self.requests - mark.requests,
            errors: self.errors - mark.errors,
            latency: self.latency.iter().map(left).filter(|bucket| bucket.count > 0).collect(),
        }
    }

    /// The share of answers that were errors; none without answers.
    pub fn error_share(&self) -> Option<f64> {
        share(self.errors, self.requests)
    }

    /// Answers that surely took longer than so many microseconds: those of a bucket that reaches below it do not count.
    pub fn slower_than(&self, micros: u64) -> u64 {
        self.latency.iter().filter(|bucket| bucket.over >= micros).map(|bucket| bucket.count).sum()
    }

    /// The time in microseconds that a share (0 to 1) of the answers kept, to the width of a bucket.
    pub fn quantile(&self, share: f64) -> Option<u64> {
        let total: u64 = self.latency.iter().map(|bucket| bucket.count).sum();
        let mut seen = 0;
        for bucket in &self.latency {
            seen += bucket.count;
            if as_f64(seen) >= share * as_f64(total) {
                return Some(bucket.up_to);
            }
        }
        None
    }
}

/// Counts of requests are far below what a `f64` holds exactly.
#[expect(clippy::cast_precision_loss, reason = "2^53 requests are more than any proxy answers")]
fn as_f64(count: u64) -> f64 {
    count as f64
}

pub(crate) fn share(part: u64, whole: u64) -> Option<f64> {
    (whole > 0).then(|| as_f64(part) / as_f64(whole))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn tally(requests: u64, errors: u64, latency: &[(u64, u64, u64)]) -> Tally {
        let latency =
            latency.iter().map(|(over, up_to, count)| Bucket { over: *over, up_to: *up_to, count: *count });
        Tally { requests, errors, latency: latency.collect() }
    }

    #[test]
    fn what_was_counted_since_a_mark_is_the_difference() {
        let mark = tally(10, 1, &[(0, 9, 10)]);
        let now = tally(30, 5, &[(0, 9, 20), (9, 19, 10)]);
        assert_eq!(now.since(&mark), tally(20, 4, &[(0, 9, 10), (9, 19, 10)]));
        assert_eq!(now.since(&now), tally(0, 0, &[]));
        assert_eq!(mark.since(&now), mark, "the router started anew");
    }

    #[test]
    fn only_what_is_surely_slower_counts_as_slower() {
        let tally = tally(100, 0, &[(0, 9, 90), (9, 19, 6), (19, 39, 4)]);
        assert_eq!((tally.slower_than(9), tally.slower_than(10), tally.slower_than(19)), (10, 4, 4));
        assert_eq!(
            (tally.quantile(0.5), tally.quantile(0.95), tally.quantile(1.0)),
            (Some(9), Some(19), Some(39))
        );
        assert_eq!(Tally::default().quantile(0.5), None);
    }
}
