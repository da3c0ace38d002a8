//! What a drill does: there and back where the target is warm, beside what is live where it is cold; or why it is refused.

use super::previous::{Asker, History, previous};
use super::rollback::{Situation, ready};
use super::{Afterwards, OperationKind, Place, Plan, Step};
use crate::deployment::{Deployment, DeploymentStatus};
use crate::deployment_strategy::StrategyKind;
use crate::environment::{EnvironmentSettings, EnvironmentType};
use crate::error::{Error, Result};
use crate::hooks::Hook;
use crate::name::{DeploymentId, EnvironmentName};
use crate::policy::frozen;
use crate::ports::Processes;
use crate::release::Release;
use crate::rollback_event::RollbackPath;
use crate::slot::{Slot, SlotRecord, SlotState};
use crate::time::Timestamp;

/// A drill that can be carried out.
#[derive(Clone, Debug, PartialEq)]
pub struct DrillPlan {
    /// By which the release is live that a rollback would leave.
    pub deployment: DeploymentId,
    pub live: Release,
    pub target: Release,
    pub path: RollbackPath,
    pub plan: Plan,
    /// What a rollback would do and this does not.
    pub remarks: Vec<String>,
}

/// Decides. Nothing is touched, so a refusal changes nothing.
pub fn plan(situation: &Situation, settings: &EnvironmentSettings, now: Timestamp) -> Result<DrillPlan> {
    let environment = &situation.environment;
    allowed(environment, settings, now)?;
    let (deployment, live, slot) = live(situation)?;
    settled(situation, deployment)?;
    let target = target(situation, deployment, live)?;
    carries(situation, deployment, live, slot)?;
    is_asked(environment, live, target)?;
    hooks_permit(live)?;
    let (here, warm) = (Place::of(live, slot), warm(situation, target));
    let (path, place, steps) = match warm {
        Some(place) => (RollbackPath::Warm, place.clone(), there_and_back(&place, &here)),
        None => {
            let place = Place::of(target, free_slot(situation, live, target, slot)?);
            (RollbackPath::Cold, place.clone(), beside(&place))
        }
    };
    let (kind, afterwards) = (OperationKind::Drill, Afterwards::Retire);
    let plan = Plan { kind, target: place, from: Some(here), steps, afterwards, halt: None };
    let (live, target) = (live.clone(), target.clone());
    let remarks = remarks(&live, &target);
    Ok(DrillPlan { deployment: deployment.id, live, target, path, plan, remarks })
}

/// Whether anybody may drill here now at all.
fn allowed(environment: &EnvironmentName, settings: &EnvironmentSettings, now: Timestamp) -> Result<()> {
    if settings.kind == EnvironmentType::Production && !settings.drill.production {
        let what = format!("{environment} is of type production, where drills must be allowed first");
        return Err(Error::refused("ORC-0192", what).hint(
            "write `drill: { production: true }` for it in the config file, then: orchestrate env apply",
        ));
    }
    match freeze(settings, now) {
        None => Ok(()),
        Some(why) => Err(Error::refused("ORC-0195", format!("no drill in {environment} now: {why}"))
            .hint(format!("drill when it is over: orchestrate deploy drill --env {environment}"))),
    }
}

/// Why nothing is to be moved at `now` that need not be; none while it may.
pub fn freeze(settings: &EnvironmentSettings, now: Timestamp) -> Option<String> {
    if let Some(frozen) = frozen(&settings.policy.freezes, now) {
        return Some(format!("it is frozen until {}: {}", frozen.until_there, frozen.name));
    }
    let windows = &settings.windows;
    let open = windows.is_empty() || windows.iter().any(|window| window.contains(now));
    (!open).then(|| format!("no deployment window is open at {now}"))
}

fn live(situation: &Situation) -> Result<(&Deployment, &Release, Slot)> {
    let (live, slot) = situation.live.as_ref().ok_or_else(|| nothing(situation, "nothing is live"))?;
    let (deployment, _) = situation
        .current
        .as_ref()
        .filter(|(_, release)| release.id == live.id)
        .ok_or_else(|| busy(&situation.environment, "what is live changed meanwhile"))?;
    Ok((deployment, live, *slot))
}

fn nothing(situation: &Situation, why: &str) -> Error {
    let environment = &situation.environment;
    Error::refused("ORC-0190", format!("there is nothing to drill in {environment}: {why}"))
        .hint(format!("see what there is: orchestrate deploy candidates --env {environment}"))
}

pub(crate) fn busy(environment: &EnvironmentName, why: &str) -> Error {
    Error::refused("ORC-0191", format!("no drill in {environment} now: {why}"))
        .hint(format!("wait for it, then look: orchestrate deploy status --env {environment}"))
}

/// What is being watched would be judged by another release's answers.
fn settled(situation: &Situation, deployment: &Deployment) -> Result<()> {
    let environment = &situation.environment;
    if let Some(staged) = situation.slots.iter().find(|record| record.state == SlotState::Staged) {
        return Err(busy(environment, &format!("{} is being rolled out", staged.version)));
    }
    match deployment.status {
        DeploymentStatus::Pending | DeploymentStatus::Validating | DeploymentStatus::InProgress => {
            Err(busy(environment, &format!("{} is still being watched", deployment.version)))
        }
        DeploymentStatus::Failed | DeploymentStatus::TimedOut => {
            Err(unwell(environment, deployment, "its deployment failed"))
        }
        DeploymentStatus::Completed | DeploymentStatus::RolledBack => Ok(()),
    }
}

