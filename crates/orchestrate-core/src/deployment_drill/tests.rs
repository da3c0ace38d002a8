//! What a drill does, what it leaves behind, and what it is not allowed.

mod refused;

use std::collections::BTreeMap;

use super::failed;
use crate::drill::{Drill, DrillStatus, DrillTrigger};
use crate::error::ErrorKind;
use crate::fakes::{Fault, Gate, Kind, When};
use crate::notification::NoticeKind;
use crate::ports::InstanceState;
use crate::rollback_event::RollbackPath;
use crate::slot_tending::tend;
use crate::stage::{Stage, hook, settings, v, with_worker};
use crate::time::Span;

/// A release before what is live, warm.
async fn warm() -> Stage {
    let stage = Stage::with(with_worker(), &[]).await;
    stage.deploy_all(&["1.0", "1.1"]).await;
    settle(&stage).await;
    stage
}

/// The same after its warm period.
async fn cold() -> Stage {
    let stage = warm().await;
    stage.world.clock.advance(Span::from_secs(3600));
    settle(&stage).await;
    stage
}

async fn settle(stage: &Stage) {
    tend(&stage.db, &stage.world.ports()).await.unwrap();
    stage.world.clock.advance(Span::from_secs(60));
    stage.world.forget_calls();
}

/// Everything on record but drills and what carried them out.
async fn apart_from_drills(stage: &Stage) -> BTreeMap<String, Vec<String>> {
    let mut dump = stage.dump().await;
    for table in ["drills", "operations", "journal", "leases", "outbox"] {
        dump.remove(table).unwrap();
    }
    dump
}

fn phases(drill: &Drill) -> Vec<&str> {
    drill.phases.iter().map(|phase| phase.name.as_str()).collect()
}

async fn told(stage: &Stage) -> Vec<NoticeKind> {
    let mut notices = stage.db.list_notices(100).await.unwrap();
    notices.retain(|record| record.notice.kind != NoticeKind::Deployment);
    notices.iter().rev().map(|record| record.notice.kind).collect()
}

#[tokio::test]
async fn a_warm_target_is_switched_to_proven_and_left_again() {
    let stage = warm().await;
    let (before, running) = (apart_from_drills(&stage).await, stage.world.running(&stage.environment));
    let drilled = stage.drill().await.unwrap();
    let drill = &drilled.drill;
    assert_eq!((drill.status, drill.path), (DrillStatus::Completed, RollbackPath::Warm));
    assert_eq!((&drill.live_version, &drill.target_version), (&v("1.1"), &v("1.0")));
    assert_eq!((drill.actor.as_str(), drill.reason.as_deref()), ("ada", Some("it is Sunday")));
    assert_eq!(drill.trigger, DrillTrigger::Manual);
    assert_eq!(phases(drill), ["switch_there", "prove_there", "switch_back", "prove_back"]);
    assert_eq!(drilled.remarks, ["the workers of 1.0 are not started"]);
    let switched: Vec<_> = stage.world.calls().into_iter().filter(|call| call.kind == Kind::Switch).collect();
    assert_eq!(switched.len(), 2);
    assert_eq!(stage.live().await.as_deref(), Some("1.1"));
    assert_eq!(stage.world.running(&stage.environment), running, "no worker of 1.0 was started");
    assert_eq!(apart_from_drills(&stage).await, before);
    assert_eq!(stage.db.list_drills(&stage.environment, 5).await.unwrap(), std::slice::from_ref(drill));
    // A rollback goes on as if nothing had been.
    let event = stage.rollback().rollback(&stage.forced()).await.unwrap();
    assert_eq!((event.path, event.target_version), (RollbackPath::Warm, v("1.0")));
}

#[tokio::test]
async fn a_cold_target_is_started_beside_what_is_live_and_gets_no_traffic() {
    let stage = cold().await;
    let (before, running) = (apart_from_drills(&stage).await, stage.world.running(&stage.environment));
    let drill = stage.drill().await.unwrap().drill;
    assert_eq!((drill.status, drill.path), (DrillStatus::Completed, RollbackPath::Cold));
    assert_eq!(phases(&drill), ["fetch", "start", "await_healthy", "drain", "stop"]);
    let moves = |kind| matches!(kind, Kind::Switch | Kind::Shift);
    assert!(!stage.world.calls().iter().any(|call| moves(call.kind)));
    assert_eq!(stage.world.running(&stage.environment), running);
    assert_eq!(stage.world.routed(&stage.environment).len(), 1);
    assert_eq!(stage.live().await.as_deref(), Some("1.1"));
    assert_eq!(apart_from_drills(&stage).await, before);
}

