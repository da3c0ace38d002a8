//! What a rollback would do, told beforehand: the plan, candidates, readiness.

use std::net::SocketAddr;

use serde::{Deserialize, Serialize};

use super::crossing::CROSSES;
use super::differences::{Difference, differences};
use super::{Asking, DeploymentRollback, RollbackRequest, memory};
use crate::database::sites;
use crate::environment::RouterKind;
use crate::error::Result;
use crate::name::{EnvironmentName, Version};
use crate::plan::previous::{Asker, why_not};
use crate::plan::rollback::{self, RollbackPlan, Terms, Wanted};
use crate::plan::token::PlanToken;
use crate::plan::{Afterwards, Plan};
use crate::policy::wants_reason;
use crate::ports::Fetch;
use crate::release::Release;
use crate::rollback_event::{RollbackPath, RollbackStatus, RollbackType};
use crate::situation::{self, Observed, Question};
use crate::slot::SlotState;
use crate::time::Timestamp;

/// The plan of a rollback, for people and scripts. Nothing was touched to make it.
#[derive(Clone, Debug, Serialize)]
pub struct Preview {
    pub environment: EnvironmentName,
    pub deployment_id: crate::name::DeploymentId,
    pub from_version: Version,
    pub target_version: Version,
    pub rollback_type: RollbackType,
    pub path: RollbackPath,
    /// In order; empty where the target serves already.
    pub steps: Vec<String>,
    /// What is done once users are served by the target.
    pub afterwards: Vec<String>,
    pub differences: Vec<Difference>,
    /// What would refuse it now.
    pub blockers: Vec<String>,
    /// Whether it must be asked for with `--force`.
    pub needs_force: bool,
    /// Whether it must also be said why: it crosses a change of data, or a policy asks for it.
    pub needs_reason: bool,
    pub remarks: Vec<String>,
    /// What may go wrong with it, as far as that can be known.
    pub warnings: Vec<String>,
    /// What `--plan` wants, to run exactly this.
    pub plan_token: PlanToken,
    /// Median of earlier ones on the same path here, in milliseconds; none without history.
    pub estimated_ms: Option<u64>,
}

/// A release that a rollback could take, or why not.
#[derive(Clone, Debug, Serialize)]
pub struct Candidate {
    pub version: Version,
    pub ready: bool,
    pub path: Option<RollbackPath>,
    /// Why a rollback without a version passes it over; none for the ones it could take.
    pub why_not: Option<String>,
    /// Whether a rollback without a version would take this one.
    pub default: bool,
    pub live: bool,
    pub sealed_at: Timestamp,
    pub proven: bool,
    pub proven_at: Option<Timestamp>,
    /// Whose signature its artifact had, where one was asked for.
    pub signed_by: Option<String>,
}

/// How closely is looked.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Depth {
    /// The artifact of a cold target is read, whole.
    Thorough,
    /// Only what costs little.
    Glance,
}

/// Whether a rollback without a version would work now.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Readiness {
    pub ready: bool,
    pub target_version: Option<Version>,
    pub rollback_type: Option<RollbackType>,
    pub path: Option<RollbackPath>,
    pub estimated_ms: Option<u64>,
    pub blockers: Vec<String>,
    /// What does not stand in its way, but speaks against relying on it: a drill that failed.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub problems: Vec<String>,
    /// What may go wrong with it all the same.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub warnings: Vec<String>,
    /// What to type for it, for people; none where there is nothing to go back to.
    #[serde(skip)]
    pub command: Option<String>,
}

impl DeploymentRollback {
    /// The plan, and what stands in its way; refused where there is nothing to plan.
    pub async fn preview(&self, request: &RollbackRequest, asking: &Asking) -> Result<Preview> {
        self.preview_at(request, asking, Depth::Thorough, false).await
    }

