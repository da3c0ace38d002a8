//! Whether deployments and rollbacks of each strategy lose requests.

use std::path::Path;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, ensure};

use crate::Plan;
use crate::client::{BAD, GOOD, Load, Record, failures};
use crate::peers::{Orchestrate, Peer as _, Place, Provider, Setting};
use crate::table::{Table, Verdict};

const CONNECTIONS: [usize; 2] = [8, 256];
const REQUESTS: u64 = 100_000;
const QUICK_REQUESTS: u64 = 10_000;
/// For one strategy at one number of connections.
const LONGEST: Duration = Duration::from_secs(900);

/// A way of deploying, and how far a deployment goes before it is rolled back.
pub struct Way {
    pub name: &'static str,
    pub strategy: &'static str,
    pub instances: u32,
    pub promoted: bool,
}

pub const BLUE_GREEN: Way =
    Way { name: "blue_green", strategy: "{ type: blue_green, warm_for: 1h }", instances: 1, promoted: false };
pub const ROLLING: Way =
    Way { name: "rolling", strategy: "{ type: rolling, batch: 1 }", instances: 3, promoted: false };
pub const CANARY_AT_HALF: Way =
    Way { name: "canary at 50 %", strategy: CANARY, instances: 1, promoted: false };
const CANARY_PROMOTED: Way = Way { name: "canary, promoted", strategy: CANARY, instances: 1, promoted: true };
const WAYS: [Way; 4] = [BLUE_GREEN, ROLLING, CANARY_AT_HALF, CANARY_PROMOTED];

const CANARY: &str = "{ type: canary, steps: [50], wait: 1h, warm_for: 1h }";

pub async fn run(plan: &Plan, place: &Place) -> Result<Vec<Verdict>> {
    let Some(program) = &plan.orchestrate else { return Ok(Vec::new()) };
    no_request_is_lost(plan, place, program).await
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

/// A home with the good version live.
pub async fn home(place: &Place, program: &Path, name: &str, way: &Way) -> Result<Orchestrate> {
    home_on(Provider::Process, place, program, name, way).await
}

pub async fn home_on(
    provider: Provider,
    place: &Place,
    program: &Path,
    name: &str,
    way: &Way,
) -> Result<Orchestrate> {
    let setting =
        Setting { provider, strategy: way.strategy, instances: way.instances, ..Setting::default() };
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

pub async fn forward(home: &Orchestrate, way: &Way) -> Result<()> {
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
pub async fn allow_again(home: &Orchestrate) -> Result<()> {
    home.typed(&["deploy", "unhold", BAD, "--reason", "the next round"]).await.map(drop)
}
