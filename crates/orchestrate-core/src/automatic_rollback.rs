//! The rollback that nobody asked for: of a live deployment that turned out bad, unless something holds it back.

use crate::deployment::{Deployment, DeploymentStatus};
use crate::deployment_rollback::{Asking, DeploymentRollback, RollbackRequest, RolledBack, failed};
use crate::error::{Error, Result};
use crate::evidence::{Consequence, Evidence};
use crate::execute::record::hold_automatic;
use crate::plan::brakes::{self, History};
use crate::post_deploy_verification::Judged;
use crate::rollback_event::{RollbackStatus, Trigger};
use crate::time::Span;

/// What became of it.
#[derive(Clone, Debug)]
pub enum Automatic {
    RolledBack(Box<RolledBack>),
    /// The deployment stays live until a person decides, who was told; and why.
    Held(String),
    /// Something else is live by now.
    Overtaken,
}

/// Errors of a rollback that another attempt cannot mend: no target, one that cannot be restored, one that failed, one across a
/// change of data, one that another release which is being rolled out leaves no room for, one that would overwrite what somebody
/// changed, one that others would not work with.
const FINAL: [&str; 9] = [
    "ORC-0102", "ORC-0117", "ORC-0118", "ORC-0119", "ORC-0140", "ORC-0151", "ORC-0166", "ORC-0185",
    "ORC-0186",
];
/// What is live now is another deployment.
const NOT_CURRENT: &str = "ORC-0132";
/// More automatic rollbacks than any brake asks about.
const REMEMBERED: i64 = 500;

impl DeploymentRollback {
    /// Rolls a bad live deployment back, or records why not and tells people. `told`: people know of the evidence.
    ///
    /// An error is in the way for now: try again.
    pub async fn rollback_by_itself(&self, deployment: &Deployment, told: bool) -> Result<Automatic> {
        let live = self.db.environment(&deployment.environment).await?.live;
        let rollout = self.db.open_rollout(&deployment.environment).await?;
        let on_its_way = rollout.is_some_and(|rollout| rollout.deployment == deployment.id);
        if !on_its_way && live.is_none_or(|live| live.deployment != deployment.id) {
            return Ok(Automatic::Overtaken);
        }
        if let Some((why, quietly)) = self.held_back(deployment, told).await? {
            return self.hold(deployment, why, quietly).await;
        }
        let because = deployment.error_message.clone().unwrap_or_else(|| "the deployment failed".to_owned());
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
            evidence: deployment.evidence.clone(),
            ..Asking::by("orchestrate")
        };
        let error = match self.rollback_as(&request, &asking).await {
            Ok(rolled) if rolled.event.status == RollbackStatus::Completed => {
                return Ok(Automatic::RolledBack(Box::new(rolled)));
            }
            Ok(rolled) => failed(&rolled),
            Err(error) if error.code() == NOT_CURRENT => return Ok(Automatic::Overtaken),
            Err(error) => error,
        };
        if !FINAL.contains(&error.code()) {
            return Err(error);
        }
        self.hold(deployment, format!("it cannot be rolled back by itself: {}", one_line(&error)), false)
            .await
    }

    /// What was found bad so long ago stays live until a person decides.
    pub(crate) async fn give_up_by_itself(&self, deployment: &Deployment, after: Span) -> Result<Automatic> {
        let why = format!("it could not be rolled back by itself within {after}");
        self.hold(deployment, why, false).await
    }

    /// Why it is not even tried, and whether people know of that.
    async fn held_back(&self, deployment: &Deployment, told: bool) -> Result<Option<(String, bool)>> {
        let environment = self.db.environment(&deployment.environment).await?;
        let policy = &environment.environment.settings.rollback;
        if !policy.automatic {
            return Ok(Some(("`rollback.automatic` is false".into(), told)));
        }
        if !Judged::rolls_back(&deployment.evidence) {
            let notify = |one: &&Evidence| one.condemns() && one.consequence == Consequence::Notify;
            let checks: Vec<&str> =
                deployment.evidence.iter().filter(notify).map(|one| one.check.as_str()).collect();
            return Ok(Some((format!("`on_bad` is `notify` for {}", checks.join(", ")), told)));
        }
        let newest = self.db.list_completed_rollbacks(&deployment.environment, 1).await?;
        let automatic = self.db.list_automatic_rollbacks(&deployment.environment, REMEMBERED).await?;
        let history = History { newest: newest.first(), automatic: &automatic };
        let brake = brakes::brake(policy, deployment, &history, self.ports.clock.now());
        Ok(brake.map(|brake| (brake.to_string(), false)))
    }

    async fn hold(&self, deployment: &Deployment, why: String, quietly: bool) -> Result<Automatic> {
        hold_automatic(&self.db, deployment, &why, quietly, self.ports.clock.now()).await?;
        Ok(Automatic::Held(why))
    }
}

fn one_line(error: &Error) -> String {
    error.full_message().lines().next().unwrap_or_default().to_owned()
}

impl Deployment {
    /// Whether it is bad, live as far as it knows, and nothing was decided about that yet.
    pub fn awaits_rollback(&self) -> bool {
        self.status == DeploymentStatus::Failed && self.automatic_hold.is_none()
    }
}

#[cfg(test)]
mod tests;
