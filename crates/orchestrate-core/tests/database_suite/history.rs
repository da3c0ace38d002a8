//! Releases, deployments, slots, operations, and a whole life from the first deployment to the end.

use orchestrate_core::deployment::DeploymentStatus;
use orchestrate_core::deployment_executor::Resumed;
use orchestrate_core::deployment_rollback::Asking;
use orchestrate_core::execute::journal::StepEvent;
use orchestrate_core::fakes::{Fault, Kind, When};
use orchestrate_core::name::{DeploymentId, OperationId, ReleaseId};
use orchestrate_core::ports::Placement;
use orchestrate_core::release::Digest;
use orchestrate_core::rollback_event::{RollbackPath, RollbackStatus};
use orchestrate_core::slot::{Slot, SlotState};
use orchestrate_core::slot_tending::tend;
use orchestrate_core::time::Span;

use super::scene::{Fresh, Scene, contents, name, v};
use super::time;

pub async fn deployments_and_releases(fresh: Fresh) {
    let scene = Scene::new(&fresh).await;
    let (db, place) = (&scene.db, &scene.environment);
    for version in ["1.0", "1.1", "1.2"] {
        scene.deploy(version).await;
    }
    scene.world.never_healthy(&v("1.3"));
    scene.deploy("1.3").await;

    let all = db.list_deployments(place, 10).await.unwrap();
    let told: Vec<_> = all.iter().map(|d| (d.id.0, d.version.as_str(), d.status)).collect();
    use DeploymentStatus::{Completed, TimedOut};
    assert_eq!(
        told,
        [(4, "1.3", TimedOut), (3, "1.2", Completed), (2, "1.1", Completed), (1, "1.0", Completed)]
    );
    assert_eq!(db.list_deployments(place, 2).await.unwrap().len(), 2);
    assert_eq!(db.deployment(DeploymentId(3)).await.unwrap().as_ref(), Some(&all[1]));
    assert!(db.deployment(DeploymentId(99)).await.unwrap().is_none());
    assert_eq!(db.current_deployment(place).await.unwrap().as_ref(), Some(&all[0]));
    assert!(db.current_deployment(&name("nowhere")).await.unwrap().is_none());
    assert_eq!(db.deployment_of_release(all[1].release).await.unwrap().unwrap().id, DeploymentId(3));
    assert!(db.deployment_of_release(all[0].release).await.unwrap().is_none(), "it never was live");
    assert!(db.list_baking().await.unwrap().is_empty());
    assert_eq!(all[0].reason.as_deref(), Some("Wednesday"));

    let lineage = db.list_lineage(place, None, 10).await.unwrap();
    let told: Vec<_> = lineage.iter().map(|r| (r.version.as_str(), r.lineage)).collect();
    assert_eq!(told, [("1.2", Some(3)), ("1.1", Some(2)), ("1.0", Some(1))]);
    assert_eq!(db.list_lineage(place, Some(3), 1).await.unwrap()[0].version, v("1.1"));
    let unlike = contents("1.1").digest();
    let good = db.list_good_releases(place, Some(3), Some(&unlike), 10).await.unwrap();
    assert_eq!(good.iter().map(|r| r.version.as_str()).collect::<Vec<_>>(), ["1.0"]);
    db.hold(place, &v("1.2"), "ada", "leaks", time(0)).await.unwrap();
    let good = db.list_good_releases(place, None, None, 10).await.unwrap();
    assert_eq!(good.iter().map(|r| r.version.as_str()).collect::<Vec<_>>(), ["1.1", "1.0"]);
    let held = db.find_release(place, &v("1.2")).await.unwrap().unwrap();
    assert_eq!(held.hold.unwrap().reason, "leaks");
    assert_eq!(held.contents, contents("1.2"));
    assert!(db.find_release(place, &v("9.9")).await.unwrap().is_none());
    assert_eq!(db.release(ReleaseId(1)).await.unwrap().unwrap().version, v("1.0"));
    assert!(db.release(ReleaseId(99)).await.unwrap().is_none());
    assert!(db.artifact_in_use(&contents("1.0").artifact.digest).await.unwrap());
    assert!(!db.artifact_in_use(&Digest::of(b"nothing")).await.unwrap());
    scene.end(fresh).await;
}