#[tokio::test]
async fn every_drill_is_in_the_audit_trail() {
    let stage = warm().await;
    stage.drill().await.unwrap();
    stage.world.answers_wrongly(&v("1.0"));
    stage.drill().await.unwrap();
    let audit = stage.db.list_audit(Some(&stage.environment), 4).await.unwrap();
    let actions: Vec<_> = audit.iter().rev().map(|record| record.action.as_str()).collect();
    assert_eq!(actions, ["drill_started", "drill_completed", "drill_started", "drill_failed"]);
    assert!(audit.iter().all(|record| record.actor == "ada"));
}

#[tokio::test]
async fn what_does_not_answer_as_it_should_loses_the_traffic_again_and_the_drill_has_failed() {
    let stage = warm().await;
    stage.world.answers_wrongly(&v("1.0"));
    let before = apart_from_drills(&stage).await;
    let drilled = stage.drill().await.unwrap();
    assert_eq!(drilled.drill.status, DrillStatus::Failed);
    let error = failed(&drilled);
    assert_eq!((error.code(), error.kind()), ("ORC-0197", ErrorKind::Failed));
    assert_eq!(stage.live().await.as_deref(), Some("1.1"));
    assert_eq!(apart_from_drills(&stage).await, before);
    assert_eq!(stage.db.open_operation(&stage.environment).await.unwrap(), None);
}

#[tokio::test]
async fn a_target_that_does_not_become_ready_is_stopped_again() {
    for lost in [false, true] {
        let stage = cold().await;
        match lost {
            true => stage.world.lose_artifact(&stage.contents("1.0").artifact.digest),
            false => stage.world.never_healthy(&v("1.0")),
        }
        let (before, running) = (apart_from_drills(&stage).await, stage.world.running(&stage.environment));
        let drill = stage.drill().await.unwrap().drill;
        assert_eq!((drill.status, drill.path), (DrillStatus::Failed, RollbackPath::Cold));
        assert_eq!(stage.world.running(&stage.environment), running);
        assert_eq!(apart_from_drills(&stage).await, before);
    }
}

/// A rollback would start it anew; that it is not what it seems is what a drill is for.
#[tokio::test]
async fn a_warm_target_that_is_sick_gets_no_traffic() {
    let stage = warm().await;
    stage.world.put_instances(&v("1.0"), InstanceState::Unhealthy);
    let drill = stage.drill().await.unwrap().drill;
    assert_eq!(drill.status, DrillStatus::Failed);
    assert_eq!(stage.live().await.as_deref(), Some("1.1"));
}

#[tokio::test]
async fn what_is_live_and_turns_sick_meanwhile_gets_the_traffic_back_once_it_is_well() {
    let stage = Stage::with(settings(), &[hook("http://all", &[])]).await;
    stage.deploy_all(&["1.0", "1.1"]).await;
    settle(&stage).await;
    let gate = Gate::default();
    stage.world.fault(When::Kind(Kind::Prove), 1, Fault::Hold(gate.clone()));
    let (drilled, ()) = tokio::join!(stage.drill(), async {
        gate.reached().await;
        stage.world.put_instances(&v("1.1"), InstanceState::Unhealthy);
        gate.open();
    });
    let drilled = drilled.unwrap();
    assert_eq!(drilled.drill.status, DrillStatus::NeedsAttention);
    let error = failed(&drilled);
    assert_eq!((error.code(), error.kind()), ("ORC-0119", ErrorKind::NeedsAttention));
    // Who serves goes on serving, and nothing else happens here until the other one can.
    assert_eq!(stage.world.live(&stage.environment).map(|live| live.2), Some(v("1.0")));
    assert_eq!(stage.drill().await.unwrap_err().code(), "ORC-0191");
    stage.world.recover(&v("1.1"));
    stage.executor().resume(&stage.environment, "daemon").await.unwrap();
    assert_eq!(stage.live().await.as_deref(), Some("1.1"));
    let drill = stage.db.last_drill(&stage.environment).await.unwrap().unwrap();
    assert_eq!(drill.status, DrillStatus::Failed);
    assert_eq!(told(&stage).await, [NoticeKind::NeedsAttention, NoticeKind::DrillFailed]);
}

