//! What each release has answered, from what HAProxy counts of its servers. How long answers took it does not keep in a way
//! that a share of them could be told from, so there are no times.

use std::collections::BTreeMap;

use orchestrate_core::name::EnvironmentName;
use orchestrate_core::ports::{PortResult, ReleaseCounts, Tally};

use super::HaproxyRouter;
use super::book::{Mark, Placed, Seat};
use super::client::Client;
use super::look::{Look, Server};

impl HaproxyRouter {
    pub(super) async fn counted(&self, environment: &EnvironmentName) -> PortResult<Vec<ReleaseCounts>> {
        let settings = self.settings(environment).await?;
        let book = self.books.read(environment)?;
        let backends: std::collections::BTreeSet<&str> =
            book.lanes().map(|lane| lane.backend.as_str()).collect();
        let look = Look::at(Client::new(&settings.haproxy), backends).await?;
        let placed = book
            .slots
            .iter()
            .map(|placed| (placed.placement.slot, placed.placement.release, marks(placed, &look)));
        let left = book.left.iter().map(|left| (left.slot, left.release, left.marks.clone()));
        let mut counts: Vec<ReleaseCounts> = Vec::new();
        for (slot, release, marks) in placed.chain(left) {
            let tally = tally(&marks, &look.process);
            match counts.iter_mut().find(|row| row.slot == slot && row.release == release) {
                Some(row) => {
                    row.tally.requests += tally.requests;
                    row.tally.errors += tally.errors;
                }
                None => counts.push(ReleaseCounts { slot, release, tally }),
            }
        }
        Ok(counts)
    }
}

/// Only what the HAProxy of today counted: another one began anew, and so do we.
fn tally(marks: &[Mark], process: &str) -> Tally {
    let ours = || marks.iter().filter(|mark| mark.process == process);
    Tally {
        requests: ours().map(|mark| mark.requests).sum(),
        errors: ours().map(|mark| mark.errors).sum(),
        latency: Vec::new(),
    }
}

/// What the instances of a release have answered so far.
pub(super) fn marks(placed: &Placed, look: &Look) -> Vec<Mark> {
    let seats = placed.lanes.iter().flat_map(|lane| {
        lane.seats.iter().map(|(name, seat)| mark(seat, look.server(&lane.backend, name), &look.process))
    });
    added(placed.carried.iter().cloned().chain(seats).collect())
}

/// What a server has answered since it stands for the instance.
pub(super) fn mark(seat: &Seat, server: Option<&Server>, process: &str) -> Mark {
    let (requests, errors) = server.map_or((0, 0), |server| (server.requests, server.errors));
    let same = seat.from.process == process;
    let since = |now: u64, from: u64| if same { now.saturating_sub(from) } else { now };
    Mark {
        process: process.to_owned(),
        requests: since(requests, seat.from.requests),
        errors: since(errors, seat.from.errors),
    }
}

/// One sum for each HAProxy.
pub(super) fn added(marks: Vec<Mark>) -> Vec<Mark> {
    let mut sums: BTreeMap<String, (u64, u64)> = BTreeMap::new();
    for mark in marks {
        let sum = sums.entry(mark.process).or_default();
        *sum = (sum.0 + mark.requests, sum.1 + mark.errors);
    }
    let sums = sums.into_iter().filter(|(_, sum)| *sum != (0, 0));
    sums.map(|(process, (requests, errors))| Mark { process, requests, errors }).collect()
}
