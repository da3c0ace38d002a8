//! What a rollback goes back to, and how; or why it is refused.

use super::deploy::{beside, free_slot, make_room, switch, touches_traffic};
use super::hooks::around_rollback;
use super::previous::{Asker, History, previous};
use super::{Afterwards, OperationKind, Place, Plan, Step, canary};
use crate::deployment::{Deployment, DeploymentStatus};
use crate::deployment_strategy::StrategyKind;
use crate::error::{Error, Result};
use crate::hooks::Hook;
use crate::name::{EnvironmentName, Version};
use crate::ports::{Processes, RouterView, SlotView};
use crate::release::Release;
use crate::rollback_event::{RollbackEvent, RollbackPath, RollbackType};
use crate::slot::{Slot, SlotRecord, SlotState};
use crate::time::Span;

/// What is asked for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Wanted {
    /// The newest good release before the current one.
    Previous,
    Version(Version),
    /// Where the newest rollback came from.
    Undo,
}

/// Everything that the decision depends on: facts only, no handles.
#[derive(Clone, Debug)]
pub struct Situation {
    pub environment: EnvironmentName,
    pub strategy: StrategyKind,
    /// How long a release that was left stays warm, so that `--undo` is a mere switch too.
    pub warm_for: Span,
    /// The newest deployment that was not rolled back, with its release.
    pub current: Option<(Deployment, Release)>,
    pub live: Option<(Release, Slot)>,
    pub slots: Vec<SlotRecord>,
    /// Good releases older than the current one, newest in lineage first.
    pub older: Vec<Release>,
    /// Where there is none of them: the newest good release at all, to be named.
    pub newer: Option<Release>,
    /// The newest release of the version that was asked for, if there is one.
    pub requested: Option<Release>,
    /// The newest completed rollback that was not taken back, with the release that it left.
    pub last_rollback: Option<(RollbackEvent, Option<Release>)>,
    /// What the router says, or why it says nothing.
    pub router: std::result::Result<RouterView, String>,
    /// What somebody else changed of what waits warm, by its slot.
    pub changed: Vec<(Slot, String)>,
}

/// How it was asked.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Terms {
    pub wanted: Wanted,
    pub force: bool,
    /// By orchestrate itself, because the current release turned out bad.
    pub automatic: bool,
    /// The warm slot turned out not to be ready: start the target anew.
    pub distrust_warm: bool,
    /// Without the `pre_rollback` of what is left.
    pub skip_pre_rollback: bool,
}

/// A rollback that can be carried out.
#[derive(Clone, Debug, PartialEq)]
pub struct RollbackPlan {
    pub deployment: Deployment,
    pub from: Release,
    pub target: Release,
    pub rollback_type: RollbackType,
    pub path: RollbackPath,
    /// None where the target serves already.
    pub plan: Option<Plan>,
    /// The rollback that this one takes back.
    pub undoes: Option<RollbackEvent>,
    /// What the person should know, e.g. why it is not warm.
    pub remarks: Vec<String>,
}

impl RollbackPlan {
    /// Goes without a hook of what is left.
    fn leave_out(&mut self, hook: Hook) {
        if let Some(plan) = &mut self.plan {
            plan.steps.retain(|step| !matches!(step, Step::Hook(_, of) if *of == hook));
        }
        if self.from.contents.hooks.contains_key(&hook) {
            self.remarks.push(format!("{hook} of {} is left out", self.from.version));
        }
    }
}

/// Decides. Nothing is touched, so a refusal changes nothing.
pub fn plan(situation: &Situation, terms: &Terms) -> Result<RollbackPlan> {
    let environment = &situation.environment;
    let (deployment, current) = current(situation)?;
    let (target, undoes) = match &terms.wanted {
        Wanted::Previous => (default_target(situation, Asker::of(terms.automatic))?.clone(), None),
        Wanted::Version(version) => (specific(situation, version, terms.force)?.clone(), None),
        Wanted::Undo => {
            let (event, release) = undone(situation)?;
            (release.clone(), Some(event.clone()))
        }
    };
    if asks_for_force(deployment, &terms.wanted) && !terms.force && !terms.automatic {
        return Err(Error::refused(
            "ORC-0104",
            format!(
                "deployment {} of {} is completed; use --force to roll it back",
                deployment.id, deployment.version
            ),
        )
        .hint(format!(
            "it would go back to {}: orchestrate deploy rollback --env {environment}{} --force",
            target.version,
            match &terms.wanted {
                Wanted::Version(version) => format!(" --version {version}"),
                Wanted::Previous | Wanted::Undo => String::new(),
            }
        )));
    }
    let mut way = Way::choose(situation, &target, terms)?;
    way.plan = way.plan.map(|plan| around_rollback(plan, situation, &target));
    way.remarks.extend(what_to_know(&target, terms, undoes.as_ref()));
    let from = situation.live.as_ref().map_or_else(|| current.clone(), |(release, _)| release.clone());
    let mut plan = RollbackPlan {
        rollback_type: rollback_type(terms, way.path),
        deployment: deployment.clone(),
        from: if undoes.is_some() { from } else { current.clone() },
        target,
        path: way.path,
        plan: way.plan,
        undoes,
        remarks: way.remarks,
    };
    if terms.skip_pre_rollback {
        plan.leave_out(Hook::PreRollback);
    }
    Ok(plan)
}

