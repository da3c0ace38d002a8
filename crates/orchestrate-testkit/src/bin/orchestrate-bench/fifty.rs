//! Fifty environments on one PostgreSQL: a warm rollback of one alone, beside those of half of them while all of them are worked
//! on, each by somebody of its own; and beside those of all of them in the same instant.

use std::time::Duration;

use anyhow::{Result, bail};
use futures_util::future::try_join_all;
use tokio::time::{Instant, sleep_until};

use crate::Plan;
use crate::client::{BAD, GOOD};
use crate::many::{Many, Setting};
use crate::peers::Place;
use crate::postgres::Postgres;
use crate::table::{Table, Verdict};

const ENVIRONMENTS: usize = 50;
const AT_MOST: f64 = 3.0;
/// Each environment is rolled back, or deployed to, so often: ten commands a second in all.
const EVERY: Duration = Duration::from_secs(5);

pub async fn run(plan: &Plan, place: &Place) -> Result<Vec<Verdict>> {
    let Some(program) = &plan.orchestrate else { return Ok(Vec::new()) };
    let postgres = Postgres::start(&place.room("fifty-server")?, ENVIRONMENTS * 2 + 20).await?;
    // Health is asked for once a second: a hundred instances are there, and they are not what is measured.
    let setting = Setting { database: Some(postgres.url()), interval: "1s" };
    let fifty = Fifty(Many::prepare(program, place, "fifty", ENVIRONMENTS, setting)?);
    let measured = measure(plan, &fifty).await;
    let stopped = fifty.0.stop().await;
    postgres.stop().await?;
    let verdicts = measured?;
    stopped?;
    Ok(verdicts)
}

/// What one command took, and how long it said that the rollback itself was.
#[derive(Clone, Copy)]
struct Took {
    whole_ms: f64,
    inner_ms: f64,
}

/// One home, one service, fifty environments.
struct Fifty(Many);

impl Fifty {
    /// A warm rollback; `how` is `--force` or `--undo`.
    async fn switch(&self, name: &str, how: &str) -> Result<Took> {
        let (whole_ms, value) = self.0.typed(name, &["deploy", "rollback", how]).await?;
        if value["status"] != "completed" || value["path"] != "warm" {
            bail!("the rollback of {name} is {} and {}", value["status"], value["path"]);
        }
        Ok(Took { whole_ms, inner_ms: value["duration_ms"].as_f64().unwrap_or(f64::NAN) })
    }

    /// What somebody types who looks after one environment: those with an even number roll back and forth, and the others deploy the
    /// older version and the newer one again. Returns what the rollbacks took.
    async fn work(&self, began: Instant, number: usize, name: &str) -> Result<Vec<Took>> {
        let mut took = Vec::new();
        let offset = EVERY.mul_f64(number as f64 / ENVIRONMENTS as f64);
        for (turn, (how, version)) in [("--force", GOOD), ("--undo", BAD)].into_iter().enumerate() {
            sleep_until(began + offset + EVERY * u32::try_from(turn)?).await;
            match number % 2 {
                0 => took.push(self.switch(name, how).await?),
                _ => self.0.deploy(name, version).await?,
            }
        }
        Ok(took)
    }

    async fn switch_all(&self, names: &[String], how: &str) -> Result<Vec<Took>> {
        try_join_all(names.iter().map(|name| self.switch(name, how))).await
    }
}

async fn measure(plan: &Plan, fifty: &Fifty) -> Result<Vec<Verdict>> {
    fifty.0.deploy_all().await?;
    let names = &fifty.0.names;
    let (mut alone, mut together, mut beside) = (Vec::new(), Vec::new(), Vec::new());
    let rounds = if plan.quick { 1 } else { plan.rounds };
    for _ in 0..rounds {
        for name in &names[..if plan.quick { 5 } else { 10 }] {
            alone.push(fifty.switch(name, "--force").await?);
            alone.push(fifty.switch(name, "--undo").await?);
        }
        together.extend(fifty.switch_all(names, "--force").await?);
        together.extend(fifty.switch_all(names, "--undo").await?);
        let began = Instant::now();
        let work = names.iter().enumerate().map(|(number, name)| fifty.work(began, number, name));
        beside.extend(try_join_all(work).await?.into_iter().flatten());
    }
    Ok(report(&alone, &together, &beside))
}

fn report(alone: &[Took], together: &[Took], beside: &[Took]) -> Vec<Verdict> {
    let title = format!(
        "warm rollbacks on PostgreSQL with {ENVIRONMENTS} environments, ms from start to end of the command"
    );
    let mut table =
        Table::new(title, &["", "n", "p50", "p99", "p50 without the start", "p99 without the start"]);
    let mut row = |what: String, took: &[Took]| {
        let (whole, inner): (Vec<f64>, Vec<f64>) =
            took.iter().map(|took| (took.whole_ms, took.inner_ms)).unzip();
        let cells =
            [percentile(&whole, 50), percentile(&whole, 99), percentile(&inner, 50), percentile(&inner, 99)];
        let cells = cells.map(|number| format!("{number:.1}"));
        table.row([what, took.len().to_string()].into_iter().chain(cells));
        percentile(&whole, 99)
    };
    let one = row("one alone".to_owned(), alone);
    let all = row(format!("{ENVIRONMENTS} in the same instant"), together);
    let rate = ENVIRONMENTS as u64 / EVERY.as_secs();
    let worked = row(format!("all worked on, {rate} commands a second, half of them deployments"), beside);
    println!("{table}");
    let verdict = |what: &str, p99: f64| Verdict {
        what: format!("p99 of warm rollbacks with {ENVIRONMENTS} environments {what}, to that of one alone"),
        value: p99 / one,
        at_most: AT_MOST,
        unit: "×",
    };
    vec![verdict("worked on at once", worked), verdict("rolled back in the same instant", all)]
}

/// Not a number without a value.
fn percentile(values: &[f64], percent: usize) -> f64 {
    let mut sorted = values.to_vec();
    sorted.sort_by(f64::total_cmp);
    let at = (sorted.len() * percent).div_ceil(100).saturating_sub(1);
    sorted.get(at).copied().unwrap_or(f64::NAN)
}

#[cfg(test)]
mod tests {
    use super::percentile;

    #[test]
    fn a_percentile_is_one_of_the_values() {
        let values: Vec<f64> = (1..=200).rev().map(f64::from).collect();
        assert_eq!((percentile(&values, 50), percentile(&values, 99)), (100.0, 198.0));
        assert_eq!(percentile(&[7.0], 99), 7.0);
        assert!(percentile(&[], 50).is_nan());
    }
}
