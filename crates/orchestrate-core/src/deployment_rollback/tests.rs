//! Rollbacks on a real SQLite file, with a world in memory that breaks the test when an invariant is broken.

mod crossing;
mod ends;
mod groups;
mod planned;
mod targets;
mod told;
mod undo;
mod ways;

use crate::deployment::DeploymentStatus;
use crate::error::ErrorKind;
use crate::rollback_event::{RollbackPath, RollbackStatus, RollbackType, Trigger};
use crate::stage::{Stage, v};

use super::*;

#[test]
fn test_rollback_type_display() {
    let shown = [
        (RollbackType::Previous, "previous"),
        (RollbackType::Specific, "specific"),
        (RollbackType::BlueGreenSwitch, "blue_green_switch"),
        (RollbackType::Automatic, "automatic"),
    ];
    for (kind, text) in shown {
        assert_eq!(kind.to_string(), text);
        assert_eq!(RollbackType::parse(text), Some(kind));
        assert_eq!(serde_json::to_value(kind).unwrap(), text);
    }
    assert_eq!(format!("{:>10}", RollbackType::Previous), "  previous");
    assert_eq!(RollbackType::parse("Previous"), None);
}

#[test]
fn test_rollback_status_display() {
    let shown = [
        (RollbackStatus::Pending, "pending"),
        (RollbackStatus::InProgress, "in_progress"),
        (RollbackStatus::Completed, "completed"),
        (RollbackStatus::Failed, "failed"),
        (RollbackStatus::NeedsAttention, "needs_attention"),
    ];
    for (status, text) in shown {
        assert_eq!(status.to_string(), text);
        assert_eq!(RollbackStatus::parse(text), Some(status));
        assert_eq!(serde_json::to_value(status).unwrap(), text);
    }
}

#[tokio::test]
async fn test_rollback_to_previous_version() {
    let stage = Stage::new().await;
    stage.deploy_all(&["1.0", "1.1", "1.2"]).await;
    // The warm period of 1.1 is over, so it has to be started again.
    stage.world.clock.advance(crate::time::Span::from_secs(16 * 60));
    crate::slot_tending::tend(&stage.db, &stage.world.ports()).await.unwrap();
    let event = stage.rollback().rollback(&stage.forced()).await.unwrap();
    assert_eq!(event.rollback_type, RollbackType::Previous);
    assert_eq!(event.path, RollbackPath::Cold);
    assert_eq!(event.status, RollbackStatus::Completed);
    assert_eq!((event.from_version, event.target_version), (v("1.2"), v("1.1")));
    assert_eq!(stage.live().await.as_deref(), Some("1.1"));
    let left = stage.db.deployment(event.deployment_id).await.unwrap().unwrap();
    assert_eq!((left.status, left.version), (DeploymentStatus::RolledBack, v("1.2")));
    assert!(stage.db.find_hold(&stage.environment, &v("1.2")).await.unwrap().is_some());
    let phases: Vec<_> = event.phases.iter().map(|phase| phase.name.as_str()).collect();
    assert_eq!(phases, ["fetch", "start", "await_healthy", "switch_traffic", "prove_live"]);
}

#[tokio::test]
async fn test_rollback_to_specific_version() {
    let stage = Stage::new().await;
    stage.deploy_all(&["1.0", "1.1", "1.2"]).await;
    let event = stage.rollback().rollback(&stage.back_to("1.0")).await.unwrap();
    assert_eq!(event.rollback_type, RollbackType::Specific);
    assert_eq!((event.from_version, event.target_version), (v("1.2"), v("1.0")));
    assert_eq!(stage.live().await.as_deref(), Some("1.0"));
    // What lies between was gone past, so that what is current is what is live.
    assert_eq!(stage.current().await.version, v("1.0"));
    let error = stage.rollback().rollback(&stage.forced()).await.unwrap_err();
    assert_eq!(error.code(), "ORC-0102");
}

#[tokio::test]
async fn test_rollback_blue_green_fast_switch() {
    let stage = Stage::new().await;
    stage.deploy_all(&["1.0", "1.1"]).await;
    stage.world.forget_calls();
    let event = stage.rollback().rollback(&stage.forced()).await.unwrap();
    assert_eq!(event.rollback_type, RollbackType::BlueGreenSwitch);
    assert_eq!(event.path, RollbackPath::Warm);
    assert_eq!(stage.live().await.as_deref(), Some("1.0"));
    use crate::fakes::Kind::{Observe, Persisted, Prove, Switch};
    let kinds: Vec<_> = stage.world.calls().into_iter().map(|call| call.kind).collect();
    assert_eq!(
        kinds,
        [Observe, Switch, Prove, Persisted, Observe],
        "the switch, its proof, and that it stays"
    );
}

