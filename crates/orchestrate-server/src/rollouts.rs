//! Canaries: watched at each of their steps, taken on to the next when its wait is over, rolled back when they are bad.

use std::collections::HashSet;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use orchestrate_core::deployment::Deployment;
use orchestrate_core::deployment_executor::{Promotion, failed};
use orchestrate_core::execute::Limits;
use orchestrate_core::name::DeploymentId;
use orchestrate_core::rollout::{self, Next, Rollout};
use orchestrate_core::{Automatic, DeploymentExecutor, DeploymentRollback, Result};
use tokio::task::JoinSet;

use crate::Daemon;

/// However quiet it is, another host may have begun one.
const LOOK_AGAIN: Duration = Duration::from_secs(15);

/// Which rollouts are being watched here, each at one of its shares; and those that a person has to see to.
#[derive(Default)]
struct Watched(Mutex<HashSet<(DeploymentId, u8)>>);

impl Watched {
    fn take(&self, rollout: &Rollout) -> bool {
        let key = (rollout.deployment, rollout.weight);
        self.0.lock().unwrap_or_else(PoisonError::into_inner).insert(key)
    }

    fn leave(&self, rollout: &Rollout) {
        let key = (rollout.deployment, rollout.weight);
        self.0.lock().unwrap_or_else(PoisonError::into_inner).remove(&key);
    }
}

/// The tasks end with this one; what they began is finished by the next daemon.
pub(crate) async fn advance(daemon: Arc<Daemon>) {
    let watched = Arc::new(Watched::default());
    let mut tasks = JoinSet::new();
    loop {
        match daemon.options.db.list_open_rollouts().await {
            Ok(rollouts) => {
                for rollout in rollouts.into_iter().filter(|rollout| rollout.weight > 0) {
                    if watched.take(&rollout) {
                        tasks.spawn(look_after(Arc::clone(&daemon), Arc::clone(&watched), rollout));
                    }
                }
            }
            Err(error) => tracing::warn!("what is being rolled out cannot be read: {}", error.full_message()),
        }
        tokio::select! {
            () = tokio::time::sleep(LOOK_AGAIN) => {}
            () = daemon.bell.rollouts.notified() => {}
            Some(_) = tasks.join_next() => {}
        }
    }
}

async fn look_after(daemon: Arc<Daemon>, watched: Arc<Watched>, rollout: Rollout) {
    match settle(&daemon, &rollout).await {
        Ok(Settled::Done) => {
            watched.leave(&rollout);
            daemon.bell.ring();
        }
        Ok(Settled::LeftToPeople) => {}
        Err(error) => {
            tracing::warn!("deployment {}: {}", rollout.deployment, error.full_message());
            // What was in the way may be gone by then.
            tokio::time::sleep(Duration::from_secs(1)).await;
            watched.leave(&rollout);
        }
    }
}

enum Settled {
    Done,
    /// It is bad and stays at its share, which is not looked at again.
    LeftToPeople,
}

async fn settle(daemon: &Daemon, rollout: &Rollout) -> Result<Settled> {
    let (db, ports) = (&daemon.options.db, &daemon.options.ports);
    match rollout::watch(db, ports, rollout).await? {
        // Whatever overtook it takes a moment.
        Next::Overtaken => {
            tokio::time::sleep(Duration::from_millis(100)).await;
            Ok(Settled::Done)
        }
        Next::Bad(deployment) => leave(daemon, &deployment).await,
        Next::Promote => promote(daemon, rollout).await,
    }
}

async fn promote(daemon: &Daemon, rollout: &Rollout) -> Result<Settled> {
    let (db, ports) = (&daemon.options.db, &daemon.options.ports);
    let promotion = Promotion {
        environment: rollout.environment.clone(),
        all: false,
        actor: "orchestrate".into(),
        by_itself: Some(rollout.deployment),
        limits: Limits::default(),
    };
    let promoted = DeploymentExecutor::new(db.clone(), ports.clone()).promote(&promotion).await?;
    match failed(&promoted, None) {
        // What went wrong with all of the traffic is the business of the verdicts.
        Some(error) if db.open_rollout(&rollout.environment).await?.is_some() => {
            let error_message = Some(error.message().to_owned());
            leave(daemon, &Deployment { error_message, ..promoted.deployment }).await
        }
        _ => Ok(Settled::Done),
    }
}

/// Back to what is live; or, where something holds that back, not a step further.
async fn leave(daemon: &Daemon, deployment: &Deployment) -> Result<Settled> {
    let (db, ports) = (&daemon.options.db, &daemon.options.ports);
    let rollback = DeploymentRollback::new(db.clone(), ports.clone());
    let Deployment { version, environment, error_message, .. } = deployment;
    match rollback.rollback_by_itself(deployment, false).await? {
        Automatic::RolledBack(rolled) => {
            tracing::info!("{environment} went back from {version} to {}", rolled.event.target_version);
            Ok(Settled::Done)
        }
        Automatic::Held(why) => {
            tracing::warn!("{version} in {environment} is bad and stays where it is, because {why}");
            let because = error_message.as_deref().unwrap_or(&why);
            let executor = DeploymentExecutor::new(db.clone(), ports.clone());
            executor.pause(environment, "orchestrate", because).await?;
            Ok(Settled::LeftToPeople)
        }
        Automatic::Overtaken => Ok(Settled::Done),
    }
}