/// Whether a person must say `--force`, because what is rolled back is recorded as good.
pub fn asks_for_force(deployment: &Deployment, wanted: &Wanted) -> bool {
    deployment.status == DeploymentStatus::Completed && *wanted != Wanted::Undo
}

/// What is unusual about the target.
fn what_to_know(target: &Release, terms: &Terms, undoes: Option<&RollbackEvent>) -> Vec<String> {
    let version = &target.version;
    let mut remarks = Vec::new();
    match (undoes, &target.hold) {
        (Some(event), Some(_)) => {
            remarks.push(format!(
                "takes rollback {} back, and lifts the hold that it set on {version}",
                event.id
            ));
        }
        (Some(event), None) => remarks.push(format!("takes rollback {} back", event.id)),
        (None, Some(hold)) => remarks.push(format!("{version} is held, and stays held: {}", hold.reason)),
        (None, None) => {}
    }
    if matches!(terms.wanted, Wanted::Version(_)) && target.proven_at.is_none() {
        remarks.push(format!("{version} was never proven good here"));
    }
    if terms.wanted == Wanted::Previous && !target.stands {
        remarks.push(format!("{version} was passed over by an earlier rollback to before it"));
    }
    remarks
}

fn current(situation: &Situation) -> Result<(&Deployment, &Release)> {
    let environment = &situation.environment;
    let (deployment, release) = situation.current.as_ref().ok_or_else(|| {
        Error::refused("ORC-0102", format!("there is no deployment in {environment} to roll back"))
            .hint(format!("deploy first: orchestrate deploy --env {environment} --version V"))
    })?;
    Ok((deployment, release))
}

/// What a rollback without a version goes to.
pub fn default_target(situation: &Situation, asker: Asker) -> Result<&Release> {
    let (deployment, release) = current(situation)?;
    let history = History {
        current: (deployment, release),
        live: situation.live.as_ref().map(|(live, _)| live),
        releases: &situation.older,
    };
    previous(&history, asker).ok_or_else(|| no_previous(situation, release))
}

fn no_previous(situation: &Situation, current: &Release) -> Error {
    let environment = &situation.environment;
    let what = format!("there is no good release before {} in {environment}", current.version);
    // After an older release was deployed again, what served before it is newer in lineage.
    let instead = situation.newer.as_ref().map_or_else(
        || "go to one of them by name: orchestrate deploy rollback --env ENV --version V --force".to_owned(),
        |newer| {
            format!(
                "go to {v}, the newest good one after it: \
                 orchestrate deploy rollback --env ENV --version {v} --force",
                v = newer.version
            )
        },
    );
    let instead = instead.replace("ENV", environment.as_str());
    Error::refused("ORC-0102", what)
        .hint(format!("see what there is: orchestrate deploy candidates --env {environment}; {instead}"))
}

fn specific<'a>(situation: &'a Situation, version: &Version, force: bool) -> Result<&'a Release> {
    let environment = &situation.environment;
    let candidates = || {
        let mut names: Vec<&str> = situation.older.iter().map(|release| release.version.as_str()).collect();
        names.dedup();
        if names.is_empty() {
            "there are no candidates".to_owned()
        } else {
            format!("candidates: {}", names.join(", "))
        }
    };
    let Some(release) = situation.requested.as_ref().filter(|release| release.lineage.is_some()) else {
        return Err(Error::refused("ORC-0103", format!("{version} was never live in {environment}"))
            .hint(candidates()));
    };
    if let Some(since) = release.pruned_at {
        return Err(Error::refused(
            "ORC-0142",
            format!("{version} was pruned in {environment} at {since}: its artifact is not kept any more"),
        )
        .hint(format!(
            "deploy it again: orchestrate deploy --env {environment} --version {version}; or {}",
            candidates()
        )));
    }
    match &release.hold {
        Some(hold) if !force => Err(Error::refused(
            "ORC-0105",
            format!("{version} is held in {environment} since {}: {}", hold.since, hold.reason),
        )
        .hint(format!(
            "go there all the same with --force, or lift the hold: \
             orchestrate deploy unhold {version} --env {environment} --reason TEXT"
        ))),
        _ => Ok(release),
    }
}

