//! Rollbacks of several environments whose program is gone are carried to their end here.

use std::sync::Arc;
use std::time::Duration;

use orchestrate_core::deployment_rollback::Carried;
use orchestrate_core::group::GroupRollback;
use orchestrate_core::{DeploymentRollback, Result};

use crate::Daemon;

/// How soon the daemon notices that a command was killed.
const LOOK_EVERY: Duration = Duration::from_secs(1);
/// How soon it notices that one was begun.
const LOOK_AGAIN: Duration = Duration::from_secs(3);

pub(crate) async fn finish(daemon: Arc<Daemon>) {
    loop {
        let mut pause = LOOK_EVERY;
        match left_open(&daemon).await {
            Ok(groups) if groups.is_empty() => pause = LOOK_AGAIN,
            Ok(groups) => {
                for group in groups {
                    carry_on(&daemon, &group).await;
                }
            }
            Err(error) => tracing::warn!("rollbacks of groups cannot be read: {}", error.full_message()),
        }
        tokio::select! {
            () = tokio::time::sleep(pause) => {}
            () = daemon.bell.groups.notified() => {}
        }
    }
}

/// Those whose members are all looked after here.
async fn left_open(daemon: &Daemon) -> Result<Vec<GroupRollback>> {
    let mut groups = daemon.options.db.list_open_group_rollbacks().await?;
    if groups.is_empty() {
        return Ok(groups);
    }
    let care = daemon.care().await?;
    groups.retain(|group| group.parts.iter().all(|part| care.is_for(&part.environment)));
    Ok(groups)
}

async fn carry_on(daemon: &Daemon, group: &GroupRollback) {
    let rollback = DeploymentRollback::new(daemon.options.db.clone(), daemon.options.ports.clone());
    match rollback.resume_group(group, "daemon").await {
        Ok(Some(Carried::Ended(ended))) => {
            tracing::info!("group rollback {} of {} ended: {}", ended.id, ended.group, ended.status);
            daemon.bell.ring();
        }
        // Its program runs, or an open operation ends first.
        Ok(Some(Carried::Waits(_) | Carried::Lost) | None) => {}
        Err(error) => tracing::warn!("group rollback {} could not go on: {}", group.id, error.full_message()),
    }
}
