//! Rollback events, as the issue names their methods.

use orchestrate_core::deployment_rollback::Asking;
use orchestrate_core::evidence::{Consequence, Evidence, Finding};
use orchestrate_core::name::{DeploymentId, ReleaseId, RollbackId};
use orchestrate_core::rollback_event::{
    NewRollbackEvent, RollbackPath, RollbackStatus, RollbackType, Trigger,
};
use sqlx::Row as _;

use super::scene::{Fresh, Scene, name, v};
use super::time;

fn new(scene: &Scene, deployment: i64, at: i64) -> NewRollbackEvent {
    NewRollbackEvent {
        deployment_id: DeploymentId(deployment),
        environment: scene.environment.clone(),
        from_version: v("1.1"),
        from_release: ReleaseId(2),
        target_version: v("1.0"),
        target_release: ReleaseId(1),
        rollback_type: RollbackType::BlueGreenSwitch,
        path: RollbackPath::Warm,
        started_at: time(at),
        actor: "ada".into(),
        reason: Some("it's slow".into()),
        trigger: Trigger::Watch,
        evidence: vec![Evidence::new(
            "error_rate",
            Finding::Bad,
            Consequence::Rollback,
            "40 % of 60 answers were errors",
        )],
        undoes: None,
    }
}

pub async fn rollback_events(fresh: Fresh) {
    let scene = Scene::new(&fresh).await;
    let (db, place) = (&scene.db, &scene.environment);
    scene.deploy("1.0").await;
    scene.deploy("1.1").await;
    let event = db.create_deployment_rollback_event(&new(&scene, 2, 0)).await.unwrap();
    assert_eq!((event.status, event.completed_at, event.duration_ms), (RollbackStatus::Pending, None, None));
    assert_eq!((event.rollback_type, event.path), (RollbackType::BlueGreenSwitch, RollbackPath::Warm));
    assert_eq!((event.trigger, event.reason.as_deref()), (Trigger::Watch, Some("it's slow")));
    assert_eq!((event.from_release, event.target_release), (Some(ReleaseId(2)), Some(ReleaseId(1))));
    assert_eq!(event.evidence, new(&scene, 2, 0).evidence);
    assert!(!event.notification_sent && event.phases.is_empty() && event.undoes.is_none());
    assert_eq!(db.get_deployment_rollback_event(event.id).await.unwrap().as_ref(), Some(&event));
    assert!(db.get_deployment_rollback_event(RollbackId(99)).await.unwrap().is_none());

    let update = async |status, error: Option<&str>, at| {
        db.update_deployment_rollback_status(event.id, status, error, time(at)).await.unwrap();
        db.get_deployment_rollback_event(event.id).await.unwrap().unwrap()
    };
    assert_eq!(update(RollbackStatus::InProgress, None, 1).await.completed_at, None);
    let stuck = update(RollbackStatus::NeedsAttention, Some("no answer"), 2).await;
    assert_eq!((stuck.completed_at, stuck.error_message.as_deref()), (None, Some("no answer")));
    let failed = update(RollbackStatus::Failed, Some("no"), 3).await;
    assert_eq!((failed.completed_at, failed.duration_ms), (Some(time(3)), Some(3000)));
    let done = update(RollbackStatus::Completed, None, 4).await;
    assert_eq!((done.completed_at, done.error_message), (Some(time(4)), None));
    let unknown = RollbackId(99);
    let missing = db.update_deployment_rollback_status(unknown, RollbackStatus::Failed, None, time(0)).await;
    assert_eq!(missing.unwrap_err().code(), "ORC-0113");

    db.mark_deployment_rollback_notification_sent(event.id, time(5)).await.unwrap();
    assert!(db.get_deployment_rollback_event(event.id).await.unwrap().unwrap().notification_sent);

    let second = db.create_deployment_rollback_event(&new(&scene, 2, 9)).await.unwrap();
    let listed = db.list_deployment_rollback_events(place, 10).await.unwrap();
    assert_eq!(listed.iter().map(|event| event.id).collect::<Vec<_>>(), [second.id, event.id]);
    assert_eq!(db.list_deployment_rollback_events(place, 1).await.unwrap().len(), 1);
    assert!(db.list_deployment_rollback_events(&name("nowhere"), 10).await.unwrap().is_empty());
    assert_eq!(db.rollback_of_deployment(DeploymentId(2)).await.unwrap().unwrap().id, second.id);
    assert!(db.rollback_of_deployment(DeploymentId(1)).await.unwrap().is_none());
    scene.end(fresh).await;
}

pub async fn rollbacks_that_stand(fresh: Fresh) {
    let scene = Scene::new(&fresh).await;
    let (db, place) = (&scene.db, &scene.environment);
    for version in ["1.0", "1.1", "1.2"] {
        scene.deploy(version).await;
    }
    let standing = async || db.last_standing_rollback(place).await.unwrap().map(|event| event.id.0);
    assert_eq!(standing().await, None);
    for id in [1, 2] {
        scene.rollback().rollback(&scene.forced()).await.unwrap();
        assert_eq!(standing().await, Some(id));
    }
    db.create_deployment_rollback_event(&new(&scene, 1, 0)).await.unwrap();
    assert_eq!(standing().await, Some(2), "one that is pending does not count");
    let asking = Asking { undo: true, ..Asking::by("ada") };
    for left in [Some(1), None] {
        scene.rollback().rollback_as(&scene.forced(), &asking).await.unwrap();
        assert_eq!(standing().await, left);
    }
    scene.end(fresh).await;
}

pub async fn a_deployment_takes_its_rollbacks_along(fresh: Fresh) {
    let scene = Scene::new(&fresh).await;
    scene.deploy("1.0").await;
    scene.deploy("1.1").await;
    let event = scene.rollback().rollback(&scene.forced()).await.unwrap();
    fresh.sql("UPDATE environments SET live_deployment_id = NULL").await;
    // A plain connection to SQLite does not look after references unless it is told to.
    let mut connection = fresh.connect().await;
    if fresh.dir.is_some() {
        sqlx::query("PRAGMA foreign_keys = ON").execute(&mut connection).await.unwrap();
    }
    sqlx::query("DELETE FROM deployments WHERE id = $1")
        .bind(event.deployment_id.0)
        .execute(&mut connection)
        .await
        .unwrap();
    assert!(scene.db.get_deployment_rollback_event(event.id).await.unwrap().is_none());
    for table in ["deployment_rollback_events", "operations", "journal"] {
        let count = sqlx::AssertSqlSafe(match table {
            "journal" => "SELECT COUNT(*) AS n FROM journal WHERE operation_id > 1".to_owned(),
            _ => format!("SELECT COUNT(*) AS n FROM {table} WHERE deployment_id = 2"),
        });
        let left: i64 = sqlx::query(count).fetch_one(&mut connection).await.unwrap().get("n");
        assert_eq!(left, 0, "{table}");
    }
    drop(connection);
    scene.end(fresh).await;
}
