//! Canaries and staged releases: forward step by step, back in one, and whatever happens in between.

mod clock;
mod pausing;
mod waiting;

use crate::automatic_rollback::Automatic;
use crate::deployment::DeploymentStatus;
use crate::deployment_executor::{Deployed, Promotion, failed};
use crate::error::{Error, ErrorKind, Result};
use crate::execute::{Limits, Outcome};
use crate::fakes::{Call, Fault, Kind, When};
use crate::name::DeploymentId;
use crate::ports::{InstanceState, PortErrorKind};
use crate::rollback_event::{RollbackPath, RollbackStatus, RollbackType};
use crate::slot::SlotState;
use crate::slot_tending::{Told, Upkeep, reconcile, tend};
use crate::stage::{Stage, canary, settings, v, with_worker};
use crate::time::Span;

use super::{Next, Rollout, watch};

impl Stage {
    pub(crate) fn to_promote(&self, all: bool) -> Promotion {
        Promotion {
            environment: self.environment.clone(),
            all,
            actor: "ada".into(),
            by_itself: None,
            break_glass: false,
            reason: None,
            limits: Limits::default(),
        }
    }

    pub(crate) async fn promote(&self, all: bool) -> Result<Deployed> {
        self.world.clock.advance(Span::from_secs(1));
        self.executor().promote(&self.to_promote(all)).await
    }

    pub(crate) async fn rollout(&self) -> Option<Rollout> {
        self.db.open_rollout(&self.environment).await.unwrap()
    }

    /// The versions that get traffic, with their shares in percent.
    fn shares(&self) -> Vec<(String, u8)> {
        let shares = self.world.shares(&self.environment).into_iter();
        shares
            .filter(|there| there.3 > 0)
            .map(|(_, _, version, weight)| (version.to_string(), weight))
            .collect()
    }

    async fn status_of(&self, deployment: DeploymentId) -> DeploymentStatus {
        self.db.deployment(deployment).await.unwrap().unwrap().status
    }

    async fn staged(&self, version: &str) -> Deployed {
        self.world.clock.advance(Span::from_secs(60));
        let mut request = self.to_deploy(version);
        request.no_switch = true;
        self.executor().deploy(&request).await.unwrap()
    }
}

/// 1.0 is live; 1.1 is a canary at its first step.
async fn stage() -> (Stage, DeploymentId) {
    let stage = Stage::with(canary(), &[]).await;
    stage.deploy("1.0").await;
    let deployed = stage.deploy("1.1").await;
    assert_eq!(deployed.outcome, Outcome::Completed);
    assert!(failed(&deployed, None).is_none());
    (stage, deployed.deployment.id)
}

fn shares(of: &[(&str, u8)]) -> Vec<(String, u8)> {
    of.iter().map(|(version, weight)| ((*version).to_owned(), *weight)).collect()
}

fn code(result: Result<Deployed>) -> &'static str {
    result.unwrap_err().code()
}

#[tokio::test]
async fn a_first_canary_has_nothing_to_share_the_traffic_with_and_takes_all_of_it() {
    let stage = Stage::with(canary(), &[]).await;
    assert_eq!(stage.deploy("1.0").await.deployment.status, DeploymentStatus::Completed);
    assert_eq!(stage.shares(), shares(&[("1.0", 100)]));
    assert_eq!(stage.rollout().await, None);
    assert!(stage.world.remarks.all().iter().any(|remark| remark.contains("nothing to share")));
}

