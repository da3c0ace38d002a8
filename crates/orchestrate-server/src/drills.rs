//! Rehearses rollbacks by their schedules. What is not due while a daemon runs is left to the next time.

use std::collections::HashSet;
use std::sync::Arc;

use orchestrate_core::deployment_drill::{self, Due};
use orchestrate_core::drill::DrillTrigger;
use orchestrate_core::execute::Limits;
use orchestrate_core::name::EnvironmentName;
use orchestrate_core::time::Timestamp;
use orchestrate_core::{DeploymentDrill, DrillRequest, ErrorKind, Result};

use crate::Daemon;
use crate::lanes::Lanes;
use crate::tasks::until;

pub(crate) async fn keep(daemon: Arc<Daemon>) {
    let (mut lanes, mut told) = (Lanes::new(), HashSet::new());
    let mut looked = daemon.options.ports.clock.now();
    loop {
        let now = daemon.options.ports.clock.now();
        let next = match due(&daemon, looked, now).await {
            Ok(Due { drills, next, unreadable }) => {
                looked = now;
                for (name, at) in drills {
                    lanes.start(name.clone(), || drill(Arc::clone(&daemon), name, at));
                }
                for (name, why) in unreadable.into_iter().filter(|one| told.insert(one.clone())) {
                    tracing::warn!("there are no drills in {name}: its schedule {why}");
                }
                next
            }
            Err(error) => {
                tracing::warn!("what is to be drilled cannot be seen: {}", error.full_message());
                None
            }
        };
        tokio::select! {
            () = tokio::time::sleep(until(next, now)) => {}
            () = daemon.bell.drills.notified() => {}
            () = lanes.freed() => {}
        }
    }
}

async fn due(daemon: &Daemon, looked: Timestamp, now: Timestamp) -> Result<Due> {
    let mut due = deployment_drill::due(&daemon.options.db, looked, now).await?;
    if !due.drills.is_empty() {
        let care = daemon.care().await?;
        due.drills.retain(|(name, _)| care.is_for(name));
    }
    Ok(due)
}

async fn drill(daemon: Arc<Daemon>, name: EnvironmentName, at: Timestamp) {
    let (db, ports) = (&daemon.options.db, &daemon.options.ports);
    match db.take_drill_turn(&name, at).await {
        Ok(true) => {}
        // Another daemon does, or did before the clock went back.
        Ok(false) => return,
        Err(error) => {
            tracing::warn!("whose turn the drill in {name} is cannot be seen: {}", error.full_message());
            return;
        }
    }
    let request = DrillRequest {
        environment: name.clone(),
        actor: "orchestrate".into(),
        reason: None,
        trigger: DrillTrigger::Scheduled,
        limits: Limits::default(),
    };
    match DeploymentDrill::new(db.clone(), ports.clone()).drill(&request).await {
        Ok(drilled) => {
            tracing::info!("drill in {name}: {}", drilled.drill.status);
            daemon.bell.ring();
        }
        Err(error) if error.kind() == ErrorKind::Refused => {
            tracing::info!("no drill in {name} this time: {}", error.full_message());
        }
        Err(error) => tracing::warn!("the drill in {name} could not be made: {}", error.full_message()),
    }
}

#[cfg(test)]
mod tests;
