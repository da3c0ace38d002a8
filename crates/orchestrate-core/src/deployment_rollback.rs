//! The rollback, read straight: request, situation, plan, begin, execute, conclude.

mod crossing;
mod differences;
mod groups;
mod memory;
mod policies;
mod preview;
/// What cannot be had, and what could not be asked about just now: the latter may be well a moment later.
fn unfetched(plan: &RollbackPlan, error: &PortError) -> Error {
    let (version, environment) = (&plan.target.version, &plan.deployment.environment);
    match error.kind {
        PortErrorKind::Unreachable | PortErrorKind::TimedOut => {
            Error::refused("ORC-0133", format!("the artifact of {version} could not be looked at: {error}"))
                .hint("nothing was changed; try again; if it stays so: orchestrate daemon status")
        }
        PortErrorKind::Fenced | PortErrorKind::NotReady | PortErrorKind::Missing | PortErrorKind::Failed => {
            let message = format!("{version} cannot be restored as it was sealed: {error}");
            Error::refused("ORC-0117", message).hint(format!(
                "nothing was changed; see what else there is: orchestrate deploy candidates --env {environment}"
            ))
        }
    }
}

#[cfg(test)]
mod tests;

pub use differences::{Difference, differences};
pub use groups::{Carried, GroupPreview, GroupRequest};
pub use preview::{Candidate, Depth, Preview, Readiness};

use crate::database::{Asked, Database, sites};
use crate::deployment_drill::anew_with_room;
use crate::drift;
use crate::error::{Error, Result};
use crate::evidence::Evidence;
use crate::execute::record::{
    NewRollback, begin_rollback, busy, conclude_rollback, record_no_move, replan_rollback,
};
use crate::execute::{self, Failure, FailureKind, Limits, Operation, Outcome};
use crate::group::PartOf;
use crate::hooks::Hook;
use crate::name::{DeploymentId, EnvironmentName, RollbackId, Version};
use crate::plan::previous::Asker;
use crate::plan::rollback::{RollbackPlan, Terms, Wanted};
use crate::plan::token::PlanToken;
use crate::plan::{self, Plan};
use crate::ports::{Fetch, PortError, PortErrorKind, Ports};
use crate::rollback_event::{RollbackEvent, RollbackStatus, Trigger};
use crate::situation::{self, Observed, Question};

/// What a caller asks for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RollbackRequest {
    pub environment: EnvironmentName,
    /// None: the newest good release before the current one.
    pub target_version: Option<Version>,
    /// Leaves out the checks that are made before anything is touched.
    pub skip_validation: bool,
    /// Also rolls back a completed deployment, and goes to a held version.
    pub force: bool,
}

/// Who asks, why, and how.
#[derive(Clone, Debug)]
pub struct Asking {
    pub actor: String,
    pub reason: Option<String>,
    pub trigger: Trigger,
    /// Only if this is live, or what would be rolled back: what came later is not meant.
    pub of: Option<DeploymentId>,
    /// What showed the release to be bad.
    pub evidence: Vec<Evidence>,
    /// Goes forward again to where the newest rollback came from; `target_version` is ignored.
    pub undo: bool,
    /// Whatever policies say; with the force of `force`, recorded, and told to everybody.
    pub break_glass: bool,
    /// Without the `pre_rollback` of what is left; only with the glass broken, which says so to everybody.
    pub skip_pre_rollback: bool,
    /// Environments that go back with it: what they need now does not count.
    pub together: Vec<EnvironmentName>,
    /// The part of a group's rollback that it is.
    pub part: Option<PartOf>,
    /// Exactly the plan that was shown before, or nothing.
    pub plan: Option<PlanToken>,
    pub limits: Limits,
}

impl Asking {
    pub fn by(actor: impl Into<String>) -> Self {
        Self {
            actor: actor.into(),
            reason: None,
            trigger: Trigger::Api,
            of: None,
            evidence: Vec::new(),
            undo: false,
            break_glass: false,
            skip_pre_rollback: false,
            together: Vec::new(),
            part: None,
            plan: None,
            limits: Limits::default(),
        }
    }
}

/// A rollback that came to an end.
#[derive(Clone, Debug)]
pub struct RolledBack {
    pub event: RollbackEvent,
    /// What the person should know, e.g. why it was not warm.
    pub remarks: Vec<String>,
    /// What an instance said before it failed.
    pub detail: Option<String>,
}

/// Rolls deployments back, and tells about it.
#[derive(Clone)]
pub struct DeploymentRollback {
    pub(crate) db: Database,
    pub(crate) ports: Ports,
}

impl DeploymentRollback {
    pub fn new(db: Database, ports: Ports) -> Self {
        Self { db, ports }
    }

    /// Rolls back and returns the event as recorded; an error if it did not complete.
    pub async fn rollback(&self, request: &RollbackRequest) -> Result<RollbackEvent> {
        let rolled = self.rollback_as(request, &Asking::by("api")).await?;
        match rolled.event.status {
            RollbackStatus::Completed => Ok(rolled.event),
            RollbackStatus::Pending
            | RollbackStatus::InProgress
            | RollbackStatus::Failed
            | RollbackStatus::NeedsAttention => Err(failed(&rolled)),
        }
    }

