//! What becomes of bad releases that are live: rolled back with their evidence, or held, once, with a reason.

use super::Automatic;
use crate::deployment::{Deployment, DeploymentStatus};
use crate::environment::EnvironmentSettings;
use crate::evidence::{Consequence, Evidence, Finding};
use crate::fakes::{Fault, Kind, When};
use crate::notification::NoticeKind;
use crate::ports::PortErrorKind;
use crate::rollback_event::{RollbackStatus, RollbackType};
use crate::stage::{Stage, baking, hook, v};
use crate::time::Span;

fn settings() -> EnvironmentSettings {
    baking(Span::from_secs(30))
}

/// 1.0 is good.
async fn stage(settings: EnvironmentSettings) -> Stage {
    let stage = Stage::with(settings, &[hook("http://all", &[])]).await;
    let first = stage.deploy("1.0").await.deployment;
    stage.executor().finish_bake(first.id, Ok(())).await.unwrap();
    stage
}

fn evidence(consequence: Consequence) -> Vec<Evidence> {
    vec![Evidence::new("error_rate", Finding::Bad, consequence, "40 % of 60 answers were errors")]
}

/// Live and found bad.
async fn bad(stage: &Stage, version: &str, evidence: &[Evidence]) -> Deployment {
    let deployment = stage.deploy(version).await.deployment;
    assert_eq!(deployment.status, DeploymentStatus::InProgress);
    let why = Err("40 % of 60 answers were errors".into());
    stage.executor().end_bake(deployment.id, why, evidence).await.unwrap().unwrap()
}

async fn decided(stage: &Stage, deployment: &Deployment) -> Automatic {
    stage.rollback().rollback_by_itself(deployment, false).await.unwrap()
}

async fn told(stage: &Stage, kind: NoticeKind) -> Vec<serde_json::Value> {
    let all = stage.db.list_notices(99).await.unwrap();
    all.into_iter().filter(|one| one.notice.kind == kind).map(|one| one.notice.payload).collect()
}

#[tokio::test]
async fn a_bad_release_goes_back_with_its_evidence() {
    let stage = stage(settings()).await;
    let evidence = evidence(Consequence::Rollback);
    let deployment = bad(&stage, "1.1", &evidence).await;
    let Automatic::RolledBack(rolled) = decided(&stage, &deployment).await else { panic!("not rolled back") };
    assert_eq!(
        (rolled.event.rollback_type, rolled.event.status),
        (RollbackType::Automatic, RollbackStatus::Completed)
    );
    assert_eq!(stage.live().await.as_deref(), Some("1.0"));
    let stored = stage.db.get_deployment_rollback_event(rolled.event.id).await.unwrap().unwrap();
    assert_eq!(stored.evidence, evidence);
    let told = told(&stage, NoticeKind::Rollback).await;
    assert_eq!(told[0]["evidence"][0]["check"], "error_rate");
    assert_eq!(told[0]["evidence"][0]["text"], "40 % of 60 answers were errors");
    assert!(matches!(decided(&stage, &deployment).await, Automatic::Overtaken), "it is not live any more");
}

#[tokio::test]
async fn a_newer_deployment_that_never_got_traffic_does_not_protect_the_bad_one() {
    let stage = stage(settings()).await;
    let deployment = bad(&stage, "1.1", &evidence(Consequence::Rollback)).await;
    stage.world.never_healthy(&v("1.2"));
    let failed = stage.deploy("1.2").await.deployment;
    assert_eq!(stage.live().await.as_deref(), Some("1.1"));
    let Automatic::RolledBack(rolled) = decided(&stage, &deployment).await else { panic!("not rolled back") };
    assert_eq!((rolled.event.deployment_id, rolled.event.from_version), (deployment.id, v("1.1")));
    assert_eq!(stage.live().await.as_deref(), Some("1.0"));
    let bad = stage.db.deployment(deployment.id).await.unwrap().unwrap().status;
    assert_eq!(bad, DeploymentStatus::RolledBack);
    let newer = stage.db.deployment(failed.id).await.unwrap().unwrap().status;
    assert!(matches!(newer, DeploymentStatus::Failed | DeploymentStatus::TimedOut), "{newer}");
    assert_eq!(stage.current().await.version, v("1.0"));
}

#[tokio::test]
async fn where_it_is_switched_off_people_are_told_once_and_it_is_on_record() {
    let mut settings = settings();
    settings.rollback.automatic = false;
    let stage = stage(settings).await;
    let deployment = bad(&stage, "1.1", &evidence(Consequence::Rollback)).await;
    assert!(deployment.awaits_rollback());
    for _ in 0..3 {
        let Automatic::Held(why) = decided(&stage, &deployment).await else { panic!("not held") };
        assert_eq!(why, "`rollback.automatic` is false");
    }
    assert_eq!(stage.live().await.as_deref(), Some("1.1"));
    let told = told(&stage, NoticeKind::NeedsAttention).await;
    assert_eq!(told.len(), 1);
    assert_eq!(
        told[0]["text"],
        "shop in production: 1.1 turned out bad (40 % of 60 answers were errors) and stays live, because \
         `rollback.automatic` is false; to go back, type: orchestrate deploy rollback --env production"
    );
    let stored = stage.db.deployment(deployment.id).await.unwrap().unwrap();
    assert_eq!(stored.automatic_hold.as_deref(), Some("`rollback.automatic` is false"));
    assert!(!stored.awaits_rollback(), "another daemon does not begin anew");
    stage.rollback().rollback(&stage.back()).await.unwrap();
    assert_eq!(stage.live().await.as_deref(), Some("1.0"), "a person may go back");
}

