//! Canaries: watched at each of their steps, taken on to the next when its wait is over, rolled back when they are bad.
//! What is staged is watched for as long as it waits.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use orchestrate_core::deployment::Deployment;
use orchestrate_core::name::{DeploymentId, Fence};
use orchestrate_core::rollout::Rollout;
use orchestrate_core::settle::{self, Settled};
use orchestrate_core::{Automatic, Result};
use tokio::task::JoinSet;

use crate::Daemon;

/// However quiet it is, another host may have begun one.
const LOOK_AGAIN: Duration = Duration::from_secs(15);

/// Which rollouts are being watched here, each at one of its shares; and those that a person has to see to, with the
/// fence by which that was so.
#[derive(Default)]
struct Watched(Mutex<HashMap<(DeploymentId, u8), Option<Fence>>>);

impl Watched {
    /// Whether it is to be watched from now on: also what was left to people, if something was done there since.
    fn take(&self, rollout: &Rollout, fence: Fence) -> bool {
        let key = (rollout.deployment, rollout.weight);
        let mut watched = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let is_left = match watched.get(&key) {
            Some(left_at) => left_at.is_some_and(|left_at| left_at != fence),
            None => true,
        };
        if is_left {
            watched.insert(key, None);
        }
        is_left
    }

    fn leave(&self, rollout: &Rollout) {
        let key = (rollout.deployment, rollout.weight);
        self.0.lock().unwrap_or_else(PoisonError::into_inner).remove(&key);
    }

    fn leave_to_people(&self, rollout: &Rollout, fence: Fence) {
        let key = (rollout.deployment, rollout.weight);
        self.0.lock().unwrap_or_else(PoisonError::into_inner).insert(key, Some(fence));
    }
}

/// The tasks end with this one; what they began is finished by the next daemon.
pub(crate) async fn advance(daemon: Arc<Daemon>) {
    let watched = Arc::new(Watched::default());
    let mut tasks = JoinSet::new();
    loop {
        match to_watch(&daemon, &watched).await {
            Ok(rollouts) => {
                for rollout in rollouts {
                    tasks.spawn(look_after(Arc::clone(&daemon), Arc::clone(&watched), rollout));
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

async fn to_watch(daemon: &Daemon, watched: &Watched) -> Result<Vec<Rollout>> {
    let db = &daemon.options.db;
    let mut found = Vec::new();
    let care = daemon.care().await?;
    for rollout in db.list_open_rollouts().await? {
        if care.is_for(&rollout.environment) && watched.take(&rollout, fence(daemon, &rollout).await?) {
            found.push(rollout);
        }
    }
    Ok(found)
}

/// It moves with every operation in the environment.
async fn fence(daemon: &Daemon, rollout: &Rollout) -> Result<Fence> {
    let lease = daemon.options.db.lease(&rollout.environment).await?;
    Ok(lease.map_or(Fence(0), |lease| lease.fence))
}

async fn look_after(daemon: Arc<Daemon>, watched: Arc<Watched>, rollout: Rollout) {
    match settle(&daemon, &rollout).await {
        Ok(Watching::Done) => {
            watched.leave(&rollout);
            daemon.bell.ring();
        }
        Ok(Watching::LeftToPeople(fence)) => watched.leave_to_people(&rollout, fence),
        Err(error) => {
            tracing::warn!("deployment {}: {}", rollout.deployment, error.full_message());
            // What was in the way may be gone by then.
            tokio::time::sleep(Duration::from_secs(1)).await;
            watched.leave(&rollout);
        }
    }
}

enum Watching {
    Done,
    /// It is bad and stays at its share, which is not looked at again before somebody did something there.
    LeftToPeople(Fence),
}

async fn settle(daemon: &Daemon, rollout: &Rollout) -> Result<Watching> {
    match settle::settle_rollout(&daemon.options.db, &daemon.options.ports, rollout).await? {
        // Whatever overtook it takes a moment.
        Settled::Overtaken => {
            tokio::time::sleep(Duration::from_millis(100)).await;
            Ok(Watching::Done)
        }
        Settled::Good | Settled::Bad(_, Automatic::Overtaken) => Ok(Watching::Done),
        Settled::Bad(deployment, Automatic::RolledBack(rolled)) => {
            let Deployment { version, environment, .. } = *deployment;
            tracing::info!("{environment} went back from {version} to {}", rolled.event.target_version);
            Ok(Watching::Done)
        }
        Settled::Bad(deployment, Automatic::Held(why)) => {
            let Deployment { version, environment, .. } = *deployment;
            tracing::warn!("{version} in {environment} is bad and stays where it is, because {why}");
            Ok(Watching::LeftToPeople(fence(daemon, rollout).await?))
        }
    }
}

#[cfg(test)]
mod tests {
    use orchestrate_core::name::{EnvironmentName, ReleaseId, Version};
    use orchestrate_core::rollout::Course;
    use orchestrate_core::slot::Slot;
    use orchestrate_core::time::{Span, Timestamp};
    use orchestrate_core::traffic::TrafficRules;

    use super::*;

    fn rollout(weight: u8) -> Rollout {
        let (wait, warm_for, rules) = (Span::default(), Span::default(), TrafficRules::default());
        Rollout {
            deployment: DeploymentId(7),
            environment: EnvironmentName::new("production").unwrap(),
            version: Version::new("1.1").unwrap(),
            release: ReleaseId(3),
            slot: Slot::Green,
            course: Course { steps: vec![10, 100], wait, warm_for, rules, staged: false },
            weight,
            since: Timestamp::from_millis(1),
            next_at: None,
            paused: None,
        }
    }

    #[test]
    fn what_was_left_to_people_is_watched_again_once_somebody_did_something_there() {
        let (watched, canary) = (Watched::default(), rollout(10));
        assert!(watched.take(&canary, Fence(4)));
        assert!(!watched.take(&canary, Fence(4)), "it is being watched");
        assert!(!watched.take(&canary, Fence(5)), "whatever is done meanwhile");
        assert!(watched.take(&rollout(25), Fence(5)), "another share is another watch");
        watched.leave_to_people(&canary, Fence(5));
        assert!(!watched.take(&canary, Fence(5)), "nothing was done since");
        assert!(watched.take(&canary, Fence(6)), "a promotion failed since");
        watched.leave(&canary);
        assert!(watched.take(&canary, Fence(6)));
    }
}
