//! A cold rollback beside the time that the service itself takes to be ready.

use std::path::Path;
use std::time::Instant;

use anyhow::{Context as _, Result, ensure};
use tokio::process::Command;

use crate::Plan;
use crate::client::{BAD, By, GOOD, await_answer};
use crate::peers::{Orchestrate, Peer as _, Place, Setting};
use crate::process::{LIMIT, LOOK_EVERY, Running, free_address};
use crate::table::{Spread, Table, Verdict, or_dash, ratio};

/// The service gets ready this long after its start.
const READY_AFTER: &str = "ready_after 400\n";
/// Times the service's own time, and milliseconds on top.
const AT_MOST: (f64, f64) = (1.05, 50.0);

pub async fn run(plan: &Plan, place: &Place) -> Result<Vec<Verdict>> {
    let Some(program) = &plan.orchestrate else { return Ok(Vec::new()) };
    let setting = Setting {
        // The release that is left stops at once, so each rollback has to start its target.
        strategy: "{ type: blue_green, warm_for: 0s }",
        behaviour: &[(GOOD, READY_AFTER), (BAD, READY_AFTER)],
        ..Setting::default()
    };
    let home = Orchestrate::prepare_as(program, place, "c", &[GOOD, BAD], setting)?;
    let measured = measure(plan, place, &home).await;
    Box::new(home).stop().await?;
    let (own, ours) = measured?;
    Ok(report(Spread::of(&own), Spread::of(&ours), plan.rounds))
}

async fn measure(plan: &Plan, place: &Place, home: &Orchestrate) -> Result<(Vec<f64>, Vec<f64>)> {
    let room = place.room("own")?;
    std::fs::write(room.join("BEHAVIOUR"), READY_AFTER)?;
    let mut all = (Vec::new(), Vec::new());
    home.deploy(GOOD).await?;
    home.deploy(BAD).await?;
    for round in 0..=plan.rounds {
        let own = own_start(place.program(), &room).await?;
        nothing_leaves(home).await?;
        let (finished, rolled) = home.typed(&["deploy", "rollback", "--force"]).await?;
        ensure!(rolled["path"] == "cold", "not a cold rollback: {rolled}");
        nothing_leaves(home).await?;
        home.typed(&["deploy", "rollback", "--undo"]).await?;
        if round > 0 {
            all.0.push(own);
            all.1.push((finished.ended - finished.started).as_secs_f64() * 1_000.0);
        }
    }
    Ok(all)
}

/// From the start of the service until it answers.
async fn own_start(program: &Path, room: &Path) -> Result<f64> {
    let address = free_address()?;
    let mut command = Command::new(program);
    command.args(["--serve", GOOD, &address.port().to_string()]).current_dir(room);
    let started = Instant::now();
    let service = Running::start("own", command, room)?;
    await_answer(address, By::Good).await?;
    let ready = started.elapsed().as_secs_f64() * 1_000.0;
    service.stop().await?;
    Ok(ready)
}

/// Waits until the release that was left has stopped, so that nothing of it is on its way meanwhile.
async fn nothing_leaves(home: &Orchestrate) -> Result<()> {
    let gone = tokio::time::timeout(LIMIT, async {
        loop {
            let (_, status) = home.typed(&["deploy", "status"]).await?;
            if status["traffic"].as_array().is_some_and(|slots| slots.len() == 1) {
                return Ok(());
            }
            tokio::time::sleep(LOOK_EVERY).await;
        }
    });
    gone.await.context("the release that was left did not stop")?
}

fn report(own: Option<Spread>, ours: Option<Spread>, rounds: usize) -> Vec<Verdict> {
    let title = format!("cold rollback: ms until it serves, median (min–max) of {rounds} rounds");
    let mut table = Table::new(title, &["", "ms", "× service"]);
    table.row(["the service by itself".to_owned(), or_dash(own), ratio(own, own)]);
    table.row(["deploy rollback, cold".to_owned(), or_dash(ours), ratio(ours, own)]);
    println!("{table}");
    let Some((own, ours)) = own.zip(ours) else { return Vec::new() };
    let what = "cold rollback, less 50 ms, to the service's own time to ready".to_owned();
    let value = (ours.median - AT_MOST.1) / own.median;
    vec![Verdict { what, value, at_most: AT_MOST.0, unit: "×" }]
}
