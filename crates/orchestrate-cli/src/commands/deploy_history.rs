//! `orchestrate deploy history`: deployments and rollbacks, newest first.

use orchestrate_core::deployment::{Deployment, DeploymentStatus};
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
    Deploy(Deployment),
    Rollback(RollbackEvent),
}

impl Row {
    fn started_at(&self) -> (Timestamp, bool) {
        match self {
            Self::Deploy(deployment) => (deployment.started_at, false),
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
    let mut rows: Vec<Row> =
        deployments.into_iter().map(Row::Deploy).chain(rollbacks.into_iter().map(Row::Rollback)).collect();
    rows.sort_by_key(|row| std::cmp::Reverse(row.started_at()));
    rows.truncate(usize::try_from(args.limit).unwrap_or(usize::MAX));
    printer.result(&rows, || {
        if rows.is_empty() {
            return format!("nothing was deployed to {} yet", args.env);
        }
        let lines = rows.iter().map(|row| line(printer, row)).collect();
        printer.table(&["STARTED (UTC)", "KIND", "ID", "VERSION", "STATUS", "TOOK", "BY", "WHY"], lines)
    });
    Ok(Exit::DONE)
}

fn line(printer: &Printer, row: &Row) -> Vec<String> {
    match row {
        Row::Deploy(deployment) => vec![
            moment(deployment.started_at),
            "deploy".into(),
            deployment.id.to_string(),
            deployment.version.to_string(),
            status(printer, deployment.status),
            deployment.duration_ms().map_or_else(String::new, took),
            harmless(&deployment.actor),
            harmless(
                deployment.error_message.as_deref().or(deployment.reason.as_deref()).unwrap_or_default(),
            ),
        ],
        Row::Rollback(event) => vec![
            moment(event.started_at),
            "rollback".into(),
            event.id.to_string(),
            format!("{} to {}", event.from_version, event.target_version),
            super::deploy_rollbacks::status(printer, event.status),
            event.duration_ms.map_or_else(String::new, took),
            harmless(&event.actor),
            harmless(event.error_message.as_deref().or(event.reason.as_deref()).unwrap_or_default()),
        ],
    }
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