#[tokio::test]
async fn a_canary_grows_step_by_step_and_is_live_at_the_last() {
    let (stage, deployment) = stage().await;
    for weight in [10, 25, 50] {
        let rollout = stage.rollout().await.unwrap();
        assert_eq!((rollout.weight, rollout.deployment, rollout.paused), (weight, deployment, None));
        assert_eq!(rollout.next_at, Some(rollout.since.plus(rollout.course.wait.duration())));
        assert_eq!(stage.shares(), shares(&[("1.0", 100 - weight), ("1.1", weight)]));
        assert_eq!(stage.live().await.as_deref(), Some("1.0"));
        assert_eq!(stage.status_of(deployment).await, DeploymentStatus::InProgress);
        let states: Vec<_> = stage.slots().await.iter().map(|slot| slot.state).collect();
        assert_eq!(states, [SlotState::Live, SlotState::Staged]);
        stage.world.clock.advance(Span::from_secs(7200));
        tend(&stage.db, &stage.world.ports()).await.unwrap();
        stage.promote(false).await.unwrap();
    }
    assert_eq!(stage.shares(), shares(&[("1.1", 100)]));
    assert_eq!(stage.live().await.as_deref(), Some("1.1"));
    assert_eq!(stage.status_of(deployment).await, DeploymentStatus::Completed);
    assert_eq!(stage.rollout().await, None);
    let states: Vec<_> = stage.slots().await.iter().map(|slot| slot.state).collect();
    assert_eq!(states, [SlotState::Warm, SlotState::Live], "the release before stays warm");
    assert_eq!(code(stage.promote(false).await), "ORC-0150");
    let event = stage.rollback().rollback(&stage.forced()).await.unwrap();
    assert_eq!((event.path, event.target_version), (RollbackPath::Warm, v("1.0")));
}

#[tokio::test]
async fn all_at_once_leaves_the_steps_out() {
    let (stage, deployment) = stage().await;
    let promoted = stage.promote(true).await.unwrap();
    assert_eq!(
        (promoted.deployment.id, promoted.deployment.status),
        (deployment, DeploymentStatus::Completed)
    );
    assert_eq!(stage.live().await.as_deref(), Some("1.1"));
}

#[tokio::test]
async fn a_rollback_at_any_step_is_one_switch_without_force_and_holds_the_version() {
    for steps in 0..3 {
        let (stage, deployment) = stage().await;
        for _ in 0..steps {
            stage.promote(false).await.unwrap();
        }
        stage.world.forget_calls();
        let event = stage.rollback().rollback(&stage.back()).await.unwrap();
        assert_eq!((event.from_version, event.target_version), (v("1.1"), v("1.0")));
        assert_eq!((event.rollback_type, event.path), (RollbackType::BlueGreenSwitch, RollbackPath::Warm));
        let kinds: Vec<_> = stage.world.calls().iter().map(|call: &Call| call.kind).collect();
        assert_eq!(kinds, [Kind::Observe, Kind::Switch, Kind::Prove, Kind::Persisted, Kind::Observe]);
        assert_eq!(stage.live().await.as_deref(), Some("1.0"));
        assert_eq!(stage.status_of(deployment).await, DeploymentStatus::RolledBack);
        assert_eq!(stage.rollout().await, None);
        assert!(stage.db.find_hold(&stage.environment, &v("1.1")).await.unwrap().is_some());
        tend(&stage.db, &stage.world.ports()).await.unwrap();
        let states: Vec<_> = stage.slots().await.iter().map(|slot| slot.state).collect();
        assert_eq!(states, [SlotState::Live], "what was left is drained and stopped");
        assert_eq!(stage.current().await.version, v("1.0"));
        assert_eq!(stage.rollback().rollback(&stage.forced()).await.unwrap_err().code(), "ORC-0102");
    }
}

#[tokio::test]
async fn a_rollback_mends_what_is_live_first_if_it_is_not_ready() {
    let (stage, _) = stage().await;
    stage.world.put_instances(&v("1.0"), InstanceState::BackingOff);
    let event = stage.rollback().rollback(&stage.back()).await.unwrap();
    assert_eq!((event.status, event.path), (RollbackStatus::Completed, RollbackPath::Cold));
    assert_eq!(stage.shares(), shares(&[("1.0", 100)]));
}

