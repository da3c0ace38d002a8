//! Slots that lost their traffic, and what may be done to them when.

use crate::fakes::{Fault, Gate, Kind, When};
use crate::ports::{InstanceState, PortErrorKind};
use crate::slot::SlotState;
use crate::stage::{Stage, v, with_worker};
use crate::time::Span;

use super::{Told, Upkeep, leaving, reconcile, tend, tend_one};

async fn pass(stage: &Stage) -> Option<crate::time::Timestamp> {
    tend(&stage.db, &stage.world.ports()).await.unwrap()
}

fn kinds(stage: &Stage) -> Vec<Kind> {
    stage.world.calls().into_iter().map(|call| call.kind).filter(|kind| *kind != Kind::Observe).collect()
}

#[tokio::test]
async fn a_warm_period_ends_at_its_time_with_drain_and_stop() {
    let stage = Stage::new().await;
    stage.deploy_all(&["1.0", "1.1"]).await;
    let until = stage.slots().await[0].until.unwrap();
    stage.world.forget_calls();
    assert_eq!(pass(&stage).await, Some(until), "it says when it has to look again");
    assert_eq!(kinds(&stage), []);
    assert_eq!(stage.world.running(&stage.environment).len(), 4);

    stage.world.clock.set(until);
    assert_eq!(pass(&stage).await, None);
    assert_eq!(kinds(&stage), [Kind::Drain, Kind::Deregister, Kind::Stop]);
    assert_eq!(stage.world.running(&stage.environment), ["green-web-1@1.1", "green-web-2@1.1"]);
    assert_eq!(stage.world.routed(&stage.environment).len(), 1);
    assert_eq!(stage.slots().await.len(), 1);
    assert_eq!(stage.live().await.as_deref(), Some("1.1"));
    stage.world.forget_calls();
    pass(&stage).await;
    assert_eq!(kinds(&stage), [], "nothing is left to do");
}

#[tokio::test]
async fn workers_of_a_warm_release_stop_at_once_and_its_other_instances_stay() {
    let stage = Stage::with(with_worker(), &[]).await;
    stage.deploy_all(&["1.0", "1.1"]).await;
    pass(&stage).await;
    let running = stage.world.running(&stage.environment);
    assert_eq!(
        running,
        ["blue-web-1@1.0", "blue-web-2@1.0", "green-web-1@1.1", "green-web-2@1.1", "green-worker-1@1.1"]
    );
}

#[tokio::test]
async fn what_cannot_be_drained_is_not_stopped_and_tried_again() {
    for kind in [Kind::Drain, Kind::Deregister, Kind::Stop] {
        let stage = Stage::new().await;
        stage.deploy_all(&["1.0", "1.1"]).await;
        stage.world.clock.advance(Span::from_secs(3600));
        stage.world.fault(When::Kind(kind), 1, Fault::Fail(PortErrorKind::Unreachable));
        pass(&stage).await;
        let slots = stage.slots().await;
        assert_eq!((slots.len(), slots[0].state), (2, SlotState::Retiring), "{kind:?}");
        assert_eq!(stage.world.running(&stage.environment).len(), 4, "{kind:?}");
        assert_eq!(stage.world.remarks.all().len(), 1);
        pass(&stage).await;
        assert_eq!(stage.slots().await.len(), 1, "{kind:?}");
        assert_eq!(stage.world.running(&stage.environment).len(), 2, "{kind:?}");
    }
}

#[tokio::test]
async fn slots_are_left_alone_while_an_operation_is_open() {
    let stage = Stage::with(with_worker(), &[]).await;
    stage.deploy_all(&["1.0", "1.1"]).await;
    pass(&stage).await;
    // A warm rollback has just started the workers of its target, which is still recorded as warm.
    let gate = Gate::default();
    stage.world.fault(When::Kind(Kind::AwaitHealthy), 1, Fault::Hold(gate.clone()));
    let (request, rollback) = (stage.forced(), stage.rollback());
    let (event, ()) = tokio::join!(rollback.rollback(&request), async {
        gate.reached().await;
        stage.world.clock.advance(Span::from_secs(3600));
        stage.world.forget_calls();
        pass(&stage).await;
        assert_eq!(kinds(&stage), []);
        gate.open();
    });
    assert_eq!(event.unwrap().target_version, v("1.0"));
    assert!(stage.world.running(&stage.environment).contains(&"blue-worker-1@1.0".to_owned()));
}

#[tokio::test]
async fn an_environment_is_stopped_while_its_slots_are_tended() {
    // What is tended moves at one instant after another of the plan being made.
    for instant in 0..40 {
        let stage = Stage::new().await;
        stage.deploy_all(&["1.0", "1.1"]).await;
        stage.world.allow_gaps();
        stage.world.clock.set(stage.slots().await[0].until.unwrap());
        let (executor, place) = (stage.executor(), stage.environment.clone());
        let stopping = tokio::spawn(async move { executor.stop_environment(&place, "ada").await });
        for _ in 0..instant {
            tokio::task::yield_now().await;
        }
        tend(&stage.db, &stage.world.ports()).await.unwrap();
        assert_eq!(stopping.await.unwrap().unwrap(), v("1.1"), "{instant}");
        assert_eq!(stage.world.running(&stage.environment), Vec::<String>::new(), "{instant}");
    }
}

