//! `orchestrate deploy rollback --group` and `rollbacks --group`: several environments together, all or none.

use std::sync::Arc;

use orchestrate_core::access::Right;
use orchestrate_core::deployment_rollback::{Carried, GroupPreview, GroupRequest, Preview};
use orchestrate_core::execute::Limits;
use orchestrate_core::group::{GroupPart, GroupRollback, GroupStatus};
use orchestrate_core::rollback_event::RollbackStatus;
use orchestrate_core::{Error, Result};

use super::intake::interrupt;
use crate::args::{Global, Rollback};
use crate::exit::{Ended, Exit};
use crate::printer::{Printer, harmless, moment, took};
use crate::progress::StepProgress;
use crate::wiring::Wiring;

pub async fn run(global: &Global, args: Rollback, group: String, printer: &Printer) -> Ended {
    let wiring = Wiring::open(global).await?;
    let progress = Arc::new(StepProgress::new(printer));
    let rollback = wiring.rollback(Arc::clone(&progress) as _);
    let actor = match args.dry_run {
        true => wiring.caller().await?.name().to_owned(),
        false => may(&wiring, &group).await?,
    };
    let limits = Limits { interrupt: Some(interrupt()), ..Limits::default() };
    let request = GroupRequest { group, force: args.force, actor, reason: args.reason, limits };
    if args.dry_run {
        let preview = rollback.preview_group(&request).await?;
        printer.result(&preview, || preview_text(printer, &preview, &request));
        return Ok(Exit::DONE);
    }
    let carried = rollback.rollback_group(&request).await;
    progress.finished();
    let carried = carried?;
    if let Err(error) = wiring.hand_over().await {
        printer.note(&format!(
            "the daemon does not run, so nothing is told or stopped yet: {}",
            error.full_message()
        ));
    }
    match carried {
        Carried::Ended(ended) => conclude(printer, &ended),
        Carried::Waits(environment) => {
            let message = format!(
                "the rollback of {} is not at its end: an operation of {environment} is open",
                request.group
            );
            Err(unfinished(message, &request.group).into())
        }
        Carried::Lost => {
            let message = format!("another program carries the rollback of {} on", request.group);
            Err(unfinished(message, &request.group).into())
        }
    }
}

/// Whoever takes a group back must be allowed to in each of its environments.
async fn may(wiring: &Wiring, group: &str) -> Result<String> {
    let mut actor = wiring.caller().await?.name().to_owned();
    for record in wiring.db.list_environments().await? {
        if record.environment.settings.group.as_deref() == Some(group) {
            actor = wiring.actor(Right::Deploy, &record.environment.name, "rollback").await?;
        }
    }
    Ok(actor)
}

fn unfinished(message: String, group: &str) -> Error {
    Error::needs_attention("ORC-0119", message)
        .hint(format!("the daemon carries it on; see: orchestrate deploy rollbacks --group {group}"))
}

fn conclude(printer: &Printer, ended: &GroupRollback) -> Ended {
    let GroupRollback { id, group, .. } = ended;
    let why = ended.error_message.as_deref().unwrap_or("no reason is recorded");
    match ended.status {
        GroupStatus::Completed => {
            printer.result(ended, || text(printer, ended));
            Ok(Exit::DONE)
        }
        GroupStatus::Failed => Err(Error::failed(
            "ORC-0118",
            format!(
                "group rollback {id} of {group} failed and was put back; users are served as before: {why}"
            ),
        )
        .hint(format!("see what there was: orchestrate deploy rollbacks --group {group}"))
        .into()),
        GroupStatus::InProgress | GroupStatus::NeedsAttention => Err(Error::needs_attention(
            "ORC-0119",
            format!(
                "group rollback {id} of {group} needs attention: {why}; its members are: {}",
                standing(ended)
            ),
        )
        .hint(format!("bring each where it shall be: orchestrate deploy rollbacks --group {group}"))
        .into()),
    }
}

/// Where each member is now, as far as the parts tell.
fn standing(group: &GroupRollback) -> String {
    let at = |part: &GroupPart| {
        let done = |event: &Option<orchestrate_core::RollbackEvent>| {
            event.as_ref().is_some_and(|event| event.status == RollbackStatus::Completed)
        };
        let version = match done(&part.rollback) && !done(&part.undo) {
            true => &part.target_version,
            false => &part.from_version,
        };
        format!("{} {version}", part.environment)
    };
    group.parts.iter().map(at).collect::<Vec<_>>().join(", ")
}

fn text(printer: &Printer, group: &GroupRollback) -> String {
    let took = group.duration_ms.map_or_else(String::new, |ms| format!(" in {}", took(ms)));
    let mut text = format!(
        "{} the group {}{took} [group rollback {}]",
        printer.good("rolled back"),
        group.group,
        group.id
    );
    for part in &group.parts {
        let GroupPart { environment, from_version, target_version, .. } = part;
        let how = part
            .rollback
            .as_ref()
            .map_or_else(String::new, |event| format!(" ({}) [rollback {}]", event.path, event.id));
        text.push_str(&format!("\n  {environment} from {from_version} to {target_version}{how}"));
    }
    text
}

fn preview_text(printer: &Printer, preview: &GroupPreview, request: &GroupRequest) -> String {
    let mut text =
        format!("rollback of the group {}, in this order; if one cannot, none does\n", preview.group);
    for part in &preview.parts {
        let Preview { environment, from_version, target_version, path, .. } = part;
        text.push_str(&format!("  {environment} from {from_version} to {target_version} ({path})\n"));
        for blocker in &part.blockers {
            text.push_str(&format!("    {} {}\n", printer.bad("in the way:"), harmless(blocker)));
        }
    }
    let force = if preview.parts.iter().any(|part| part.needs_force) { " --force" } else { "" };
    let reason = if preview.parts.iter().any(|part| part.needs_reason) { " --reason TEXT" } else { "" };
    text.push_str(&format!(
        "\nnothing was changed; to do it:\n  orchestrate deploy rollback --group {}{force}{reason}",
        request.group
    ));
    text
}

/// What was done to a group, newest first.
pub async fn list(wiring: &Wiring, group: &str, limit: u32, printer: &Printer) -> Ended {
    let groups = wiring.db.list_group_rollbacks(group, i64::from(limit)).await?;
    printer.result(&groups, || {
        if groups.is_empty() {
            return format!("there were no rollbacks of the group {group}");
        }
        let rows = groups.iter().map(|group| row(printer, group)).collect();
        printer.table(&["ID", "STARTED (UTC)", "STATUS", "TOOK", "MEMBERS", "BY", "WHY"], rows)
    });
    Ok(Exit::DONE)
}

fn row(printer: &Printer, group: &GroupRollback) -> Vec<String> {
    let status = match group.status {
        GroupStatus::Completed => printer.good(group.status.as_str()),
        GroupStatus::Failed | GroupStatus::NeedsAttention => printer.bad(group.status.as_str()),
        GroupStatus::InProgress => printer.noted(group.status.as_str()),
    };
    let why = group.error_message.as_deref().or(group.reason.as_deref()).unwrap_or_default();
    vec![
        group.id.to_string(),
        moment(group.started_at),
        status,
        group.duration_ms.map_or_else(String::new, took),
        standing(group),
        harmless(&group.actor),
        harmless(why),
    ]
}