#[tokio::test]
async fn a_provider_that_does_not_answer_once_is_no_reason_to_stay() {
    let stage = stage(settings()).await;
    let deployment = bad(&stage, "1.1", &evidence(Consequence::Rollback)).await;
    stage.world.lose_instances(&v("1.0"));
    for kind in [PortErrorKind::Unreachable, PortErrorKind::TimedOut] {
        stage.world.fault(When::Kind(Kind::Fetch), 1, Fault::Fail(kind));
        let error = stage.rollback().rollback_by_itself(&deployment, false).await.unwrap_err();
        assert_eq!(error.code(), "ORC-0133");
    }
    let Automatic::RolledBack(_) = decided(&stage, &deployment).await else { panic!("not rolled back") };
    assert_eq!(stage.live().await.as_deref(), Some("1.0"));
}

#[tokio::test]
async fn what_could_not_be_rolled_back_in_its_time_is_told_and_left_to_people() {
    let stage = stage(settings()).await;
    let deployment = bad(&stage, "1.1", &evidence(Consequence::Rollback)).await;
    stage.world.clock.advance(Span::from_secs(16 * 60));
    let now = stage.world.clock.read();
    let found = crate::settle::unsettled(&stage.db, now).await.unwrap();
    assert_eq!(found.iter().map(|one| one.id).collect::<Vec<_>>(), [deployment.id]);
    let settled = crate::settle::settle(&stage.db, &stage.world.ports(), &found[0]).await.unwrap();
    let crate::settle::Settled::Bad(_, Automatic::Held(why)) = settled else { panic!("{settled:?}") };
    assert!(why.contains("within 15m"), "{why}");
    assert_eq!(stage.live().await.as_deref(), Some("1.1"));
    assert_eq!(told(&stage, NoticeKind::NeedsAttention).await.len(), 1);
    assert!(crate::settle::unsettled(&stage.db, now).await.unwrap().is_empty(), "and no more");
}

#[tokio::test]
async fn what_only_notifies_is_held_and_told_unless_it_was_told_before() {
    for told_before in [false, true] {
        let stage = stage(settings()).await;
        let deployment = bad(&stage, "1.1", &evidence(Consequence::Notify)).await;
        let decided = stage.rollback().rollback_by_itself(&deployment, told_before).await.unwrap();
        let Automatic::Held(why) = decided else { panic!("not held") };
        assert_eq!(why, "`on_bad` is `notify` for error_rate");
        assert_eq!(told(&stage, NoticeKind::NeedsAttention).await.len(), usize::from(!told_before));
    }
}

#[tokio::test]
async fn the_fourth_within_an_hour_is_held() {
    let stage = stage(settings()).await;
    for version in ["1.1", "1.2", "1.3"] {
        let deployment = bad(&stage, version, &evidence(Consequence::Rollback)).await;
        assert!(matches!(decided(&stage, &deployment).await, Automatic::RolledBack(_)), "{version}");
    }
    let deployment = bad(&stage, "1.4", &evidence(Consequence::Rollback)).await;
    let Automatic::Held(why) = decided(&stage, &deployment).await else { panic!("not held") };
    assert_eq!(why, "there were 3 automatic rollbacks here within an hour (`rollback.at_most_per_hour: 3`)");
    assert_eq!(stage.live().await.as_deref(), Some("1.4"));
    assert_eq!(told(&stage, NoticeKind::NeedsAttention).await.len(), 1);
}

#[tokio::test]
async fn nothing_to_go_back_to_and_a_failed_rollback_are_held_and_told() {
    let stage = Stage::with(settings(), &[hook("http://all", &[])]).await;
    let deployment = bad(&stage, "1.0", &evidence(Consequence::Rollback)).await;
    let Automatic::Held(why) = decided(&stage, &deployment).await else { panic!("not held") };
    assert!(
        why.starts_with("it cannot be rolled back by itself: there is no good release before 1.0"),
        "{why}"
    );
    assert_eq!(told(&stage, NoticeKind::NeedsAttention).await.len(), 1);

    let stage = self::stage(settings()).await;
    let deployment = bad(&stage, "1.1", &evidence(Consequence::Rollback)).await;
    stage.world.fault(When::Kind(Kind::Switch), 9, Fault::Fail(PortErrorKind::Failed));
    let Automatic::Held(why) = decided(&stage, &deployment).await else { panic!("not held") };
    assert!(why.contains("failed and was put back"), "{why}");
    assert_eq!(stage.live().await.as_deref(), Some("1.1"));
}