fn unwell(environment: &EnvironmentName, deployment: &Deployment, why: &str) -> Error {
    Error::refused("ORC-0196", format!("{} is live in {environment} but {why}", deployment.version))
        .hint(format!("see how it stands: orchestrate deploy status --env {environment}"))
}

/// Where a rollback from what is live would go to.
fn target<'a>(
    situation: &'a Situation,
    deployment: &'a Deployment,
    live: &'a Release,
) -> Result<&'a Release> {
    let history = History { current: (deployment, live), live: Some(live), releases: &situation.older };
    previous(&history, Asker::Person)
        .filter(|target| target.id != live.id)
        .ok_or_else(|| nothing(situation, &format!("there is no good release before {}", live.version)))
}

/// Nothing is tried while it might be the only thing that helps.
fn carries(situation: &Situation, deployment: &Deployment, live: &Release, slot: Slot) -> Result<()> {
    let sound = ready(situation, Some(&Place::of(live, slot)), live, true);
    sound.map_err(|why| unwell(&situation.environment, deployment, &why))
}

/// What gets no traffic can neither be switched to nor be proven.
fn is_asked(environment: &EnvironmentName, live: &Release, target: &Release) -> Result<()> {
    let unasked = [live, target].into_iter().find(|release| release.contents.routed().next().is_none());
    match unasked {
        None => Ok(()),
        Some(release) => Err(no_place(environment, target, &format!("{} gets no traffic", release.version))),
    }
}

fn no_place(environment: &EnvironmentName, target: &Release, why: &str) -> Error {
    let what = format!("a rollback to {} in {environment} cannot be drilled: {why}", target.version);
    Error::refused("ORC-0193", what).hint(format!(
        "see what a rollback would do: orchestrate deploy rollback --env {environment} --dry-run"
    ))
}

/// A drill runs no command of a release, because nobody knows how to take it back.
fn hooks_permit(live: &Release) -> Result<()> {
    if !live.contents.hooks.contains_key(&Hook::PreRollback) {
        return Ok(());
    }
    let (version, environment) = (&live.version, &live.environment);
    Err(Error::refused(
        "ORC-0198",
        format!("a rollback from {version} in {environment} begins with its pre_rollback, which a drill does not run"),
    )
    .hint(format!("see what a rollback would do: orchestrate deploy rollback --env {environment} --dry-run")))
}

fn warm(situation: &Situation, target: &Release) -> Option<Place> {
    let warm = |record: &&SlotRecord| record.release == target.id && record.state == SlotState::Warm;
    situation.slots.iter().find(warm).map(|record| Place::of(target, record.slot))
}

/// The traffic is there only for as long as the proof takes. Workers stay where they are: two releases at the same jobs
/// are no rehearsal.
fn there_and_back(target: &Place, live: &Place) -> Vec<Step> {
    let trip = |place: &Place| [Step::SwitchTraffic(place.clone()), Step::ProveLive(place.clone())];
    [trip(target), trip(live)].concat()
}

/// The traffic stays where it is.
fn beside(target: &Place) -> Vec<Step> {
    vec![
        Step::Fetch(target.clone()),
        Step::Start(target.clone(), Processes::Routed),
        Step::AwaitHealthy(target.clone(), Processes::Routed),
        Step::Drain(target.clone()),
        Step::Stop(target.clone(), Processes::All),
    ]
}

/// Where the target can be started without anything having to go for it.
fn free_slot(situation: &Situation, live: &Release, target: &Release, taken: Slot) -> Result<Slot> {
    let environment = &situation.environment;
    if situation.strategy == StrategyKind::Recreate {
        let why = "`recreate` stops one release before it starts the next";
        return Err(no_place(environment, target, why));
    }
    if live.contents.settings.engine.rolls || target.contents.settings.engine.rolls {
        let why = "the engine itself replaces one release by the other";
        return Err(no_place(environment, target, why));
    }
    let slot = taken.other();
    match situation.slots.iter().find(|record| record.slot == slot) {
        None => Ok(slot),
        Some(record) => Err(occupied(environment, target, record)),
    }
}

fn occupied(environment: &EnvironmentName, target: &Release, record: &SlotRecord) -> Error {
    let SlotRecord { slot, version, .. } = record;
    let why = match record.until.filter(|_| record.state == SlotState::Warm) {
        Some(until) => format!("{version} is kept warm there until {until}"),
        None => format!("{version} is still there"),
    };
    let what = format!("there is no place for {} in {environment}: {slot} is taken, {why}", target.version);
    Error::refused("ORC-0194", what)
        .hint(format!("drill once it is gone: orchestrate deploy drill --env {environment}"))
}

fn remarks(live: &Release, target: &Release) -> Vec<String> {
    let mut remarks = Vec::new();
    if target.contents.has_unrouted() {
        remarks.push(format!("the workers of {} are not started", target.version));
    }
    if live.contents.hooks.contains_key(&Hook::PostRollback) {
        remarks.push(format!("post_rollback of {} is not run", live.version));
    }
    remarks
}
