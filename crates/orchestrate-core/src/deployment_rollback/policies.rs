//! Whether the policies of an environment let a rollback through. One that is made by itself is not asked.

use super::{Asking, DeploymentRollback, RollbackRequest, again};
use crate::error::{Error, Result};
use crate::plan::rollback::{RollbackPlan, Terms};
use crate::policy::{self, Asks, Back};
use crate::situation::Observed;
use crate::time::Span;

const HOUR: Span = Span::from_secs(3600);

impl DeploymentRollback {
    /// What was overridden, where somebody broke the glass; refused by what stands in the way otherwise.
    pub(super) async fn cleared(
        &self,
        plan: &RollbackPlan,
        observed: &Observed,
        terms: &Terms,
        (request, asking): (&RollbackRequest, &Asking),
    ) -> Result<Option<String>> {
        if terms.automatic {
            return Ok(None);
        }
        let against = self.against(plan, observed, (request, asking), asking.reason.is_some()).await?;
        policy::verdict(against, asking.break_glass)
    }

    /// Everything that stands in the way of a rollback that a person asks for, with a reason or without.
    pub(super) async fn against(
        &self,
        plan: &RollbackPlan,
        observed: &Observed,
        (request, asking): (&RollbackRequest, &Asking),
        has_reason: bool,
    ) -> Result<Vec<Error>> {
        let policy = &observed.environment.environment.settings.policy;
        let (environment, now) = (&request.environment, self.ports.clock.now());
        let typed = format!("{}{}", again(request, asking), if request.force { " --force" } else { "" });
        let asks = Asks { environment, has_reason, typed: &typed, now };
        let limits = &policy.rollback;
        let mut back =
            Back { target: &plan.target.version, releases: None, left_at: None, within_the_hour: None };
        if limits.max_back.is_some() {
            back.releases = Some(self.db.count_releases_back(&plan.from, &plan.target).await?);
        }
        if limits.max_age.is_some() {
            back.left_at = self.db.left_at(environment, plan.target.id).await?;
        }
        if limits.manual_at_most_per_hour.is_some() {
            back.within_the_hour = Some(self.db.count_manual_rollbacks(environment, HOUR, now).await?);
        }
        Ok(policy::against_rolling_back(policy, &asks, &back))
    }
}
