//! What the daemon and the proxy keep in memory while nothing happens.

use anyhow::Result;

use crate::Plan;
use crate::client::{By, Load, await_answer};
use crate::peers::{Orchestrate, Peer as _, Place, Processes};
use crate::process::memory_kib;
use crate::table::{Table, Verdict};

const AT_MOST_MIB: f64 = 25.0;
const REQUESTS: u64 = 10_000;

pub async fn run(plan: &Plan, place: &Place) -> Result<Vec<Verdict>> {
    let Some(program) = &plan.orchestrate else { return Ok(Vec::new()) };
    let ours = Orchestrate::start(program, place, "i").await?;
    let measured = measure(&ours).await;
    Box::new(ours).stop().await?;
    measured
}

async fn measure(ours: &Orchestrate) -> Result<Vec<Verdict>> {
    await_answer(ours.address(), By::Bad).await?;
    let processes = ours.processes().await?;
    let mut table =
        Table::new("idle: MiB resident, two versions deployed", &["", "daemon", "proxy", "both", "shared"]);
    let before = row(&mut table, "before any load", &processes)?;
    Load::start(ours.address(), 64, Some(REQUESTS))?.finish().await?;
    let after = row(&mut table, &format!("after {REQUESTS} requests at 64 connections"), &processes)?;
    println!("{table}");
    let what = "daemon and proxy together, idle".to_owned();
    Ok(vec![Verdict { what, value: before.max(after), at_most: AT_MOST_MIB, unit: "MiB" }])
}

/// Returns the sum; what both share, such as the program's own text, is counted twice in it.
fn row(table: &mut Table, when: &str, processes: &Processes) -> Result<f64> {
    let mib = |pid, file, key| memory_kib(pid, file, key).map(|kib| kib as f64 / 1_024.0);
    let (daemon, proxy) =
        (mib(processes.daemon, "status", "VmRSS")?, mib(processes.proxy, "status", "VmRSS")?);
    let own = mib(processes.daemon, "smaps_rollup", "Pss")? + mib(processes.proxy, "smaps_rollup", "Pss")?;
    let both = daemon + proxy;
    let numbers = [daemon, proxy, both, both - own].map(|number| format!("{number:.1}"));
    table.row(std::iter::once(when.to_owned()).chain(numbers));
    Ok(both)
}
