//! Whether deployments and rollbacks of each strategy lose requests, and how soon a canary is gone.

use std::path::Path;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, ensure};

use crate::Plan;
use crate::client::{BAD, By, GOOD, Load, Record, failures};
use crate::peers::{Orchestrate, Peer as _, Place, Setting};
use crate::table::{Spread, Table, Verdict, or_dash, ratio};

const CONNECTIONS: [usize; 2] = [8, 256];
const REQUESTS: u64 = 100_000;
const QUICK_REQUESTS: u64 = 10_000;
/// For one strategy at one number of connections.
const LONGEST: Duration = Duration::from_secs(900);
/// A canary's last bad answer beside that of a warm blue-green rollback.
const CANARY_AT_MOST: f64 = 1.25;

/// A way of deploying, and how far a deployment goes before it is rolled back.
struct Way {
    name: &'static str,
    strategy: &'static str,
    instances: u32,
    promoted: bool,
}

const WAYS: [Way; 4] = [
    Way { name: "blue_green", strategy: "{ type: blue_green, warm_for: 1h }", instances: 1, promoted: false },
    Way { name: "rolling", strategy: "{ type: rolling, batch: 1 }", instances: 3, promoted: false },
    Way { name: "canary", strategy: CANARY, instances: 1, promoted: false },
    Way { name: "canary, promoted", strategy: CANARY, instances: 1, promoted: true },
];

const CANARY: &str = "{ type: canary, steps: [50], wait: 1h, warm_for: 1h }";

pub async fn run(plan: &Plan, place: &Place) -> Result<Vec<Verdict>> {
    let Some(program) = &plan.orchestrate else { return Ok(Vec::new()) };
    let mut verdicts = no_request_is_lost(plan, place, program).await?;
    verdicts.extend(canary_beside_blue_green(plan, place, program).await?);
    Ok(verdicts)
}

async fn no_request_is_lost(plan: &Plan, place: &Place, program: &Path) -> Result<Vec<Verdict>> {
    let requests = if plan.quick { QUICK_REQUESTS } else { REQUESTS };
    let title = format!("strategies: {requests} requests with deployments and rollbacks going on");
    let mut table = Table::new(title, &["", "connections", "failed", "of", "rounds"]);
    let (mut verdicts, mut notes) = (Vec::new(), Vec::new());
    for (number, way) in WAYS.iter().enumerate() {
        let home = home(place, program, &format!("w{number}"), way).await?;
        let mut failed_here = 0;
        for connections in CONNECTIONS {
            let (records, rounds) =
                under_load(&home, way, connections, requests).await.with_context(|| way.name)?;
            let (failed, reasons) = failures(&records);
            failed_here += failed;
            let numbers = [connections, failed, records.len(), rounds].map(|number| number.to_string());
            table.row(std::iter::once(way.name.to_owned()).chain(numbers));
            notes.extend(reasons.into_iter().map(|reason| format!("  {}: {reason}", way.name)));
        }
        Box::new(home).stop().await?;
        let what = format!("requests failed, {}", way.name);
        verdicts.push(Verdict { what, value: failed_here as f64, at_most: 0.0, unit: "requests" });
    }
    println!("{table}");
    for note in notes {
        println!("{note}");
    }
    Ok(verdicts)
}

async fn home(place: &Place, program: &Path, name: &str, way: &Way) -> Result<Orchestrate> {
    let setting = Setting { strategy: way.strategy, instances: way.instances, ..Setting::default() };
    let home = Orchestrate::prepare_as(program, place, name, &[GOOD, BAD], setting)?;
    home.deploy(GOOD).await?;
    Ok(home)
}

async fn under_load(
    home: &Orchestrate,
    way: &Way,
    connections: usize,
    requests: u64,
) -> Result<(Vec<Record>, usize)> {
    let mut load = Load::start(home.address(), connections, Some(requests))?;
    let (mut rounds, started) = (0, Instant::now());
    while !load.is_over() {
        ensure!(started.elapsed() < LONGEST, "{requests} requests were not made within {LONGEST:?}");
        forward(home, way).await?;
        home.typed(&["deploy", "rollback", "--force"]).await?;
        allow_again(home).await?;
        rounds += 1;
    }
    Ok((load.finish().await?, rounds))
}

async fn forward(home: &Orchestrate, way: &Way) -> Result<()> {
    let (_, deployed) = home.typed(&["deploy", "--version", BAD]).await?;
    ensure!(
        deployed["status"] == "completed" || deployed["status"] == "in_progress",
        "not deployed: {deployed}"
    );
    if way.promoted {
        home.typed(&["deploy", "promote", "--all"]).await?;
    }
    Ok(())
}

/// The rollback holds what it left, so that nobody deploys it again by mistake.
async fn allow_again(home: &Orchestrate) -> Result<()> {
    home.typed(&["deploy", "unhold", BAD, "--reason", "the next round"]).await.map(drop)
}

async fn canary_beside_blue_green(plan: &Plan, place: &Place, program: &Path) -> Result<Vec<Verdict>> {
    let ways = [&WAYS[0], &WAYS[2]];
    let mut homes = Vec::new();
    for (name, way) in ["g", "y"].into_iter().zip(ways) {
        homes.push(home(place, program, name, way).await?);
    }
    let mut last_bad = [Vec::new(), Vec::new()];
    for round in 0..=plan.rounds {
        for ((home, way), values) in homes.iter().zip(ways).zip(&mut last_bad) {
            let took = last_bad_answer(home, way).await.with_context(|| way.name)?;
            if round > 0 {
                values.push(took);
            }
        }
    }
    for home in homes {
        Box::new(home).stop().await?;
    }
    Ok(report([Spread::of(&last_bad[0]), Spread::of(&last_bad[1])], plan.rounds))
}

async fn last_bad_answer(home: &Orchestrate, way: &Way) -> Result<f64> {
    forward(home, way).await?;
    let mut load = Load::start(home.address(), CONNECTIONS[0], None)?;
    load.wait_until(|progress| progress.newest.contains(&Some(By::Bad)) && progress.requests >= 400).await?;
    let (finished, _) = home.typed(&["deploy", "rollback", "--force"]).await?;
    load.wait_until(|progress| progress.all_by(By::Good)).await?;
    let records = load.stop().await?;
    allow_again(home).await?;
    let bad = records.iter().filter(|record| record.outcome == Ok(By::Bad)).map(|record| record.at).max();
    Ok(bad.map_or(0.0, |at| at.saturating_duration_since(finished.started).as_secs_f64() * 1_000.0))
}

fn report([blue_green, canary]: [Option<Spread>; 2], rounds: usize) -> Vec<Verdict> {
    let title =
        format!("rollback by strategy: ms to the last bad answer, median (min–max) of {rounds} rounds");
    let mut table = Table::new(title, &["", "ms", "× blue_green"]);
    table.row(["blue_green, warm".to_owned(), or_dash(blue_green), ratio(blue_green, blue_green)]);
    table.row(["canary at 50 %".to_owned(), or_dash(canary), ratio(canary, blue_green)]);
    println!("{table}");
    let verdict = |(canary, blue_green)| {
        Verdict::ratio("a canary's last bad answer to blue-green's", canary, blue_green, CANARY_AT_MOST)
    };
    canary.zip(blue_green).map(verdict).into_iter().collect()
}
