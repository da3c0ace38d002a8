//! The world as a witness: what tests say about a release is what is seen of it.

use std::collections::BTreeMap;

use async_trait::async_trait;

use super::World;
use crate::name::{EnvironmentName, ReleaseId, Version};
use crate::ports::{
    Answer, Bucket, CountLines, Ended, Lines, Metric, OneOff, PortError, PortErrorKind, PortResult, Probe,
    ReleaseCounts, Tally, Witness,
};

/// What is seen, until a test says otherwise.
#[derive(Clone, Debug, Default)]
pub(super) struct Sights {
    counts: BTreeMap<ReleaseId, Tally>,
    counts_unknown: bool,
    /// By path.
    answers: BTreeMap<String, Answer>,
    /// By program.
    commands: BTreeMap<String, PortResult<Ended>>,
    lines: BTreeMap<Version, Lines>,
    /// By query: the value now, and before.
    metrics: BTreeMap<String, (PortResult<Option<f64>>, Option<f64>)>,
}

impl World {
    /// The release has answered so many more requests, of which some were errors, each in so many milliseconds.
    pub async fn answers(&self, version: &Version, requests: u64, errors: u64, millis: u64) {
        let placed: Vec<ReleaseId> = {
            let state = self.lock();
            let all = state.sites.values().flat_map(|site| site.instances.values());
            all.filter(|one| one.placement.version == *version).map(|one| one.placement.release).collect()
        };
        let Some(release) = placed.first() else { panic!("{version} does not run") };
        let mut state = self.lock();
        let tally = state.sights.counts.entry(*release).or_default();
        tally.requests += requests;
        tally.errors += errors;
        let (over, up_to) = (millis * 1000, millis * 1000 + 999);
        match tally.latency.iter_mut().find(|bucket| bucket.over == over) {
            Some(bucket) => bucket.count += requests,
            None => tally.latency.push(Bucket { over, up_to, count: requests }),
        }
        tally.latency.sort_by_key(|bucket| bucket.over);
    }

    /// The router started anew: it has counted nothing yet.
    pub fn forget_counts(&self) {
        self.lock().sights.counts.clear();
    }

    pub fn hide_counts(&self) {
        self.lock().sights.counts_unknown = true;
    }

    pub fn answers_at(&self, path: &str, status: u16, body: &str) {
        let answer = Answer { status, headers: BTreeMap::new(), body: body.into(), micros: 1_000 };
        self.lock().sights.answers.insert(path.into(), answer);
    }

    pub fn command_ends(&self, program: &str, ended: PortResult<Ended>) {
        self.lock().sights.commands.insert(program.into(), ended);
    }

    pub fn prints(&self, version: &Version, matches: u64, first: &str) {
        let lines = Lines { matches, first: Some(first.into()) };
        self.lock().sights.lines.insert(version.clone(), lines);
    }

    pub fn metric_is(&self, query: &str, now: PortResult<Option<f64>>, before: Option<f64>) {
        self.lock().sights.metrics.insert(query.into(), (now, before));
    }

    /// Without a call that is numbered: it has no effects, and nothing depends on when it is made.
    pub(super) fn counted(&self, environment: &EnvironmentName) -> PortResult<Vec<ReleaseCounts>> {
        let state = self.lock();
        if state.sights.counts_unknown {
            return Err(PortError::unreachable("nobody counts"));
        }
        let Some(site) = state.sites.get(environment) else { return Ok(Vec::new()) };
        let mut rows: Vec<ReleaseCounts> = Vec::new();
        for one in site.instances.values() {
            let (slot, release) = (one.placement.slot, one.placement.release);
            if rows.iter().all(|row| row.release != release)
                && let Some(tally) = state.sights.counts.get(&release)
            {
                rows.push(ReleaseCounts { slot, release, tally: tally.clone() });
            }
        }
        Ok(rows)
    }
}

#[async_trait]
impl Witness for World {
    async fn request(&self, request: &Probe) -> PortResult<Answer> {
        let found = self.lock().sights.answers.get(&request.path).cloned();
        found.ok_or_else(|| {
            PortError::new(PortErrorKind::TimedOut, format!("no answer within {}", request.timeout))
        })
    }

    async fn run(&self, command: &OneOff) -> PortResult<Ended> {
        let found = self.lock().sights.commands.get(&command.command[0]).cloned();
        found.unwrap_or_else(|| {
            Ok(Ended {
                success: true,
                how: "exited with status 0".into(),
                code: Some(0),
                output: String::new(),
            })
        })
    }

    async fn count_lines(&self, request: &CountLines) -> PortResult<Lines> {
        Ok(self.lock().sights.lines.get(&request.placement.version).cloned().unwrap_or_default())
    }

    async fn metric(&self, metric: &Metric) -> PortResult<Option<f64>> {
        let found = self.lock().sights.metrics.get(&metric.query).cloned();
        let (now, before) = found.unwrap_or((Ok(None), None));
        match metric.at {
            Some(_) => Ok(before),
            None => now,
        }
    }
}