    /// `may_say_why`: that no reason was given is not in the way, because nobody asks for the rollback yet.
    pub(super) async fn preview_at(
        &self,
        request: &RollbackRequest,
        asking: &Asking,
        depth: Depth,
        may_say_why: bool,
    ) -> Result<Preview> {
        let wanted = super::wanted(request, asking);
        let question = Question::of_a_person(&wanted);
        let observed = situation::observe(&self.db, &self.ports, &request.environment, question).await?;
        let (force, skip_pre_rollback) = (request.force, asking.skip_pre_rollback);
        let asked = Terms { wanted, force, automatic: false, distrust_warm: false, skip_pre_rollback };
        let mut blockers = Vec::new();
        if observed.busy {
            blockers.push(
                crate::execute::record::busy(&self.db, &self.ports, &request.environment).await?.to_string(),
            );
        }
        if let Err(error) = sites::only_here(&self.db, &self.ports, &observed.environment).await {
            blockers.push(error.to_string());
        }
        let current = observed.situation.current.as_ref();
        let needs_force = current.is_some_and(|(of, _)| rollback::asks_for_force(of, &asked.wanted));
        // A missing --force is a blocker to be told; everything else that refuses leaves nothing to show.
        let mut plan = match rollback::plan(&observed.situation, &asked) {
            Err(error) if matches!(error.code(), "ORC-0104" | "ORC-0105") => {
                blockers.push(error.to_string());
                rollback::plan(&observed.situation, &Terms { force: true, ..asked.clone() })?
            }
            plan => plan?,
        };
        let crosses = match self.may_cross(&mut plan, &observed, &asked, asking).await {
            Err(error) if error.code() == CROSSES => {
                blockers.push(error.to_string());
                true
            }
            crossed => crossed?.is_some(),
        };
        let against = self.against(&plan, &observed, (request, asking), false).await?;
        let says_why = asking.reason.is_some() || may_say_why;
        let needs_reason = crosses || against.iter().any(wants_reason);
        let stands = against.iter().filter(|error| !(says_why && wants_reason(error)));
        blockers.extend(stands.map(ToString::to_string));
        if plan.path == RollbackPath::Cold
            && depth == Depth::Thorough
            && let Err(error) = self.ports.provider.fetch(&Fetch::of(&plan.target)).await
        {
            blockers.push(format!("{} cannot be restored as it was sealed: {error}", plan.target.version));
        }
        blockers.extend(self.taken(&plan, &observed));
        let warnings = self.warnings(&plan, &observed).await;
        let plan_token = PlanToken::of(&observed.situation, observed.seen.fence, &plan);
        Ok(Preview {
            environment: request.environment.clone(),
            deployment_id: plan.deployment.id,
            from_version: plan.from.version.clone(),
            target_version: plan.target.version.clone(),
            rollback_type: plan.rollback_type,
            path: plan.path,
            steps: plan.plan.iter().flat_map(|plan| plan.steps().iter().map(ToString::to_string)).collect(),
            afterwards: plan.plan.as_ref().map_or_else(Vec::new, afterwards),
            differences: differences(&plan.from.contents, &plan.target.contents),
            blockers,
            needs_force: needs_force || crosses,
            needs_reason,
            plan_token,
            warnings,
            remarks: plan.remarks,
            estimated_ms: self.estimate(&request.environment, plan.path).await?,
        })
    }

    /// The addresses of a target that must be started, where they are not ours and somebody else has them by now.
    fn taken(&self, plan: &RollbackPlan, observed: &Observed) -> Vec<String> {
        let settings = &observed.environment.environment.settings;
        let Ok(view) = &observed.situation.router else { return Vec::new() };
        if plan.path != RollbackPath::Cold || settings.router() != RouterKind::Builtin {
            return Vec::new();
        }
        let ours = |at: SocketAddr| {
            view.slots.iter().flat_map(|slot| &slot.backends).any(|backend| backend.listen == at)
        };
        let elsewhere = plan.target.contents.routed().filter(|(_, _, listen)| !ours(*listen));
        elsewhere
            .filter_map(|(name, _, listen)| {
                let why = self.ports.host.taken(listen)?;
                Some(format!("{listen}, where `{name}` of {} listens, is taken: {why}", plan.target.version))
            })
            .collect()
    }

    /// What cannot be asked about now is no warning.
    async fn warnings(&self, plan: &RollbackPlan, observed: &Observed) -> Vec<String> {
        let Some(steps) = plan.plan.as_ref().filter(|_| plan.path == RollbackPath::Cold) else {
            return Vec::new();
        };
        let placement = steps.target().placement(&plan.deployment.environment);
        let Ok(Some(memory)) = self.ports.provider.memory(&placement).await else { return Vec::new() };
        let live = observed.situation.live.as_ref().map(|(live, _)| live);
        memory::shortage(plan, live, &memory).into_iter().collect()
    }