    /// Rolls back in somebody's name. Refusals are errors; what was begun is told by the event's status.
    pub async fn rollback_as(&self, request: &RollbackRequest, asking: &Asking) -> Result<RolledBack> {
        let asked_at = self.ports.clock.now();
        let request = &RollbackRequest { force: request.force || asking.break_glass, ..request.clone() };
        let once = || Box::pin(self.rollback_once(request, asking, asked_at));
        let result = anew_with_room(&self.db, &self.ports, &request.environment, &asking.actor, once).await;
        let asked = Asked {
            environment: &request.environment,
            actor: &asking.actor,
            what: if asking.undo { "undo" } else { "rollback" },
            version: request.target_version.as_ref().map(Version::as_str),
            reason: asking.reason.as_deref(),
        };
        self.db.noted(&asked, result, self.ports.clock.now()).await
    }

    /// One event by its number.
    pub async fn get_rollback(&self, id: RollbackId) -> Result<RollbackEvent> {
        self.db.get_deployment_rollback_event(id).await?.ok_or_else(|| {
            Error::refused("ORC-0113", format!("there is no rollback {id}"))
                .hint("list them: orchestrate deploy rollbacks --env NAME")
        })
    }

    /// The newest events first; an unknown environment is an error.
    pub async fn list_rollbacks(
        &self,
        environment: &EnvironmentName,
        limit: usize,
    ) -> Result<Vec<RollbackEvent>> {
        self.db.environment(environment).await?;
        self.db.list_deployment_rollback_events(environment, i64::try_from(limit).unwrap_or(i64::MAX)).await
    }

    async fn rollback_once(
        &self,
        request: &RollbackRequest,
        asking: &Asking,
        asked_at: crate::time::Timestamp,
    ) -> Result<RolledBack> {
        let (terms, observed) = self.look(request, asking).await?;
        let mut plan = plan::rollback::plan(&observed.situation, &terms)?;
        if let Some(meant) = asking.of.filter(|meant| *meant != plan.deployment.id) {
            return Err(Error::refused(
                "ORC-0132",
                format!("deployment {meant} is not the current one any more, {} is", plan.deployment.id),
            )
            .hint(format!("see how it stands: orchestrate deploy status --env {}", request.environment)));
        }
        if let Some(shown) = &asking.plan {
            same_plan(shown, &PlanToken::of(&observed.situation, observed.seen.fence, &plan), request)?;
        }
        let live = observed.situation.live.as_ref().map(|(release, slot)| (release, *slot));
        drift::refuse(&self.ports, live, request.force, &again(request, asking)).await?;
        let crossed = self.may_cross(&mut plan, &observed, &terms, asking).await?;
        let overrode = self.cleared(&plan, &observed, &terms, (request, asking)).await?;
        let new = NewRollback {
            plan: &plan,
            environment: &observed.environment,
            live: observed.situation.live.as_ref().map(|(release, _)| release),
            actor: &asking.actor,
            reason: asking.reason.as_deref(),
            trigger: asking.trigger,
            evidence: &asking.evidence,
            crossed: crossed.as_deref(),
            overrode: overrode.as_deref(),
            part: asking.part,
            asked_at,
            seen: observed.seen.clone(),
        };
        let Some(steps) = &plan.plan else {
            let event = record_no_move(&self.db, &self.ports, &new).await?;
            self.remark(&plan);
            return Ok(RolledBack { event, remarks: plan.remarks.clone(), detail: None });
        };
        if !request.skip_validation {
            self.validate(&plan, steps).await?;
        }
        let operation = begin_rollback(&self.db, &self.ports, &new, steps).await?;
        if let Some(overrode) = &overrode {
            self.ports.progress.remark(&format!("the glass is broken: {overrode}"));
        }
        self.remark(&plan);
        self.carry_out(operation, &new, &observed, &terms, asking).await
    }

    /// Told once it is begun, because until then a plan may be made again.
    fn remark(&self, plan: &RollbackPlan) {
        for remark in &plan.remarks {
            self.ports.progress.remark(remark);
        }
    }

    /// What is known, and how it was asked; refused here if another operation is open.
    async fn look(&self, request: &RollbackRequest, asking: &Asking) -> Result<(Terms, Observed)> {
        let wanted = wanted(request, asking);
        let automatic = matches!(asking.trigger, Trigger::Verification | Trigger::Watch);
        let question = Question { wanted: &wanted, asker: Asker::of(automatic), of: asking.of };
        let observed = situation::observe(&self.db, &self.ports, &request.environment, question).await?;
        if observed.busy {
            return Err(busy(&self.db, &self.ports, &request.environment).await?);
        }
        sites::only_here(&self.db, &self.ports, &observed.environment).await?;
        let (force, skip_pre_rollback) = (request.force, asking.skip_pre_rollback);
        Ok((Terms { wanted, force, automatic, distrust_warm: false, skip_pre_rollback }, observed))
    }

