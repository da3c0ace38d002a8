//! A rollback beside `docker service rollback`: ours of a rolling deployment and of a warm blue-green one, on the same swarm,
//! and as processes.
//!
//! All restart or switch one instance of the same program under the same load. Docker's own has the host's network.

use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result};

use crate::Plan;
use crate::client::{By, Load, Record};
use crate::peers::{Engine, Orchestrate, Peer as _, Place, Provider, Swarm};
use crate::strategies::{BLUE_GREEN, Way, allow_again, forward, home_on};
use crate::table::{Spread, Table, Verdict, or_dash, ratio};

const CONNECTIONS: usize = 8;
const REQUESTS_AROUND: u64 = 400;
/// One of Docker's takes about ten seconds there and back.
const MOST_ROUNDS: usize = 3;
const ROLLING: Way =
    Way { name: "rolling", strategy: "{ type: rolling, batch: 1 }", instances: 1, promoted: false };

/// What ours take at most of Docker's time: a rolling one, and a warm one.
const ROLLING_AT_MOST: f64 = 1.0;
const WARM_AT_MOST: f64 = 0.01;

enum Side {
    Ours(Orchestrate, &'static Way),
    Swarm(Box<Swarm>),
}

#[derive(Default)]
struct Rounds {
    command: Vec<f64>,
    last_bad: Vec<f64>,
    gap: Vec<f64>,
    failed: usize,
}

impl Side {
    fn name(&self) -> String {
        match self {
            Self::Ours(home, way) => format!("deploy rollback, {}, {}", home.provider(), way.name),
            Self::Swarm(_) => Swarm::NAME.to_owned(),
        }
    }

    async fn round(&mut self, rounds: &mut Rounds) -> Result<()> {
        let address = match self {
            Self::Ours(home, way) => {
                forward(home, way).await?;
                home.address()
            }
            Self::Swarm(swarm) => {
                swarm.forward().await?;
                swarm.address()
            }
        };
        let mut load = Load::start(address, CONNECTIONS, None)?;
        load.wait_until(|progress| progress.all_by(By::Bad) && progress.requests >= REQUESTS_AROUND).await?;
        let (started, ended) = self.back().await?;
        load.wait_until(|progress| progress.all_by(By::Good)).await?;
        rounds.add(started, ended, &load.stop().await?);
        match self {
            Self::Ours(home, _) => allow_again(home).await,
            Self::Swarm(_) => Ok(()),
        }
    }

    async fn back(&mut self) -> Result<(Instant, Instant)> {
        match self {
            Self::Ours(home, _) => {
                let (finished, _) = home.typed(&["deploy", "rollback", "--force"]).await?;
                Ok((finished.started, finished.ended))
            }
            Self::Swarm(swarm) => swarm.back().await.map(|switched| (switched.started, switched.ended)),
        }
    }

    async fn stop(self) -> Result<()> {
        match self {
            Self::Ours(home, _) => Box::new(home).stop().await,
            Self::Swarm(swarm) => swarm.stop().await,
        }
    }
}

impl Rounds {
    fn add(&mut self, started: Instant, ended: Instant, records: &[Record]) {
        let served =
            |by: By| records.iter().filter(move |record| record.outcome == Ok(by)).map(|record| record.at);
        let (last, first) = (served(By::Bad).max(), served(By::Good).min());
        self.command.push(millis(ended - started));
        self.last_bad.push(last.map_or(0.0, |last| millis(last.saturating_duration_since(started))));
        // Where both serve for a moment there is none.
        let gap = last.zip(first).map(|(last, first)| first.saturating_duration_since(last));
        self.gap.push(gap.map_or(0.0, millis));
        self.failed += records.iter().filter(|record| record.outcome.is_err()).count();
    }
}

fn millis(span: Duration) -> f64 {
    span.as_secs_f64() * 1_000.0
}

pub async fn run(plan: &Plan, place: &Place) -> Result<Vec<Verdict>> {
    let Some(program) = &plan.orchestrate else { return Ok(Vec::new()) };
    let engine = async {
        let engine = Arc::new(Engine::start(place).await?);
        Ok::<_, anyhow::Error>((Swarm::start(&engine).await?, engine))
    };
    let (swarm, engine) = match engine.await {
        Ok(both) => both,
        Err(error) => {
            println!("{} is not measured: {error:#}\n", Swarm::NAME);
            return Ok(Vec::new());
        }
    };
    let mut sides = vec![Side::Swarm(Box::new(swarm))];
    let measured = measure(plan, place, program, &engine, &mut sides).await;
    for side in sides {
        side.stop().await?;
    }
    Ok(report(&measured?))
}

async fn measure(
    plan: &Plan,
    place: &Place,
    program: &Path,
    engine: &Arc<Engine>,
    sides: &mut Vec<Side>,
) -> Result<Vec<(String, Rounds)>> {
    let swarm = || Provider::Swarm(Arc::clone(engine));
    for (name, provider, way) in [
        ("sg", swarm(), &BLUE_GREEN),
        ("sr", swarm(), &ROLLING),
        ("pg", Provider::Process, &BLUE_GREEN),
        ("pr", Provider::Process, &ROLLING),
    ] {
        sides.push(Side::Ours(home_on(provider, place, program, name, way).await?, way));
    }
    let mut all: Vec<(String, Rounds)> = sides.iter().map(|side| (side.name(), Rounds::default())).collect();
    for round in 0..plan.rounds.min(MOST_ROUNDS) {
        for (side, (name, values)) in sides.iter_mut().zip(&mut all) {
            side.round(values).await.with_context(|| format!("{name}, round {round}"))?;
        }
    }
    Ok(all)
}

fn report(all: &[(String, Rounds)]) -> Vec<Verdict> {
    let rounds = all.first().map_or(0, |(_, rounds)| rounds.command.len());
    let title = format!(
        "beside a swarm of one node: ms from typing the command, median (min–max) of {rounds} rounds"
    );
    let head = ["", "command ends", "× docker", "last bad answer", "nobody served for", "failed"];
    let mut table = Table::new(title, &head);
    let docker = all.first().and_then(|(_, rounds)| Spread::of(&rounds.command));
    let mut verdicts = Vec::new();
    for (name, rounds) in all {
        let command = Spread::of(&rounds.command);
        let (last_bad, gap) = (Spread::of(&rounds.last_bad), Spread::of(&rounds.gap));
        let times = [or_dash(command), ratio(command, docker), or_dash(last_bad), or_dash(gap)];
        table.row(std::iter::once(name.clone()).chain(times).chain([rounds.failed.to_string()]));
        if name.as_str() != Swarm::NAME
            && let Some((ours, docker)) = command.zip(docker)
        {
            let at_most = if name.ends_with(BLUE_GREEN.name) { WARM_AT_MOST } else { ROLLING_AT_MOST };
            verdicts.push(Verdict::ratio(
                format!("{name}, to docker service rollback"),
                ours,
                docker,
                at_most,
            ));
            let what = format!("requests failed, {name}");
            verdicts.push(Verdict { what, value: rounds.failed as f64, at_most: 0.0, unit: "requests" });
        }
    }
    println!("{table}");
    verdicts
}
