//! A status in words, for a person.

use orchestrate_core::approval::ApprovalStatus;
use orchestrate_core::database::{Site, SiteRecord};
use orchestrate_core::deployment_rollback::Readiness;
use orchestrate_core::drill::Drill;
use orchestrate_core::evidence::{Evidence, Finding};
use orchestrate_core::hooks::HookStatus;
use orchestrate_core::rollout::Rollout;

use super::policies::Waiting;
use super::{Latest, LiveStatus, OperationStatus, Status, Traffic};
use crate::commands::deploy_promote::standing;
use crate::commands::{deploy_drill, deploy_history, evidence};
use crate::printer::{Printer, moment, on_one_line, took};

pub(super) fn text(printer: &Printer, status: &Status) -> String {
    let mut lines = vec![live_line(printer, status)];
    lines.extend(status.restored_at.map(|since| {
        printer.bad(&format!(
            "the records were restored from a backup at {} UTC, and what runs may be something else; see: orchestrate env check {}",
            moment(since),
            status.environment
        ))
    }));
    lines.extend(status.elsewhere.as_ref().map(|there| printer.noted(&elsewhere_line(there))));
    if let Some(latest) = &status.latest {
        lines.push(latest_line(printer, latest));
        let checks = status.bake.as_ref().map_or(&[][..], |bake| &bake.checks);
        lines.extend(findings(printer, latest, checks));
    }
    lines.extend(status.operation.as_ref().map(|operation| operation_line(printer, operation)));
    lines.extend(status.rollout.as_ref().map(|one| printer.noted(&rollout_line(one, &status.traffic))));
    lines.extend(
        status
            .drift
            .iter()
            .map(|change| printer.bad(&format!("somebody changed what runs: {}", on_one_line(change)))),
    );
    lines.push(rollback_line(printer, &status.rollback));
    lines.extend(status.frozen.iter().map(|frozen| {
        printer.noted(&format!("frozen until {}: {}", frozen.until_there, on_one_line(&frozen.name)))
    }));
    lines.extend(status.approvals.iter().map(|one| waiting_line(printer, one)));
    lines.extend(status.drill.as_ref().map(|drill| drill_line(printer, drill)));
    for hold in &status.holds {
        let (version, since, reason) = (&hold.version, moment(hold.since), on_one_line(&hold.reason));
        lines.push(format!("held: {version} since {since} UTC: {reason}"));
    }
    if !status.traffic.is_empty() {
        lines.extend([String::new(), table(printer, &status.traffic)]);
    }
    lines.join("\n")
}

fn waiting_line(printer: &Printer, one: &Waiting) -> String {
    let Waiting { id, version, actor, status, expires_at } = one;
    let (actor, until) = (on_one_line(actor), moment(*expires_at));
    let what = format!("request {id}: {version} by {actor}, until {until} UTC");
    match status {
        ApprovalStatus::Approved => format!("{} {what}", printer.good("approved:")),
        ApprovalStatus::Waiting
        | ApprovalStatus::Rejected
        | ApprovalStatus::Expired
        | ApprovalStatus::Used => format!("{} {what}", printer.noted("waits for approval:")),
    }
}

fn live_line(printer: &Printer, status: &Status) -> String {
    let environment = &status.environment;
    let Some(LiveStatus { version, deployment_id, slot, since, proven }) = &status.live else {
        return format!("{environment}: nothing is live");
    };
    let (version, since) = (printer.good(version.as_str()), moment(*since));
    let proven = if *proven { "proven" } else { "not proven yet" };
    format!(
        "{environment}: {version} is live in {slot} since {since} UTC (deployment {deployment_id}, {proven})"
    )
}

fn elsewhere_line(there: &SiteRecord) -> String {
    let Site { host, home, .. } = &there.site;
    format!("runs on {host}, in {home}, whose daemon {}; its traffic is not known here", there.seen())
}

fn latest_line(printer: &Printer, latest: &Latest) -> String {
    let watched = |until| format!(", watched until {} UTC", moment(until));
    let bake = latest.bake_until.map_or_else(String::new, watched);
    let error = because(latest.error_message.as_deref());
    let status = deploy_history::status(printer, latest.status);
    format!("latest deployment: {} of {}, {status}{bake}{error}", latest.deployment_id, latest.version)
}

