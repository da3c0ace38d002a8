//! `deploy status --watch`: redrawn on a terminal, a line for each change elsewhere. Ends with Ctrl-C.

use std::io::{IsTerminal as _, Write as _};
use std::time::Duration;

use orchestrate_core::name::EnvironmentName;
use orchestrate_core::ports::{Clock as _, SystemClock};
use orchestrate_core::time::Timestamp;

use super::{Status, read_settled, text};
use crate::commands::deploy_promote::standing;
use crate::commands::intake::interrupt;
use crate::exit::{Ended, Exit};
use crate::printer::{Printer, harmless, moment, took};
use crate::wiring::Wiring;

/// Nobody announces changes to a program that merely looks on.
const LOOK_AGAIN: Duration = Duration::from_millis(250);
const WHOLE_SCREEN: &str = "\x1b[2J";
const TOP: &str = "\x1b[H";
const REST_OF_LINE: &str = "\x1b[K";
const REST_OF_SCREEN: &str = "\x1b[J";

pub async fn run(wiring: &Wiring, environment: &EnvironmentName, printer: &Printer) -> Ended {
    let mut interrupt = interrupt();
    let drawn = std::io::stdout().is_terminal() && !printer.json();
    let mut told = String::new();
    if drawn && write(WHOLE_SCREEN).is_err() {
        return Ok(Exit::DONE);
    }
    loop {
        let status = read_settled(wiring, environment).await?;
        let shown = if drawn {
            write(&screen(printer, &status, SystemClock.now()))
        } else {
            tell(printer, &status, &mut told)
        };
        // Whoever read it went away, as in `| head`.
        if shown.is_err() {
            return Ok(Exit::DONE);
        }
        tokio::select! {
            () = tokio::time::sleep(LOOK_AGAIN) => {}
            _ = interrupt.wait_for(|on| *on) => return Ok(Exit::DONE),
        }
    }
}

fn write(text: &str) -> std::io::Result<()> {
    let mut out = std::io::stdout().lock();
    out.write_all(text.as_bytes())?;
    out.flush()
}

/// Over what was there before, so that nothing flickers.
fn screen(printer: &Printer, status: &Status, now: Timestamp) -> String {
    let mut lines = vec![text(printer, status), String::new()];
    lines.extend(countdowns(status, now));
    lines.push(printer.faint(&format!("{} UTC; Ctrl-C ends this", moment(now))));
    let mut screen = TOP.to_owned();
    for line in lines.iter().flat_map(|part| part.split('\n')) {
        screen.push_str(line);
        screen.push_str(REST_OF_LINE);
        screen.push('\n');
    }
    screen + REST_OF_SCREEN
}

/// What ends or goes on by itself, and when.
fn countdowns(status: &Status, now: Timestamp) -> Vec<String> {
    let left = |until: Timestamp| took(until.millis_since(now) / 1000 * 1000);
    let mut lines = Vec::new();
    if let Some((latest, until)) = status.latest.as_ref().and_then(|one| Some((one, one.bake_until?))) {
        lines.push(format!("{} is watched for another {}", latest.version, left(until)));
    }
    if let Some((rollout, at)) = status.rollout.as_ref().and_then(|one| Some((one, one.next_at?))) {
        lines.push(format!("{} gets {} % in {}", rollout.version, rollout.next_weight(), left(at)));
    }
    for (row, until) in status.traffic.iter().filter_map(|row| Some((row, row.warm_until?))) {
        lines.push(format!("{} stays warm for another {}", row.version, left(until)));
    }
    lines
}

/// One line, if anything changed that does not change by the mere passing of time or requests.
fn tell(printer: &Printer, status: &Status, told: &mut String) -> std::io::Result<()> {
    let now = summary(status);
    if *told == now {
        return Ok(());
    }
    let line = if printer.json() {
        serde_json::to_string(status)?
    } else {
        format!("{} UTC {now}", moment(SystemClock.now()))
    };
    *told = now;
    write(&format!("{line}\n"))
}

fn summary(status: &Status) -> String {
    let live = status.live.as_ref();
    let mut parts = vec![live.map_or_else(
        || "nothing is live".to_owned(),
        |live| format!("{} is live in {}", live.version, live.slot),
    )];
    for row in &status.traffic {
        let state = row.state.as_str();
        // What runs on another machine is not seen from here.
        let (Some(healthy), Some(instances), Some(weight)) = (row.healthy, row.instances, row.weight) else {
            parts.push(format!("{} {state}", row.version));
            continue;
        };
        parts.push(format!("{} {state} {weight} % {healthy}/{instances} ready", row.version));
    }
    if let Some(latest) = &status.latest {
        let bakes = if latest.bake_until.is_some() { ", watched" } else { "" };
        parts.push(format!(
            "deployment {} of {} {}{bakes}",
            latest.deployment_id, latest.version, latest.status
        ));
    }
    parts.extend(status.rollout.as_ref().map(standing));
    if let Some(operation) = &status.operation {
        parts.push(format!("{} to {} {}", operation.kind, operation.version, operation.status));
    }
    parts
        .extend(status.holds.iter().map(|hold| format!("{} held: {}", hold.version, harmless(&hold.reason))));
    parts.join("; ")
}
