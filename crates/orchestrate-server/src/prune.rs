//! After each deployment, what its environment does not keep any more is pruned, where `retention` is configured.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use orchestrate_core::deployment::DeploymentStatus;
use orchestrate_core::name::{DeploymentId, EnvironmentName};
use orchestrate_core::{Result, retention};

use crate::Daemon;

/// Releases also grow old while nothing is deployed.
const LOOK_AGAIN: Duration = Duration::from_secs(60 * 60);

pub(crate) async fn keep_few(daemon: Arc<Daemon>) {
    let mut looked: HashMap<EnvironmentName, DeploymentId> = HashMap::new();
    loop {
        if let Err(error) = look(&daemon, &mut looked).await {
            tracing::warn!("old releases could not be looked for: {}", error.full_message());
        }
        tokio::select! {
            () = tokio::time::sleep(LOOK_AGAIN) => looked.clear(),
            () = daemon.bell.prune.notified() => {}
        }
    }
}

async fn look(daemon: &Daemon, looked: &mut HashMap<EnvironmentName, DeploymentId>) -> Result<()> {
    let (db, ports) = (&daemon.options.db, &daemon.options.ports);
    let care = daemon.care().await?;
    for record in db.list_environments().await? {
        let environment = &record.environment;
        if environment.settings.retention.is_none() || !care.is_for(&environment.name) {
            continue;
        }
        let Some(newest) = db.list_deployments(&environment.name, 1).await?.pop() else { continue };
        // One that is live although it failed is about to be left, and that needs somewhere to go.
        let is_live = record.live.is_some_and(|live| live.deployment == newest.id);
        let is_good = matches!(newest.status, DeploymentStatus::Completed | DeploymentStatus::RolledBack);
        let goes_on = newest.status == DeploymentStatus::InProgress || (is_live && !is_good);
        if goes_on || looked.get(&environment.name) == Some(&newest.id) {
            continue;
        }
        match retention::prune(db, ports, &environment.name, "orchestrate", false).await {
            Ok(_) => {
                looked.insert(environment.name.clone(), newest.id);
            }
            // Another operation runs; its end rings again.
            Err(error) if error.code() == "ORC-0110" || error.code() == "ORC-0116" => {}
            Err(error) => tracing::warn!("{}: {}", environment.name, error.full_message()),
        }
    }
    Ok(())
}