    /// The releases that were live, newest first, with what a rollback would make of each.
    pub async fn candidates(&self, environment: &EnvironmentName, limit: usize) -> Result<Vec<Candidate>> {
        let observed =
            situation::observe(&self.db, &self.ports, environment, Question::of_a_person(&Wanted::Previous))
                .await?;
        let limit = i64::try_from(limit).unwrap_or(i64::MAX);
        let mut candidates = Vec::new();
        let Some((_, current)) = &observed.situation.current else { return Ok(candidates) };
        let default =
            rollback::default_target(&observed.situation, Asker::Person).ok().map(|release| release.id);
        for release in self.db.list_lineage(environment, None, limit).await? {
            let live = observed.situation.live.as_ref().is_some_and(|(live, _)| live.id == release.id);
            let why_not = why_not(&release, current, Asker::Person);
            let path = self.path_to(&observed.situation, &release).await;
            // A held one must be asked for with --force: it is not ready as it is.
            let ready = path.is_ok() && (live || release.hold.is_none());
            candidates.push(Candidate {
                version: release.version.clone(),
                ready,
                why_not: why_not.or(path.as_ref().err().cloned()),
                path: path.ok(),
                default: default == Some(release.id),
                live,
                sealed_at: release.sealed_at,
                proven: release.proven_at.is_some(),
                proven_at: release.proven_at,
                signed_by: release.contents.artifact.signed_by,
            });
        }
        Ok(candidates)
    }

    /// Whether a rollback would work now, and how long it would take. Never an error for what is merely not ready.
    pub async fn readiness(&self, environment: &EnvironmentName) -> Result<Readiness> {
        self.readiness_at(environment, Depth::Thorough).await
    }

    /// The same, as closely as asked for.
    pub async fn readiness_at(&self, environment: &EnvironmentName, depth: Depth) -> Result<Readiness> {
        let request = RollbackRequest {
            environment: environment.clone(),
            target_version: None,
            skip_validation: false,
            force: true,
        };
        match self.preview_at(&request, &Asking::by("status"), depth, true).await {
            Ok(preview) => Ok(Readiness {
                ready: preview.blockers.is_empty(),
                target_version: Some(preview.target_version),
                rollback_type: Some(preview.rollback_type),
                path: Some(preview.path),
                estimated_ms: preview.estimated_ms,
                blockers: preview.blockers,
                problems: self.problems(environment).await?,
                warnings: preview.warnings,
                command: Some(format!(
                    "orchestrate deploy rollback --env {environment}{}{}",
                    if preview.needs_force { " --force" } else { "" },
                    if preview.needs_reason { " --reason TEXT" } else { "" }
                )),
            }),
            Err(error) if error.code() == "ORC-0102" => Ok(Readiness {
                ready: false,
                target_version: None,
                rollback_type: None,
                path: None,
                estimated_ms: None,
                blockers: vec![error.to_string()],
                problems: Vec::new(),
                warnings: Vec::new(),
                command: None,
            }),
            Err(error) => Err(error),
        }
    }

    async fn problems(&self, environment: &EnvironmentName) -> Result<Vec<String>> {
        let last = self.db.last_drill(environment).await?;
        Ok(last.and_then(|drill| drill.problem()).into_iter().collect())
    }

    async fn path_to(
        &self,
        situation: &rollback::Situation,
        release: &Release,
    ) -> Result<RollbackPath, String> {
        if situation.live.as_ref().is_some_and(|(live, _)| live.id == release.id) {
            return Ok(RollbackPath::None);
        }
        let warm = |record: &&crate::slot::SlotRecord| {
            record.release == release.id && record.state == SlotState::Warm
        };
        if situation.slots.iter().any(|record| warm(&record)) {
            return Ok(RollbackPath::Warm);
        }
        match self.ports.provider.fetch(&Fetch::of(release)).await {
            Ok(()) => Ok(RollbackPath::Cold),
            Err(error) => Err(format!("cannot be restored as it was sealed: {error}")),
        }
    }

    async fn estimate(&self, environment: &EnvironmentName, path: RollbackPath) -> Result<Option<u64>> {
        let mut times: Vec<u64> = self
            .db
            .list_deployment_rollback_events(environment, 20)
            .await?
            .into_iter()
            .filter(|event| event.path == path && event.status == RollbackStatus::Completed)
            .filter_map(|event| event.duration_ms)
            .collect();
        if times.is_empty() {
            let last = self.db.last_drill(environment).await?;
            return Ok(last.filter(|drill| drill.path == path).and_then(|drill| drill.way_there()));
        }
        times.sort_unstable();
        Ok(times.get(times.len() / 2).copied())
    }
}

fn afterwards(plan: &Plan) -> Vec<String> {
    let Some(from) = plan.from() else { return Vec::new() };
    match plan.afterwards() {
        Afterwards::KeepWarm(span) => vec![format!("keep {} warm for {span}, then stop it", from.version)],
        Afterwards::Retire => vec![
            format!("let the requests in flight to {} end", from.version),
            format!("stop {} in {}", from.version, from.slot),
        ],
    }
}
