//! Rehearsals of rollbacks, as they are recorded; and whose turn a scheduled one is.

use orchestrate_core::drill::{DrillStatus, DrillTrigger};
use orchestrate_core::execute::Limits;
use orchestrate_core::rollback_event::RollbackPath;
use orchestrate_core::{DeploymentDrill, DrillRequest};

use super::{Fresh, Scene, time, v};

pub async fn a_drill_is_on_record_and_moves_nothing(fresh: Fresh) {
    let scene = Scene::new(&fresh).await;
    let (db, place) = (&scene.db, &scene.environment);
    scene.deploy("1.0").await;
    scene.deploy("1.1").await;
    assert!(db.list_drills(place, 5).await.unwrap().is_empty());
    let before = (db.environment(place).await.unwrap(), db.slots(place).await.unwrap());
    let request = DrillRequest {
        environment: place.clone(),
        actor: "ada".into(),
        reason: Some("ü 'quoted'".into()),
        trigger: DrillTrigger::Scheduled,
        limits: Limits::default(),
    };
    let drill = DeploymentDrill::new(db.clone(), scene.world.ports());
    let good = drill.drill(&request).await.unwrap().drill;
    assert_eq!(
        (good.status, good.path, good.trigger),
        (DrillStatus::Completed, RollbackPath::Warm, DrillTrigger::Scheduled)
    );
    scene.world.answers_wrongly(&v("1.0"));
    let bad = drill.drill(&request).await.unwrap().drill;
    assert_eq!(bad.status, DrillStatus::Failed);
    assert_eq!(db.list_drills(place, 5).await.unwrap(), [bad.clone(), good]);
    assert_eq!(db.list_drills(place, 1).await.unwrap(), std::slice::from_ref(&bad));
    assert_eq!(db.last_drill(place).await.unwrap(), Some(bad));
    assert_eq!((db.environment(place).await.unwrap(), db.slots(place).await.unwrap()), before);
    assert!(db.list_deployment_rollback_events(place, 5).await.unwrap().is_empty());
    scene.end(fresh).await;
}

pub async fn a_scheduled_drill_is_one_daemons_turn(fresh: Fresh) {
    let scene = Scene::new(&fresh).await;
    let other = fresh.open().await;
    let place = &scene.environment;
    let (mut taken, mut again) = (0, 0);
    for minute in 1..=20 {
        let due = time(minute * 60);
        let (one, two) =
            tokio::join!(scene.db.take_drill_turn(place, due), other.take_drill_turn(place, due));
        taken += usize::from(one.unwrap()) + usize::from(two.unwrap());
        again += usize::from(scene.db.take_drill_turn(place, due).await.unwrap());
    }
    assert_eq!((taken, again), (20, 0));
    assert!(!other.take_drill_turn(place, time(60)).await.unwrap(), "a clock went back");
    other.close().await;
    scene.end(fresh).await;
}
