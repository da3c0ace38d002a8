//! Operations that are cut short or disturbed at every point, and what is true afterwards.

mod crashes;
mod faults;
mod forgetful;
mod journal;
mod rolling;
mod rollouts;
mod table;

use std::collections::BTreeSet;

use crate::database::{Database, OperationStatus};
use crate::deployment::DeploymentStatus;
use crate::deployment_drill::DeploymentDrill;
use crate::deployment_executor::{DeployRequest, DeploymentExecutor};
use crate::deployment_rollback::{Asking, DeploymentRollback};
use crate::drill::DrillStatus;
use crate::environment::EnvironmentSettings;
use crate::error::Error;
use crate::fakes::{Fault, Kind, When};
use crate::hooks::{Hook, IfItFails};
use crate::ports::Ports;
use crate::rollback_event::RollbackStatus;
use crate::slot::SlotState;
use crate::slot_tending::tend;
use crate::stage::{Stage, canary, hooked, recreate, rolling, v, with_worker};
use crate::time::Span;
use table::{Act, Way};

/// What is done, and what the stage looks like before it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Scene {
    FirstDeploy,
    Deploy,
    RecreateDeploy,
    WarmRollback,
    ColdRollback,
    RecreateRollback,
    /// The warm target turns sick at the moment of the switch.
    SickRollback,
    /// The live release is the target, and sick.
    SickLive,
    /// The live release is bad and goes back by itself, past a newer deployment that never got traffic.
    BadLive,
    Undo,
    RollingDeploy,
    CanaryDeploy,
    StagedDeploy,
    Promote,
    PromoteAll,
    CanaryRollback,
    /// A canary that is bad at its first share goes back by itself.
    BadCanary,
    /// With a command of the release at every place.
    HookedDeploy,
    HookedRollback,
    /// What has no scene of its own.
    Plain(Way, Act),
}

impl Scene {
    fn settings(self) -> EnvironmentSettings {
        match self {
            Self::Plain(way, _) => way.settings(),
            Self::RecreateDeploy | Self::RecreateRollback => recreate(),
            Self::HookedDeploy | Self::HookedRollback => {
                let mut settings = hooked();
                // A release that is condemned waits for its rollback, which is neither of the two ends.
                settings.hooks.get_mut(&Hook::PostDeploy).unwrap().on_failure = IfItFails::Ignore;
                settings
            }
            Self::FirstDeploy
            | Self::Deploy
            | Self::WarmRollback
            | Self::ColdRollback
            | Self::SickRollback
            | Self::SickLive
            | Self::BadLive
            | Self::Undo
            | Self::StagedDeploy => with_worker(),
            Self::RollingDeploy => rolling(),
            Self::CanaryDeploy
            | Self::Promote
            | Self::PromoteAll
            | Self::CanaryRollback
            | Self::BadCanary => EnvironmentSettings { strategy: canary().strategy, ..with_worker() },
        }
    }

    async fn stage(self) -> Stage {
        let stage = Stage::with(self.settings(), &[]).await;
        if let Self::Plain(way, act) = self {
            act.prepare(&stage, way).await;
            return stage;
        }
        stage
            .deploy_all(match self {
                Self::FirstDeploy | Self::Plain(..) => &[],
                Self::Deploy
                | Self::RecreateDeploy
                | Self::RollingDeploy
                | Self::CanaryDeploy
                | Self::StagedDeploy
                | Self::HookedDeploy => &["1.0"],
                Self::Promote | Self::PromoteAll | Self::CanaryRollback | Self::BadCanary => &["1.0", "1.1"],
                Self::WarmRollback
                | Self::SickRollback
                | Self::RecreateRollback
                | Self::SickLive
                | Self::BadLive => &["1.0", "1.1"],
                Self::ColdRollback => &["1.0", "1.1", "1.2"],
                Self::Undo | Self::HookedRollback => &["1.0", "1.1"],
            })
            .await;
        tend(&stage.db, &stage.world.ports()).await.unwrap();
        match self {
            Self::Undo => {
                stage.rollback().rollback(&stage.forced()).await.unwrap();
            }
            Self::SickLive => {
                stage.world.never_healthy(&v("1.2"));
                stage.deploy("1.2").await;
                stage.world.put_instances(&v("1.1"), crate::ports::InstanceState::Unhealthy);
            }
            Self::BadLive => {
                stage.world.never_healthy(&v("1.2"));
                stage.deploy("1.2").await;
            }
            Self::Promote => {
                stage.executor().pause(&stage.environment, "ada", "lunch").await.unwrap();
            }
            _ => {}
        }
        stage.world.clock.advance(Span::from_secs(60));
        stage
    }

