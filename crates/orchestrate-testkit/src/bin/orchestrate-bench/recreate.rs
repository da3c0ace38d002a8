//! `recreate`: how long nobody is served, beside the time that the service itself takes to stop and to be ready again.

use std::path::Path;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, ensure};
use tokio::process::Command;

use crate::Plan;
use crate::client::{BAD, By, GOOD, Load, Record, await_answer};
use crate::peers::{Orchestrate, Peer as _, Place, Setting};
use crate::process::{Running, free_address};
use crate::strategies::allow_again;
use crate::table::{Spread, Table, Verdict, or_dash, ratio};

const BEHAVIOUR: &str = "ready_after 400\nstops_after 200\n";
const CONNECTIONS: usize = 8;
const REQUESTS_AROUND: u64 = 400;
const AT_MOST: f64 = 1.1;

/// Milliseconds of each round.
#[derive(Default)]
struct Rounds {
    own: Vec<f64>,
    deployment: Vec<f64>,
    rollback: Vec<f64>,
}

pub async fn run(plan: &Plan, place: &Place) -> Result<Vec<Verdict>> {
    let Some(program) = &plan.orchestrate else { return Ok(Vec::new()) };
    let setting = Setting {
        strategy: "{ type: recreate }",
        behaviour: &[(GOOD, BEHAVIOUR), (BAD, BEHAVIOUR)],
        ..Setting::default()
    };
    let home = Orchestrate::prepare_as(program, place, "re", &[GOOD, BAD], setting)?;
    let measured = measure(plan, place, &home).await;
    Box::new(home).stop().await?;
    Ok(report(&measured?, plan.rounds))
}

async fn measure(plan: &Plan, place: &Place, home: &Orchestrate) -> Result<Rounds> {
    let room = place.room("own")?;
    std::fs::write(room.join("BEHAVIOUR"), BEHAVIOUR)?;
    let mut rounds = Rounds::default();
    home.deploy(GOOD).await?;
    for round in 0..=plan.rounds {
        let own = own_gap(place.program(), &room).await?;
        let deployment = gap(home, By::Bad, &["deploy", "--version", BAD]).await?;
        let rollback = gap(home, By::Good, &["deploy", "rollback", "--force"]).await?;
        allow_again(home).await?;
        if round > 0 {
            rounds.own.push(own);
            rounds.deployment.push(deployment);
            rounds.rollback.push(rollback);
        }
    }
    Ok(rounds)
}

/// From the signal to the service until another one of it, started once it has ended, answers.
async fn own_gap(program: &Path, room: &Path) -> Result<f64> {
    let address = free_address()?;
    let start = |name: &str| {
        let mut command = Command::new(program);
        command.args(["--serve", GOOD, &address.port().to_string()]).current_dir(room);
        Running::start(name, command, room)
    };
    let leaving = start("leaving")?;
    await_answer(address, By::Good).await?;
    let signalled = Instant::now();
    leaving.stop().await?;
    let coming = start("coming")?;
    await_answer(address, By::Good).await?;
    let gap = millis(signalled.elapsed());
    coming.stop().await?;
    Ok(gap)
}

/// The longest time without a served request while the command is carried out.
async fn gap(home: &Orchestrate, to: By, words: &[&str]) -> Result<f64> {
    let mut load = Load::start(home.address(), CONNECTIONS, None)?;
    load.wait_until(|progress| progress.requests >= REQUESTS_AROUND).await?;
    let (_, result) = home.typed(words).await?;
    ensure!(result["status"] == "completed", "not completed: {result}");
    load.wait_until(|progress| progress.all_by(to)).await.context("not everybody is served again")?;
    longest_gap(&load.stop().await?).context("nothing was served")
}

fn longest_gap(records: &[Record]) -> Option<f64> {
    let served = records.iter().filter(|record| record.outcome.is_ok());
    let mut times: Vec<Instant> = served.map(|record| record.at).collect();
    times.sort_unstable();
    times.windows(2).map(|pair| millis(pair[1] - pair[0])).max_by(f64::total_cmp)
}

fn millis(span: Duration) -> f64 {
    span.as_secs_f64() * 1_000.0
}

fn report(measured: &Rounds, rounds: usize) -> Vec<Verdict> {
    let [own, deployment, rollback] =
        [&measured.own, &measured.deployment, &measured.rollback].map(|values| Spread::of(values));
    let title = format!("recreate: ms in which nobody is served, median (min–max) of {rounds} rounds");
    let mut table = Table::new(title, &["", "ms", "× service"]);
    table.row(["the service by itself, stop and start".to_owned(), or_dash(own), ratio(own, own)]);
    table.row(["deploy".to_owned(), or_dash(deployment), ratio(deployment, own)]);
    table.row(["deploy rollback".to_owned(), or_dash(rollback), ratio(rollback, own)]);
    println!("{table}");
    let verdict = |what: &str, gap: Option<Spread>| {
        let what = format!("recreate, the gap of a {what} to the service's own");
        gap.zip(own).map(|(gap, own)| Verdict::ratio(what, gap, own, AT_MOST))
    };
    [verdict("deployment", deployment), verdict("rollback", rollback)].into_iter().flatten().collect()
}
