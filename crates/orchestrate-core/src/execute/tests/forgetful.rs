//! The router is killed and starts again without what it had not written down; or what was started is gone.

use crate::deployment_executor::DeploymentExecutor;
use crate::deployment_rollback::Asking;
use crate::execute::Outcome;
use crate::fakes::{Fault, Gate, Kind, When};
use crate::ports::PortErrorKind;
use crate::rollback_event::RollbackStatus;
use crate::slot_tending::tend;
use crate::stage::{Stage, rolling, v, with_worker};
use crate::time::Span;

use super::{check_instances, needs_attention};

/// Does what is asked, while the router forgets what it was told since then, just before the next call of that kind.
async fn forgetting_before<T>(stage: &Stage, kind: Kind, play: impl Future<Output = T>) -> T {
    let (gate, routes) = (Gate::default(), stage.world.routes());
    stage.world.fault(When::Kind(kind), 1, Fault::Hold(gate.clone()));
    let forget = async {
        gate.reached().await;
        let mut told = stage.world.routes();
        told.weigh_as(&routes);
        stage.world.put_routes(&told);
        gate.open();
    };
    tokio::join!(play, forget).0
}

#[tokio::test]
async fn success_is_claimed_only_of_traffic_that_stays_moved() {
    let stage = Stage::new().await;
    stage.deploy_all(&["1.0", "1.1"]).await;
    let (rollback, request, asking) = (stage.rollback(), stage.forced(), Asking::by("ada"));
    let rolled = forgetting_before(&stage, Kind::Persisted, rollback.rollback_as(&request, &asking)).await;
    assert_eq!(rolled.unwrap().event.status, RollbackStatus::Completed);
    assert_eq!(stage.live().await.as_deref(), Some("1.0"));
}

#[tokio::test]
async fn success_is_claimed_only_once_a_router_that_was_away_has_said_so() {
    let stage = Stage::new().await;
    stage.deploy_all(&["1.0", "1.1"]).await;
    stage.world.forget_calls();
    stage.world.fault(When::Kind(Kind::Persisted), 3, Fault::Fail(PortErrorKind::Unreachable));
    let rolled = stage.rollback().rollback_as(&stage.forced(), &Asking::by("ada")).await;
    assert_eq!(rolled.unwrap().event.status, RollbackStatus::Completed);
    let asked = stage.world.calls().iter().filter(|call| call.kind == Kind::Persisted).count();
    assert!(asked > 3, "asked {asked} times");
}

#[tokio::test]
async fn a_batch_is_taken_away_only_once_its_traffic_stays_moved() {
    let stage = Stage::with(rolling(), &[]).await;
    stage.world.be_rough();
    stage.deploy("1.0").await;
    stage.world.clock.advance(Span::from_secs(60));
    let (executor, request) = (stage.executor(), stage.to_deploy("1.1"));
    // The invariants of the world watch the capacity at every call.
    let deployed = forgetting_before(&stage, Kind::Prove, executor.deploy(&request)).await;
    assert_eq!(deployed.unwrap().outcome, Outcome::Completed);
    assert_eq!(stage.live().await.as_deref(), Some("1.1"));
}

#[tokio::test]
async fn what_has_the_traffic_is_not_stopped_whatever_is_recorded() {
    let stage = Stage::new().await;
    stage.deploy("1.0").await;
    let routes = stage.world.routes();
    stage.deploy("1.1").await;
    let mut forgot = stage.world.routes();
    forgot.weigh_as(&routes);
    stage.world.put_routes(&forgot);
    stage.world.clock.advance(Span::from_secs(3600));
    tend(&stage.db, &stage.world.ports()).await.unwrap();
    assert_eq!(stage.world.live(&stage.environment).map(|live| live.2), Some(v("1.0")));
    let running = stage.world.running(&stage.environment);
    assert!(running.iter().any(|one| one.ends_with("@1.0")), "{running:?}");
}

