//! Deployments that stop short of all traffic, as they are recorded.

use orchestrate_core::deployment::DeploymentStatus;
use orchestrate_core::deployment_executor::{DeployRequest, Promotion};
use orchestrate_core::deployment_strategy::StrategyKind;
use orchestrate_core::execute::Limits;

use super::{Fresh, Scene};

pub async fn a_canary_is_kept_paused_and_promoted(fresh: Fresh) {
    let scene = Scene::new(&fresh).await;
    scene.deploy("1.0").await;
    let request = DeployRequest { strategy: Some(StrategyKind::Canary), ..scene.to_deploy("1.1") };
    let deployed = scene.executor().deploy(&request).await.unwrap().deployment;
    let rollout = scene.db.open_rollout(&scene.environment).await.unwrap().unwrap();
    assert_eq!((rollout.deployment, rollout.weight, rollout.next_weight()), (deployed.id, 10, 25));
    assert!(rollout.next_at.is_some());
    assert_eq!(scene.db.list_open_rollouts().await.unwrap(), [rollout]);
    let paused = scene.executor().pause(&scene.environment, "ada", "lunch").await.unwrap();
    assert_eq!((paused.next_at, paused.paused.as_deref()), (None, Some("lunch")));
    let promotion = Promotion {
        environment: scene.environment.clone(),
        all: false,
        actor: "orchestrate".into(),
        by_itself: Some(deployed.id),
        break_glass: false,
        reason: None,
        limits: Limits::default(),
    };
    assert_eq!(scene.executor().promote(&promotion).await.unwrap_err().code(), "ORC-0155");
    let by_hand = Promotion { by_itself: None, actor: "ada".into(), ..promotion };
    scene.executor().promote(&by_hand).await.unwrap();
    let rollout = scene.db.open_rollout(&scene.environment).await.unwrap().unwrap();
    assert_eq!((rollout.weight, rollout.paused, rollout.next_at.is_some()), (25, None, true));
    let promoted = scene.executor().promote(&Promotion { all: true, ..by_hand }).await.unwrap();
    assert_eq!(promoted.deployment.status, DeploymentStatus::Completed);
    assert_eq!(scene.db.open_rollout(&scene.environment).await.unwrap(), None);
    scene.end(fresh).await;
}
