//! Users of a service, for the demo: keep-alive clients that remember every answer they got, and every one they did not.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::{Context as _, anyhow};
use bytes::Bytes;
use http_body_util::{BodyExt as _, Empty};
use hyper::client::conn::http1::{self, SendRequest};
use hyper::header::HOST;
use hyper::{Request, StatusCode};
use hyper_util::rt::TokioIo;
use tokio::net::TcpStream;
use tokio::sync::watch;
use tokio::task::JoinSet;
use tokio::time::{Interval, MissedTickBehavior};

/// A user gives up after this long.
const PATIENCE: Duration = Duration::from_secs(30);
/// Between two attempts to connect, so that an address that refuses is not asked a thousand times a second.
const PAUSE_BETWEEN_CONNECTS: Duration = Duration::from_millis(10);

/// How often each client asks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Pace {
    /// As soon as it has its answer.
    #[cfg(test)]
    ClosedLoop,
    /// So many requests a second, all clients together.
    PerSecond(u32),
}

/// Load that runs until it is stopped.
pub struct Load {
    started: Instant,
    tally: watch::Sender<Tally>,
    stopping: watch::Sender<bool>,
    clients: JoinSet<Vec<Sample>>,
}

/// What the load has seen so far.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Tally {
    pub requests: u64,
    pub failed: u64,
    /// Of the newest answer that named one.
    pub newest_version: Option<Arc<str>>,
}

/// One request and what came of it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Sample {
    /// When it was over, counted from the start of the load.
    pub at: Duration,
    pub took: Duration,
    pub outcome: Outcome,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// The version, where the answer names one.
    Answered { status: u16, version: Option<Arc<str>> },
    /// No answer, or only a part of one.
    Lost { error: String },
}

/// All samples, ordered by `at`.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct LoadReport {
    pub samples: Vec<Sample>,
    /// How long the load ran.
    pub elapsed: Duration,
}

/// What one version answered.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct VersionShare {
    pub version: Arc<str>,
    pub good: u64,
    pub errors: u64,
    pub first: Duration,
    pub last: Duration,
}

impl Load {
    /// Starts `connections` clients that ask for `/` at `address`.
    pub fn start(address: SocketAddr, connections: u32, pace: Pace) -> Self {
        let started = Instant::now();
        let (tally, stopping) = (watch::Sender::new(Tally::default()), watch::Sender::new(false));
        let mut clients = JoinSet::new();
        for number in 0..connections.max(1) {
            let ticks = pace.interval(number, connections.max(1));
            let tally = tally.clone();
            let client =
                Client { address, started, ticks, tally, connection: None, versions: BTreeMap::new() };
            clients.spawn(client.run(stopping.subscribe()));
        }
        Self { started, tally, stopping, clients }
    }

    /// The moment that the samples' times count from.
    pub fn started(&self) -> Instant {
        self.started
    }

    /// Returns once `fact` is true of what was seen so far; how long to wait is the caller's affair.
    pub async fn wait_until(&self, fact: impl FnMut(&Tally) -> bool) {
        // The sender lives as long as this load, so the wait cannot fail.
        let _ = self.tally.subscribe().wait_for(fact).await;
    }

    /// Lets each client finish its request, and reports.
    pub async fn stop(mut self) -> LoadReport {
        self.stopping.send_replace(true);
        let mut samples = Vec::new();
        while let Some(client) = self.clients.join_next().await {
            match client {
                Ok(mut of_client) => samples.append(&mut of_client),
                // A client that broke must not look like a client without failures.
                Err(error) => samples.push(Sample {
                    at: self.started.elapsed(),
                    took: Duration::ZERO,
                    outcome: Outcome::Lost { error: format!("a client of the load ended: {error}") },
                }),
            }
        }
        samples.sort_by_key(|sample| sample.at);
        LoadReport { samples, elapsed: self.started.elapsed() }
    }
}

impl Pace {
    fn interval(self, number: u32, connections: u32) -> Option<Interval> {
        match self {
            #[cfg(test)]
            Self::ClosedLoop => None,
            Self::PerSecond(rate) => {
                let between_all = Duration::from_secs(1) / rate.max(1);
                let first = tokio::time::Instant::now() + between_all * number;
                let mut ticks = tokio::time::interval_at(first, between_all * connections);
                ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
                Some(ticks)
            }
        }
    }
}

impl LoadReport {
    /// Requests without a whole answer.
    pub fn lost(&self) -> u64 {
        self.count(|outcome| matches!(outcome, Outcome::Lost { .. }))
    }

    /// Requests that were lost, or answered with a status of 500 or more.
    pub fn failed(&self) -> u64 {
        self.count(Outcome::is_failure)
    }

    fn count(&self, wanted: impl Fn(&Outcome) -> bool) -> u64 {
        self.samples.iter().filter(|sample| wanted(&sample.outcome)).count() as u64
    }

