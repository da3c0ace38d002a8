//! `--undo`: forward again, to exactly where the rollback came from.

use crate::deployment::DeploymentStatus;
use crate::name::DeploymentId;
use crate::rollback_event::{RollbackPath, RollbackType, Trigger};
use crate::stage::{Stage, baking, v};
use crate::time::Span;

use super::super::Asking;

#[tokio::test]
async fn an_undo_returns_to_where_the_rollback_came_from_and_rolling_back_works_again() {
    let stage = Stage::new().await;
    stage.deploy_all(&["1.0", "1.1", "1.2"]).await;
    let before = stage.current().await;
    let first = stage.rollback().rollback(&stage.forced()).await.unwrap();
    let rolled = stage.undo().await.unwrap();
    assert_eq!(rolled.event.rollback_type, RollbackType::Specific);
    assert_eq!((rolled.event.undoes, rolled.event.path), (Some(first.id), RollbackPath::Warm));
    assert_eq!((rolled.event.from_version, rolled.event.target_version), (v("1.1"), v("1.2")));
    assert_eq!(stage.live().await.as_deref(), Some("1.2"));
    assert_eq!(stage.current().await, before);
    assert!(stage.db.list_holds(&stage.environment).await.unwrap().is_empty());

    let again = stage.rollback().rollback(&stage.forced()).await.unwrap();
    assert_eq!((again.from_version, again.target_version), (v("1.2"), v("1.1")));
    assert_eq!(stage.live().await.as_deref(), Some("1.1"));
}

#[tokio::test]
async fn an_undo_brings_back_those_that_were_passed() {
    let stage = Stage::new().await;
    stage.deploy_all(&["1.0", "1.1", "1.2"]).await;
    stage.rollback().rollback(&stage.back_to("1.0")).await.unwrap();
    assert_eq!(stage.current().await.id, DeploymentId(1));
    stage.undo().await.unwrap();
    assert_eq!(stage.current().await.id, DeploymentId(3));
    let event = stage.rollback().rollback(&stage.forced()).await.unwrap();
    assert_eq!(event.target_version, v("1.1"));
}

#[tokio::test]
async fn undoing_twice_takes_back_two_rollbacks_and_then_there_is_none() {
    let stage = Stage::new().await;
    stage.deploy_all(&["1.0", "1.1", "1.2"]).await;
    for _ in 0..2 {
        stage.rollback().rollback(&stage.forced()).await.unwrap();
    }
    for version in ["1.1", "1.2"] {
        assert_eq!(stage.undo().await.unwrap().event.target_version, v(version));
        assert_eq!(stage.live().await.as_deref(), Some(version));
        assert_eq!(stage.current().await.version, v(version), "what is current is what is live");
    }
    let before = stage.dump().await;
    assert_eq!(stage.undo().await.unwrap_err().code(), "ORC-0106");
    assert_eq!(stage.dump().await, before);
}

#[tokio::test]
async fn an_undo_is_refused_once_something_else_went_live() {
    let stage = Stage::new().await;
    stage.deploy_all(&["1.0", "1.1"]).await;
    assert_eq!(stage.undo().await.unwrap_err().code(), "ORC-0106");
    stage.rollback().rollback(&stage.forced()).await.unwrap();
    stage.deploy("1.2").await;
    assert_eq!(stage.undo().await.unwrap_err().code(), "ORC-0106");
    // Back at the rollback's target, but by a deployment.
    stage.deploy("1.0").await;
    assert_eq!(stage.undo().await.unwrap_err().code(), "ORC-0106");
    assert_eq!(stage.live().await.as_deref(), Some("1.0"));
}

#[tokio::test]
async fn a_rollback_that_moved_nothing_cannot_be_undone() {
    let stage = Stage::new().await;
    stage.deploy_all(&["1.0", "1.1"]).await;
    stage.world.never_healthy(&v("1.0"));
    // 1.0 was live once, but this deployment of it never got traffic.
    stage.world.lose_instances(&v("1.0"));
    stage.deploy("1.0").await;
    stage.rollback().rollback(&stage.back_to("1.1")).await.unwrap();
    assert_eq!(stage.undo().await.unwrap_err().code(), "ORC-0106");
    assert_eq!(stage.live().await.as_deref(), Some("1.1"));
}

