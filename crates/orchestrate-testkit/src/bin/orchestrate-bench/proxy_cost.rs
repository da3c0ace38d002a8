//! What a request costs on its way through a proxy: CPU time of the proxy's processes, and requests a second.

use std::time::Duration;

use anyhow::{Context as _, Result, ensure};

use crate::Plan;
use crate::client::{Load, failures};
use crate::peers::{self, HaProxy, Nginx, Orchestrate, Peer, Place};
use crate::process::{cpu, threads};
use crate::table::{Spread, Table, Verdict, or_dash, ratio};

const CONNECTIONS: usize = 32;
const REQUESTS: u64 = 60_000;
const QUICK_REQUESTS: u64 = 10_000;
const CPU_AT_MOST: f64 = 1.2;

#[derive(Default)]
struct Rounds {
    per_second: Vec<f64>,
    micros: Vec<f64>,
    threads: usize,
}

pub async fn run(plan: &Plan, place: &Place) -> Result<Vec<Verdict>> {
    let upstreams = place.upstreams().await?;
    let mut peers = peers::start(plan, place, &upstreams, &[HaProxy::NAME, Nginx::NAME]).await?;
    let measured = measure(plan, &mut peers).await;
    let names: Vec<_> = peers.iter().map(|peer| peer.name()).collect();
    peers::stop(peers, upstreams).await?;
    Ok(report(&names, &measured?, plan))
}

async fn measure(plan: &Plan, peers: &mut [Box<dyn Peer>]) -> Result<Vec<Rounds>> {
    let mut all: Vec<Rounds> = peers.iter().map(|_| Rounds::default()).collect();
    // The first round warms everything up and does not count.
    for round in 0..=plan.rounds {
        for (peer, rounds) in peers.iter_mut().zip(&mut all) {
            let name = peer.name();
            let pids = peer.data_plane().await.with_context(|| name)?;
            let (took, spent) = one(peer.as_ref(), &pids, requests(plan)).await.with_context(|| name)?;
            if round > 0 {
                let requests = requests(plan) as f64;
                rounds.per_second.push(requests / took.as_secs_f64());
                rounds.micros.push(spent.as_secs_f64() * 1e6 / requests);
                rounds.threads = pids.iter().map(|pid| threads(*pid)).sum::<Result<usize>>()?;
            }
        }
    }
    Ok(all)
}

fn requests(plan: &Plan) -> u64 {
    if plan.quick { QUICK_REQUESTS } else { REQUESTS }
}

async fn one(peer: &dyn Peer, pids: &[u32], requests: u64) -> Result<(Duration, Duration)> {
    let spent = || pids.iter().map(|pid| cpu(*pid)).sum::<Result<Duration>>();
    let (before, started) = (spent()?, std::time::Instant::now());
    let records = Load::start(peer.address(), CONNECTIONS, Some(requests))?.finish().await?;
    let (took, after) = (started.elapsed(), spent()?);
    let (failed, reasons) = failures(&records);
    ensure!(failed == 0, "{failed} of {requests} requests failed: {}", reasons.join("; "));
    Ok((took, after.saturating_sub(before)))
}

fn report(names: &[&str], all: &[Rounds], plan: &Plan) -> Vec<Verdict> {
    let title = format!(
        "proxy cost: {} requests over {CONNECTIONS} keep-alive connections, median (min–max) of {} rounds",
        requests(plan),
        plan.rounds
    );
    let mut table = Table::new(
        title,
        &["", "CPU µs a request", "× HAProxy", "requests a second", "× HAProxy", "threads"],
    );
    let spreads = |rounds: &Rounds| (Spread::of(&rounds.micros), Spread::of(&rounds.per_second));
    let find =
        |wanted: &str| names.iter().zip(all).find(|(name, _)| **name == wanted).map(|(_, rounds)| rounds);
    let (base_micros, base_rate) = find(HaProxy::NAME).map_or((None, None), spreads);
    for (name, rounds) in names.iter().zip(all) {
        let (micros, rate) = spreads(rounds);
        table.row([
            (*name).to_owned(),
            or_dash(micros),
            ratio(micros, base_micros),
            or_dash(rate),
            ratio(rate, base_rate),
            rounds.threads.to_string(),
        ]);
    }
    println!("{table}");
    let ours = find(Orchestrate::NAME).and_then(|rounds| Spread::of(&rounds.micros));
    let verdict = ours.zip(base_micros);
    verdict
        .map(|(ours, base)| Verdict::ratio("CPU a request to HAProxy's", ours, base, CPU_AT_MOST))
        .into_iter()
        .collect()
}
