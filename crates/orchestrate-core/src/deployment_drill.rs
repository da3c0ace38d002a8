//! The drill, read straight: situation, plan, begin, execute, conclude. Users are served by what is live before and after.

mod room;
mod scheduled;

pub(crate) use room::{anew_with_room, cleared as drill_cleared};
pub use scheduled::{Due, due};

use serde::Serialize;

use crate::data_change::{Crossing, crossing};
use crate::database::{Asked, Database, sites};
use crate::drift;
use crate::drill::{Drill, DrillStatus, DrillTrigger};
use crate::error::{Error, Result};
use crate::execute::record::{DrillToBegin, MOVED, anew, begin_drill, busy, conclude_drill};
use crate::execute::{self, Failure, FailureKind, Limits, Operation, Outcome};
use crate::name::{EnvironmentName, Version};
use crate::plan::drill::{self, DrillPlan};
use crate::plan::rollback::Wanted;
use crate::ports::Ports;
use crate::rollback_event::RollbackPath;
use crate::situation::{self, Observed, Question};
use room::Ear;

/// What is asked for, by whom, and why.
#[derive(Clone, Debug)]
pub struct DrillRequest {
    pub environment: EnvironmentName,
    pub actor: String,
    pub reason: Option<String>,
    pub trigger: DrillTrigger,
    pub limits: Limits,
}

/// A drill that came to an end.
#[derive(Clone, Debug)]
pub struct Drilled {
    pub drill: Drill,
    /// What a rollback would do and this did not.
    pub remarks: Vec<String>,
    /// What an instance said before it failed.
    pub detail: Option<String>,
}

/// The plan of a drill, for people and scripts. Nothing was touched to make it.
#[derive(Clone, Debug, Serialize)]
pub struct DrillPreview {
    pub environment: EnvironmentName,
    pub live_version: Version,
    pub target_version: Version,
    pub path: RollbackPath,
    /// In order.
    pub steps: Vec<String>,
    pub remarks: Vec<String>,
}

/// Rehearses rollbacks, and tells about it.
#[derive(Clone)]
pub struct DeploymentDrill {
    db: Database,
    ports: Ports,
}

impl DeploymentDrill {
    pub fn new(db: Database, ports: Ports) -> Self {
        Self { db, ports }
    }

    /// Rehearses. Refusals are errors; what was begun is told by the drill's status.
    pub async fn drill(&self, request: &DrillRequest) -> Result<Drilled> {
        let result = anew(|| Box::pin(self.drill_once(request))).await;
        let (environment, actor, reason) =
            (&request.environment, request.actor.as_str(), request.reason.as_deref());
        let asked = Asked { environment, actor, what: "drill", version: None, reason };
        let result = result.map_err(|error| as_of_a_drill(environment, error));
        self.db.noted(&asked, result, self.ports.clock.now()).await
    }

    /// The plan; refused where a drill would be.
    pub async fn preview(&self, environment: &EnvironmentName) -> Result<DrillPreview> {
        let plan = self.look(environment).await.map_err(|error| as_of_a_drill(environment, error))?.0;
        Ok(DrillPreview {
            environment: environment.clone(),
            live_version: plan.live.version,
            target_version: plan.target.version,
            path: plan.path,
            steps: plan.plan.steps().iter().map(ToString::to_string).collect(),
            remarks: plan.remarks,
        })
    }

    async fn drill_once(&self, request: &DrillRequest) -> Result<Drilled> {
        let asked_at = self.ports.clock.now();
        let (plan, observed) = self.look(&request.environment).await?;
        let new = DrillToBegin {
            plan: &plan,
            actor: &request.actor,
            reason: request.reason.as_deref(),
            trigger: request.trigger,
            asked_at,
            seen: observed.seen,
        };
        let mut operation = begin_drill(&self.db, &self.ports, &new).await?;
        plan.remarks.iter().for_each(|remark| self.ports.progress.remark(remark));
        let outcome = self.carry_out(&mut operation, &request.limits).await?;
        let detail = outcome.failure().and_then(|failure| failure.detail.clone());
        let drill = conclude(&self.db, &self.ports, &mut operation, &outcome, gave_up(&outcome)).await?;
        Ok(Drilled { drill, remarks: plan.remarks, detail })
    }

    async fn carry_out(&self, operation: &mut Operation, limits: &Limits) -> Result<Outcome> {
        let (ear, id) = (Ear::new(limits), operation.record.id);
        let limits = ear.limits();
        let outcome = tokio::select! {
            outcome = execute::run(&self.db, &self.ports, operation, &limits) => outcome?,
            never = ear.listen(&self.db, id) => match never {},
        };
        Ok(match (outcome, ear.wanted_by()) {
            (Outcome::Undone(failure), Some(who)) if failure.kind == FailureKind::Interrupted => {
                Outcome::Undone(Failure { message: format!("{who} wanted to act here"), ..failure })
            }
            (outcome, _) => outcome,
        })
    }