#[tokio::test]
async fn test_rollback_requires_force_for_successful_deployment() {
    let stage = Stage::new().await;
    stage.deploy_all(&["1.0", "1.1"]).await;
    let before = stage.dump().await;
    let error = stage.rollback().rollback(&stage.back()).await.unwrap_err();
    assert_eq!(error.to_string(), "deployment 2 of 1.1 is completed; use --force to roll it back");
    assert_eq!((error.code(), error.kind()), ("ORC-0104", ErrorKind::Refused));
    assert_eq!(stage.dump().await, before, "a refusal changes nothing");
    assert_eq!(stage.live().await.as_deref(), Some("1.1"));
}

#[tokio::test]
async fn test_rollback_with_force_on_successful_deployment() {
    let stage = Stage::new().await;
    stage.deploy_all(&["1.0", "1.1"]).await;
    let asking = Asking { reason: Some("checkout is broken".into()), ..Asking::by("ada") };
    let rolled = stage.rollback().rollback_as(&stage.forced(), &asking).await.unwrap();
    assert_eq!(rolled.event.status, RollbackStatus::Completed);
    assert_eq!(rolled.event.actor, "ada");
    assert_eq!(rolled.event.reason.as_deref(), Some("checkout is broken"));
    assert_eq!(rolled.event.trigger, Trigger::Api);
    let hold = stage.db.find_hold(&stage.environment, &v("1.1")).await.unwrap().unwrap();
    assert_eq!(hold.reason, "rollback 1: checkout is broken");
    assert_eq!(stage.live().await.as_deref(), Some("1.0"));
}

#[tokio::test]
async fn test_rollback_no_previous_deployment() {
    let stage = Stage::new().await;
    let before = stage.dump().await;
    let error = stage.rollback().rollback(&stage.forced()).await.unwrap_err();
    assert_eq!((error.code(), error.kind()), ("ORC-0102", ErrorKind::Refused));
    assert_eq!(error.to_string(), "there is no deployment in production to roll back");
    assert_eq!(stage.dump().await, before);

    stage.deploy("1.0").await;
    let before = stage.dump().await;
    let error = stage.rollback().rollback(&stage.forced()).await.unwrap_err();
    assert_eq!((error.code(), error.kind()), ("ORC-0102", ErrorKind::Refused));
    assert_eq!(error.to_string(), "there is no good release before 1.0 in production");
    assert_eq!(stage.dump().await, before);
}

#[tokio::test]
async fn test_list_rollback_events() {
    let stage = Stage::new().await;
    stage.deploy_all(&["1.0", "1.1", "1.2"]).await;
    let rollback = stage.rollback();
    assert!(rollback.list_rollbacks(&stage.environment, 10).await.unwrap().is_empty());
    let first = rollback.rollback(&stage.forced()).await.unwrap();
    let second = rollback.rollback(&stage.forced()).await.unwrap();
    assert_eq!(rollback.list_rollbacks(&stage.environment, 10).await.unwrap(), [second.clone(), first]);
    assert_eq!(rollback.list_rollbacks(&stage.environment, 1).await.unwrap(), [second]);
    assert!(rollback.list_rollbacks(&stage.environment, 0).await.unwrap().is_empty());
    let unknown = EnvironmentName::new("staging").unwrap();
    assert_eq!(rollback.list_rollbacks(&unknown, 10).await.unwrap_err().code(), "ORC-0101");
}

#[tokio::test]
async fn test_get_rollback_event() {
    let stage = Stage::new().await;
    stage.deploy_all(&["1.0", "1.1"]).await;
    let event = stage.rollback().rollback(&stage.forced()).await.unwrap();
    assert_eq!(stage.rollback().get_rollback(event.id).await.unwrap(), event);
    let error = stage.rollback().get_rollback(RollbackId(99)).await.unwrap_err();
    assert_eq!((error.code(), error.kind()), ("ORC-0113", ErrorKind::Refused));
}
