//! Bakes: good ones, bad ones, and those that something else overtook.

mod checks;
mod so_far;

use crate::deployment::{Deployment, DeploymentStatus};
use crate::fakes::{Fault, Kind, When};
use crate::notification::NoticeKind;
use crate::ports::{InstanceState, PortErrorKind};
use crate::stage::{Stage, baking, hook, v};
use crate::time::Span;

use super::{Verdict, watch};

const BAKE: Span = Span::from_secs(30);

/// 1.1 is live and baking, 1.0 before it proved good.
async fn stage() -> (Stage, Deployment) {
    let stage = Stage::with(baking(BAKE), &[hook("http://all", &[])]).await;
    let first = stage.deploy("1.0").await.deployment;
    stage.executor().finish_bake(first.id, Ok(())).await.unwrap();
    let second = stage.deploy("1.1").await.deployment;
    assert_eq!((second.status, second.completed_at), (DeploymentStatus::InProgress, None));
    (stage, second)
}

async fn verdict(stage: &Stage, deployment: &Deployment) -> Verdict {
    watch(&stage.db, &stage.world.ports(), deployment).await.unwrap().verdict
}

async fn proven(stage: &Stage, version: &str) -> bool {
    let release = stage.db.find_release(&stage.environment, &v(version)).await.unwrap();
    release.unwrap().proven_at.is_some()
}

#[tokio::test]
async fn a_good_bake_ends_at_its_time_and_proves_the_release() {
    let (stage, deployment) = stage().await;
    assert_eq!(stage.db.list_baking().await.unwrap().len(), 1);
    assert!(!proven(&stage, "1.1").await);
    assert_eq!(verdict(&stage, &deployment).await, Verdict::Good);
    assert!(stage.world.clock.read() >= deployment.bake_until.unwrap());
    let ended = stage.executor().finish_bake(deployment.id, Ok(())).await.unwrap().unwrap();
    assert_eq!(ended.status, DeploymentStatus::Completed);
    assert!(proven(&stage, "1.1").await);
    assert!(stage.db.list_baking().await.unwrap().is_empty());
    assert_eq!(stage.executor().finish_bake(deployment.id, Ok(())).await.unwrap(), None, "only once");
    let told: Vec<_> = stage.db.list_notices(9).await.unwrap().iter().map(|r| r.notice.kind).collect();
    assert_eq!(told, [NoticeKind::Deployment, NoticeKind::Deployment]);
}

#[tokio::test]
async fn an_instance_that_is_sick_or_ended_is_bad_at_once() {
    let bad = |verdict: Verdict| match verdict {
        Verdict::Bad(why) => why,
        other => panic!("{other:?}"),
    };
    for (state, why) in [
        (InstanceState::Unhealthy, "green-web-1 fails its health check within its bake"),
        (InstanceState::BackingOff, "green-web-1 ended within its bake"),
    ] {
        let (stage, deployment) = stage().await;
        stage.world.put_instances(&v("1.1"), state);
        assert_eq!(bad(verdict(&stage, &deployment).await), why);
    }
    let (stage, deployment) = stage().await;
    stage.world.crash_once(&v("1.1"), "exited with status 1");
    assert_eq!(bad(verdict(&stage, &deployment).await), "green-web-1 exited with status 1 within its bake");
    let why = bad(verdict(&stage, &deployment).await);
    let ended = stage.executor().finish_bake(deployment.id, Err(why.clone())).await.unwrap().unwrap();
    assert_eq!((ended.status, ended.error_message), (DeploymentStatus::Failed, Some(why)));
    assert!(!proven(&stage, "1.1").await);
}

#[tokio::test]
async fn too_few_instances_are_bad_only_if_it_stays_so() {
    let (stage, deployment) = stage().await;
    for kind in [Kind::Observe, Kind::Instances] {
        stage.world.fault(When::Kind(kind), 5, Fault::Fail(PortErrorKind::Unreachable));
        assert_eq!(verdict(&stage, &deployment).await, Verdict::Good, "{kind:?}");
    }
    stage.world.fault(When::Kind(Kind::Observe), 6, Fault::Fail(PortErrorKind::Unreachable));
    let why = "the proxy does not answer: a fault was injected";
    let (stage, deployment) = self::stage().await;
    stage.world.fault(When::Kind(Kind::Observe), 6, Fault::Fail(PortErrorKind::Unreachable));
    assert_eq!(verdict(&stage, &deployment).await, Verdict::Bad(why.into()));
    let (stage, deployment) = self::stage().await;
    stage.world.lose_instances(&v("1.1"));
    let why = "none of its instances runs";
    assert_eq!(verdict(&stage, &deployment).await, Verdict::Bad(why.into()));
}

#[tokio::test]
async fn a_router_that_forgot_everything_condemns_nobody() {
    let (stage, deployment) = stage().await;
    stage.world.forget_routes();
    assert_eq!(verdict(&stage, &deployment).await, Verdict::Good);
}

#[tokio::test]
async fn a_bake_that_was_rolled_back_or_replaced_is_overtaken() {
    let (stage, deployment) = stage().await;
    stage.rollback().rollback(&stage.back()).await.unwrap();
    assert_eq!(verdict(&stage, &deployment).await, Verdict::Overtaken);
    assert_eq!(stage.executor().finish_bake(deployment.id, Err("late".into())).await.unwrap(), None);

    let (stage, deployment) = self::stage().await;
    stage.deploy("1.2").await;
    assert_eq!(verdict(&stage, &deployment).await, Verdict::Overtaken);
    assert_eq!(stage.executor().finish_bake(deployment.id, Ok(())).await.unwrap(), None);
    assert!(!proven(&stage, "1.1").await, "it never ended its bake");
}

#[tokio::test]
async fn a_bake_needs_no_force_to_be_rolled_back() {
    let (stage, deployment) = stage().await;
    let event = stage.rollback().rollback(&stage.back()).await.unwrap();
    assert_eq!((event.deployment_id, event.target_version), (deployment.id, v("1.0")));
}

#[tokio::test]
async fn what_is_live_and_proven_is_not_baked_again_when_it_is_deployed_again() {
    let (stage, deployment) = stage().await;
    stage.executor().finish_bake(deployment.id, Ok(())).await.unwrap();
    // It was restarted once, long ago: no reason to roll it back now.
    stage.world.crash_once(&v("1.1"), "exited with status 1");
    let again = stage.deploy("1.1").await;
    assert!(again.already_live);
    assert_eq!(again.deployment.status, DeploymentStatus::Completed);
    assert!(stage.db.list_baking().await.unwrap().is_empty());
}
