//! Rollbacks across a change of data: refused, unless a person says why it is right; never by themselves.

use super::{Asking, DeploymentRollback};
use crate::data_change::{Crossing, crossing};
use crate::error::{Error, Result};
use crate::plan::rollback::{RollbackPlan, Terms, Wanted};
use crate::rollback_event::RollbackPath;
use crate::situation::Observed;

/// The code of the refusal.
pub(super) const CROSSES: &str = "ORC-0140";

impl DeploymentRollback {
    /// What lies between what is live and the target. Where nothing moves, nothing is crossed.
    pub(super) async fn crossing(&self, plan: &RollbackPlan, observed: &Observed) -> Result<Crossing> {
        if plan.path == RollbackPath::None {
            return Ok(Crossing::Nothing);
        }
        let since = self.db.list_live_since(&observed.situation.environment, plan.target.id).await?;
        let live = observed.situation.live.as_ref().map(|(release, _)| release);
        Ok(crossing(live, &plan.target, &since))
    }

    /// The change of data that is crossed because a person said so; refused where nobody did.
    pub(super) async fn may_cross(
        &self,
        plan: &mut RollbackPlan,
        observed: &Observed,
        terms: &Terms,
        asking: &Asking,
    ) -> Result<Option<String>> {
        match self.crossing(plan, observed).await? {
            Crossing::Nothing => Ok(None),
            Crossing::Unknown(what) => {
                plan.remarks.push(what);
                Ok(None)
            }
            Crossing::Refused(why) if terms.force && asking.reason.is_some() && !terms.automatic => {
                plan.remarks.push(format!("crosses a change of data: {why}"));
                Ok(Some(why))
            }
            Crossing::Refused(why) => Err(refusal(plan, terms, &why)),
        }
    }
}

pub(super) fn refusal(plan: &RollbackPlan, terms: &Terms, why: &str) -> Error {
    let environment = &plan.deployment.environment;
    let target = match &terms.wanted {
        Wanted::Previous => String::new(),
        Wanted::Version(version) => format!(" --version {version}"),
        Wanted::Undo => " --undo".to_owned(),
    };
    let what =
        format!("going to {} in {environment} would cross a change of data: {why}", plan.target.version);
    Error::refused(CROSSES, what).hint(format!(
        "deploy a release that can work with the data; or, if you know that {} can: \
         orchestrate deploy rollback --env {environment}{target} --force --reason TEXT",
        plan.target.version
    ))
}
