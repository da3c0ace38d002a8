//! What notices cost a rollback, and how soon they leave after it.

use std::time::{SystemTime, UNIX_EPOCH};

use anyhow::{Context as _, Result, ensure};
use orchestrate_core::time::Timestamp;
use orchestrate_testkit::WebhookReceiver;
use serde_json::Value;

use crate::Plan;
use crate::peers::{Orchestrate, Peer as _, Place, Setting};
use crate::process::LIMIT;
use crate::table::{Spread, Table, Verdict, or_dash, ratio};

/// The command with seven dead channels, to the command with none.
const AT_MOST: f64 = 1.05;
/// From the end of a rollback, as it is recorded, until its notice is there.
const LEAVES_WITHIN_MS: f64 = 100.0;
const KINDS: &str = "on: [deployment_started, deployment, rollback_started, rollback]";

pub async fn run(plan: &Plan, place: &Place) -> Result<Vec<Verdict>> {
    let Some(program) = &plan.orchestrate else { return Ok(Vec::new()) };
    let receiver = WebhookReceiver::start().await?;
    let alive = [format!("{{ type: webhook, url: \"{}\", on: [rollback] }}", receiver.url())];
    let dead = dead();
    let mut homes = Vec::new();
    for (name, notifications) in [("n-none", &[][..]), ("n-dead", &dead), ("n-alive", &alive)] {
        let setting = Setting { notifications, ..Setting::default() };
        homes.push(Orchestrate::start_as(program, place, name, setting).await?);
    }
    let measured = measure(plan, &homes, &receiver).await;
    for home in homes {
        Box::new(home).stop().await?;
    }
    Ok(report(&measured?))
}

/// One of each type, and nobody answers.
fn dead() -> Vec<String> {
    let http = |kind: &str| format!("{{ type: {kind}, url: \"http://127.0.0.1:9/x\", {KINDS} }}");
    let mut all: Vec<String> = ["webhook", "slack", "teams"].into_iter().map(http).collect();
    all.push("{ type: cdevents, url: \"http://127.0.0.1:9/x\" }".into());
    all.push("{ type: pagerduty, routing_key: x, url: \"http://127.0.0.1:9/x\" }".into());
    all.push(format!(
        "{{ type: email, server: \"smtp://127.0.0.1:9\", from: a@b.example, to: [c@d.example], {KINDS} }}"
    ));
    all.push(format!("{{ type: command, command: [\"/bin/false\"], {KINDS} }}"));
    all
}

#[derive(Default)]
struct Measured {
    none: Vec<f64>,
    dead: Vec<f64>,
    leaves: Vec<f64>,
}

async fn measure(plan: &Plan, homes: &[Orchestrate], receiver: &WebhookReceiver) -> Result<Measured> {
    let [none, dead, alive] = homes else { anyhow::bail!("three homes are needed") };
    let mut all = Measured::default();
    // A rollback of some ten milliseconds differs more from the next one than by what is looked for.
    for round in 0..=plan.rounds * 3 {
        // Who is first changes from round to round.
        let (first, second) = if round % 2 == 0 { (none, dead) } else { (dead, none) };
        let times = (there_and_back(first).await?, there_and_back(second).await?);
        let (without, with) = if round % 2 == 0 { times } else { (times.1, times.0) };
        let leaves = leaves(alive, receiver).await?;
        if round > 0 {
            all.none.push(without);
            all.dead.push(with);
            all.leaves.push(leaves);
        }
    }
    Ok(all)
}

/// What the rollback took, in milliseconds; the way back is not counted.
async fn there_and_back(home: &Orchestrate) -> Result<f64> {
    let (finished, rolled) = home.typed(&["deploy", "rollback", "--force"]).await?;
    ensure!(rolled["path"] == "warm", "not a warm rollback: {rolled}");
    home.typed(&["deploy", "rollback", "--undo"]).await?;
    Ok((finished.ended - finished.started).as_secs_f64() * 1_000.0)
}

/// From the time of the record until the notice is with its receiver, in milliseconds.
async fn leaves(home: &Orchestrate, receiver: &WebhookReceiver) -> Result<f64> {
    let before = receiver.received().len();
    let arrived = async {
        receiver.await_received(before + 1, LIMIT).await?;
        anyhow::Ok(SystemTime::now().duration_since(UNIX_EPOCH)?.as_secs_f64() * 1_000.0)
    };
    let (rolled, arrived) = tokio::join!(home.typed(&["deploy", "rollback", "--force"]), arrived);
    let completed = completed_at(&rolled?.1)?;
    home.typed(&["deploy", "rollback", "--undo"]).await?;
    receiver.await_received(before + 2, LIMIT).await?;
    Ok(arrived? - completed)
}

fn completed_at(rolled: &Value) -> Result<f64> {
    let text = rolled["completed_at"].as_str().context("the rollback has no end")?;
    let at: Timestamp = text.parse().map_err(|_| anyhow::anyhow!("{text} is no time"))?;
    Ok(at.as_millis() as f64)
}

fn report(measured: &Measured) -> Vec<Verdict> {
    let [none, dead, leaves] = [&measured.none, &measured.dead, &measured.leaves].map(|all| Spread::of(all));
    let title =
        format!("warm rollbacks and their notices: ms, median (min–max) of {} rounds", measured.none.len());
    let mut table = Table::new(title, &["", "ms", "× none"]);
    table.row(["the command without channels".to_owned(), or_dash(none), ratio(none, none)]);
    table.row(["with seven dead channels".to_owned(), or_dash(dead), ratio(dead, none)]);
    table.row(["until the notice has arrived".to_owned(), or_dash(leaves), "–".to_owned()]);
    println!("{table}");
    let (Some(none), Some(dead), Some(leaves)) = (none, dead, leaves) else { return Vec::new() };
    let what = |text: &str| text.to_owned();
    vec![
        Verdict {
            what: what("a rollback with seven dead channels, to one with none"),
            value: dead.median / none.median,
            at_most: AT_MOST,
            unit: "×",
        },
        Verdict {
            what: what("a notice arrives after its rollback"),
            value: leaves.median,
            at_most: LEAVES_WITHIN_MS,
            unit: "ms",
        },
    ]
}