fn undone(situation: &Situation) -> Result<(&RollbackEvent, &Release)> {
    let environment = &situation.environment;
    let nothing = |what: &str| {
        Error::refused("ORC-0106", format!("there is no rollback in {environment} to take back{what}"))
            .hint(format!("see what was done: orchestrate deploy rollbacks --env {environment}"))
    };
    let (event, release) = situation.last_rollback.as_ref().ok_or_else(|| nothing(""))?;
    let release = release.as_ref().ok_or_else(|| nothing(": the release it left is not known"))?;
    let moved = event.path != RollbackPath::None && event.left_release() != event.target_release;
    if !moved || release.lineage.is_none() {
        let (id, left) = (event.id, &event.from_version);
        let what = format!(": what rollback {id} left, {left}, had not gone live with all of the traffic");
        return Err(nothing(&what).hint(format!(
            "deploy it again: orchestrate deploy unhold {left} --env {environment} --reason TEXT, then deploy"
        )));
    }
    if release.pruned_at.is_some() {
        return Err(nothing(&format!(": {} was pruned meanwhile", release.version)));
    }
    // Only the newest step can be taken back; after another deployment it would not lead to where one came from.
    let stands = situation.live.as_ref().is_some_and(|(live, _)| Some(live.id) == event.target_release);
    let deployed = situation.current.as_ref().and_then(|(deployment, _)| deployment.went_live_at);
    if !stands || deployed > event.completed_at {
        return Err(nothing(&format!(": since rollback {} something else went live", event.id)));
    }
    Ok((event, release))
}

fn rollback_type(terms: &Terms, path: RollbackPath) -> RollbackType {
    match (&terms.wanted, path) {
        _ if terms.automatic => RollbackType::Automatic,
        (Wanted::Version(_) | Wanted::Undo, _) => RollbackType::Specific,
        (Wanted::Previous, RollbackPath::Warm) => RollbackType::BlueGreenSwitch,
        (Wanted::Previous, RollbackPath::Cold | RollbackPath::None) => RollbackType::Previous,
    }
}

/// How the target comes to serve.
struct Way {
    path: RollbackPath,
    plan: Option<Plan>,
    remarks: Vec<String>,
}

impl Way {
    fn choose(situation: &Situation, target: &Release, terms: &Terms) -> Result<Self> {
        match situation.slots.iter().find(|record| record.state == SlotState::Staged) {
            Some(staged) => Self::leave(situation, staged, target, terms),
            None => Ok(Self::exchange(situation, target, terms)),
        }
    }

    /// Both slots are taken by what shares the traffic, so the way out is to what is live.
    fn leave(situation: &Situation, staged: &SlotRecord, target: &Release, terms: &Terms) -> Result<Self> {
        let live = situation.live.as_ref().filter(|(live, _)| live.id == target.id);
        let live = live.map(|(live, slot)| Place::of(live, *slot)).ok_or_else(|| {
            let (version, environment) = (&staged.version, &situation.environment);
            Error::refused("ORC-0151", format!("{version} is being rolled out in {environment}")).hint(
                format!("go back to what is live first: orchestrate deploy rollback --env {environment}"),
            )
        })?;
        let staged = Place { slot: staged.slot, release: staged.release, version: staged.version.clone() };
        let mut remarks = Vec::new();
        let sick = match ready(situation, Some(&live), target, false) {
            Ok(()) => terms.distrust_warm,
            Err(why) => {
                remarks.push(format!("{} is live but {why}; it is started again", target.version));
                true
            }
        };
        let path = if sick { RollbackPath::Cold } else { RollbackPath::Warm };
        Ok(Self { path, plan: Some(canary::leave(staged, live, target, sick)), remarks })
    }

    fn exchange(situation: &Situation, target: &Release, terms: &Terms) -> Self {
        let mut remarks = Vec::new();
        let live = situation.live.as_ref().map(|(release, slot)| Place::of(release, *slot));
        if live.as_ref().is_some_and(|place| place.release == target.id) {
            match ready(situation, live.as_ref(), target, true) {
                Ok(()) => {
                    remarks.push(format!("{} is live already and healthy", target.version));
                    return Self { path: RollbackPath::None, plan: None, remarks };
                }
                Err(why) => {
                    remarks.push(format!("{} is live but {why}; it is started again", target.version))
                }
            }
        }
        let warm = situation
            .slots
            .iter()
            .find(|record| record.release == target.id && record.state == SlotState::Warm)
            .map(|record| Place::of(target, record.slot));
        if let Some(place) = warm {
            match ready(situation, Some(&place), target, false) {
                _ if terms.distrust_warm => {
                    remarks.push(format!("{} was warm but not ready; it is started again", target.version));
                }
                Ok(()) => return Self::warm(situation, target, place, live, terms, remarks),
                Err(why) => {
                    remarks.push(format!("{} was warm but {why}; it is started again", target.version))
                }
            }
        }
        Self::cold(situation, target, live, terms, remarks)
    }

