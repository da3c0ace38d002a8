//! Who serves what, as the data path reads it: an environment's table is immutable and swapped whole, in one store.
//!
//! A request *enters* a placed release: it counts itself in, then looks again whether the table is still the one it
//! read. So whoever swaps the table and then sees zero in flight knows that nobody is on the way in.

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU32, AtomicU64, Ordering};

use arc_swap::ArcSwap;
use http::{HeaderMap, HeaderName, HeaderValue};
use orchestrate_core::environment::HealthCheck;
use orchestrate_core::name::EnvironmentName;
use orchestrate_core::ports::Placement;
use tokio::sync::Notify;

use crate::rules::{Point, Rules, Standing};
use crate::stats::Counters;

/// The header of a proof, which bears the proxy's token.
pub(crate) const PROVE: HeaderName = HeaderName::from_static("orchestrate-prove");

/// One environment, for as long as the proxy knows it.
pub(crate) struct Environment {
    pub name: EnvironmentName,
    table: ArcSwap<Table>,
    /// Grows after every swap of `table`.
    edition: AtomicU64,
    turn: AtomicU32,
}

/// What the environment's slots hold.
#[derive(Default)]
pub(crate) struct Table {
    pub placed: Vec<Arc<Placed>>,
    /// In force while releases share the traffic.
    pub rules: Option<Arc<Rules>>,
}

/// A release in a slot, with its share of the traffic.
#[derive(Clone)]
pub(crate) struct Placed {
    pub placement: Placement,
    /// Percent.
    pub weight: u8,
    pub lanes: Arc<[Lane]>,
    pub load: Arc<Load>,
}

/// The instances of one process type of a placed release.
pub(crate) struct Lane {
    pub process: Arc<str>,
    pub listen: SocketAddr,
    pub instances: Vec<Arc<Instance>>,
    pub health_check: HealthCheck,
    turn: AtomicU32,
}

/// What is under way to a placed release; it outlives changes of weight and of instances.
pub(crate) struct Load {
    pub in_flight: AtomicU64,
    /// Grows when what is in flight must be cut.
    pub cuts: AtomicU64,
    pub idle: Notify,
    waiters: AtomicU32,
    pub counters: Arc<Counters>,
}

pub(crate) struct Instance {
    /// Unique in this process, for the pools.
    pub key: u64,
    pub id: String,
    pub address: SocketAddr,
    pub in_flight: AtomicU32,
    pub healthy: AtomicBool,
    /// No release has it any more; its idle connections can go.
    pub gone: AtomicBool,
    /// Failed attempts to connect, one after another.
    strikes: AtomicU32,
}

/// Failed connects in a row after which an instance is passed over while others are healthy.
const STRIKES: u32 = 3;

impl Environment {
    pub fn new(name: EnvironmentName) -> Self {
        Self { name, table: ArcSwap::default(), edition: AtomicU64::new(0), turn: AtomicU32::new(0) }
    }

    pub fn table(&self) -> Arc<Table> {
        self.table.load_full()
    }

    /// Makes the table the one that the next request reads.
    pub fn swap(&self, table: Table) {
        self.table.store(Arc::new(table));
        self.edition.fetch_add(1, Ordering::SeqCst);
    }

    /// Picks the release for one request and counts the request in. `token` makes a request a proof.
    pub fn enter(&self, headers: &HeaderMap, token: &str) -> Result<Ticket, Turned> {
        let mut turn = None;
        loop {
            let edition = self.edition.load(Ordering::SeqCst);
            let (placed, cookie) = {
                let table = self.table.load();
                // A table that is swapped meanwhile must not cost a turn.
                let turn = || *turn.get_or_insert_with(|| self.turn());
                let (placed, cookie) = table.pick(headers, token, turn)?;
                (Arc::clone(placed), cookie)
            };
            placed.load.in_flight.fetch_add(1, Ordering::SeqCst);
            let cuts = placed.load.cuts.load(Ordering::Relaxed);
            let ticket = Ticket { placed, cookie, cuts, edition };
            if self.edition.load(Ordering::SeqCst) == edition {
                return Ok(ticket);
            }
        }
    }

