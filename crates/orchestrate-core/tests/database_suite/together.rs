//! Several programs on one database.

use orchestrate_core::DeploymentExecutor;
use orchestrate_core::fakes::{Fault, Gate, Kind, When};
use tokio::task::JoinSet;

use super::scene::{Fresh, Scene, v};

const MANY: usize = 12;

pub async fn of_many_only_one_takes_the_lease(fresh: Fresh) {
    let scene = Scene::new(&fresh).await;
    let gate = Gate::default();
    scene.world.fault(When::Kind(Kind::Start), 1, Fault::Hold(gate.clone()));
    let mut tasks = JoinSet::new();
    for number in 0..MANY {
        // Each is a program of its own, with connections of its own.
        let (db, world) = (fresh.open().await, scene.world.clone());
        let request = scene.to_deploy(&format!("1.{number}"));
        tasks.spawn(async move {
            let result = DeploymentExecutor::new(db.clone(), world.ports()).deploy(&request).await;
            db.close().await;
            result
        });
    }
    let mut refused = 0;
    while refused < MANY - 1 {
        let error = tasks.join_next().await.unwrap().unwrap().unwrap_err();
        assert!(matches!(error.code(), "ORC-0110" | "ORC-0115"), "{error:?}");
        refused += 1;
    }
    gate.reached().await;
    let open = scene.db.list_open_operations().await.unwrap();
    assert_eq!(open.len(), 1);
    gate.open();
    let winner = tasks.join_next().await.unwrap().unwrap().unwrap();
    let live = scene.world.live(&scene.environment).unwrap();
    assert_eq!(live.2, winner.deployment.version);
    assert_ne!(live.2, v("9.9"));
    assert_eq!(scene.db.list_deployments(&scene.environment, 99).await.unwrap().len(), 1);
    assert_eq!(scene.db.lease(&scene.environment).await.unwrap().unwrap().fence, open[0].fence);
    scene.end(fresh).await;
}

pub async fn two_programs_open_an_empty_database(fresh: Fresh) {
    let (first, second, third) = tokio::join!(fresh.open(), fresh.open(), fresh.open());
    for db in [&first, &second, &third] {
        assert!(db.list_environments().await.unwrap().is_empty());
    }
    first.close().await;
    second.close().await;
    fresh.clear_up(third).await;
}
