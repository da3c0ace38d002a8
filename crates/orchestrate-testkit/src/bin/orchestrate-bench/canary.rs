//! How soon nobody is answered by a canary any more: beside a warm blue-green rollback, and beside HAProxy's weights.

use std::time::Instant;

use anyhow::{Context as _, Result};

use crate::Plan;
use crate::client::{By, Load};
use crate::peers::{HaProxy, Orchestrate, Peer as _, Place, Upstreams, is_not_installed};
use crate::strategies::{BLUE_GREEN, CANARY_AT_HALF, Way, allow_again, forward, home};
use crate::table::{Spread, Table, Verdict, or_dash, ratio};

const CONNECTIONS: usize = 8;
/// Requests before the command.
const REQUESTS_BEFORE: u64 = 400;
/// A canary's last bad answer beside that of a warm blue-green rollback, and beside that of HAProxy's weights.
const AT_MOST: f64 = 1.25;
const AT_MOST_TO_WEIGHTS: f64 = 1.5;

/// What is rolled back.
enum Side {
    Ours(Orchestrate, &'static Way),
    Weights(HaProxy),
}

impl Side {
    fn name(&self) -> &'static str {
        match self {
            Self::Ours(_, way) => way.name,
            Self::Weights(peer) => peer.name(),
        }
    }

    /// The bad version gets its requests.
    async fn forward(&mut self) -> Result<()> {
        match self {
            Self::Ours(home, way) => forward(home, way).await,
            Self::Weights(peer) => peer.forward().await,
        }
    }

    /// It loses them; returns when the command was typed.
    async fn back(&mut self) -> Result<Instant> {
        match self {
            Self::Ours(home, _) => Ok(home.typed(&["deploy", "rollback", "--force"]).await?.0.started),
            Self::Weights(peer) => Ok(peer.back().await?.started),
        }
    }

    fn load(&self) -> Result<Load> {
        let address = match self {
            Self::Ours(home, _) => home.address(),
            Self::Weights(peer) => peer.address(),
        };
        Load::start(address, CONNECTIONS, None)
    }

    async fn last_bad_answer(&mut self) -> Result<f64> {
        self.forward().await?;
        let mut load = self.load()?;
        let both = |progress: &crate::client::Progress| progress.newest.contains(&Some(By::Bad));
        load.wait_until(|progress| both(progress) && progress.requests >= REQUESTS_BEFORE).await?;
        let typed = self.back().await?;
        load.wait_until(|progress| progress.all_by(By::Good)).await?;
        let records = load.stop().await?;
        if let Self::Ours(home, _) = self {
            allow_again(home).await?;
        }
        let bad = records.iter().filter(|record| record.outcome == Ok(By::Bad)).map(|record| record.at).max();
        Ok(bad.map_or(0.0, |at| at.saturating_duration_since(typed).as_secs_f64() * 1_000.0))
    }

    async fn stop(self) -> Result<()> {
        match self {
            Self::Ours(home, _) => Box::new(home).stop().await,
            Self::Weights(peer) => Box::new(peer).stop().await,
        }
    }
}

pub async fn run(plan: &Plan, place: &Place) -> Result<Vec<Verdict>> {
    let Some(program) = &plan.orchestrate else { return Ok(Vec::new()) };
    let upstreams = place.upstreams().await?;
    let mut sides = Vec::new();
    for (name, way) in [("g", &BLUE_GREEN), ("y", &CANARY_AT_HALF)] {
        sides.push(Side::Ours(home(place, program, name, way).await?, way));
    }
    sides.extend(weights(place, &upstreams)?);
    let measured = measure(plan, &mut sides).await;
    for side in sides {
        side.stop().await?;
    }
    upstreams.stop().await?;
    Ok(report(&measured?, plan.rounds))
}

fn weights(place: &Place, upstreams: &Upstreams) -> Result<Option<Side>> {
    match HaProxy::start_with_weights(place, upstreams) {
        Ok(peer) => Ok(Some(Side::Weights(peer))),
        Err(error) if is_not_installed(&error) => {
            println!("{} is not installed, and left out\n", HaProxy::NAME);
            Ok(None)
        }
        Err(error) => Err(error),
    }
}

/// The rounds of all sides are interleaved; the first one warms everything up and does not count.
async fn measure(plan: &Plan, sides: &mut [Side]) -> Result<Vec<(&'static str, Option<Spread>)>> {
    let mut last_bad: Vec<Vec<f64>> = sides.iter().map(|_| Vec::new()).collect();
    for round in 0..=plan.rounds {
        for (side, values) in sides.iter_mut().zip(&mut last_bad) {
            let name = side.name();
            let took = side.last_bad_answer().await.with_context(|| format!("{name}, round {round}"))?;
            if round > 0 {
                values.push(took);
            }
        }
    }
    Ok(sides.iter().zip(&last_bad).map(|(side, values)| (side.name(), Spread::of(values))).collect())
}

fn report(measured: &[(&'static str, Option<Spread>)], rounds: usize) -> Vec<Verdict> {
    let of = |name: &str| measured.iter().find(|(of, _)| *of == name).and_then(|(_, spread)| *spread);
    let (blue_green, weights) = (of(BLUE_GREEN.name), of(HaProxy::WITH_WEIGHTS));
    let title =
        format!("rollback of a canary: ms to the last bad answer, median (min–max) of {rounds} rounds");
    let mut table = Table::new(title, &["", "ms", "× blue_green", "× HAProxy's weights"]);
    for (name, spread) in measured {
        let ratios = [ratio(*spread, blue_green), ratio(*spread, weights)];
        table.row([(*name).to_owned(), or_dash(*spread)].into_iter().chain(ratios));
    }
    println!("{table}");
    let Some(canary) = of(CANARY_AT_HALF.name) else { return Vec::new() };
    let beside = |what: &str, other: Option<Spread>, at_most| {
        other.map(|other| {
            Verdict::ratio(format!("a canary's last bad answer to {what}"), canary, other, at_most)
        })
    };
    let verdicts = [
        beside("blue-green's", blue_green, AT_MOST),
        beside("that of HAProxy's weights", weights, AT_MOST_TO_WEIGHTS),
    ];
    verdicts.into_iter().flatten().collect()
}