    /// Users first: the traffic is switched before the workers, which did not run while it was warm.
    fn warm(
        situation: &Situation,
        target: &Release,
        place: Place,
        live: Option<Place>,
        terms: &Terms,
        remarks: Vec<String>,
    ) -> Self {
        let routed = touches_traffic(target, situation.live.as_ref().map(|(release, _)| release));
        let mut steps = switch(&place, target, routed);
        if target.contents.has_unrouted() {
            steps.push(Step::Start(place.clone(), Processes::Unrouted));
            steps.push(Step::AwaitHealthy(place.clone(), Processes::Unrouted));
        }
        let afterwards = after(situation, live.as_ref(), terms);
        Self { path: RollbackPath::Warm, plan: Some(rollback(place, live, steps, afterwards)), remarks }
    }

    fn cold(
        situation: &Situation,
        target: &Release,
        live: Option<Place>,
        terms: &Terms,
        remarks: Vec<String>,
    ) -> Self {
        // A live target that is sick is started beside itself: what is left of it serves until then.
        let slot = match &live {
            Some(place) => place.slot.other(),
            None => situation
                .slots
                .iter()
                .find(|record| record.release == target.id)
                .map_or_else(|| free_slot(&situation.slots), |record| record.slot),
        };
        let place = Place::of(target, slot);
        let routed = touches_traffic(target, situation.live.as_ref().map(|(release, _)| release));
        let mut steps = beside(&place, target, routed);
        let there = |record: &SlotRecord| record.slot == slot && record.release == target.id;
        let sick = || terms.distrust_warm || ready(situation, Some(&place), target, false).is_err();
        if situation.slots.iter().any(there) && sick() {
            // To start it would leave what runs but does not answer as it is.
            steps.insert(1, Step::Stop(place.clone(), Processes::All));
        }
        if let (StrategyKind::Recreate, Some(live)) = (situation.strategy, &live) {
            steps.insert(1, Step::Stop(live.clone(), Processes::All));
        }
        make_room(&mut steps, &place, &situation.slots, routed);
        let afterwards = match target.contents.settings.engine.rolls {
            // The engine put the target in its place.
            true => Afterwards::Retire,
            false => after(situation, live.as_ref(), terms),
        };
        Self { path: RollbackPath::Cold, plan: Some(rollback(place, live, steps, afterwards)), remarks }
    }
}

fn rollback(target: Place, from: Option<Place>, steps: Vec<Step>, afterwards: Afterwards) -> Plan {
    Plan { kind: OperationKind::Rollback, target, from, steps, afterwards, halt: None }
}

/// A release that a person left while it was well stays warm for a while; one that showed itself bad is stopped.
fn after(situation: &Situation, left: Option<&Place>, terms: &Terms) -> Afterwards {
    let release = situation.live.as_ref().map(|(release, _)| release);
    let well = release.is_some_and(|release| ready(situation, left, release, true).is_ok());
    match situation.strategy {
        StrategyKind::BlueGreen | StrategyKind::Canary if well && !terms.automatic => {
            Afterwards::KeepWarm(situation.warm_for)
        }
        StrategyKind::BlueGreen | StrategyKind::Recreate | StrategyKind::Rolling | StrategyKind::Canary => {
            Afterwards::Retire
        }
    }
}

/// Whether the router sees as many ready instances of each routed process type as the release wants.
pub(super) fn ready(
    situation: &Situation,
    place: Option<&Place>,
    release: &Release,
    must_serve: bool,
) -> std::result::Result<(), String> {
    if release.contents.routed().next().is_none() {
        return Ok(());
    }
    let view = situation.router.as_ref().map_err(|why| format!("the proxy does not answer ({why})"))?;
    let slot =
        place.and_then(|place| view.placed(place.slot, release.id)).ok_or("the proxy does not know it")?;
    if must_serve && slot.weight == 0 {
        return Err("has no traffic".into());
    }
    let changed =
        situation.changed.iter().find(|(changed, _)| place.is_some_and(|place| place.slot == *changed));
    if let Some((_, changes)) = changed {
        return Err(format!("somebody changed it ({changes})"));
    }
    has_enough(slot, release)
}

/// Whether the router sees as many ready instances as the release wants, of each routed process type.
pub(crate) fn has_enough(slot: &SlotView, release: &Release) -> std::result::Result<(), String> {
    for (name, process, _) in release.contents.routed() {
        let healthy = slot.healthy(name);
        if healthy < process.instances {
            return Err(format!("only {healthy} of {} instances of {name} are ready", process.instances));
        }
    }
    Ok(())
}