#[tokio::test]
async fn an_undone_rollback_of_a_failed_deployment_leaves_it_failed() {
    let stage = Stage::new().await;
    stage.deploy("1.0").await;
    stage.world.answers_wrongly(&v("1.1"));
    let condemned = stage.deploy("1.1").await;
    assert_eq!(condemned.deployment.status, DeploymentStatus::Failed);
    let asking = Asking { trigger: Trigger::Verification, ..Asking::by("orchestrate") };
    stage.rollback().rollback_as(&stage.back(), &asking).await.unwrap();
    stage.world.answers_rightly(&v("1.1"));
    stage.undo().await.unwrap();
    let current = stage.current().await;
    assert_eq!((current.version, current.status), (v("1.1"), DeploymentStatus::Failed));
    assert_eq!(stage.live().await.as_deref(), Some("1.1"));
    // So it may be rolled back again without force.
    stage.rollback().rollback(&stage.back()).await.unwrap();
    assert_eq!(stage.live().await.as_deref(), Some("1.0"));
}

#[tokio::test]
async fn an_undo_returns_to_what_served_although_something_else_was_rolled_back() {
    let stage = Stage::new().await;
    stage.deploy_all(&["1.0", "1.1"]).await;
    stage.world.never_healthy(&v("1.2"));
    stage.deploy("1.2").await;
    let failed = stage.current().await;
    let event = stage.rollback().rollback(&stage.back_to("1.0")).await.unwrap();
    assert_eq!((event.from_version, stage.live().await.as_deref()), (v("1.2"), Some("1.0")));
    stage.undo().await.unwrap();
    assert_eq!(stage.live().await.as_deref(), Some("1.1"));
    assert_eq!(stage.current().await.id, failed.id);
    assert_eq!(stage.current().await.status, DeploymentStatus::TimedOut);
    assert!(stage.db.list_holds(&stage.environment).await.unwrap().is_empty());
}

#[tokio::test]
async fn what_an_undo_leaves_is_as_good_as_it_was() {
    let stage = Stage::new().await;
    stage.deploy_all(&["1.0", "1.1"]).await;
    stage.rollback().rollback(&stage.forced()).await.unwrap();
    stage.undo().await.unwrap();
    let all = stage.db.list_deployments(&stage.environment, 9).await.unwrap();
    assert!(all.iter().all(|one| one.status == DeploymentStatus::Completed), "{all:?}");
}

#[tokio::test]
async fn a_rollback_that_an_older_program_recorded_is_taken_back_too() {
    let stage = Stage::new().await;
    stage.deploy_all(&["1.0", "1.1"]).await;
    stage.rollback().rollback(&stage.forced()).await.unwrap();
    stage
        .sql(
            "UPDATE deployment_rollback_events SET left_release_id = NULL, left_deployment_id = NULL, marks = '[]'",
        )
        .await;
    stage.undo().await.unwrap();
    assert_eq!(stage.live().await.as_deref(), Some("1.1"));
    assert_eq!(stage.current().await.version, v("1.1"));
}

#[tokio::test]
async fn what_was_not_proven_when_it_was_left_is_watched_again_after_the_undo() {
    let stage = Stage::with(baking(Span::from_secs(30)), &[]).await;
    let first = stage.deploy("1.0").await.deployment;
    stage.executor().finish_bake(first.id, Ok(())).await.unwrap();
    let second = stage.deploy("1.1").await.deployment;
    assert_eq!(second.status, DeploymentStatus::InProgress);
    stage.rollback().rollback(&stage.forced()).await.unwrap();
    assert!(stage.db.list_baking().await.unwrap().is_empty());
    stage.undo().await.unwrap();
    let now = stage.current().await;
    assert_eq!((now.id, now.status), (second.id, DeploymentStatus::InProgress));
    assert!(now.bake_until.unwrap() >= second.bake_until.unwrap(), "from the beginning");
    assert_eq!(stage.db.list_baking().await.unwrap(), [now]);
}