    /// The versions between which it moves.
    const fn versions(self) -> (Option<&'static str>, &'static str) {
        match self {
            Self::FirstDeploy => (None, "1.0"),
            Self::Deploy
            | Self::HookedDeploy
            | Self::RecreateDeploy
            | Self::RollingDeploy
            | Self::CanaryDeploy
            | Self::StagedDeploy
            | Self::Promote
            | Self::PromoteAll => (Some("1.0"), "1.1"),
            Self::HookedRollback
            | Self::WarmRollback
            | Self::SickRollback
            | Self::RecreateRollback
            | Self::CanaryRollback
            | Self::BadCanary
            | Self::BadLive
            | Self::Plain(_, Act::Rollback | Act::Automatic) => (Some("1.1"), "1.0"),
            Self::ColdRollback => (Some("1.2"), "1.0"),
            Self::SickLive | Self::Plain(_, Act::Drill) => (Some("1.1"), "1.1"),
            Self::Undo | Self::Plain(_, Act::Deploy | Act::Undo) => (Some("1.0"), "1.1"),
        }
    }

    const fn is_deploy(self) -> bool {
        matches!(
            self,
            Self::FirstDeploy
                | Self::Deploy
                | Self::RecreateDeploy
                | Self::RollingDeploy
                | Self::HookedDeploy
                | Self::Plain(_, Act::Deploy)
        )
    }

    const fn is_drill(self) -> bool {
        matches!(self, Self::Plain(_, Act::Drill))
    }

    const fn is_undo(self) -> bool {
        matches!(self, Self::Undo | Self::Plain(_, Act::Undo))
    }

    /// What is made to go wrong by the scene itself.
    fn arrange(self, stage: &Stage) {
        stage.world.forget_calls();
        if self == Self::SickRollback {
            stage.world.fault(When::Kind(Kind::Switch), 1, Fault::Sicken);
        }
    }

    async fn play(self, stage: &Stage, db: Database, ports: Ports) -> Result<(), Error> {
        let rollback = DeploymentRollback::new(db.clone(), ports.clone());
        let target = self.versions().1;
        match self {
            Self::StagedDeploy => {
                let request = DeployRequest { no_switch: true, ..stage.to_deploy(target) };
                DeploymentExecutor::new(db, ports).deploy(&request).await.map(drop)
            }
            Self::Promote | Self::PromoteAll => {
                let promotion = stage.to_promote(self == Self::PromoteAll);
                DeploymentExecutor::new(db, ports).promote(&promotion).await.map(drop)
            }
            Self::FirstDeploy
            | Self::Deploy
            | Self::RecreateDeploy
            | Self::RollingDeploy
            | Self::CanaryDeploy
            | Self::HookedDeploy
            | Self::Plain(_, Act::Deploy) => {
                DeploymentExecutor::new(db, ports).deploy(&stage.to_deploy(target)).await.map(drop)
            }
            Self::WarmRollback
            | Self::SickRollback
            | Self::RecreateRollback
            | Self::SickLive
            | Self::CanaryRollback
            | Self::HookedRollback
            | Self::Plain(_, Act::Rollback) => {
                rollback.rollback_as(&stage.forced(), &Asking::by("ada")).await.map(drop)
            }
            Self::BadCanary => {
                let canary = db.open_rollout(&stage.environment).await?.unwrap().deployment;
                let bad = db.deployment(canary).await?.unwrap();
                rollback.rollback_by_itself(&bad, false).await.map(drop)
            }
            Self::BadLive | Self::Plain(_, Act::Automatic) => {
                let live = db.environment(&stage.environment).await?.live.map(|live| live.deployment);
                let bad = db.deployment(live.unwrap()).await?.unwrap();
                rollback.rollback_by_itself(&bad, false).await.map(drop)
            }
            Self::ColdRollback => {
                rollback.rollback_as(&stage.back_to(target), &Asking::by("ada")).await.map(drop)
            }
            Self::Undo | Self::Plain(_, Act::Undo) => {
                let asking = Asking { undo: true, ..Asking::by("ada") };
                rollback.rollback_as(&stage.back(), &asking).await.map(drop)
            }
            Self::Plain(_, Act::Drill) => {
                DeploymentDrill::new(db, ports).drill(&stage.to_drill()).await.map(drop)
            }
        }
    }

    /// How many calls it makes when nothing goes wrong.
    async fn calls(self, template: &Stage) -> usize {
        let stage = template.fork().await;
        self.arrange(&stage);
        self.play(&stage, stage.db.clone(), stage.world.ports()).await.unwrap();
        let calls = stage.world.calls().len();
        assert_eq!(self.look(&stage, "undisturbed").await, End::Done);
        calls
    }

