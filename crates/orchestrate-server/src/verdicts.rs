//! Releases that went live and are not proven yet: watched to the end of their bake, and rolled back if they are bad.

use std::collections::HashSet;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use orchestrate_core::database::Database;
use orchestrate_core::deployment::{Deployment, DeploymentStatus};
use orchestrate_core::name::DeploymentId;
use orchestrate_core::post_deploy_verification::{self, Judged, Verdict};
use orchestrate_core::time::Timestamp;
use orchestrate_core::{Automatic, DeploymentExecutor, DeploymentRollback, Result};
use tokio::sync::watch as signal;
use tokio::task::JoinSet;

use crate::Daemon;

/// How long after it was found bad a live release may still be rolled back by itself, in milliseconds.
const FRESH_FOR: u64 = 15 * 60 * 1000;

/// Which deployments are being looked after, and a signal for each that ends.
pub(crate) struct Verdicts {
    watched: Mutex<HashSet<DeploymentId>>,
    ended: signal::Sender<u64>,
    tasks: Mutex<JoinSet<()>>,
}

impl Default for Verdicts {
    fn default() -> Self {
        Self { watched: Mutex::default(), ended: signal::channel(0).0, tasks: Mutex::default() }
    }
}

impl Verdicts {
    fn spawn(&self, task: impl Future<Output = ()> + Send + 'static) {
        let mut tasks = self.tasks.lock().unwrap_or_else(PoisonError::into_inner);
        while tasks.try_join_next().is_some() {}
        tasks.spawn(task);
    }

    /// Ends the watching; what was begun is finished by the next daemon.
    pub async fn shutdown(&self) {
        let mut tasks = std::mem::take(&mut *self.tasks.lock().unwrap_or_else(PoisonError::into_inner));
        tasks.shutdown().await;
    }

    fn take(&self, id: DeploymentId) -> bool {
        self.watched.lock().unwrap_or_else(PoisonError::into_inner).insert(id)
    }

    fn leave(&self, id: DeploymentId) {
        self.watched.lock().unwrap_or_else(PoisonError::into_inner).remove(&id);
        self.ended.send_modify(|count| *count += 1);
    }

    fn is_watched(&self, id: DeploymentId) -> bool {
        self.watched.lock().unwrap_or_else(PoisonError::into_inner).contains(&id)
    }
}

pub(crate) async fn watch(daemon: Arc<Daemon>) {
    loop {
        if let Err(error) = look(&daemon).await {
            tracing::warn!("what is baking cannot be read: {}", error.full_message());
        }
        tokio::select! {
            () = tokio::time::sleep(Duration::from_secs(15)) => {}
            () = daemon.bell.verdicts.notified() => {}
        }
    }
}

async fn look(daemon: &Arc<Daemon>) -> Result<()> {
    for deployment in unsettled(&daemon.options.db, daemon.options.ports.clock.now()).await? {
        if daemon.verdicts.take(deployment.id) {
            let daemon = Arc::clone(daemon);
            let verdicts = Arc::clone(&daemon);
            verdicts.verdicts.spawn(async move {
                let settled = settle(&daemon, &deployment).await;
                if let Err(error) = &settled {
                    tracing::warn!("deployment {}: {}", deployment.id, error.full_message());
                }
                daemon.verdicts.leave(deployment.id);
                if settled.is_ok_and(|changed| changed) {
                    daemon.bell.ring();
                }
            });
        }
    }
    Ok(())
}

/// Those that bake, and those that are live although they were found bad and nothing was decided about that.
async fn unsettled(db: &Database, now: Timestamp) -> Result<Vec<Deployment>> {
    let mut found = db.list_baking().await?;
    for environment in db.list_environments().await? {
        let Some(live) = environment.live else { continue };
        if let Some(deployment) = db.deployment(live.deployment).await?
            && deployment.awaits_rollback()
            && db.rollback_of_deployment(deployment.id).await?.is_none()
            && is_fresh(&deployment, now)
        {
            found.push(deployment);
        }
    }
    Ok(found)
}

/// A bad release that people left live for longer is theirs.
fn is_fresh(deployment: &Deployment, now: Timestamp) -> bool {
    deployment.completed_at.is_some_and(|end| now.millis_since(end) < FRESH_FOR)
}

/// True if something came of it.
async fn settle(daemon: &Daemon, deployment: &Deployment) -> Result<bool> {
    let (db, ports) = (&daemon.options.db, &daemon.options.ports);
    let rollback = DeploymentRollback::new(db.clone(), ports.clone());
    if deployment.status != DeploymentStatus::InProgress {
        return rollback.rollback_by_itself(deployment, false).await.map(|ended| log(deployment, &ended));
    }
    let Judged { verdict, evidence, told } = post_deploy_verification::watch(db, ports, deployment).await?;
    let verdict = match verdict {
        Verdict::Overtaken => return Ok(false),
        Verdict::Good => Ok(()),
        Verdict::Bad(because) => Err(because),
    };
    let executor = DeploymentExecutor::new(db.clone(), ports.clone());
    match executor.end_bake(deployment.id, verdict, &evidence).await? {
        Some(bad) if bad.status == DeploymentStatus::Failed => {
            rollback.rollback_by_itself(&bad, told).await.map(|ended| log(&bad, &ended))
        }
        ended => Ok(ended.is_some()),
    }
}

/// True if something came of it.
fn log(deployment: &Deployment, ended: &Automatic) -> bool {
    let Deployment { version, environment, .. } = deployment;
    match ended {
        Automatic::RolledBack(rolled) => {
            tracing::info!("{environment} went back from {version} to {}", rolled.event.target_version);
            true
        }
        Automatic::Held(why) => {
            tracing::warn!("{version} in {environment} is bad and stays live, because {why}");
            true
        }
        Automatic::Overtaken => false,
    }
}

/// Waits until nothing more will be decided about the deployment by itself.
pub(crate) async fn settled(daemon: &Arc<Daemon>, id: DeploymentId) -> Result<()> {
    let mut ended = daemon.verdicts.ended.subscribe();
    look(daemon).await?;
    while daemon.verdicts.is_watched(id) {
        if ended.changed().await.is_err() {
            return Ok(());
        }
    }
    Ok(())
}
