//! Counts of what each release answered. Every worker thread writes its own shard, so counting shares no cache line.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};

use orchestrate_core::name::{EnvironmentName, ReleaseId, Version};
use orchestrate_core::ports::{Bucket, Tally};
use orchestrate_core::slot::Slot;
use serde::{Deserialize, Serialize};

/// Four buckets to each power of two of microseconds, up to about an hour; the last takes what is longer.
const BUCKETS: usize = 128;
const CODES: usize = 500;

pub(crate) struct Counters {
    shards: Box<[Shard]>,
}

#[repr(align(128))]
struct Shard {
    requests: AtomicU64,
    /// By status code less 100.
    codes: Box<[AtomicU64]>,
    latency: Box<[AtomicU64]>,
    micros: AtomicU64,
}

/// What one release answered in one slot since the proxy started.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ReleaseStats {
    pub environment: EnvironmentName,
    pub slot: Slot,
    pub release: ReleaseId,
    pub version: Version,
    /// In percent; zero where the release has left the slot.
    pub weight: u8,
    pub in_flight: u64,
    pub requests: u64,
    /// Answers by status code.
    pub statuses: BTreeMap<u16, u64>,
    /// Time from a request's head to its answer's head.
    pub latency: Latency,
}

/// A histogram: upper bound in microseconds, inclusive, and how many answers lie at or under it but above the one
/// before. Empty buckets are left out.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Latency {
    pub buckets: Vec<(u64, u64)>,
    pub sum_micros: u64,
}

impl ReleaseStats {
    /// Answers whose status is `class` hundred and something.
    pub fn class(&self, class: u16) -> u64 {
        self.statuses.range(class * 100..(class + 1) * 100).map(|(_, count)| count).sum()
    }
}

impl Latency {
    /// The bucket's upper bound under which `share` (0 to 1) of the answers lie.
    pub fn quantile(&self, share: f64) -> Option<u64> {
        let total: u64 = self.buckets.iter().map(|(_, count)| count).sum();
        let mut seen = 0;
        for (bound, count) in &self.buckets {
            seen += count;
            if seen as f64 >= share * total as f64 {
                return Some(*bound);
            }
        }
        None
    }
}

impl Counters {
    pub fn new(threads: usize) -> Self {
        let zeroes = |count| (0..count).map(|_| AtomicU64::new(0)).collect();
        let shard = |_| Shard {
            requests: AtomicU64::new(0),
            codes: zeroes(CODES),
            latency: zeroes(BUCKETS),
            micros: AtomicU64::new(0),
        };
        Self { shards: (0..threads).map(shard).collect() }
    }

    /// Counts one answer; `thread` must be the caller's own number.
    pub fn record(&self, thread: usize, status: u16, micros: u64) {
        let Some(shard) = self.shards.get(thread) else { return };
        add(&shard.requests, 1);
        add(&shard.micros, micros);
        add(&shard.latency[bucket(micros)], 1);
        if let Some(code) = shard.codes.get(usize::from(status.saturating_sub(100))) {
            add(code, 1);
        }
    }

    pub fn requests(&self) -> u64 {
        self.shards.iter().map(|shard| shard.requests.load(Relaxed)).sum()
    }

    pub fn statuses(&self) -> BTreeMap<u16, u64> {
        let sum = |index: usize| self.shards.iter().map(|shard| shard.codes[index].load(Relaxed)).sum();
        let rows = (0..CODES).map(|index| (index as u16 + 100, sum(index)));
        rows.filter(|(_, count)| *count > 0).collect()
    }

    /// The same, as far as it says whether a release is good.
    pub fn tally(&self) -> Tally {
        let latency = self.shards.iter().fold([0_u64; BUCKETS], |mut sums, shard| {
            for (sum, bucket) in sums.iter_mut().zip(&shard.latency) {
                *sum += bucket.load(Relaxed);
            }
            sums
        });
        let over = |index: usize| if index == 0 { 0 } else { bound(index - 1) };
        let bucket = |(index, count): (usize, u64)| Bucket { over: over(index), up_to: bound(index), count };
        let errors =
            |shard: &Shard| -> u64 { shard.codes[400..].iter().map(|code| code.load(Relaxed)).sum() };
        Tally {
            requests: self.requests(),
            errors: self.shards.iter().map(errors).sum(),
            latency: latency.into_iter().enumerate().filter(|row| row.1 > 0).map(bucket).collect(),
        }
    }

    pub fn latency(&self) -> Latency {
        let sum = |index: usize| self.shards.iter().map(|shard| shard.latency[index].load(Relaxed)).sum();
        Latency {
            buckets: (0..BUCKETS).map(|index| (bound(index), sum(index))).filter(|row| row.1 > 0).collect(),
            sum_micros: self.shards.iter().map(|shard| shard.micros.load(Relaxed)).sum(),
        }
    }
}

/// Only the shard's own thread writes, so a load and a store do; they are cheaper than a locked add.
fn add(counter: &AtomicU64, amount: u64) {
    counter.store(counter.load(Relaxed).wrapping_add(amount), Relaxed);
}

fn bucket(micros: u64) -> usize {
    if micros < 4 {
        return micros as usize;
    }
    let exponent = 63 - micros.leading_zeros() as usize;
    let quarter = (micros >> (exponent - 2)) as usize & 3;
    ((exponent - 1) * 4 + quarter).min(BUCKETS - 1)
}

/// The largest number of microseconds that falls into the bucket.
fn bound(index: usize) -> u64 {
    if index < 4 {
        return index as u64;
    }
    let (exponent, quarter) = (index / 4 + 1, (index % 4) as u64);
    ((4 + quarter + 1) << (exponent - 2)) - 1
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_duration_falls_into_the_bucket_that_names_it() {
        for micros in (0..5_000).chain([10_000, 1_000_000, 60_000_000]) {
            let index = bucket(micros);
            assert!(micros <= bound(index), "{micros} lies above bucket {index}");
            assert!(index == 0 || micros > bound(index - 1), "{micros} lies below bucket {index}");
        }
        assert_eq!(bucket(u64::MAX), BUCKETS - 1);
    }

    #[test]
    fn shards_add_up() {
        let counters = Counters::new(2);
        counters.record(0, 200, 10);
        counters.record(1, 200, 20);
        counters.record(1, 503, 1_000);
        assert_eq!(counters.requests(), 3);
        assert_eq!(counters.statuses(), BTreeMap::from([(200, 2), (503, 1)]));
        assert_eq!(counters.latency().sum_micros, 1_030);
        let tally = counters.tally();
        assert_eq!((tally.requests, tally.errors), (3, 1));
        assert_eq!((tally.slower_than(100), tally.slower_than(1_000)), (1, 0));
        assert_eq!(tally.latency[0], Bucket { over: 9, up_to: 11, count: 1 });
        assert!(counters.latency().quantile(0.5).unwrap() < 30);
    }
}
