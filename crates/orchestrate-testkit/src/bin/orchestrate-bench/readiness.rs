//! What the daemon spends on knowing whether a rollback would work in each of a hundred environments, while nothing happens.

use std::time::Duration;

use anyhow::{Context as _, Result, bail};
use tokio::time::{Instant, sleep};

use crate::Plan;
use crate::many::{Many, Setting};
use crate::peers::Place;
use crate::process::{LIMIT, LOOK_EVERY, cpu};
use crate::table::{Table, Verdict};

const ENVIRONMENTS: usize = 100;
/// Each environment is looked at once a minute, so each is looked at once or twice in this time.
const WATCHED: Duration = Duration::from_secs(120);
const QUICKLY: Duration = Duration::from_secs(65);
/// Of one core.
const AT_MOST_PERCENT: f64 = 1.0;

pub async fn run(plan: &Plan, place: &Place) -> Result<Vec<Verdict>> {
    let Some(program) = &plan.orchestrate else { return Ok(Vec::new()) };
    // Health checks are what the user asks for, and not what is measured.
    let setting = || Setting { database: None, interval: "60s" };
    let none = Many::prepare(program, place, "r-none", 0, setting())?;
    let many = Many::prepare(program, place, "r-many", ENVIRONMENTS, setting())?;
    let measured = measure(plan, &none, &many).await;
    let stopped = [none.stop().await, many.stop().await];
    let verdicts = measured?;
    stopped.into_iter().collect::<Result<()>>()?;
    Ok(verdicts)
}

/// The processes of a home that stay in the background.
#[derive(Clone, Copy)]
struct Background {
    daemon: u32,
    proxy: u32,
}

async fn background(home: &Many) -> Result<Background> {
    let status = home.asked(&["daemon", "status"]).await?;
    let pid = |part: &str| {
        let pid = status[part]["pid"].as_u64().and_then(|pid| u32::try_from(pid).ok());
        pid.with_context(|| format!("there is no {part}: {status}"))
    };
    Ok(Background { daemon: pid("daemon")?, proxy: pid("proxy")? })
}

async fn measure(plan: &Plan, none: &Many, many: &Many) -> Result<Vec<Verdict>> {
    none.asked(&["daemon", "start"]).await?;
    many.deploy_all().await?;
    await_ready(many).await?;
    let homes = [background(none).await?, background(many).await?];
    // What the last deployments left to be done is done, and each environment was looked at in depth.
    sleep(Duration::from_secs(5)).await;
    let spent = |homes: [Background; 2]| -> Result<Vec<Duration>> {
        homes.iter().flat_map(|home| [home.daemon, home.proxy]).map(cpu).collect()
    };
    let (began, before) = (Instant::now(), spent(homes)?);
    sleep(if plan.quick { QUICKLY } else { WATCHED }).await;
    let (took, after) = (began.elapsed().as_secs_f64(), spent(homes)?);
    let percent = |at: usize| (after[at] - before[at]).as_secs_f64() / took * 100.0;
    let all: Vec<f64> = (0..4).map(percent).collect();
    Ok(report(&all, took))
}

/// Until the daemon has written down for each environment that a rollback would work.
async fn await_ready(many: &Many) -> Result<()> {
    let deadline = Instant::now() + LIMIT;
    loop {
        let rows = many.asked(&["env", "list"]).await?;
        let ready = |row: &&serde_json::Value| row["rollback"]["ready"] == true;
        let count = rows.as_array().map_or(0, |rows| rows.iter().filter(ready).count());
        if count == many.names.len() {
            return Ok(());
        }
        if Instant::now() > deadline {
            bail!("only {count} of {} environments are ready", many.names.len());
        }
        sleep(LOOK_EVERY * 50).await;
    }
}

fn report(percent: &[f64], seconds: f64) -> Vec<Verdict> {
    let title = format!("while nothing happens: CPU in {seconds:.0} s, percent of a core");
    let mut table = Table::new(title, &["environments", "daemon", "proxy"]);
    let shown = |number: f64| format!("{number:.2}");
    for (count, of) in [0, ENVIRONMENTS].into_iter().zip(percent.chunks(2)) {
        table.row(std::iter::once(count.to_string()).chain(of.iter().copied().map(shown)));
    }
    println!("{table}");
    let value = match percent {
        [none, _, many, _] => many - none,
        _ => f64::NAN,
    };
    let what =
        format!("what the daemon spends on {ENVIRONMENTS} environments, each with a live and a warm release");
    vec![Verdict { what, value, at_most: AT_MOST_PERCENT, unit: "%" }]
}