#[tokio::test]
async fn a_staged_release_gets_no_traffic_until_it_is_promoted() {
    let stage = Stage::new().await;
    stage.deploy("1.0").await;
    let staged = stage.staged("1.1").await;
    assert_eq!(staged.deployment.status, DeploymentStatus::InProgress);
    assert_eq!(stage.shares(), shares(&[("1.0", 100)]));
    let rollout = stage.rollout().await.unwrap();
    assert_eq!((rollout.weight, rollout.next_weight(), rollout.next_at), (0, 100, None));
    let proofs = stage.world.calls().into_iter().filter(|call| call.kind == Kind::Prove);
    assert!(proofs.into_iter().any(|call| call.version == Some(v("1.1"))), "it answered beforehand");
    stage.promote(false).await.unwrap();
    assert_eq!(stage.live().await.as_deref(), Some("1.1"));
    assert_eq!(stage.status_of(staged.deployment.id).await, DeploymentStatus::Completed);
}

#[tokio::test]
async fn a_staged_canary_goes_through_its_steps() {
    let stage = Stage::with(canary(), &[]).await;
    stage.deploy("1.0").await;
    stage.staged("1.1").await;
    for weight in [10, 25, 50, 100] {
        stage.promote(false).await.unwrap();
        assert!(stage.shares().contains(&("1.1".to_owned(), weight)), "{:?}", stage.shares());
    }
}

#[tokio::test]
async fn staging_is_refused_where_there_is_nothing_to_switch_from_or_no_place_beside_it() {
    let stage = Stage::new().await;
    let mut request = stage.to_deploy("1.0");
    request.no_switch = true;
    assert_eq!(code(stage.executor().deploy(&request).await), "ORC-0154");
    stage.deploy("1.0").await;
    let mut request = stage.to_deploy("1.1");
    (request.no_switch, request.strategy) = (true, Some(crate::deployment_strategy::StrategyKind::Recreate));
    let error = stage.executor().deploy(&request).await.unwrap_err();
    assert_eq!((error.code(), error.kind()), ("ORC-0233", ErrorKind::Usage));
}

#[tokio::test]
async fn releases_at_different_addresses_cannot_share_the_traffic() {
    let mut stage = Stage::with(canary(), &[]).await;
    stage.deploy("1.0").await;
    stage.settings.processes.get_mut("web").unwrap().listen = Some(([127, 0, 0, 1], 9090).into());
    assert_eq!(code(stage.executor().deploy(&stage.to_deploy("1.1")).await), "ORC-0153");
}

#[tokio::test]
async fn what_is_under_way_keeps_others_out_and_says_how_it_ends() {
    let (stage, _) = stage().await;
    let error = stage.executor().deploy(&stage.to_deploy("1.2")).await.unwrap_err();
    assert_eq!(error.code(), "ORC-0151");
    assert!(error.to_string().contains("1.1 is being rolled out"), "{error}");
    let hint = error.hint_text().unwrap();
    assert!(hint.contains("deploy promote") && hint.contains("deploy rollback"), "{hint}");
    let away = stage.rollback().rollback(&stage.back_to("1.1")).await.unwrap_err();
    assert!(["ORC-0103", "ORC-0151"].contains(&away.code()), "{away:?}");
}

#[tokio::test]
async fn an_environment_stops_with_what_is_being_rolled_out_in_it() {
    let (stage, deployment) = stage().await;
    stage.world.allow_gaps();
    stage.executor().stop_environment(&stage.environment, "ada").await.unwrap();
    assert_eq!(stage.status_of(deployment).await, DeploymentStatus::Failed);
    assert_eq!((stage.rollout().await, stage.world.running(&stage.environment)), (None, Vec::new()));
    stage.deploy("1.2").await;
    assert_eq!(stage.live().await.as_deref(), Some("1.2"));
}

