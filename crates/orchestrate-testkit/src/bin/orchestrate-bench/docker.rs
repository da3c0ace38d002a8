//! A warm rollback of containers beside one of processes: the same command, the same proxy, another provider.

use std::sync::Arc;

use anyhow::Result;

use crate::Plan;
use crate::peers::{Engine, Orchestrate, Peer, Place, Provider, Setting};
use crate::switch::{Rounds, measure};
use crate::table::{Spread, Table, Verdict, or_dash, ratio};

/// As fast, which two medians of a noisy machine never are to the last digit.
const AT_MOST: f64 = 1.1;

pub async fn run(plan: &Plan, place: &Place) -> Result<Vec<Verdict>> {
    let Some(program) = &plan.orchestrate else { return Ok(Vec::new()) };
    let engine = match Engine::start(place).await {
        Ok(engine) => Arc::new(engine),
        Err(error) => {
            println!("containers are not measured: {error:#}\n");
            return Ok(Vec::new());
        }
    };
    let mut sides: Vec<Box<dyn Peer>> = Vec::new();
    let measured = async {
        for (name, provider) in [("dp", Provider::Process), ("dc", Provider::Docker(Arc::clone(&engine)))] {
            let setting = Setting { provider, ..Setting::default() };
            sides.push(Box::new(Orchestrate::start_as(program, place, name, setting).await?));
        }
        measure(plan, &mut sides).await
    };
    let measured = measured.await;
    for side in sides {
        side.stop().await?;
    }
    Ok(report(&measured?, plan.rounds))
}

fn report(all: &[Rounds], rounds: usize) -> Vec<Verdict> {
    let title = format!("a warm rollback: ms from typing the command, median (min–max) of {rounds} rounds");
    let head = ["", "command ends", "× process", "last bad answer", "× process", "failed", "of requests"];
    let mut table = Table::new(title, &head);
    let spreads = |rounds: &Rounds| (Spread::of(&rounds.command_ms), Spread::of(&rounds.last_bad_ms));
    let (command, last) = all.first().map_or((None, None), spreads);
    let mut verdicts = Vec::new();
    for (name, rounds) in ["process", "docker"].into_iter().zip(all) {
        let (ours, ours_last) = spreads(rounds);
        let times = [or_dash(ours), ratio(ours, command), or_dash(ours_last), ratio(ours_last, last)];
        let counts = [rounds.failed, rounds.requests].map(|number| number.to_string());
        table.row(std::iter::once(name.to_owned()).chain(times).chain(counts));
        if name == "docker"
            && let Some((ours, process)) = ours.zip(command)
        {
            verdicts.push(Verdict::ratio("warm rollback on docker, to process", ours, process, AT_MOST));
            let what = "requests failed while switching containers".to_owned();
            verdicts.push(Verdict { what, value: rounds.failed as f64, at_most: 0.0, unit: "requests" });
        }
    }
    println!("{table}");
    verdicts
}