fn because(error: Option<&str>) -> String {
    error.map_or_else(String::new, |error| format!(": {}", on_one_line(error)))
}

/// What the checks say so far, what spoke against it before, hooks that failed, and why it stays all the same.
fn findings(printer: &Printer, latest: &Latest, checks: &[Evidence]) -> Vec<String> {
    let against = latest.evidence.iter().filter(|one| one.finding != Finding::Good);
    let against = against.filter(|one| checks.iter().all(|known| known.check != one.check));
    let mut lines: Vec<String> =
        checks.iter().chain(against).map(|one| evidence::line(printer, one)).collect();
    let failed = latest.hooks.iter().filter(|run| run.status == HookStatus::Failed);
    lines.extend(failed.map(|run| format!("  {}: {}", run.name, evidence::hook(printer, run))));
    let held = latest.automatic_hold.as_deref();
    lines.extend(held.map(|why| printer.noted(&format!("not rolled back by itself: {}", on_one_line(why)))));
    lines
}

fn operation_line(printer: &Printer, operation: &OperationStatus) -> String {
    let OperationStatus { id, kind, version, status, by, since, error_message } = operation;
    let by = by.as_deref().map_or_else(String::new, |by| format!(" by {}", on_one_line(by)));
    let (since, error) = (moment(*since), because(error_message.as_deref()));
    printer.noted(&format!("operation {id}: {kind} to {version}{by} since {since} UTC, {status}{error}"))
}

fn table(printer: &Printer, traffic: &[Traffic]) -> String {
    let known = |number: Option<u64>| number.map_or_else(|| "?".to_owned(), |number| number.to_string());
    let row = |row: &Traffic| {
        vec![
            row.version.to_string(),
            row.slot.to_string(),
            row.state.as_str().to_owned(),
            format!("{} %", known(row.weight.map(u64::from))),
            format!("{}/{}", known(row.healthy.map(u64::from)), known(row.instances.map(u64::from))),
            known(row.in_flight),
            if row.proven { "yes" } else { "no" }.to_owned(),
            row.warm_until.map_or_else(String::new, |until| format!("{} UTC", moment(until))),
        ]
    };
    let head = ["VERSION", "SLOT", "STATE", "TRAFFIC", "HEALTHY", "IN FLIGHT", "PROVEN", "WARM UNTIL"];
    printer.table(&head, traffic.iter().map(row).collect())
}

fn rollout_line(rollout: &Rollout, traffic: &[Traffic]) -> String {
    let here = traffic.iter().find(|row| row.slot == rollout.slot);
    let addresses: Vec<String> =
        here.map_or_else(Vec::new, |row| row.addresses.iter().map(ToString::to_string).collect());
    let asked = match addresses.as_slice() {
        [] => String::new(),
        addresses => format!("; ask it alone at {}", addresses.join(" ")),
    };
    format!("rollout: {}{asked}", standing(rollout))
}

fn drill_line(printer: &Printer, drill: &Drill) -> String {
    let Drill { id, target_version, path, started_at, trigger, .. } = drill;
    let status = deploy_drill::status(printer, drill.status);
    let (at, error) = (moment(*started_at), because(drill.error_message.as_deref()));
    let took = drill.duration_ms.map_or_else(String::new, |ms| format!(" in {}", took(ms)));
    format!("latest drill: {id} to {target_version} ({path}, {trigger}) at {at} UTC, {status}{took}{error}")
}

fn rollback_line(printer: &Printer, rollback: &Readiness) -> String {
    match (&rollback.target_version, rollback.ready) {
        (Some(target), true) => {
            let path = rollback.path.map_or_else(String::new, |path| format!(" ({path})"));
            let time = rollback.estimated_ms.map_or_else(String::new, |ms| format!(", about {}", took(ms)));
            let command = rollback.command.as_deref().map_or_else(String::new, |typed| format!(": {typed}"));
            let warnings = rollback.warnings.iter().map(|text| format!("\nwarning: {}", on_one_line(text)));
            let warnings: String = warnings.collect();
            format!("rollback: {} to {target}{path}{time}{command}{warnings}", printer.good("ready"))
        }
        _ => {
            format!("rollback: {}: {}", printer.bad("not ready"), on_one_line(&rollback.blockers.join("; ")))
        }
    }
}
