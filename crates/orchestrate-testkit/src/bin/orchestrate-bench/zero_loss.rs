//! Requests that are lost while versions are switched back and forth, with every kind of client at once.

use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, ensure};

use crate::Plan;
use crate::client::{Load, failures};
use crate::peers::{self, HaProxy, Orchestrate, Peer, Place};
use crate::side_clients::{Kind, SideClients, Tally};
use crate::table::{Table, Verdict};

const CONNECTIONS: [usize; 2] = [8, 256];
const REQUESTS: u64 = 100_000;
const QUICK_REQUESTS: u64 = 10_000;
/// For one peer at one number of connections.
const LONGEST: Duration = Duration::from_secs(900);

struct Outcome {
    switches: usize,
    /// The keep-alive clients, then the others.
    kinds: Vec<(&'static str, Tally)>,
}

pub async fn run(plan: &Plan, place: &Place) -> Result<Vec<Verdict>> {
    let upstreams = place.upstreams().await?;
    let mut peers = peers::start(plan, place, &upstreams, &[HaProxy::NAME]).await?;
    let measured = measure(plan, &mut peers).await;
    peers::stop(peers, upstreams).await?;
    measured
}

async fn measure(plan: &Plan, peers: &mut [Box<dyn Peer>]) -> Result<Vec<Verdict>> {
    let mut verdicts = Vec::new();
    for connections in CONNECTIONS {
        let requests = if plan.quick { QUICK_REQUESTS } else { REQUESTS };
        let title =
            format!("zero loss: {requests} requests at {connections} connections, with switches going on");
        let mut table = Table::new(title, &["", "clients", "failed", "of", "switches"]);
        let mut notes = Vec::new();
        for peer in &mut *peers {
            let name = peer.name();
            let outcome = one(peer.as_mut(), connections, requests).await.with_context(|| name)?;
            for (kind, tally) in &outcome.kinds {
                let cells = [name, kind].map(str::to_owned);
                let numbers = [tally.failed, tally.done, outcome.switches].map(|number| number.to_string());
                table.row(cells.into_iter().chain(numbers));
                notes
                    .extend(tally.reasons.iter().take(3).map(|reason| format!("  {name}, {kind}: {reason}")));
            }
            if name == Orchestrate::NAME {
                let failed: usize = outcome.kinds.iter().map(|(_, tally)| tally.failed).sum();
                let what = format!("requests failed at {connections} connections");
                verdicts.push(Verdict { what, value: failed as f64, at_most: 0.0, unit: "requests" });
            }
        }
        println!("{table}");
        for note in notes {
            println!("{note}");
        }
    }
    Ok(verdicts)
}

async fn one(peer: &mut dyn Peer, connections: usize, requests: u64) -> Result<Outcome> {
    let side = SideClients::start(peer.address());
    let mut load = Load::start(peer.address(), connections, Some(requests))?;
    let (mut switches, started) = (0, Instant::now());
    while !load.is_over() {
        ensure!(started.elapsed() < LONGEST, "{requests} requests were not made within {LONGEST:?}");
        peer.back().await?;
        peer.forward().await?;
        switches += 2;
    }
    let records = load.finish().await?;
    let (failed, reasons) = failures(&records);
    let keep_alive = Tally { done: records.len(), failed, reasons };
    let mut kinds = vec![("keep-alive requests", keep_alive)];
    kinds.extend(side.stop().await?.into_iter().map(|(kind, tally): (Kind, Tally)| (kind.name(), tally)));
    Ok(Outcome { switches, kinds })
}
