//! Releases that went live and are not proven yet: watched to the end of their bake, and rolled back if they are bad.

use std::collections::HashSet;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use orchestrate_core::deployment::Deployment;
use orchestrate_core::name::{DeploymentId, EnvironmentName};
use orchestrate_core::settle::{self, Settled};
use orchestrate_core::{Automatic, Result};
use tokio::sync::watch as signal;
use tokio::task::JoinSet;

use crate::Daemon;

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
    let care = daemon.care().await?;
    for deployment in settle::unsettled(&daemon.options.db, daemon.options.ports.clock.now()).await? {
        if care.is_for(&deployment.environment) && daemon.verdicts.take(deployment.id) {
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

/// True if something came of it.
async fn settle(daemon: &Daemon, deployment: &Deployment) -> Result<bool> {
    let settled = settle::settle(&daemon.options.db, &daemon.options.ports, deployment).await?;
    if let Settled::Bad(bad, came_of_it) = &settled {
        log(bad, came_of_it);
    }
    Ok(settled.changed())
}

fn log(deployment: &Deployment, came_of_it: &Automatic) {
    let Deployment { version, environment, .. } = deployment;
    match came_of_it {
        Automatic::RolledBack(rolled) => {
            tracing::info!("{environment} went back from {version} to {}", rolled.event.target_version);
        }
        Automatic::Held(why) => {
            tracing::warn!("{version} in {environment} is bad and stays live, because {why}");
        }
        Automatic::Overtaken => {}
    }
}

/// Waits until nothing more will be decided about the deployment by itself.
pub(crate) async fn settled(daemon: &Arc<Daemon>, id: DeploymentId) -> Result<()> {
    let mut ended = daemon.verdicts.ended.subscribe();
    look(daemon).await?;
    let mut given_up_at = None;
    loop {
        while daemon.verdicts.is_watched(id) {
            if ended.changed().await.is_err() {
                return Ok(());
            }
        }
        let Some(environment) = undecided(daemon, id).await? else { return Ok(()) };
        // Another daemon that watches it may take its time; what this one tries again and again, people should hear of.
        if daemon.care().await?.is_for(&environment) {
            let until = *given_up_at.get_or_insert_with(|| tokio::time::Instant::now() + TRIED_FOR);
            if tokio::time::Instant::now() >= until {
                return Ok(());
            }
        }
        tokio::time::sleep(Duration::from_millis(500)).await;
        look(daemon).await?;
    }
}

/// How long somebody waits for a decision that something is in the way of.
const TRIED_FOR: Duration = Duration::from_secs(30);

/// Its environment, if something may still be done about it.
async fn undecided(daemon: &Daemon, id: DeploymentId) -> Result<Option<EnvironmentName>> {
    let unsettled = settle::unsettled(&daemon.options.db, daemon.options.ports.clock.now()).await?;
    let found = unsettled.into_iter().find(|deployment| deployment.id == id);
    Ok(found.map(|deployment| deployment.environment))
}