#[tokio::test]
async fn a_canary_that_does_not_come_up_or_answers_wrongly_leaves_everything_as_it_was() {
    for wrong in [false, true] {
        let stage = Stage::with(canary(), &[]).await;
        stage.deploy("1.0").await;
        if wrong {
            stage.world.answers_wrongly(&v("1.1"));
        } else {
            stage.world.never_healthy(&v("1.1"));
        }
        let deployed = stage.deploy("1.1").await;
        assert!(matches!(deployed.outcome, Outcome::Undone(_)), "{:?}", deployed.outcome);
        let status = deployed.deployment.status;
        assert!(matches!(status, DeploymentStatus::Failed | DeploymentStatus::TimedOut), "{status}");
        assert_eq!((stage.shares(), stage.rollout().await), (shares(&[("1.0", 100)]), None));
        assert_eq!(stage.slots().await.len(), 1);
    }
}

#[tokio::test]
async fn a_promotion_that_fails_leaves_the_share_as_it_was() {
    let (stage, deployment) = stage().await;
    stage.world.answers_wrongly(&v("1.1"));
    let promoted = stage.promote(false).await.unwrap();
    let error: Error = failed(&promoted, None).unwrap();
    assert_eq!((error.code(), error.kind()), ("ORC-0152", ErrorKind::Failed));
    assert_eq!(stage.shares(), shares(&[("1.0", 90), ("1.1", 10)]));
    assert_eq!(stage.live().await.as_deref(), Some("1.0"));
    assert_eq!(stage.status_of(deployment).await, DeploymentStatus::InProgress);
    stage.world.answers_rightly(&v("1.1"));
    stage.world.fault(When::Kind(Kind::Switch), 1, Fault::Fail(PortErrorKind::NotReady));
    let promoted = stage.promote(true).await.unwrap();
    assert!(matches!(promoted.outcome, Outcome::Undone(_)), "{:?}", promoted.outcome);
    assert_eq!(stage.shares(), shares(&[("1.0", 90), ("1.1", 10)]));
    stage.promote(true).await.unwrap();
    assert_eq!(stage.live().await.as_deref(), Some("1.1"));
}

#[tokio::test]
async fn a_release_that_is_bad_with_all_of_the_traffic_is_condemned() {
    let (stage, _) = stage().await;
    stage.world.answers_wrongly(&v("1.1"));
    let promoted = stage.promote(true).await.unwrap();
    assert!(matches!(promoted.outcome, Outcome::Condemned(_)), "{:?}", promoted.outcome);
    assert_eq!(promoted.deployment.status, DeploymentStatus::Failed);
    let event = stage.rollback().rollback(&stage.back()).await.unwrap();
    assert_eq!((event.target_version, event.path), (v("1.0"), RollbackPath::Warm));
}

#[tokio::test]
async fn workers_run_only_once_their_release_has_all_of_the_traffic() {
    let settings = crate::environment::EnvironmentSettings { strategy: canary().strategy, ..with_worker() };
    let stage = Stage::with(settings, &[]).await;
    stage.deploy("1.0").await;
    stage.deploy("1.1").await;
    let workers = || {
        let running = stage.world.running(&stage.environment).into_iter();
        running.filter(|id| id.contains("worker")).collect::<Vec<_>>()
    };
    assert_eq!(workers(), ["blue-worker-1@1.0"]);
    stage.promote(false).await.unwrap();
    assert_eq!(workers(), ["blue-worker-1@1.0"]);
    stage.promote(true).await.unwrap();
    tend(&stage.db, &stage.world.ports()).await.unwrap();
    assert_eq!(workers(), ["green-worker-1@1.1"]);
}

#[tokio::test]
async fn the_watch_takes_it_on_after_its_wait_and_only_if_nobody_paused_it() {
    let (stage, deployment) = stage().await;
    let rollout = stage.rollout().await.unwrap();
    assert_eq!(watch(&stage.db, &stage.world.ports(), &rollout).await.unwrap(), Next::Promote);
    assert!(stage.world.clock.read() >= rollout.next_at.unwrap());
    let by_itself = Promotion { by_itself: Some(deployment), ..stage.to_promote(false) };
    stage.executor().promote(&by_itself).await.unwrap();
    let paused = stage.executor().pause(&stage.environment, "ada", "ada wants to look").await.unwrap();
    assert_eq!(
        (paused.weight, paused.next_at, paused.paused.as_deref()),
        (25, None, Some("ada wants to look"))
    );
    assert_eq!(code(stage.executor().promote(&by_itself).await), "ORC-0155");
    stage.promote(false).await.unwrap();
    let rollout = stage.rollout().await.unwrap();
    assert_eq!((rollout.weight, rollout.paused), (50, None), "who promotes it lets it go on");
    assert!(rollout.next_at.is_some());
}