    /// Whether the table is still the one that the ticket was picked from.
    pub fn is_current(&self, ticket: &Ticket) -> bool {
        self.edition.load(Ordering::SeqCst) == ticket.edition
    }

    /// Every point once in a hundred requests, and spread within them: 37 has no divisor in common with 100.
    fn turn(&self) -> Point {
        let turn = self.turn.fetch_add(1, Ordering::Relaxed) % 100;
        Point::try_from((turn * 37) % 100).unwrap_or(0)
    }
}

/// Why a request enters nowhere.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Turned {
    /// Nobody has traffic here.
    Nobody,
    /// It names a version that is not here.
    Unknown,
}

type Picked<'a> = (&'a Arc<Placed>, Option<HeaderValue>);

impl Table {
    fn pick(
        &self,
        headers: &HeaderMap,
        token: &str,
        mut turn: impl FnMut() -> Point,
    ) -> Result<Picked<'_>, Turned> {
        let Some(rules) = &self.rules else {
            let all = self.placed.iter().find(|placed| placed.weight >= 100);
            return all.or_else(|| self.at(turn())).map(|placed| (placed, None)).ok_or(Turned::Nobody);
        };
        if let Some(slot) = directed(headers, token) {
            let there = self.placed.iter().find(|placed| placed.placement.slot.as_str().as_bytes() == slot);
            return there.map(|placed| (placed, None)).ok_or(Turned::Unknown);
        }
        if let Some(version) = rules.forced(headers) {
            let named = |placed: &&Arc<Placed>| placed.placement.version.as_str().as_bytes() == version;
            // The same version may be there twice, with other settings; then the one with more traffic is meant.
            let there = self.placed.iter().filter(named).max_by_key(|placed| placed.weight);
            return there.map(|placed| (placed, None)).ok_or(Turned::Unknown);
        }
        let (point, cookie) = match rules.standing(headers) {
            Standing::At(point) => (point, None),
            Standing::Any => (turn(), None),
            Standing::New => {
                let point = turn();
                (point, rules.cookie(point))
            }
        };
        self.at(point).map(|placed| (placed, cookie)).ok_or(Turned::Nobody)
    }

    /// Whose share the point lies in; the releases lie side by side in the order of their slots.
    fn at(&self, point: Point) -> Option<&Arc<Placed>> {
        let total: u32 = self.placed.iter().map(|placed| u32::from(placed.weight)).sum();
        let mut point = u32::from(point) * total / 100;
        self.placed.iter().find(|placed| {
            let weight = u32::from(placed.weight);
            let inside = point < weight;
            point = point.saturating_sub(weight);
            inside
        })
    }
}

/// The slot that a proof is directed to, by `orchestrate-prove: TOKEN SLOT`.
fn directed<'a>(headers: &'a HeaderMap, token: &str) -> Option<&'a [u8]> {
    headers.get(PROVE)?.as_bytes().strip_prefix(token.as_bytes())?.strip_prefix(b" ")
}

impl Placed {
    pub fn lane(&self, process: &str) -> Option<&Lane> {
        self.lanes.iter().find(|lane| &*lane.process == process)
    }
}

impl Lane {
    pub fn new(
        process: Arc<str>,
        listen: SocketAddr,
        instances: Vec<Arc<Instance>>,
        check: HealthCheck,
    ) -> Self {
        Self { process, listen, instances, health_check: check, turn: AtomicU32::new(0) }
    }

    pub fn healthy(&self) -> u32 {
        let count = self.instances.iter().filter(|one| one.healthy.load(Ordering::Relaxed)).count();
        u32::try_from(count).unwrap_or(u32::MAX)
    }

