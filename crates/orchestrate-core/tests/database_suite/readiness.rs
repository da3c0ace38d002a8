//! Whether a rollback would work, as it is written down.

use orchestrate_core::time::Span;

use super::scene::{Fresh, Scene};

pub async fn what_is_seen_again_is_not_written_again(fresh: Fresh) {
    let scene = Scene::new(&fresh).await;
    let (db, place) = (&scene.db, &scene.environment);
    scene.deploy("1.0").await;
    scene.deploy("1.1").await;
    let readiness = scene.rollback().readiness(place).await.unwrap();
    assert!(readiness.ready && readiness.command.is_some(), "{readiness:?}");
    let first = scene.world.clock.read();
    assert!(
        !db.record_readiness(place, &readiness, first).await.unwrap(),
        "nobody is told of what never was lost"
    );
    let minute = Span::from_secs(60).duration();
    db.record_readiness(place, &readiness, first.plus(minute)).await.unwrap();
    let [record] = &db.list_readiness().await.unwrap()[..] else { panic!() };
    assert_eq!((record.since, record.checked_at, record.lost), (first, first, false));
    // Now and then it is, so that people see that somebody looks.
    db.record_readiness(place, &readiness, first.plus(minute * 11)).await.unwrap();
    let [record] = &db.list_readiness().await.unwrap()[..] else { panic!() };
    assert_eq!((record.since, record.checked_at), (first, first.plus(minute * 11)));
    scene.end(fresh).await;
}
