//! How long a release with 40 % errors serves until it is taken back by itself.

use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, bail, ensure};

use crate::Plan;
use crate::client::{BAD, By, GOOD, Load, Record};
use crate::peers::{Orchestrate, Peer as _, Place, Setting};
use crate::table::{Spread, Table, Verdict, or_dash};

const PER_SECOND: u32 = 500;
const CONNECTIONS: usize = 8;
/// The verdict needs this many requests; with fewer nobody could tell.
const MINIMUM: usize = 50;
const AT_MOST_MS: f64 = 1_000.0;

pub async fn run(plan: &Plan, place: &Place) -> Result<Vec<Verdict>> {
    let Some(program) = &plan.orchestrate else { return Ok(Vec::new()) };
    let setting = Setting {
        verify: Some("{ bake: 20s, max_error_rate: 5%, minimum_requests: 50 }"),
        behaviour: &[(BAD, "errors 40\n")],
        ..Setting::default()
    };
    let mut taken = Vec::new();
    // Each round in a home of its own, because a release that was bad once is held.
    for round in 0..plan.rounds.min(5) {
        let home =
            Orchestrate::prepare_as(program, place, &format!("b{round}"), &[GOOD, BAD], setting.clone())?;
        let measured = one(&home).await;
        Box::new(home).stop().await?;
        taken.push(measured.with_context(|| format!("round {round}"))?);
    }
    Ok(report(&taken))
}

async fn one(home: &Orchestrate) -> Result<f64> {
    // The first release bakes as well; nothing speaks against it.
    home.attempt(GOOD).await?;
    let load = Load::paced(home.address(), CONNECTIONS, PER_SECOND)?;
    let output = home.attempt(BAD).await?;
    ensure!(output.status.code() == Some(3), "the bad release ended with {}", output.status);
    tokio::time::sleep(Duration::from_millis(200)).await;
    let records = load.stop().await?;
    told_to_taken(&records)
}

/// From the request by which one could have told until the last one that the bad release answered.
fn told_to_taken(records: &[Record]) -> Result<f64> {
    let mut bad: Vec<Instant> =
        records.iter().filter(|record| is_bad(record)).map(|record| record.at).collect();
    bad.sort_unstable();
    match (bad.get(MINIMUM - 1), bad.last()) {
        (Some(told), Some(last)) => Ok((*last - *told).as_secs_f64() * 1_000.0),
        _ => bail!("the bad release answered {} requests only", bad.len()),
    }
}

/// Only the bad release answers with errors.
fn is_bad(record: &Record) -> bool {
    match &record.outcome {
        Ok(by) => *by == By::Bad,
        Err(reason) => reason.contains("status 500"),
    }
}

fn report(taken: &[f64]) -> Vec<Verdict> {
    let spread = Spread::of(taken);
    let title = format!(
        "a release with 40 % errors at {PER_SECOND} requests a second, median (min–max) of {} rounds",
        taken.len()
    );
    let mut table = Table::new(title, &["", "ms"]);
    table.row(["from its 50th request to its last one".to_owned(), or_dash(spread)]);
    println!("{table}");
    let what = "a bad release is taken back".to_owned();
    let verdict = |spread: Spread| Verdict { what, value: spread.median, at_most: AT_MOST_MS, unit: "ms" };
    spread.map(verdict).into_iter().collect()
}
