//! `orchestrate deploy history`: deployments and rollbacks, newest first.

use orchestrate_core::deployment::{Deployment, DeploymentStatus};
use orchestrate_core::hooks::{HookRun, HookStatus};
use orchestrate_core::rollback_event::RollbackEvent;
use orchestrate_core::time::Timestamp;
use serde::Serialize;

use crate::args::{Global, Listing};
use crate::exit::{Ended, Exit};
use crate::printer::{Printer, harmless, moment, took};
use crate::wiring::Wiring;

#[derive(Serialize)]
#[serde(tag = "kind", rename_all = "snake_case")]
enum Row {
    Deploy(Attempt),
    Rollback(RollbackEvent),
}

#[derive(Serialize)]
struct Attempt {
    #[serde(flatten)]
    deployment: Deployment,
    /// Whether its release proved good, by this deployment or another.
    proven: bool,
}

impl Row {
    fn started_at(&self) -> (Timestamp, bool) {
        match self {
            Self::Deploy(attempt) => (attempt.deployment.started_at, false),
            Self::Rollback(event) => (event.started_at, true),
        }
    }
}

pub async fn run(global: &Global, args: &Listing, printer: &Printer) -> Ended {
    let wiring = Wiring::open(global).await?;
    wiring.db.environment(&args.env).await?;
    let limit = i64::from(args.limit);
    let deployments = wiring.db.list_deployments(&args.env, limit).await?;
    let rollbacks = wiring.db.list_deployment_rollback_events(&args.env, limit).await?;
    let proven = wiring.db.proven_releases(&args.env).await?;
    let attempt = |deployment: Deployment| {
        let proven = proven.contains(&deployment.release);
        Row::Deploy(Attempt { deployment, proven })
    };
    let mut rows: Vec<Row> =
        deployments.into_iter().map(attempt).chain(rollbacks.into_iter().map(Row::Rollback)).collect();
    rows.sort_by_key(|row| std::cmp::Reverse(row.started_at()));
    rows.truncate(usize::try_from(args.limit).unwrap_or(usize::MAX));
    printer.result(&rows, || {
        if rows.is_empty() {
            return format!("nothing was deployed to {} yet", args.env);
        }
        let lines = rows.iter().map(|row| line(printer, row)).collect();
        printer.table(
            &["STARTED (UTC)", "KIND", "ID", "VERSION", "STATUS", "PROVEN", "TOOK", "BY", "WHY"],
            lines,
        )
    });
    Ok(Exit::DONE)
}

fn line(printer: &Printer, row: &Row) -> Vec<String> {
    match row {
        Row::Deploy(Attempt { deployment, proven }) => vec![
            moment(deployment.started_at),
            "deploy".into(),
            deployment.id.to_string(),
            deployment.version.to_string(),
            status(printer, deployment.status),
            if *proven { "yes" } else { "no" }.into(),
            deployment.duration_ms().map_or_else(String::new, took),
            harmless(&deployment.actor),
            why(deployment.error_message.as_deref(), deployment.reason.as_deref(), &deployment.hooks),
        ],
        Row::Rollback(event) => vec![
            moment(event.started_at),
            "rollback".into(),
            event.id.to_string(),
            format!("{} to {}", event.from_version, event.target_version),
            super::deploy_rollbacks::status(printer, event.status),
            String::new(),
            event.duration_ms.map_or_else(String::new, took),
            harmless(&event.actor),
            why(event.error_message.as_deref(), event.reason.as_deref(), &event.hooks),
        ],
    }
}

/// What went wrong, else why it was done; and the hooks that failed and changed nothing about it.
fn why(error: Option<&str>, reason: Option<&str>, hooks: &[HookRun]) -> String {
    let failed = hooks.iter().filter(|run| run.status == HookStatus::Failed && error.is_none());
    let failed = failed.map(|run| format!("{} failed", run.name));
    let parts: Vec<String> = error.or(reason).map(harmless).into_iter().chain(failed).collect();
    parts.join("; ")
}

pub fn status(printer: &Printer, status: DeploymentStatus) -> String {
    match status {
        DeploymentStatus::Completed => printer.good(status.as_str()),
        DeploymentStatus::Failed | DeploymentStatus::TimedOut => printer.bad(status.as_str()),
        DeploymentStatus::RolledBack
        | DeploymentStatus::Pending
        | DeploymentStatus::Validating
        | DeploymentStatus::InProgress => printer.noted(status.as_str()),
    }
}