#[tokio::test]
async fn a_pass_that_was_overtaken_by_an_operation_is_fenced() {
    let stage = Stage::new().await;
    stage.deploy_all(&["1.0", "1.1"]).await;
    stage.world.clock.advance(Span::from_secs(3600));
    // The pass has read the slot and the fence, and is held up just before it drains.
    let gate = Gate::default();
    stage.world.fault(When::Kind(Kind::Drain), 1, Fault::Hold(gate.clone()));
    let ((), ()) = tokio::join!(async { assert_eq!(pass(&stage).await, None) }, async {
        gate.reached().await;
        // Meanwhile somebody goes back to that very release.
        stage.rollback().rollback(&stage.forced()).await.unwrap();
        gate.open();
    });
    assert_eq!(stage.live().await.as_deref(), Some("1.0"));
    assert_eq!(
        stage.world.running(&stage.environment).iter().filter(|id| id.ends_with("@1.0")).count(),
        2,
        "the pass stopped nothing that is live now"
    );
    assert_eq!(
        stage.world.remarks.all().iter().filter(|text| text.contains("could not be stopped")).count(),
        0
    );
}

#[tokio::test]
async fn what_is_as_it_was_is_told_nothing_again_and_what_is_not_is_seen() {
    let stage = Stage::new().await;
    stage.deploy_all(&["1.0", "1.1"]).await;
    let (mut told, ports, name) = (Told::default(), stage.world.ports(), &stage.environment);
    stage.world.forget_calls();
    let pass = async |told: &mut Told| {
        assert_eq!(reconcile(&stage.db, &ports, told, name).await.unwrap(), Upkeep::Quiet);
    };
    assert!(told.differs(&ports, name).await, "nothing was seen yet");
    pass(&mut told).await;
    pass(&mut told).await;
    let effects: Vec<Kind> = kinds(&stage).into_iter().filter(|kind| *kind != Kind::Instances).collect();
    assert_eq!(effects, [Kind::Register, Kind::Register], "the second pass has none");
    assert!(!told.differs(&ports, name).await);
    stage.world.allow_gaps();
    for change in
        [|stage: &Stage| stage.world.lose_instances(&v("1.0")), |stage: &Stage| stage.world.forget_routes()]
    {
        change(&stage);
        assert!(told.differs(&ports, name).await);
        pass(&mut told).await;
        assert!(told.differs(&ports, name).await, "what was told just now was not seen to be there yet");
        pass(&mut told).await;
        assert!(!told.differs(&ports, name).await);
    }
    assert_eq!(stage.live().await.as_deref(), Some("1.1"));
    assert_eq!(stage.world.running(name).len(), 4);
}

#[tokio::test]
async fn a_warm_slot_is_looked_after_once_until_its_time_ends() {
    let stage = Stage::new().await;
    stage.deploy_all(&["1.0", "1.1"]).await;
    let ports = stage.world.ports();
    let slots = leaving(&stage.db).await.unwrap();
    let [warm] = slots.as_slice() else { panic!("{slots:?}") };
    assert!(warm.waits(ports.clock.now()));
    assert!(tend_one(&stage.db, &ports, warm).await.unwrap(), "nothing is left to do with it");
    stage.world.clock.advance(Span::from_secs(3600));
    assert!(!warm.waits(ports.clock.now()));
    assert!(!tend_one(&stage.db, &ports, warm).await.unwrap());
    assert!(leaving(&stage.db).await.unwrap().is_empty(), "it was retired");
}

#[tokio::test]
async fn what_is_retired_while_it_is_started_again_does_not_run_on() {
    let stage = Stage::new().await;
    stage.deploy_all(&["1.0", "1.1"]).await;
    stage.world.be_rough();
    stage.world.lose_instances(&v("1.0"));
    let gate = Gate::default();
    stage.world.fault(When::Kind(Kind::Start), 1, Fault::Hold(gate.clone()));
    let (mut told, ports) = (Told::default(), stage.world.ports());
    let (kept, ()) = tokio::join!(reconcile(&stage.db, &ports, &mut told, &stage.environment), async {
        gate.reached().await;
        stage.world.clock.advance(Span::from_secs(3600));
        pass(&stage).await;
        assert_eq!(stage.slots().await.len(), 1);
        gate.open();
    });
    kept.unwrap();
    assert_eq!(stage.world.running(&stage.environment), ["green-web-1@1.1", "green-web-2@1.1"]);
    assert_eq!(stage.world.routed(&stage.environment).len(), 1);
}

#[tokio::test]
async fn the_last_healthy_release_is_never_stopped() {
    for (state, warm) in [(InstanceState::Unhealthy, true), (InstanceState::BackingOff, false)] {
        let stage = Stage::new().await;
        stage.deploy_all(&["1.0", "1.1"]).await;
        if !warm {
            stage.sql("UPDATE slots SET state = 'retiring', until = NULL WHERE state = 'warm'").await;
        }
        stage.world.clock.advance(Span::from_secs(3600));
        stage.world.put_instances(&v("1.1"), state);
        pass(&stage).await;
        assert_eq!(stage.world.running(&stage.environment).len(), 4);
        assert_eq!(
            stage.world.remarks.all(),
            ["1.0 keeps running in production, because what is live there is not ready"]
        );
        stage.world.put_instances(&v("1.1"), InstanceState::Ready);
        pass(&stage).await;
        assert_eq!(stage.world.running(&stage.environment), ["green-web-1@1.1", "green-web-2@1.1"]);
    }
}