    /// What each version answered, in the order in which they first did.
    pub fn versions(&self) -> Vec<VersionShare> {
        let mut shares: Vec<VersionShare> = Vec::new();
        for sample in &self.samples {
            let Some(version) = sample.outcome.version() else { continue };
            let known = shares.iter().position(|share| share.version == *version);
            let index = known.unwrap_or_else(|| {
                let version = Arc::clone(version);
                shares.push(VersionShare { version, good: 0, errors: 0, first: sample.at, last: sample.at });
                shares.len() - 1
            });
            let share = &mut shares[index];
            share.last = sample.at;
            if sample.outcome.is_failure() {
                share.errors += 1;
            } else {
                share.good += 1;
            }
        }
        shares
    }

    /// How often each failure happened, for people.
    pub fn failures(&self) -> BTreeMap<String, u64> {
        let mut kinds = BTreeMap::new();
        for sample in self.samples.iter().filter(|sample| sample.outcome.is_failure()) {
            *kinds.entry(sample.outcome.to_string()).or_default() += 1;
        }
        kinds
    }
}

impl Tally {
    fn add(&mut self, outcome: &Outcome) {
        self.requests += 1;
        self.failed += u64::from(outcome.is_failure());
        if let Some(version) = outcome.version() {
            self.newest_version = Some(Arc::clone(version));
        }
    }
}

impl Outcome {
    pub fn is_failure(&self) -> bool {
        match self {
            Self::Answered { status, .. } => *status >= 500,
            Self::Lost { .. } => true,
        }
    }

    pub fn version(&self) -> Option<&Arc<str>> {
        match self {
            Self::Answered { version, .. } => version.as_ref(),
            Self::Lost { .. } => None,
        }
    }
}

impl std::fmt::Display for Outcome {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Answered { status, version: Some(version) } => write!(f, "status {status} from {version}"),
            Self::Answered { status, version: None } => write!(f, "status {status}"),
            Self::Lost { error } => f.write_str(error),
        }
    }
}

struct Client {
    address: SocketAddr,
    started: Instant,
    ticks: Option<Interval>,
    tally: watch::Sender<Tally>,
    connection: Option<SendRequest<Empty<Bytes>>>,
    /// One copy of each version's name, however often it answers.
    versions: BTreeMap<String, Arc<str>>,
}

impl Client {
    async fn run(mut self, mut stopping: watch::Receiver<bool>) -> Vec<Sample> {
        let mut samples = Vec::new();
        while self.turn(&mut stopping).await {
            let asked = Instant::now();
            let patient = tokio::time::timeout(PATIENCE, self.ask());
            let outcome =
                match patient.await.unwrap_or_else(|_| Err(anyhow!("no answer within {PATIENCE:?}"))) {
                    Ok((status, version)) => Outcome::Answered { status: status.as_u16(), version },
                    Err(error) => Outcome::Lost { error: format!("{error:#}") },
                };
            let lost = matches!(outcome, Outcome::Lost { .. });
            self.tally.send_modify(|tally| tally.add(&outcome));
            samples.push(Sample { at: self.started.elapsed(), took: asked.elapsed(), outcome });
            if lost {
                self.connection = None;
                tokio::time::sleep(PAUSE_BETWEEN_CONNECTS).await;
            }
        }
        samples
    }

    /// Waits for the time of the next request; false if there is none.
    async fn turn(&mut self, stopping: &mut watch::Receiver<bool>) -> bool {
        if let Some(ticks) = &mut self.ticks {
            tokio::select! {
                _ = ticks.tick() => {}
                _ = stopping.wait_for(|stopping| *stopping) => {}
            }
        }
        !*stopping.borrow()
    }

    async fn ask(&mut self) -> anyhow::Result<(StatusCode, Option<Arc<str>>)> {
        // Taken out, so that a connection on which something failed is not used again.
        let mut connection = match self.connection.take() {
            // A server may close between two requests; that is no failure.
            Some(mut open) => match open.ready().await {
                Ok(()) => open,
                Err(_) => connect(self.address).await?,
            },
            None => connect(self.address).await?,
        };
        let request = Request::get("/").header(HOST, self.address.to_string()).body(Empty::new())?;
        let response = connection.send_request(request).await.context("no answer")?;
        let status = response.status();
        let body = response.into_body().collect().await.context("half an answer")?.to_bytes();
        self.connection = Some(connection);
        Ok((status, self.version_in(&body)))
    }

    /// The word after `version ` in the sample service's answer.
    fn version_in(&mut self, body: &[u8]) -> Option<Arc<str>> {
        let text = std::str::from_utf8(body).ok()?.strip_prefix("version ")?;
        let name = text.split([',', ' ', '\n']).next().filter(|name| !name.is_empty())?;
        if !self.versions.contains_key(name) {
            self.versions.insert(name.to_owned(), Arc::from(name));
        }
        self.versions.get(name).cloned()
    }
}

async fn connect(address: SocketAddr) -> anyhow::Result<SendRequest<Empty<Bytes>>> {
    let stream = TcpStream::connect(address).await.context("cannot connect")?;
    let _ = stream.set_nodelay(true);
    let (sender, connection) = http1::handshake(TokioIo::new(stream)).await.context("cannot connect")?;
    // It ends when the sender is dropped; its error reaches the request that it belongs to.
    tokio::spawn(connection);
    Ok(sender)
}

#[cfg(test)]
mod tests;
