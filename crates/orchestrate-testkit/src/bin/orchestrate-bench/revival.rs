//! How long a killed proxy is away, and whether anybody is refused meanwhile.

use std::time::{Duration, Instant};

use anyhow::{Context as _, Result};

use crate::Plan;
use crate::client::{By, Load, Record, ask_anew, await_answer};
use crate::peers::{Orchestrate, Peer as _, Place};
use crate::process::{LIMIT, LOOK_EVERY, is_running, kill};
use crate::table::{Spread, Table, Verdict, or_dash};

const CONNECTIONS: usize = 8;
const REQUESTS_AROUND: u64 = 400;
const AT_MOST_MS: f64 = 100.0;

#[derive(Default)]
struct Rounds {
    away_ms: Vec<f64>,
    refused: usize,
    lost: usize,
}

pub async fn run(plan: &Plan, place: &Place) -> Result<Vec<Verdict>> {
    let Some(program) = &plan.orchestrate else { return Ok(Vec::new()) };
    let home = Orchestrate::start(program, place, "v").await?;
    let mut rounds = Rounds::default();
    let mut measured = Ok(());
    for round in 0..plan.rounds {
        measured = one(&home, &mut rounds).await.with_context(|| format!("round {round}"));
        if measured.is_err() {
            break;
        }
    }
    Box::new(home).stop().await?;
    measured?;
    Ok(report(&rounds))
}

async fn one(home: &Orchestrate, rounds: &mut Rounds) -> Result<()> {
    await_answer(home.address(), By::Bad).await?;
    let proxy = running_proxy(home).await?;
    let mut load = Load::start(home.address(), CONNECTIONS, None)?;
    load.wait_until(|progress| progress.requests >= REQUESTS_AROUND).await?;
    let killed = Instant::now();
    kill(proxy)?;
    // One may still be accepted by the kernel for the one that dies; it is asked again, as a user would.
    while ask_anew(home.address()).await.is_err() {}
    rounds.away_ms.push(millis(killed.elapsed()));
    load.wait_until(|progress| progress.all_by(By::Bad)).await?;
    rounds.count(&load.stop().await?);
    Ok(())
}

/// The one before may have been replaced a moment ago.
async fn running_proxy(home: &Orchestrate) -> Result<u32> {
    let found = tokio::time::timeout(LIMIT, async {
        loop {
            match home.processes().await {
                Ok(processes) if is_running(processes.proxy) => return processes.proxy,
                Ok(_) | Err(_) => tokio::time::sleep(LOOK_EVERY).await,
            }
        }
    });
    found.await.context("no proxy runs")
}

impl Rounds {
    fn count(&mut self, records: &[Record]) {
        let reasons = records.iter().filter_map(|record| record.outcome.as_ref().err());
        for reason in reasons {
            self.lost += 1;
            self.refused += usize::from(reason.contains("cannot connect"));
        }
    }
}

fn millis(span: Duration) -> f64 {
    span.as_secs_f64() * 1_000.0
}

fn report(rounds: &Rounds) -> Vec<Verdict> {
    let away = Spread::of(&rounds.away_ms);
    let title = format!(
        "kill -9 of the proxy under load, {CONNECTIONS} connections, median (min–max) of {} rounds",
        rounds.away_ms.len()
    );
    let mut table = Table::new(
        title,
        &["", "ms to the next answer", "requests lost in its hands", "connections refused"],
    );
    table.row(["proxy".to_owned(), or_dash(away), rounds.lost.to_string(), rounds.refused.to_string()]);
    println!("{table}");
    let verdict =
        |what: &str, value: f64, at_most: f64, unit| Verdict { what: what.to_owned(), value, at_most, unit };
    let back = away.map(|away| verdict("a killed proxy is back", away.median, AT_MOST_MS, "ms"));
    let refused = verdict("connections refused by a killed proxy", rounds.refused as f64, 0.0, "connections");
    back.into_iter().chain([refused]).collect()
}