#[tokio::test]
async fn what_was_started_and_is_gone_is_started_again_by_a_resume() {
    let stage = Stage::with(with_worker(), &[]).await;
    stage.deploy_all(&["1.0", "1.1"]).await;
    tend(&stage.db, &stage.world.ports()).await.unwrap();
    stage.world.forget_calls();
    // It dies when the worker of 1.0 was started, and is not awaited yet.
    stage.world.fault(When::Kind(Kind::AwaitHealthy), 1, Fault::CrashBefore);
    let (rollback, request, asking) = (stage.rollback(), stage.forced(), Asking::by("ada"));
    let rolled = stage.world.until_crash(rollback.rollback_as(&request, &asking)).await;
    assert!(rolled.is_none(), "it has come to its end");
    stage.world.lose_worker(&v("1.0"));
    let executor = DeploymentExecutor::new(stage.db.clone(), stage.world.reborn());
    executor.resume(&stage.environment, "daemon").await.unwrap();
    assert!(!needs_attention(&stage).await);
    check_instances(&stage, "after the resume").await;
}

/// A loss of power takes the instances along too. While the operation is open, nobody but its resume starts them.
#[tokio::test]
async fn a_switch_whose_target_is_gone_is_finished_by_a_resume_that_starts_it_again() {
    let stage = Stage::new().await;
    stage.deploy_all(&["1.0", "1.1"]).await;
    stage.world.be_rough();
    stage.world.fault(When::Kind(Kind::Switch), 1, Fault::CrashAfter);
    let (rollback, request, asking) = (stage.rollback(), stage.forced(), Asking::by("ada"));
    assert!(stage.world.until_crash(rollback.rollback_as(&request, &asking)).await.is_none());
    stage.world.lose_instances(&v("1.0"));
    let executor = DeploymentExecutor::new(stage.db.clone(), stage.world.reborn());
    executor.resume(&stage.environment, "daemon").await.unwrap();
    assert!(!needs_attention(&stage).await);
    assert_eq!(stage.live().await.as_deref(), Some("1.0"));
    check_instances(&stage, "after the resume").await;
}

#[tokio::test]
async fn a_drill_comes_back_to_what_is_gone_by_starting_it_again() {
    let stage = Stage::new().await;
    stage.deploy_all(&["1.0", "1.1"]).await;
    stage.world.be_rough();
    stage.world.fault(When::Kind(Kind::Switch), 1, Fault::CrashAfter);
    assert!(stage.world.until_crash(Box::pin(stage.drill())).await.is_none());
    stage.world.lose_instances(&v("1.1"));
    let executor = DeploymentExecutor::new(stage.db.clone(), stage.world.reborn());
    executor.resume_by_itself(&stage.environment, "daemon").await.unwrap();
    assert!(!needs_attention(&stage).await);
    assert_eq!(stage.live().await.as_deref(), Some("1.1"));
    check_instances(&stage, "after the resume").await;
}

/// What a person asked for that long ago is not done now; what has the traffic already is carried on.
#[tokio::test]
async fn what_was_left_alone_for_long_is_undone_unless_its_traffic_moved() {
    for (dies_at, ends_at) in [(Kind::Start, "1.1"), (Kind::Prove, "1.0")] {
        let stage = Stage::new().await;
        stage.deploy_all(&["1.0", "1.1"]).await;
        // The warm period ends, so it has to be started again.
        stage.world.clock.advance(Span::from_secs(3600));
        tend(&stage.db, &stage.world.ports()).await.unwrap();
        stage.world.fault(When::Kind(dies_at), 1, Fault::CrashBefore);
        let (rollback, request) = (stage.rollback(), stage.forced());
        assert!(stage.world.until_crash(rollback.rollback(&request)).await.is_none());
        stage.world.clock.advance(Span::from_secs(20 * 60));
        let executor = DeploymentExecutor::new(stage.db.clone(), stage.world.reborn());
        executor.resume_by_itself(&stage.environment, "daemon").await.unwrap();
        assert_eq!(stage.live().await.as_deref(), Some(ends_at));
        let event = &stage.db.list_deployment_rollback_events(&stage.environment, 1).await.unwrap()[0];
        let undone = event.error_message.as_deref().is_some_and(|why| why.contains("left alone for 19m"));
        assert_eq!(undone, ends_at == "1.1", "{event:?}");
    }
}
