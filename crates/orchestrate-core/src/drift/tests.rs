//! Somebody changes by hand what an engine runs.

use crate::deployment_executor::DeployRequest;
use crate::environment::{EnvironmentSettings, ProviderKind};
use crate::fakes::Kind;
use crate::rollback_event::RollbackPath;
use crate::slot_tending::{Told, Upkeep, reconcile};
use crate::stage::{Stage, settings, v};

const CHANGE: &str = "the image of web is shop:hotfix";

async fn engine() -> Stage {
    let settings = EnvironmentSettings { provider: ProviderKind::Kubernetes, ..settings() };
    let stage = Stage::with(settings, &[]).await;
    stage.deploy_all(&["1.0", "1.1"]).await;
    stage.world.drifts(&v("1.1"), &[CHANGE]);
    stage
}

#[tokio::test]
async fn what_somebody_changed_is_overwritten_only_with_force() {
    let stage = engine().await;
    let forced = DeployRequest { force: true, ..stage.to_deploy("1.2") };
    let error = stage.executor().deploy(&stage.to_deploy("1.2")).await.unwrap_err();
    assert_eq!(error.code(), "ORC-0166");
    assert!(error.message().contains(CHANGE), "{}", error.message());
    assert!(error.hint_text().unwrap().ends_with("--version 1.2 --force"), "{:?}", error.hint_text());
    assert_eq!(stage.live().await.as_deref(), Some("1.1"));
    stage.executor().deploy(&forced).await.unwrap();
    assert_eq!(stage.live().await.as_deref(), Some("1.2"));
}

#[tokio::test]
async fn a_rollback_says_what_it_overwrites() {
    let stage = engine().await;
    stage.rollback().rollback(&stage.forced()).await.unwrap();
    let said = stage.world.remarks.all();
    assert!(said.iter().any(|remark| remark.contains(CHANGE)), "{said:?}");
}

/// Traffic that came to what somebody made of a release would be no rollback to it.
#[tokio::test]
async fn what_waits_warm_and_was_changed_is_started_again_from_what_is_sealed() {
    let stage = engine().await;
    stage.world.drifts(&v("1.1"), &[]);
    stage.world.drifts(&v("1.0"), &[CHANGE]);
    stage.world.forget_calls();
    let rolled = stage.rollback().rollback(&stage.forced()).await.unwrap();
    assert_eq!(rolled.target_version, v("1.0"));
    assert_eq!(rolled.path, RollbackPath::Cold);
    let said = stage.world.remarks.all();
    assert!(
        said.iter().any(|remark| remark.contains(&format!("somebody changed it ({CHANGE})"))),
        "{said:?}"
    );
    let calls: Vec<Kind> = stage.world.calls().into_iter().map(|call| call.kind).collect();
    let at = |kind: Kind| calls.iter().position(|call| *call == kind).unwrap();
    assert!(at(Kind::Stop) < at(Kind::Start) && at(Kind::Start) < at(Kind::Switch), "{calls:?}");
}

#[tokio::test]
async fn it_is_recorded_once_and_left_as_it_is() {
    let stage = engine().await;
    let (mut told, ports) = (Told::default(), stage.world.ports());
    stage.world.forget_calls();
    for _ in 0..3 {
        let kept = reconcile(&stage.db, &ports, &mut told, &stage.environment).await.unwrap();
        assert_eq!(kept, Upkeep::Watched);
    }
    let calls: Vec<Kind> = stage.world.calls().into_iter().map(|call| call.kind).collect();
    assert_eq!(calls, [Kind::Drift, Kind::Drift, Kind::Drift], "it is only looked at");
    stage.world.drifts(&v("1.1"), &[]);
    reconcile(&stage.db, &ports, &mut told, &stage.environment).await.unwrap();
    let trail = stage.db.list_audit(Some(&stage.environment), 2).await.unwrap();
    let found: Vec<_> =
        trail.iter().map(|record| (record.action.as_str(), &record.detail["changes"])).collect();
    assert_eq!(
        found,
        [("drift_ended", &serde_json::json!([])), ("drift_seen", &serde_json::json!([CHANGE]))]
    );
}

/// Whoever changes a service has its tasks replaced, and the new ones are elsewhere.
#[tokio::test]
async fn users_are_sent_to_where_it_runs_now_whatever_somebody_changed() {
    let settings = EnvironmentSettings { provider: ProviderKind::Swarm, ..settings() };
    let stage = Stage::with(settings, &[]).await;
    stage.deploy_all(&["1.0", "1.1"]).await;
    let (mut told, ports) = (Told::default(), stage.world.ports());
    reconcile(&stage.db, &ports, &mut told, &stage.environment).await.unwrap();
    stage.world.drifts(&v("1.1"), &[CHANGE]);
    for _ in 0..2 {
        stage.world.move_instances(&v("1.1"));
        stage.world.forget_calls();
        for _ in 0..2 {
            let kept = reconcile(&stage.db, &ports, &mut told, &stage.environment).await.unwrap();
            assert_eq!(kept, Upkeep::Watched);
        }
        let calls = stage.world.calls().into_iter().map(|call| call.kind);
        let effects: Vec<Kind> =
            calls.filter(|kind| !matches!(kind, Kind::Drift | Kind::Instances | Kind::Observe)).collect();
        assert_eq!(effects, [Kind::Register], "it is told once, and nothing else is done");
    }
}

/// It would be tried again for ever, and nobody would know.
#[tokio::test]
async fn what_would_have_to_be_overwritten_is_not_rolled_back_by_itself_and_people_are_told() {
    let stage = engine().await;
    stage.sql("UPDATE deployments SET status = 'failed', error_message = 'bad' WHERE version = '1.1'").await;
    let bad = stage.current().await;
    let held = stage.rollback().rollback_by_itself(&bad, false).await.unwrap();
    assert!(matches!(&held, crate::Automatic::Held(why) if why.contains(CHANGE)), "{held:?}");
    let stored = stage.current().await.automatic_hold;
    assert!(stored.is_some_and(|why| why.contains(CHANGE)));
}

#[tokio::test]
async fn what_only_we_can_change_is_never_asked_about() {
    let stage = Stage::new().await;
    stage.world.forget_calls();
    stage.deploy_all(&["1.0", "1.1"]).await;
    stage.rollback().rollback(&stage.forced()).await.unwrap();
    assert!(stage.world.calls().iter().all(|call| call.kind != Kind::Drift));
}