    /// What would be done, and what that rests on.
    async fn look(&self, name: &EnvironmentName) -> Result<(DrillPlan, Observed)> {
        let live = self.db.environment(name).await?.live.map(|live| live.deployment);
        // What failed without getting traffic has nothing to do with it.
        let question = Question { of: live, ..Question::of_a_person(&Wanted::Previous) };
        let observed = situation::observe(&self.db, &self.ports, name, question).await?;
        if observed.busy {
            return Err(busy(&self.db, &self.ports, name).await?);
        }
        sites::only_here(&self.db, &self.ports, &observed.environment).await?;
        let settings = &observed.environment.environment.settings;
        let mut plan = drill::plan(&observed.situation, settings, self.ports.clock.now())?;
        self.not_drifted(&observed).await?;
        self.reads_the_data(&mut plan).await?;
        Ok((plan, observed))
    }

    async fn not_drifted(&self, observed: &Observed) -> Result<()> {
        let live = observed.situation.live.as_ref().map(|(release, slot)| (release, *slot));
        drift::refuse(&self.ports, live, false, "")
            .await
            .map_err(|error| error.hint("put it back as it was, or deploy what is meant; then drill"))
    }

    /// A drill moves real users, and nobody answers for a release that cannot work with their data.
    async fn reads_the_data(&self, plan: &mut DrillPlan) -> Result<()> {
        let (environment, target) = (&plan.live.environment, &plan.target);
        let since = self.db.list_live_since(environment, target.id).await?;
        match crossing(Some(&plan.live), target, &since) {
            Crossing::Nothing => Ok(()),
            Crossing::Unknown(what) => {
                plan.remarks.push(what);
                Ok(())
            }
            Crossing::Refused(why) => Err(Error::refused(
                "ORC-0199",
                format!("a drill to {} in {environment} would cross a change of data: {why}", target.version),
            )
            .hint(format!(
                "see what a rollback would do: orchestrate deploy rollback --env {environment} --dry-run"
            ))),
        }
    }
}

/// Whoever holds the lease keeps a drill out, whatever it is about.
fn as_of_a_drill(environment: &EnvironmentName, error: Error) -> Error {
    match error.code() {
        "ORC-0110" | "ORC-0116" | MOVED => {
            let refusal = drill::busy(environment, error.message());
            match error.hint_text() {
                Some(hint) => refusal.hint(hint),
                None => refusal,
            }
        }
        _ => error,
    }
}

/// By a person, or for one. What was left alone has failed.
fn gave_up(outcome: &Outcome) -> bool {
    matches!(outcome, Outcome::Undone(failure) if failure.kind == FailureKind::Interrupted)
}

/// Concludes while making sure that the traffic stays where it was brought back to.
pub(crate) async fn conclude(
    db: &Database,
    ports: &Ports,
    operation: &mut Operation,
    outcome: &Outcome,
    gave_up: bool,
) -> Result<Drill> {
    let last = outcome.last_switch(operation);
    if let Err(error) = execute::keep_traffic(ports, last.as_ref()).await {
        ports.progress.remark(&format!("the proxy did not confirm that its state is on disk: {error}"));
    }
    conclude_drill(db, ports, operation, outcome, gave_up).await
}

/// The error of a drill that was begun and did not complete.
pub fn failed(drilled: &Drilled) -> Error {
    let Drill { id, environment, target_version, error_message, status, .. } = &drilled.drill;
    let why = error_message.as_deref().unwrap_or("no reason is recorded");
    let detail = drilled.detail.as_ref().map_or_else(String::new, |text| format!("\n{text}"));
    let what = format!("drill {id} of a rollback of {environment} to {target_version}");
    match status {
        DrillStatus::NeedsAttention => {
            Error::needs_attention("ORC-0119", format!("{what} needs attention: {why}{detail}")).hint(
                format!("mend the cause, then finish it: orchestrate deploy resume --env {environment}"),
            )
        }
        DrillStatus::GivenUp => {
            Error::failed("ORC-0197", format!("{what} was given up; users are served as before: {why}"))
                .hint(format!("drill again: orchestrate deploy drill --env {environment}"))
        }
        DrillStatus::Failed | DrillStatus::InProgress | DrillStatus::Completed => Error::failed(
            "ORC-0197",
            format!("{what} failed and was put back; users are served as before: {why}{detail}"),
        )
        .hint(format!("see what else there is: orchestrate deploy candidates --env {environment}")),
    }
}

#[cfg(test)]
mod tests;
