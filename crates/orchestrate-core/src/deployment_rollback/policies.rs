//! Whether the policies of an environment let a rollback through. One that is made by itself is not asked.

use super::{Asking, DeploymentRollback, RollbackRequest, again};
use crate::dependency;
use crate::error::{Error, Result};
use crate::hooks::Hook;
use crate::plan::rollback::{RollbackPlan, Terms};
use crate::policy::{self, Asks, Back};
use crate::rollback_event::RollbackPath;
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
        // Who takes a part back that came too far asks nobody.
        if asking.part.is_some_and(|part| part.goes_forward) {
            return Ok(None);
        }
        if terms.automatic {
            // What others need is no policy of the day.
            let broken = self.broken(plan, observed, asking).await?;
            return policy::verdict(broken, false);
        }
        let mut against = self.against(plan, observed, (request, asking), asking.reason.is_some()).await?;
        if asking.skip_pre_rollback {
            let what = format!("{} of {} is left out", Hook::PreRollback, plan.from.version);
            against.push(Error::failed("ORC-0118", what).hint("that takes --break-glass --reason TEXT"));
        }
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
        let mut against = policy::against_rolling_back(policy, &asks, &back);
        against.extend(self.broken(plan, observed, asking).await?);
        Ok(against)
    }

    /// What would not work together any more: releases of other environments with the target, or it with them.
    async fn broken(&self, plan: &RollbackPlan, observed: &Observed, asking: &Asking) -> Result<Vec<Error>> {
        if plan.path == RollbackPath::None {
            return Ok(Vec::new());
        }
        let target = &plan.target;
        let mut broken =
            dependency::broken(&self.db, &observed.environment, target, &asking.together).await?;
        if asking.together.is_empty() {
            broken.extend(dependency::unmet(&self.db, target).await?);
        }
        Ok(broken)
    }
}
