//! `orchestrate deploy rollbacks`: recorded rollbacks.

use std::sync::Arc;

use orchestrate_core::Error;
use orchestrate_core::name::RollbackId;
use orchestrate_core::ports::Silent;
use orchestrate_core::rollback_event::{RollbackEvent, RollbackStatus};

use super::deploy_rollback_group;
use crate::args::{Global, Rollbacks, RollbacksCommand};
use crate::exit::{Ended, Exit};
use crate::printer::{Printer, harmless, moment, took};
use crate::wiring::Wiring;

pub async fn run(global: &Global, args: Rollbacks, printer: &Printer) -> Ended {
    let wiring = Wiring::open(global).await?;
    let rollback = wiring.rollback(Arc::new(Silent));
    if let Some(RollbacksCommand::Show { id, env, .. }) = args.command {
        let event = rollback.get_rollback(RollbackId(id)).await?;
        if let Some(other) = env.filter(|env| *env != event.environment) {
            let message = format!("rollback {id} is one of {}, not of {other}", event.environment);
            return Err(Error::refused("ORC-0113", message)
                .hint(format!("list them: orchestrate deploy rollbacks --env {other}"))
                .into());
        }
        printer.result(&event, || details(printer, &event));
        return Ok(Exit::DONE);
    }
    if let Some(group) = &args.group {
        return deploy_rollback_group::list(&wiring, group, args.limit, printer).await;
    }
    let Some(environment) = args.env else {
        return Err(Error::usage("ORC-0208", "rollbacks needs --env").into());
    };
    let events =
        rollback.list_rollbacks(&environment, usize::try_from(args.limit).unwrap_or(usize::MAX)).await?;
    printer.result(&events, || {
        if events.is_empty() {
            return format!("there were no rollbacks in {environment}");
        }
        let rows = events.iter().map(|event| row(printer, event)).collect();
        printer.table(
            &["ID", "STARTED (UTC)", "FROM", "TO", "TYPE", "PATH", "STATUS", "TOOK", "BY", "WHY"],
            rows,
        )
    });
    Ok(Exit::DONE)
}

pub fn status(printer: &Printer, status: RollbackStatus) -> String {
    match status {
        RollbackStatus::Completed => printer.good(status.as_str()),
        RollbackStatus::Failed | RollbackStatus::NeedsAttention => printer.bad(status.as_str()),
        RollbackStatus::Pending | RollbackStatus::InProgress => printer.noted(status.as_str()),
    }
}

fn row(printer: &Printer, event: &RollbackEvent) -> Vec<String> {
    vec![
        event.id.to_string(),
        moment(event.started_at),
        event.from_version.to_string(),
        event.target_version.to_string(),
        event.rollback_type.to_string(),
        event.path.to_string(),
        status(printer, event.status),
        event.duration_ms.map_or_else(String::new, took),
        harmless(&event.actor),
        harmless(event.reason.as_deref().unwrap_or_default()),
    ]
}

fn details(printer: &Printer, event: &RollbackEvent) -> String {
    let mut rows = vec![
        vec!["rollback".into(), event.id.to_string()],
        vec!["of".into(), format!("deployment {} in {}", event.deployment_id, event.environment)],
        vec!["from".into(), event.from_version.to_string()],
        vec!["to".into(), event.target_version.to_string()],
        vec!["type".into(), format!("{} ({})", event.rollback_type, event.path)],
        vec!["status".into(), status(printer, event.status)],
        vec!["started".into(), event.started_at.to_string()],
    ];
    let mut more = |name: &str, value: Option<String>| {
        if let Some(value) = value {
            rows.push(vec![name.into(), value]);
        }
    };
    more("completed", event.completed_at.map(|time| time.to_string()));
    more("took", event.duration_ms.map(took));
    more("by", Some(format!("{} ({})", harmless(&event.actor), event.trigger)));
    more("why", event.reason.as_deref().map(harmless));
    more("broken glass", event.break_glass.as_deref().map(harmless));
    more("error", event.error_message.as_deref().map(harmless));
    more("takes back", event.undoes.map(|id| format!("rollback {id}")));
    more(
        "told",
        Some(if event.notification_sent {
            "everyone".into()
        } else {
            "not everyone yet, or nobody to tell".into()
        }),
    );
    for one in &event.evidence {
        rows.push(vec![format!("  {}", harmless(&one.check)), super::evidence::text(printer, one)]);
    }
    for run in &event.hooks {
        rows.push(vec![format!("  {}", run.name), super::evidence::hook(printer, run)]);
    }
    for phase in &event.phases {
        rows.push(vec![format!("  {}", phase.name), took(phase.ms)]);
    }
    printer.table(&[], rows)
}