    /// The healthy instance with the least in flight, else the least bad one; `tried` ones are left out.
    pub fn choose(&self, tried: &[u64]) -> Option<&Arc<Instance>> {
        if let ([only], []) = (&self.instances[..], tried) {
            return Some(only);
        }
        if self.instances.is_empty() {
            return None;
        }
        let start = self.turn.fetch_add(1, Ordering::Relaxed) as usize % self.instances.len();
        let (before, after) = self.instances.split_at(start);
        after.iter().chain(before).filter(|one| !tried.contains(&one.key)).min_by_key(|one| one.burden())
    }

    /// Notes that no connection could be made. Never takes the last healthy instance out.
    pub fn connect_failed(&self, instance: &Instance) {
        let strikes = instance.strikes.fetch_add(1, Ordering::Relaxed) + 1;
        let others = || self.instances.iter().any(|one| one.key != instance.key && one.is_healthy());
        if strikes >= STRIKES && others() {
            instance.healthy.store(false, Ordering::Relaxed);
        }
    }
}

impl Instance {
    pub fn new(key: u64, id: String, address: SocketAddr) -> Self {
        Self {
            key,
            id,
            address,
            in_flight: AtomicU32::new(0),
            healthy: AtomicBool::new(true),
            gone: AtomicBool::new(false),
            strikes: AtomicU32::new(0),
        }
    }

    pub fn is_healthy(&self) -> bool {
        self.healthy.load(Ordering::Relaxed)
    }

    pub fn connected(&self) {
        self.strikes.store(0, Ordering::Relaxed);
    }

    fn burden(&self) -> (bool, u32, u32) {
        let strikes = if self.is_healthy() { 0 } else { self.strikes.load(Ordering::Relaxed) };
        (!self.is_healthy(), strikes, self.in_flight.load(Ordering::Relaxed))
    }
}

impl Load {
    pub fn new(counters: Arc<Counters>) -> Self {
        Self {
            in_flight: AtomicU64::new(0),
            cuts: AtomicU64::new(0),
            idle: Notify::new(),
            waiters: AtomicU32::new(0),
            counters,
        }
    }

    /// Returns once nothing is in flight.
    pub async fn emptied(&self) {
        self.waiters.fetch_add(1, Ordering::SeqCst);
        let _waiting = Waiting(&self.waiters);
        loop {
            let notified = self.idle.notified();
            if self.in_flight.load(Ordering::SeqCst) == 0 {
                return;
            }
            notified.await;
        }
    }

    fn leave(&self) {
        if self.in_flight.fetch_sub(1, Ordering::SeqCst) == 1 && self.waiters.load(Ordering::SeqCst) > 0 {
            self.idle.notify_waiters();
        }
    }
}

struct Waiting<'a>(&'a AtomicU32);

impl Drop for Waiting<'_> {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::SeqCst);
    }
}

/// One request's place in a release; dropping it counts the request out.
pub(crate) struct Ticket {
    pub placed: Arc<Placed>,
    /// Goes with the answer, so that the user is known again.
    pub cookie: Option<HeaderValue>,
    cuts: u64,
    edition: u64,
}

impl Ticket {
    /// Whether a drain has run out of patience since the request entered.
    pub fn is_cut(&self) -> bool {
        self.placed.load.cuts.load(Ordering::Relaxed) != self.cuts
    }
}

impl Drop for Ticket {
    fn drop(&mut self) {
        self.placed.load.leave();
    }
}

/// One request's place at an instance.
pub(crate) struct Seat(Arc<Instance>);

impl Seat {
    pub fn take(instance: &Arc<Instance>) -> Self {
        instance.in_flight.fetch_add(1, Ordering::Relaxed);
        Self(Arc::clone(instance))
    }

    pub fn instance(&self) -> &Arc<Instance> {
        &self.0
    }
}

impl Drop for Seat {
    fn drop(&mut self) {
        self.0.in_flight.fetch_sub(1, Ordering::Relaxed);
    }
}

#[cfg(test)]
#[path = "table/tests.rs"]
mod tests;