#[tokio::test]
async fn the_watch_sees_a_canary_that_turns_bad_also_while_it_is_paused() {
    let (stage, _) = stage().await;
    let rollout = stage.executor().pause(&stage.environment, "ada", "lunch").await.unwrap();
    stage.world.put_instances(&v("1.1"), InstanceState::Unhealthy);
    let next = watch(&stage.db, &stage.world.ports(), &rollout).await.unwrap();
    let Next::Bad(bad) = next else { panic!("{next:?}") };
    assert!(bad.error_message.as_deref().unwrap().contains("fails its health check"), "{bad:?}");
    let ended = stage.rollback().rollback_by_itself(&bad, false).await.unwrap();
    let Automatic::RolledBack(rolled) = ended else { panic!("{ended:?}") };
    assert_eq!(
        (rolled.event.rollback_type, rolled.event.path),
        (RollbackType::Automatic, RollbackPath::Warm)
    );
    assert_eq!(stage.live().await.as_deref(), Some("1.0"));
    assert_eq!(watch(&stage.db, &stage.world.ports(), &rollout).await.unwrap(), Next::Overtaken);
}

#[tokio::test]
async fn a_bad_canary_that_may_not_go_back_by_itself_is_held_where_it_is() {
    let mut settings = canary();
    settings.rollback.automatic = false;
    let stage = Stage::with(settings, &[]).await;
    stage.deploy("1.0").await;
    stage.deploy("1.1").await;
    stage.world.put_instances(&v("1.1"), InstanceState::Unhealthy);
    let rollout = stage.rollout().await.unwrap();
    let Next::Bad(bad) = watch(&stage.db, &stage.world.ports(), &rollout).await.unwrap() else { panic!() };
    let ended = stage.rollback().rollback_by_itself(&bad, false).await.unwrap();
    assert!(matches!(&ended, Automatic::Held(why) if why.contains("automatic")), "{ended:?}");
    assert_eq!(stage.shares(), shares(&[("1.0", 90), ("1.1", 10)]));
    assert_eq!(stage.status_of(bad.id).await, DeploymentStatus::InProgress);
    // What was said of one share is not said of the next.
    stage.world.put_instances(&v("1.1"), InstanceState::Ready);
    stage.promote(false).await.unwrap();
    assert_eq!(stage.current().await.automatic_hold, None);
}

#[tokio::test]
async fn a_router_that_lost_everything_is_told_the_shares_again() {
    let (stage, _) = stage().await;
    stage.promote(false).await.unwrap();
    stage.world.allow_gaps();
    stage.world.forget_routes();
    let (ports, mut told) = (stage.world.ports(), Told::default());
    assert_eq!(reconcile(&stage.db, &ports, &mut told, &stage.environment).await.unwrap(), Upkeep::Quiet);
    assert_eq!(stage.shares(), shares(&[("1.0", 75), ("1.1", 25)]));
    stage.world.lose_instances(&v("1.1"));
    stage.world.forget_routes();
    let mut told = Told::default();
    assert_eq!(reconcile(&stage.db, &ports, &mut told, &stage.environment).await.unwrap(), Upkeep::Quiet);
    assert_eq!(stage.shares(), shares(&[("1.0", 75), ("1.1", 25)]));
}

#[test]
fn settings_without_steps_have_the_usual_ones_and_all_of_the_traffic_is_always_the_last() {
    let mut strategy = settings().strategy;
    assert_eq!(strategy.shares(), [10, 25, 50, 100]);
    strategy.steps = vec![5, 20];
    assert_eq!(strategy.shares(), [5, 20, 100]);
}
