//! Releases that went live and are not proven yet: watched to the end of their bake, and rolled back if they are bad.

use std::collections::HashSet;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use orchestrate_core::database::Database;
use orchestrate_core::deployment::{Deployment, DeploymentStatus};
use orchestrate_core::deployment_rollback::{Asking, failed};
use orchestrate_core::name::DeploymentId;
use orchestrate_core::post_deploy_verification::{self, Verdict};
use orchestrate_core::rollback_event::{RollbackStatus, Trigger};
use orchestrate_core::time::Timestamp;
use orchestrate_core::{DeploymentExecutor, DeploymentRollback, Result, RollbackRequest};
use tokio::sync::watch as signal;
use tokio::task::JoinSet;

use crate::Daemon;

/// Errors of a rollback that another attempt cannot mend: no target, one that cannot be restored, one that failed, and
/// a deployment that is not current any more.
const FINAL: [&str; 5] = ["ORC-0102", "ORC-0117", "ORC-0118", "ORC-0119", "ORC-0132"];
/// How long after it was found bad a live release may still be rolled back by itself, in milliseconds.
const FRESH_FOR: u64 = 15 * 60 * 1000;

/// Which deployments are being looked after, and a signal for each that ends.
pub(crate) struct Verdicts {
    watched: Mutex<HashSet<DeploymentId>>,
    /// Those that could not be rolled back by themselves: a person has been told, and it is not tried again.
    given_up: Mutex<HashSet<DeploymentId>>,
    ended: signal::Sender<u64>,
    tasks: Mutex<JoinSet<()>>,
}

impl Default for Verdicts {
    fn default() -> Self {
        Self {
            watched: Mutex::default(),
            given_up: Mutex::default(),
            ended: signal::channel(0).0,
            tasks: Mutex::default(),
        }
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

    fn give_up(&self, id: DeploymentId) {
        self.given_up.lock().unwrap_or_else(PoisonError::into_inner).insert(id);
    }

    fn is_given_up(&self, id: DeploymentId) -> bool {
        self.given_up.lock().unwrap_or_else(PoisonError::into_inner).contains(&id)
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
        if !daemon.verdicts.is_given_up(deployment.id) && daemon.verdicts.take(deployment.id) {
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

/// Those that bake, and those that are live although they were found bad.
async fn unsettled(db: &Database, now: Timestamp) -> Result<Vec<Deployment>> {
    let mut found = db.list_baking().await?;
    for environment in db.list_environments().await? {
        let Some(live) = environment.live else { continue };
        if !environment.environment.settings.rollback.automatic {
            continue;
        }
        if let Some(deployment) = db.deployment(live.deployment).await?
            && deployment.status == DeploymentStatus::Failed
            && db.rollback_of_deployment(deployment.id).await?.is_none()
            && is_fresh(&deployment, now)
            && !is_target_of_newest_rollback(db, &deployment).await?
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

/// Where somebody went back to is never left by itself.
async fn is_target_of_newest_rollback(db: &Database, deployment: &Deployment) -> Result<bool> {
    let newest = db.list_deployment_rollback_events(&deployment.environment, 1).await?;
    Ok(newest.first().is_some_and(|event| {
        event.status == RollbackStatus::Completed && event.target_release == Some(deployment.release)
    }))
}

/// True if something came of it.
async fn settle(daemon: &Daemon, deployment: &Deployment) -> Result<bool> {
    let (db, ports) = (&daemon.options.db, &daemon.options.ports);
    let because = if deployment.status == DeploymentStatus::InProgress {
        let verdict = post_deploy_verification::watch(db, ports, deployment).await?;
        let verdict = match verdict {
            Verdict::Overtaken => return Ok(false),
            Verdict::Good => Ok(()),
            Verdict::Bad(because) => Err(because),
        };
        let executor = DeploymentExecutor::new(db.clone(), ports.clone());
        let ended = executor.finish_bake(deployment.id, verdict.clone()).await?;
        match (ended, verdict) {
            (Some(_), Err(because)) => because,
            (ended, _) => return Ok(ended.is_some()),
        }
    } else {
        deployment.error_message.clone().unwrap_or_else(|| "the deployment failed".to_owned())
    };
    let gone_back = go_back(daemon, deployment, because).await;
    // What is only in the way for now is tried again at the next look.
    if gone_back.as_ref().is_err_and(|error| FINAL.contains(&error.code())) {
        daemon.verdicts.give_up(deployment.id);
    }
    gone_back.map(|()| true)
}

async fn go_back(daemon: &Daemon, deployment: &Deployment, because: String) -> Result<()> {
    let environment = daemon.options.db.environment(&deployment.environment).await?;
    if !environment.environment.settings.rollback.automatic {
        tracing::warn!(
            "{} in {} is bad ({because}), and is not rolled back by itself",
            deployment.version,
            deployment.environment
        );
        return Ok(());
    }
    let request = RollbackRequest {
        environment: deployment.environment.clone(),
        target_version: None,
        skip_validation: false,
        force: false,
    };
    let asking = Asking {
        reason: Some(because),
        trigger: Trigger::Verification,
        of: Some(deployment.id),
        ..Asking::by("orchestrate")
    };
    let rollback = DeploymentRollback::new(daemon.options.db.clone(), daemon.options.ports.clone());
    let rolled = rollback.rollback_as(&request, &asking).await?;
    if rolled.event.status == RollbackStatus::Completed { Ok(()) } else { Err(failed(&rolled)) }
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