    /// A cold start needs the sealed artifact, whole, and the secrets: better known before anything is touched.
    async fn validate(&self, plan: &RollbackPlan, steps: &Plan) -> Result<()> {
        if steps.is_warm() {
            return Ok(());
        }
        let fetched = self.ports.provider.fetch(&Fetch::of(&plan.target)).await;
        fetched.map_err(|error| unfetched(plan, &error))
    }

    async fn carry_out(
        &self,
        mut operation: Operation,
        new: &NewRollback<'_>,
        observed: &Observed,
        terms: &Terms,
        asking: &Asking,
    ) -> Result<RolledBack> {
        let (limits, mut remarks) = (&asking.limits, new.plan.remarks.clone());
        let mut outcome = execute::run(&self.db, &self.ports, &mut operation, limits).await?;
        if let Outcome::Undone(because @ Failure { kind: FailureKind::NotReady, .. }) = &outcome
            && operation.record.plan.is_warm()
            && asking.plan.is_none()
        {
            let because = because.clone();
            let terms = Terms { distrust_warm: true, ..terms.clone() };
            let cold = plan::rollback::plan(&observed.situation, &terms)?;
            let steps = cold.plan.clone().ok_or_else(|| Error::bug("a cold plan without steps"))?;
            let remark = format!(
                "the warm {} was not ready ({}); it is started anew",
                cold.target.version, because.message
            );
            self.ports.progress.remark(&remark);
            remarks.push(remark);
            let again = NewRollback { plan: &cold, seen: observed.seen.clone(), ..*new };
            operation =
                replan_rollback(&self.db, &self.ports, &mut operation, &because, &again, &steps).await?;
            outcome = execute::run(&self.db, &self.ports, &mut operation, limits).await?;
        }
        let detail = outcome.failure().and_then(|failure| failure.detail.clone());
        let event = conclude(&self.db, &self.ports, &mut operation, &outcome).await?;
        Ok(RolledBack { event, remarks, detail })
    }
}

/// What a person typed, or would have.
fn again(request: &RollbackRequest, asking: &Asking) -> String {
    let undo = if asking.undo { " --undo" } else { "" };
    let version = request.target_version.as_ref().map_or_else(String::new, |v| format!(" --version {v}"));
    format!("orchestrate deploy rollback --env {}{version}{undo}", request.environment)
}

fn same_plan(shown: &PlanToken, now: &PlanToken, request: &RollbackRequest) -> Result<()> {
    if shown == now {
        return Ok(());
    }
    let environment = &request.environment;
    Err(Error::refused(
        "ORC-0141",
        format!(
            "the plan for {environment} is not the one that was shown: something that it depends on changed"
        ),
    )
    .hint(format!(
        "look at it as it is now, with the same --version or --undo: \
         orchestrate deploy rollback --env {environment} --dry-run"
    )))
}

fn wanted(request: &RollbackRequest, asking: &Asking) -> Wanted {
    match (&request.target_version, asking.undo) {
        (_, true) => Wanted::Undo,
        (Some(version), false) => Wanted::Version(version.clone()),
        (None, false) => Wanted::Previous,
    }
}

/// Concludes while making sure that the switch outlives a loss of power: both must be true before success is told.
pub(crate) async fn conclude(
    db: &Database,
    ports: &Ports,
    operation: &mut Operation,
    outcome: &Outcome,
) -> Result<RollbackEvent> {
    let last = outcome.last_switch(operation);
    let (kept, event) = tokio::join!(execute::keep_traffic(ports, last.as_ref()), async {
        tokio::task::yield_now().await;
        conclude_rollback(db, ports, operation, outcome).await
    });
    if let Err(error) = kept {
        ports.progress.remark(&format!("the proxy did not confirm that its state is on disk: {error}"));
    }
    event
}

/// The error of a rollback that was begun and did not complete.
pub fn failed(rolled: &RolledBack) -> Error {
    let RollbackEvent { id, environment, from_version, target_version, error_message, .. } = &rolled.event;
    let why = error_message.as_deref().unwrap_or("no reason is recorded");
    let detail = rolled.detail.as_ref().map_or_else(String::new, |text| format!("\n{text}"));
    let what = format!("rollback {id} of {environment} from {from_version} to {target_version}");
    if rolled.event.status == RollbackStatus::NeedsAttention {
        return Error::needs_attention("ORC-0119", format!("{what} needs attention: {why}{detail}"))
            .hint(format!("mend the cause, then finish it: orchestrate deploy resume --env {environment}"));
    }
    Error::failed(
        "ORC-0118",
        format!("{what} failed and was put back; users are served as before: {why}{detail}"),
    )
    .hint(match why.starts_with(Hook::PreRollback.as_str()) {
        true => format!(
            "every rollback from {from_version} begins with it; mend what it needs, or go without it: orchestrate deploy \
             rollback --env {environment} --skip-pre-rollback --break-glass --reason TEXT"
        ),
        false => format!("see what else there is: orchestrate deploy candidates --env {environment}"),
    })
}
