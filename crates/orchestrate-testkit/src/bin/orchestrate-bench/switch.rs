//! How long it takes, under load, from typing a command until nobody is answered by the bad version.

use std::time::Instant;

use anyhow::{Context as _, Result};

use crate::Plan;
use crate::client::{By, Load, Record, failures};
use crate::peers::{self, Caddy, HaProxy, Nginx, Orchestrate, Peer, Place, Switched};
use crate::table::{Spread, Table, Verdict, or_dash, ratio};

const CONNECTIONS: usize = 8;
/// Requests before the command and after it.
const REQUESTS_AROUND: u64 = 400;
const COMMAND_AT_MOST: f64 = 2.0;
const LAST_BAD_AT_MOST: f64 = 1.5;

#[derive(Default)]
pub struct Rounds {
    pub command_ms: Vec<f64>,
    pub last_bad_ms: Vec<f64>,
    pub requests: usize,
    pub failed: usize,
    reasons: Vec<String>,
}

pub async fn run(plan: &Plan, place: &Place) -> Result<Vec<Verdict>> {
    let upstreams = place.upstreams().await?;
    let mut peers = peers::start(plan, place, &upstreams, &[HaProxy::NAME, Nginx::NAME, Caddy::NAME]).await?;
    let measured = measure(plan, &mut peers).await;
    let names: Vec<_> = peers.iter().map(|peer| peer.name()).collect();
    peers::stop(peers, upstreams).await?;
    Ok(report(&names, &measured?, plan.rounds))
}

/// Switches each of them back and forth, in turns.
pub async fn measure(plan: &Plan, peers: &mut [Box<dyn Peer>]) -> Result<Vec<Rounds>> {
    let mut all: Vec<Rounds> = peers.iter().map(|_| Rounds::default()).collect();
    // The first round warms everything up and does not count.
    for round in 0..=plan.rounds {
        for (peer, rounds) in peers.iter_mut().zip(&mut all) {
            let name = peer.name();
            let (switched, records) =
                one(peer.as_mut()).await.with_context(|| format!("{name}, round {round}"))?;
            peer.forward().await.with_context(|| format!("{name}, after round {round}"))?;
            if round > 0 {
                rounds.add(&switched, &records);
            }
        }
    }
    Ok(all)
}

async fn one(peer: &mut dyn Peer) -> Result<(Switched, Vec<Record>)> {
    let mut load = Load::start(peer.address(), CONNECTIONS, None)?;
    load.wait_until(|progress| progress.all_by(By::Bad) && progress.requests >= REQUESTS_AROUND).await?;
    let switched = peer.back().await?;
    load.wait_until(|progress| progress.all_by(By::Good))
        .await
        .context("not everybody reached the good version")?;
    let mut until = None;
    load.wait_until(|progress| {
        let until = *until.get_or_insert(progress.requests + REQUESTS_AROUND);
        progress.requests >= until
    })
    .await?;
    Ok((switched, load.stop().await?))
}

impl Rounds {
    fn add(&mut self, switched: &Switched, records: &[Record]) {
        self.command_ms.push(millis(switched.started, switched.ended));
        let bad = records.iter().filter(|record| record.outcome == Ok(By::Bad)).map(|record| record.at);
        self.last_bad_ms.push(bad.max().map_or(0.0, |last| millis(switched.started, last)));
        let (failed, mut reasons) = failures(records);
        self.requests += records.len();
        self.failed += failed;
        self.reasons.append(&mut reasons);
        self.reasons.sort();
        self.reasons.dedup();
    }
}

fn millis(from: Instant, to: Instant) -> f64 {
    to.saturating_duration_since(from).as_secs_f64() * 1_000.0
}

fn report(names: &[&str], all: &[Rounds], rounds: usize) -> Vec<Verdict> {
    let title = format!(
        "switch: ms from typing the command, {CONNECTIONS} keep-alive connections, median (min–max) of {rounds} rounds"
    );
    let mut table = Table::new(
        title,
        &["", "command ends", "× HAProxy", "last bad answer", "× HAProxy", "failed", "of requests"],
    );
    let spreads = |rounds: &Rounds| (Spread::of(&rounds.command_ms), Spread::of(&rounds.last_bad_ms));
    let find =
        |wanted: &str| names.iter().zip(all).find(|(name, _)| **name == wanted).map(|(_, rounds)| rounds);
    let (base_command, base_last) = find(HaProxy::NAME).map_or((None, None), spreads);
    for (name, rounds) in names.iter().zip(all) {
        let (command, last) = spreads(rounds);
        table.row([
            (*name).to_owned(),
            or_dash(command),
            ratio(command, base_command),
            or_dash(last),
            ratio(last, base_last),
            rounds.failed.to_string(),
            rounds.requests.to_string(),
        ]);
    }
    println!("{table}");
    println!(
        "  HAProxy: sh, echo and socat; nginx: sh, mv, `nginx -s reload`, and the first answer of a new worker;"
    );
    println!(
        "  caddy: one PATCH by this program in the place of curl; orchestrate: `deploy rollback --force`\n"
    );
    for (name, rounds) in names.iter().zip(all).filter(|(_, rounds)| rounds.failed > 0) {
        println!("  {name} lost requests: {}\n", rounds.reasons.join("; "));
    }
    verdicts(find(Orchestrate::NAME), base_command, base_last)
}

fn verdicts(ours: Option<&Rounds>, base_command: Option<Spread>, base_last: Option<Spread>) -> Vec<Verdict> {
    let Some(ours) = ours else { return Vec::new() };
    let mut verdicts = Vec::new();
    if let (Some(command), Some(base)) = (Spread::of(&ours.command_ms), base_command) {
        verdicts.push(Verdict::ratio("rollback command to HAProxy's switch", command, base, COMMAND_AT_MOST));
    }
    if let (Some(last), Some(base)) = (Spread::of(&ours.last_bad_ms), base_last) {
        verdicts.push(Verdict::ratio("last bad answer to HAProxy's", last, base, LAST_BAD_AT_MOST));
    }
    let failed = ours.failed as f64;
    let what = "requests failed while switching".to_owned();
    verdicts.push(Verdict { what, value: failed, at_most: 0.0, unit: "requests" });
    verdicts
}