pub async fn slots(fresh: Fresh) {
    let scene = Scene::new(&fresh).await;
    let (db, place) = (&scene.db, &scene.environment);
    scene.deploy("1.0").await;
    scene.deploy("1.1").await;
    let slots = db.slots(place).await.unwrap();
    let told: Vec<_> = slots.iter().map(|s| (s.slot, s.version.as_str(), s.state)).collect();
    assert_eq!(told, [(Slot::Blue, "1.0", SlotState::Warm), (Slot::Green, "1.1", SlotState::Live)]);
    let until = slots[0].until.unwrap();
    let [(placement, record, fence)] = &db.list_leaving_slots().await.unwrap()[..] else { panic!() };
    assert_eq!((record, fence.0), (&slots[0], 2));
    let wanted = Placement {
        environment: place.clone(),
        slot: Slot::Blue,
        release: slots[0].release,
        version: v("1.0"),
    };
    assert_eq!(*placement, wanted);

    let before = orchestrate_core::time::Timestamp::from_millis(until.as_millis() - 1);
    assert!(!db.retire_slot_if_due(placement, before).await.unwrap());
    db.forget_slot(placement, time(0)).await.unwrap();
    assert_eq!(db.slots(place).await.unwrap().len(), 2, "only what is retiring is forgotten");
    assert!(db.retire_slot_if_due(placement, until).await.unwrap());
    assert!(!db.retire_slot_if_due(placement, until).await.unwrap());
    db.forget_slot(placement, time(0)).await.unwrap();
    assert_eq!(db.slots(place).await.unwrap().len(), 1);
    scene.end(fresh).await;
}

pub async fn operations_and_journals(fresh: Fresh) {
    let scene = Scene::new(&fresh).await;
    let (db, place) = (&scene.db, &scene.environment);
    scene.deploy("1.0").await;
    assert!(db.open_operation(place).await.unwrap().is_none());
    let done = db.operation(OperationId(1)).await.unwrap().unwrap();
    assert_eq!((done.deployment, done.fence.0, done.ended_at.is_some()), (DeploymentId(1), 1, true));
    assert!(db.operation(OperationId(99)).await.unwrap().is_none());
    let journal = db.journal(OperationId(1)).await.unwrap();
    let steps: Vec<_> = journal.iter().map(|entry| (entry.step, entry.event)).collect();
    use StepEvent::{Done, Started};
    let wanted: Vec<_> = (0..done.plan.steps().len()).flat_map(|n| [(n, Started), (n, Done)]).collect();
    assert_eq!(steps, wanted);

    // An operation whose program died is open, keeps others out, and keeps its slots from being looked after.
    scene.world.fault(When::Kind(Kind::Switch), 1, Fault::CrashAfter);
    let (executor, request) = (scene.executor(), scene.to_deploy("1.1"));
    assert!(scene.world.until_crash(executor.deploy(&request)).await.is_none());
    let open = db.open_operation(place).await.unwrap().unwrap();
    assert_eq!(db.list_open_operations().await.unwrap(), std::slice::from_ref(&open));
    assert_eq!(db.lease(place).await.unwrap().unwrap().operation, Some(open.id));
    assert!(db.list_leaving_slots().await.unwrap().is_empty());
    assert_eq!(scene.executor().deploy(&request).await.unwrap_err().code(), "ORC-0110");
    let ports = scene.world.reborn();
    let executor = orchestrate_core::DeploymentExecutor::new(db.clone(), ports);
    let Resumed::Deployment(deployed) = executor.resume(place, "bob").await.unwrap() else { panic!() };
    assert_eq!(deployed.deployment.status, DeploymentStatus::Completed);
    assert!(db.list_open_operations().await.unwrap().is_empty());
    assert_eq!(db.lease(place).await.unwrap().unwrap().fence.0, 3);
    scene.end(fresh).await;
}

pub async fn a_whole_life(fresh: Fresh) {
    let scene = Scene::new(&fresh).await;
    let (db, place) = (&scene.db, &scene.environment);
    let live = || scene.world.live(place).map(|(_, _, version)| version.to_string());
    for version in ["1.0", "1.1", "1.2"] {
        scene.deploy(version).await;
    }
    let first = scene.rollback().rollback(&scene.forced()).await.unwrap();
    assert_eq!((first.status, first.path), (RollbackStatus::Completed, RollbackPath::Warm));
    assert_eq!(live().as_deref(), Some("1.1"));
    let second = scene.rollback().rollback(&scene.forced()).await.unwrap();
    assert_eq!(second.path, RollbackPath::Cold);
    let asking = Asking { undo: true, ..Asking::by("ada") };
    for version in ["1.1", "1.2"] {
        let undone = scene.rollback().rollback_as(&scene.forced(), &asking).await.unwrap();
        assert_eq!(undone.event.status, RollbackStatus::Completed);
        assert_eq!(live().as_deref(), Some(version));
        assert_eq!(db.current_deployment(place).await.unwrap().unwrap().version, v(version));
    }
    scene.world.clock.advance(Span::from_secs(3600));
    tend(db, &scene.world.ports()).await.unwrap();
    assert_eq!(db.slots(place).await.unwrap().len(), 1);
    assert_eq!(db.delete_environment(place, "ada", time(0)).await.unwrap_err().code(), "ORC-0109");
    scene.world.allow_gaps();
    assert_eq!(scene.executor().stop_environment(place, "ada").await.unwrap(), v("1.2"));
    assert!(scene.world.running(place).is_empty());
    assert_eq!(live(), None);
    scene.deploy("1.3").await;
    assert_eq!(live().as_deref(), Some("1.3"));
    scene.executor().stop_environment(place, "ada").await.unwrap();
    db.delete_environment(place, "ada", time(0)).await.unwrap();
    scene.end(fresh).await;
}
