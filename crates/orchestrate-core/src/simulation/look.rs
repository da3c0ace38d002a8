//! What must be true when everything has come to rest.

use std::collections::BTreeSet;

use super::Scene;
use crate::deployment::DeploymentStatus;
use crate::drill::DrillStatus;
use crate::execute::tests::check_instances;
use crate::rollback_event::RollbackStatus;

pub(super) async fn look(scene: &Scene) {
    let (stage, db) = (&scene.stage, &scene.stage.db);
    let environment = &stage.environment;
    let lease = db.lease(environment).await.unwrap();
    if let Some(lease) = lease {
        assert_eq!((lease.operation, lease.holder), (None, None), "the lease");
    }
    // That records and router say the same is asserted in here.
    let live = stage.live().await;
    check_instances(stage, "in the end").await;
    let recorded: BTreeSet<_> = stage.slots().await.into_iter().map(|slot| slot.slot).collect();
    let routed: BTreeSet<_> = stage.world.routed(environment).into_iter().collect();
    assert_eq!(routed, recorded, "what the router knows, and what is recorded");
    let deployments = db.list_deployments(environment, 1000).await.unwrap();
    let events = db.list_deployment_rollback_events(environment, 1000).await.unwrap();
    let rollout = db.open_rollout(environment).await.unwrap();
    for deployment in &deployments {
        let under_way = rollout.as_ref().is_some_and(|rollout| rollout.deployment == deployment.id);
        let ended = !matches!(
            deployment.status,
            DeploymentStatus::Pending | DeploymentStatus::Validating | DeploymentStatus::InProgress
        );
        assert!(ended || under_way, "{deployment:?}");
    }
    for event in &events {
        assert!(matches!(event.status, RollbackStatus::Completed | RollbackStatus::Failed), "{event:?}");
    }
    let drills = db.list_drills(environment, 1000).await.unwrap();
    for drill in &drills {
        assert!(!matches!(drill.status, DrillStatus::InProgress | DrillStatus::NeedsAttention), "{drill:?}");
    }
    let went_live = deployments
        .iter()
        .any(|one| matches!(one.status, DeploymentStatus::Completed | DeploymentStatus::RolledBack));
    assert!(!went_live || live.is_some(), "something was live, and nothing is");
    for claim in scene.claims.lock().unwrap().iter() {
        let recorded = events.iter().find(|event| event.id == claim.id).unwrap();
        assert_eq!(recorded.status, RollbackStatus::Completed, "a person was told: {claim:?}");
        assert_eq!(recorded.target_version, claim.target_version);
    }
    audited(scene, deployments.len() + events.len() + drills.len()).await;
}

/// Every operation has its record.
async fn audited(scene: &Scene, operations: usize) {
    let audit = scene.stage.db.list_audit(None, 10_000).await.unwrap();
    assert!(audit.len() >= operations, "{} records of {operations} operations", audit.len());
}