#[tokio::test]
async fn a_drill_that_is_left_alone_is_put_back_however_fresh_it_is() {
    for dies_at in [Kind::Switch, Kind::Prove] {
        let stage = warm().await;
        let before = apart_from_drills(&stage).await;
        stage.world.fault(When::Kind(dies_at), 1, Fault::CrashAfter);
        assert!(stage.world.until_crash(Box::pin(stage.drill())).await.is_none());
        assert_eq!(stage.world.live(&stage.environment).map(|live| live.2), Some(v("1.0")));
        let executor = crate::DeploymentExecutor::new(stage.db.clone(), stage.world.reborn());
        executor.resume_by_itself(&stage.environment, "daemon").await.unwrap();
        assert_eq!(stage.live().await.as_deref(), Some("1.1"));
        let drill = stage.db.last_drill(&stage.environment).await.unwrap().unwrap();
        assert_eq!(drill.status, DrillStatus::Failed);
        assert!(drill.error_message.unwrap().contains("interrupted"));
        assert_eq!(apart_from_drills(&stage).await, before, "nothing held, nothing counted");
    }
}

#[tokio::test]
async fn a_failed_drill_is_told_and_a_good_one_only_to_who_asks_for_it() {
    let channels = [
        hook("http://all", &[]),
        hook("http://drills", &[NoticeKind::DrillCompleted, NoticeKind::DrillFailed]),
    ];
    let stage = Stage::with(settings(), &channels).await;
    stage.deploy_all(&["1.0", "1.1"]).await;
    stage.drill().await.unwrap();
    assert_eq!(told(&stage).await, [NoticeKind::DrillCompleted], "to one of the two");
    let good = stage.db.list_notices(1).await.unwrap().remove(0);
    let text = good.notice.payload["text"].as_str().unwrap().to_owned();
    assert!(
        text.starts_with("shop in production: the drill of a rollback to 1.0 by ada went well in "),
        "{text}"
    );
    assert!(text.ends_with("(warm); 1.1 is live, as before"), "{text}");
    stage.world.answers_wrongly(&v("1.0"));
    stage.drill().await.unwrap();
    assert_eq!(told(&stage).await[1..], [NoticeKind::DrillFailed, NoticeKind::DrillFailed]);
}

#[tokio::test]
async fn a_failed_drill_is_a_problem_until_the_next_good_one() {
    let stage = warm().await;
    let problems = async || stage.rollback().readiness(&stage.environment).await.unwrap().problems;
    assert!(problems().await.is_empty());
    stage.world.answers_wrongly(&v("1.0"));
    stage.drill().await.unwrap();
    let found = problems().await;
    assert!(found.len() == 1 && found[0].starts_with("drill 1 of a rollback to 1.0 failed at "), "{found:?}");
    stage.world.answers_rightly(&v("1.0"));
    stage.drill().await.unwrap();
    assert!(problems().await.is_empty());
}

#[tokio::test]
async fn of_many_drills_in_the_same_instant_one_has_effects_at_a_time() {
    let stage = warm().await;
    let drills = (0..8).map(|_| stage.drill());
    let mut refused = 0;
    for drilled in futures_of(drills).await {
        match drilled {
            Ok(drilled) => assert_eq!(drilled.drill.status, DrillStatus::Completed),
            Err(error) => {
                assert_eq!(error.code(), "ORC-0191", "{error:?}");
                refused += 1;
            }
        }
    }
    assert!(refused < 8);
    assert_eq!(stage.live().await.as_deref(), Some("1.1"));
}

/// All of them, side by side.
async fn futures_of<F: Future>(all: impl Iterator<Item = F>) -> Vec<F::Output> {
    let mut all: Vec<_> = all.map(Box::pin).collect();
    let mut done: Vec<Option<F::Output>> = all.iter().map(|_| None).collect();
    std::future::poll_fn(|context| {
        for (future, done) in all.iter_mut().zip(&mut done).filter(|(_, done)| done.is_none()) {
            if let std::task::Poll::Ready(output) = future.as_mut().poll(context) {
                *done = Some(output);
            }
        }
        if done.iter().all(Option::is_some) { std::task::Poll::Ready(()) } else { std::task::Poll::Pending }
    })
    .await;
    done.into_iter().flatten().collect()
}

#[tokio::test]
async fn a_preview_shows_the_steps_and_touches_nothing() {
    let stage = warm().await;
    let before = stage.dump().await;
    let drill = crate::DeploymentDrill::new(stage.db.clone(), stage.world.ports());
    let preview = drill.preview(&stage.environment).await.unwrap();
    assert_eq!((preview.path, preview.target_version), (RollbackPath::Warm, v("1.0")));
    assert_eq!(
        preview.steps,
        [
            "switch all traffic to 1.0 in blue",
            "see the live address answered by 1.0",
            "switch all traffic to 1.1 in green",
            "see the live address answered by 1.1",
        ]
    );
    assert_eq!(stage.dump().await, before);
}
