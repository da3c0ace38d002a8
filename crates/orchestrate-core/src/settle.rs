//! What becomes of releases that are watched, and of operations whose program is gone: one decision each, which a daemon asks
//! for again and again.

use crate::automatic_rollback::Automatic;
use crate::database::{Database, OperationRecord, OperationStatus};
use crate::deployment::{Deployment, DeploymentStatus};
use crate::deployment_executor::{DeploymentExecutor, Promotion, failed};
use crate::deployment_rollback::DeploymentRollback;
use crate::error::Result;
use crate::execute::Limits;
use crate::ports::Ports;
use crate::post_deploy_verification::{self, Judged, Verdict};
use crate::rollout::{self, Next, Rollout};
use crate::time::{Span, Timestamp};

/// How long after it was found bad a live release may still be rolled back by itself.
const FRESH_FOR: Span = Span::from_secs(15 * 60);
/// How long after it was found bad people are still told that it was not.
const TOLD_FOR: Span = Span::from_secs(24 * 3600);

/// At the soonest.
const TRIED_AGAIN_AFTER: Span = Span::from_secs(5);

/// How it went with a release that was watched.
#[derive(Clone, Debug)]
pub enum Settled {
    /// Something else is there by now, or another operation is under way.
    Overtaken,
    /// It is proven, or got its next share of the traffic.
    Good,
    /// The deployment, and what was done about it.
    Bad(Box<Deployment>, Automatic),
}

impl Settled {
    fn bad(deployment: Deployment, came_of_it: Automatic) -> Self {
        Self::Bad(Box::new(deployment), came_of_it)
    }

    /// Whether anything is different now.
    pub const fn changed(&self) -> bool {
        match self {
            Self::Overtaken | Self::Bad(_, Automatic::Overtaken) => false,
            Self::Good | Self::Bad(_, Automatic::RolledBack(_) | Automatic::Held(_)) => true,
        }
    }
}

/// Those that bake, and those that are live although they were found bad and nothing was decided about that.
pub async fn unsettled(db: &Database, now: Timestamp) -> Result<Vec<Deployment>> {
    let mut found = db.list_baking().await?;
    for environment in db.list_environments().await? {
        let Some(live) = environment.live else { continue };
        if let Some(deployment) = db.deployment(live.deployment).await?
            && deployment.awaits_rollback()
            && db.rollback_of_deployment(deployment.id).await?.is_none()
            && is_within(TOLD_FOR, &deployment, now)
        {
            found.push(deployment);
        }
    }
    Ok(found)
}

fn is_within(span: Span, deployment: &Deployment, now: Timestamp) -> bool {
    deployment.completed_at.is_some_and(|end| now.millis_since(end) < span.as_millis())
}

/// Watches one of them to the end of its bake, and rolls it back if it is bad.
pub async fn settle(db: &Database, ports: &Ports, deployment: &Deployment) -> Result<Settled> {
    let rollback = DeploymentRollback::new(db.clone(), ports.clone());
    if deployment.status != DeploymentStatus::InProgress {
        // A bad release that people left live for longer is theirs.
        let came_of_it = match is_within(FRESH_FOR, deployment, ports.clock.now()) {
            true => rollback.rollback_by_itself(deployment, false).await?,
            false => rollback.give_up_by_itself(deployment, FRESH_FOR).await?,
        };
        return Ok(Settled::bad(deployment.clone(), came_of_it));
    }
    let Judged { verdict, evidence, told } = post_deploy_verification::watch(db, ports, deployment).await?;
    let verdict = match verdict {
        Verdict::Overtaken => return Ok(Settled::Overtaken),
        Verdict::Good => Ok(()),
        Verdict::Bad(because) => Err(because),
    };
    let executor = DeploymentExecutor::new(db.clone(), ports.clone());
    match executor.end_bake(deployment.id, verdict, &evidence).await? {
        Some(bad) if bad.status == DeploymentStatus::Failed => {
            let came_of_it = rollback.rollback_by_itself(&bad, told).await?;
            Ok(Settled::bad(bad, came_of_it))
        }
        Some(_) => Ok(Settled::Good),
        None => Ok(Settled::Overtaken),
    }
}

/// Watches a canary at one of its shares, then takes it on to the next, or back if it is bad.
pub async fn settle_rollout(db: &Database, ports: &Ports, rollout: &Rollout) -> Result<Settled> {
    match rollout::watch(db, ports, rollout).await? {
        Next::Overtaken => Ok(Settled::Overtaken),
        Next::Bad(deployment) => leave(db, ports, rollout, *deployment).await,
        Next::Promote => promote(db, ports, rollout).await,
    }
}

async fn promote(db: &Database, ports: &Ports, rollout: &Rollout) -> Result<Settled> {
    let promotion = Promotion {
        environment: rollout.environment.clone(),
        all: false,
        actor: "orchestrate".into(),
        by_itself: Some(rollout.deployment),
        break_glass: false,
        reason: None,
        limits: Limits::default(),
    };
    let promoted = DeploymentExecutor::new(db.clone(), ports.clone()).promote(&promotion).await?;
    match failed(&promoted, None) {
        // What went wrong with all of the traffic is the business of those that bake.
        Some(error) if db.open_rollout(&rollout.environment).await?.is_some() => {
            let error_message = Some(error.message().to_owned());
            leave(db, ports, rollout, Deployment { error_message, ..promoted.deployment }).await
        }
        _ => Ok(Settled::Good),
    }
}

/// Back to what is live; or, where something holds that back, not a step further.
async fn leave(db: &Database, ports: &Ports, rollout: &Rollout, bad: Deployment) -> Result<Settled> {
    let rollback = DeploymentRollback::new(db.clone(), ports.clone());
    let came_of_it = rollback.rollback_by_itself(&bad, false).await?;
    if let Automatic::Held(why) = &came_of_it {
        let because = bad.error_message.as_deref().unwrap_or(why);
        let executor = DeploymentExecutor::new(db.clone(), ports.clone());
        executor.pause_by_itself(rollout, because).await?;
    }
    Ok(Settled::bad(bad, came_of_it))
}

impl DeploymentExecutor {
    /// Whether nobody carries the operation out any more, so that whoever sees it may [resume](Self::resume) it.
    pub async fn is_left_open(&self, operation: &OperationRecord) -> Result<bool> {
        match operation.status {
            OperationStatus::Open => {
                let lease = self.db.lease(&operation.environment).await?;
                Ok(lease.is_some_and(|lease| self.is_abandoned(lease.holder.as_ref(), lease.expires_at)))
            }
            OperationStatus::NeedsAttention => Ok(is_due_again(operation, self.ports.clock.now())),
            OperationStatus::Completed | OperationStatus::Undone => Ok(false),
        }
    }
}

/// What needs attention is tried again by itself after as long as it has lasted so far: what it lacked may be back, as a
/// proxy that did not answer. A person may do so at any time.
fn is_due_again(operation: &OperationRecord, now: Timestamp) -> bool {
    operation.ended_at.is_some_and(|stuck| {
        let lasted = stuck.millis_since(operation.started_at).max(TRIED_AGAIN_AFTER.as_millis());
        now.millis_since(stuck) >= lasted
    })
}