    /// Looks that everything is as it is recorded, then lets the daemon clear up, and looks again.
    async fn look(self, stage: &Stage, what: &str) -> End {
        if self.is_rollout() {
            return self.look_at_rollout(stage, what).await;
        }
        let what = format!("{self:?}, {what}");
        let environment = &stage.environment;
        assert!(stage.db.open_operation(environment).await.unwrap().is_none(), "{what}: still open");
        let lease = stage.db.lease(environment).await.unwrap().unwrap();
        assert_eq!((lease.operation, lease.holder), (None, None), "{what}: the lease");
        let (from, to) = self.versions();
        let live = stage.live().await;
        assert!(
            [from, Some(to)].contains(&live.as_deref()),
            "{what}: neither before nor after, but {live:?}"
        );
        let end = self.recorded_end(stage, &what).await;
        let ran = stage.world.hooks_ran();
        let once: BTreeSet<&String> = ran.iter().collect();
        assert_eq!(ran.len(), once.len(), "{what}: run more than once: {ran:?}");
        let expected = if end == End::Done { Some(to) } else { from };
        assert_eq!(live.as_deref(), expected, "{what}: {end:?}");
        check_instances(stage, &what).await;
        stage.world.clock.advance(Span::from_secs(3600));
        for _ in 0..2 {
            tend(&stage.db, &stage.world.ports()).await.unwrap();
        }
        assert_eq!(stage.live().await.as_deref(), expected, "{what}: after tending");
        check_instances(stage, &what).await;
        let slots = stage.slots().await;
        assert!(slots.iter().all(|slot| slot.state == SlotState::Live), "{what}: {slots:?}");
        assert_eq!(stage.world.routed(environment).len(), slots.len(), "{what}: the router's slots");
        end
    }

    async fn recorded_end(self, stage: &Stage, what: &str) -> End {
        let deployments = stage.db.list_deployments(&stage.environment, 100).await.unwrap();
        let open = |status| matches!(status, DeploymentStatus::Pending | DeploymentStatus::InProgress);
        assert!(deployments.iter().all(|d| !open(d.status)), "{what}: {deployments:?}");
        let events = stage.db.list_deployment_rollback_events(&stage.environment, 100).await.unwrap();
        assert!(
            events.iter().all(|e| matches!(e.status, RollbackStatus::Completed | RollbackStatus::Failed)),
            "{what}: {events:?}"
        );
        let (_, to) = self.versions();
        let done = if self.is_drill() {
            recorded_drill(stage, what).await
        } else if self.is_deploy() {
            deployments
                .first()
                .is_some_and(|newest| newest.version == v(to) && newest.status == DeploymentStatus::Completed)
        } else {
            let before = usize::from(self.is_undo());
            assert!(events.len() <= before + 1, "{what}: more than one event: {events:?}");
            events.len() > before && events[0].status == RollbackStatus::Completed
        };
        if done {
            assert_eq!(stage.current().await.version, v(to), "{what}: current");
        }
        if done { End::Done } else { End::Before }
    }
}

/// Whether it went well; however it went, nothing else is on record.
async fn recorded_drill(stage: &Stage, what: &str) -> bool {
    let environment = &stage.environment;
    let drills = stage.db.list_drills(environment, 100).await.unwrap();
    assert!(drills.len() <= 1, "{what}: {drills:?}");
    let events = stage.db.list_deployment_rollback_events(environment, 100).await.unwrap();
    assert_eq!(events, [], "{what}: a drill is no rollback");
    assert!(stage.db.list_holds(environment).await.unwrap().is_empty(), "{what}: a drill holds nothing");
    let deployments = stage.db.list_deployments(environment, 100).await.unwrap();
    assert!(deployments.iter().all(|one| one.status == DeploymentStatus::Completed), "{what}");
    match drills.first() {
        None => false,
        Some(drill) => {
            let ended = matches!(drill.status, DrillStatus::Completed | DrillStatus::Failed);
            assert!(ended && drill.completed_at.is_some(), "{what}: {drill:?}");
            drill.status == DrillStatus::Completed
        }
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum End {
    Done,
    Before,
}

/// Everything that should run runs, and nothing runs of which there is no record.
pub(crate) async fn check_instances(stage: &Stage, what: &str) {
    let running: BTreeSet<String> = stage.world.running(&stage.environment).into_iter().collect();
    let (mut wanted, mut allowed) = (BTreeSet::new(), BTreeSet::new());
    for slot in stage.slots().await {
        assert_ne!(slot.state, SlotState::Filling, "{what}: still filling");
        let release = stage.db.release(slot.release).await.unwrap().unwrap();
        for (name, process) in &release.contents.processes {
            for n in 1..=process.instances {
                let id = format!("{}-{name}-{n}@{}", slot.slot, release.version);
                let needed = slot.state == SlotState::Live
                    || (matches!(slot.state, SlotState::Warm | SlotState::Staged)
                        && process.listen.is_some());
                if needed {
                    wanted.insert(id.clone());
                }
                allowed.insert(id);
            }
        }
    }
    assert!(running.is_subset(&allowed), "{what}: strays: {:?}", running.difference(&allowed));
    assert!(wanted.is_subset(&running), "{what}: missing: {:?}", wanted.difference(&running));
}

/// What a daemon does with what it finds.
async fn resume(stage: &Stage, db: Database, ports: Ports, what: &str) {
    if db.open_operation(&stage.environment).await.unwrap().is_some() {
        let resumed = DeploymentExecutor::new(db, ports).resume(&stage.environment, "daemon").await;
        resumed.unwrap_or_else(|error| panic!("{what}: {error:?}"));
    }
}

async fn needs_attention(stage: &Stage) -> bool {
    let open = stage.db.open_operation(&stage.environment).await.unwrap();
    open.is_some_and(|operation| operation.status == OperationStatus::NeedsAttention)
}
