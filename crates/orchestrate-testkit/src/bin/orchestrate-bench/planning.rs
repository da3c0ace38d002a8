//! Whether a rollback is planned as quickly over a long history as over a short one.

use std::path::Path;

use anyhow::{Context as _, Result};
use sqlx::sqlite::{SqliteConnectOptions, SqliteConnection};
use sqlx::{Connection as _, Row as _};

use crate::Plan;
use crate::client::{BAD, GOOD};
use crate::peers::{Orchestrate, Peer as _, Place};
use crate::table::{Spread, Table, Verdict, or_dash, ratio};

const SHORT: u32 = 10;
pub const LONG: u32 = 100_000;
const AT_MOST: f64 = 1.2;
/// The deployment that the history is made of.
const FIRST: &str = "0.9.0";

pub async fn run(plan: &Plan, place: &Place) -> Result<Vec<Verdict>> {
    let Some(program) = &plan.orchestrate else { return Ok(Vec::new()) };
    let mut homes = Vec::new();
    let mut measured = Ok((Vec::new(), Vec::new()));
    for (name, earlier) in [("s", SHORT), ("l", LONG)] {
        let home = Orchestrate::prepare(program, place, name, &[FIRST, GOOD, BAD]).await?;
        let prepared =
            fill(&home, earlier).await.with_context(|| format!("a history of {earlier} deployments"));
        homes.push(home);
        if let Err(error) = prepared {
            measured = Err(error);
            break;
        }
    }
    if let (Ok(_), [short, long]) = (&measured, homes.as_slice()) {
        measured = measure(plan, short, long).await;
    }
    for home in homes {
        Box::new(home).stop().await?;
    }
    let (short, long) = measured?;
    Ok(report(Spread::of(&short), Spread::of(&long), plan.rounds))
}

async fn fill(home: &Orchestrate, earlier: u32) -> Result<()> {
    home.deploy(FIRST).await?;
    add_history(&home.home().join("orchestrate.db"), earlier - 1).await?;
    home.deploy(GOOD).await?;
    home.deploy(BAD).await
}

async fn measure(plan: &Plan, short: &Orchestrate, long: &Orchestrate) -> Result<(Vec<f64>, Vec<f64>)> {
    let mut all = (Vec::new(), Vec::new());
    // The first round warms everything up and does not count.
    for round in 0..=plan.rounds * 3 {
        for (home, values) in [(short, &mut all.0), (long, &mut all.1)] {
            let (finished, plan) = home.plan_rollback().await?;
            let text = plan.to_string();
            anyhow::ensure!(text.contains(GOOD), "the plan does not go back to {GOOD}: {text}");
            if round > 0 {
                values.push((finished.ended - finished.started).as_secs_f64() * 1_000.0);
            }
        }
    }
    Ok(all)
}

fn report(short: Option<Spread>, long: Option<Spread>, rounds: usize) -> Vec<Verdict> {
    let title =
        format!("planning: ms of `deploy rollback --dry-run`, median (min–max) of {} rounds", rounds * 3);
    let mut table = Table::new(title, &["earlier deployments", "ms", "ratio"]);
    table.row([SHORT.to_string(), or_dash(short), ratio(short, short)]);
    table.row([LONG.to_string(), or_dash(long), ratio(long, short)]);
    println!("{table}");
    let verdict = long.zip(short);
    let what = "planning over 100000 earlier deployments to over 10";
    verdict.map(|(long, short)| Verdict::ratio(what, long, short, AT_MOST)).into_iter().collect()
}

/// Adds `count` deployments of releases of their own that went live after the newest one, each a copy of it in
/// everything but name, with its operation and its audit record.
pub async fn add_history(database: &Path, count: u32) -> Result<()> {
    add(
        database,
        count,
        &[
            ("releases", CHANGED_IN_RELEASES),
            ("deployments", CHANGED_IN_DEPLOYMENTS),
            ("operations", CHANGED_IN_OPERATIONS),
            ("audit", &[]),
        ],
    )
    .await
}

/// Adds `count` rollbacks that are copies of the newest one.
pub async fn add_rollbacks(database: &Path, count: u32) -> Result<()> {
    add(database, count, &[("deployment_rollback_events", &[])]).await
}

async fn add(database: &Path, count: u32, tables: &[(&'static str, &Changed)]) -> Result<()> {
    let options = SqliteConnectOptions::new().filename(database).busy_timeout(crate::process::LIMIT);
    let mut connection = SqliteConnection::connect_with(&options)
        .await
        .with_context(|| format!("no SQLite file at {}", database.display()))?;
    let mut transaction = connection.begin_with("BEGIN IMMEDIATE").await?;
    for (table, changed) in tables.iter().copied() {
        let copy = copy_of_newest(&mut transaction, table, changed).await?;
        sqlx::query(sqlx::AssertSqlSafe(copy)).bind(count).execute(&mut *transaction).await.context(table)?;
    }
    let lineage = "UPDATE environments SET lineage = (SELECT max(lineage) FROM releases)";
    sqlx::query(lineage).execute(&mut *transaction).await?;
    transaction.commit().await?;
    Ok(connection.close().await?)
}

/// Columns that are not copied, and what they become in the copy with the number `n.i`.
type Changed = [(&'static str, &'static str)];

const CHANGED_IN_RELEASES: &Changed = &[
    ("version", "'0.9.0-' || n.i"),
    ("content_digest", "printf('%064x', n.i)"),
    ("lineage", "newest.lineage + n.i"),
];
const CHANGED_IN_DEPLOYMENTS: &Changed = &[
    ("version", "'0.9.0-' || n.i"),
    (
        "release_id",
        "(SELECT id FROM releases WHERE environment = newest.environment AND version = '0.9.0-' || n.i)",
    ),
];
const CHANGED_IN_OPERATIONS: &Changed = &[("deployment_id", "newest.deployment_id + n.i")];

/// The columns are asked of the database, so that a new one in a later migration is copied too.
async fn copy_of_newest(connection: &mut SqliteConnection, table: &str, changed: &Changed) -> Result<String> {
    let rows = sqlx::query("SELECT name FROM pragma_table_info(?) WHERE name <> 'id'")
        .bind(table)
        .fetch_all(connection)
        .await?;
    let names: Vec<String> = rows.iter().map(|row| row.try_get(0)).collect::<Result<_, _>>()?;
    anyhow::ensure!(!names.is_empty(), "there is no table {table}");
    let value = |name: &String| match changed.iter().find(|(column, _)| column == name) {
        Some((_, value)) => (*value).to_owned(),
        None => format!("newest.{name}"),
    };
    let values: Vec<String> = names.iter().map(value).collect();
    Ok(format!(
        "WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < ?1), \
         newest AS (SELECT * FROM {table} ORDER BY id DESC LIMIT 1) \
         INSERT INTO {table} ({}) SELECT {} FROM newest, n WHERE ?1 > 0 ORDER BY n.i",
        names.join(", "),
        values.join(", "),
    ))
}

#[cfg(test)]
mod tests;
