//! How long a report over a long history takes.

use anyhow::{Context as _, Result, ensure};

use crate::Plan;
use crate::client::{BAD, GOOD};
use crate::peers::{Orchestrate, Peer as _, Place};
use crate::planning::{LONG, add_history, add_rollbacks};
use crate::table::{Spread, Table, Verdict, or_dash};

const AT_MOST_MS: f64 = 1_000.0;

pub async fn run(plan: &Plan, place: &Place) -> Result<Vec<Verdict>> {
    let Some(program) = &plan.orchestrate else { return Ok(Vec::new()) };
    let home = Orchestrate::start(program, place, "rp").await?;
    let measured = measure(plan, &home).await;
    Box::new(home).stop().await?;
    let took = Spread::of(&measured?);
    let title = format!("report: ms of `report`, median (min–max) of {} rounds", plan.rounds);
    let mut table = Table::new(title, &["deployments and rollbacks", "ms"]);
    table.row([(2 * LONG).to_string(), or_dash(took)]);
    println!("{table}");
    let what = format!("a report over {LONG} deployments and as many rollbacks");
    let verdict = |took: Spread| Verdict { what, value: took.median, at_most: AT_MOST_MS, unit: "ms" };
    Ok(took.map(verdict).into_iter().collect())
}

async fn measure(plan: &Plan, home: &Orchestrate) -> Result<Vec<f64>> {
    home.typed(&["deploy", "rollback", "--force"]).await?;
    let database = home.home().join("orchestrate.db");
    add_rollbacks(&database, LONG - 1).await?;
    add_history(&database, LONG - 2).await?;
    let mut times = Vec::new();
    for _ in 0..plan.rounds {
        let (finished, report) = home.typed(&["report", "--since", "1d"]).await?;
        let count = |of: &str| report["total"][of]["total"].as_u64();
        let counts = count("deployments").zip(count("rollbacks")).context("the report counts nothing")?;
        ensure!(counts == (LONG.into(), LONG.into()), "{counts:?} of {GOOD} and {BAD} were counted");
        times.push((finished.ended - finished.started).as_secs_f64() * 1_000.0);
    }
    Ok(times)
}
