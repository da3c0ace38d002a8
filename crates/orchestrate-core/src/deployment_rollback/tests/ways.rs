//! Warm, cold, and what happens when the warm one turns out not to be.

use crate::execute::journal::StepEvent;
use crate::fakes::{Fault, Gate, Kind, When};
use crate::ports::InstanceState;
use crate::rollback_event::{RollbackPath, RollbackStatus, RollbackType, Trigger};
use crate::stage::{Stage, recreate, v, with_worker};

use super::super::Asking;

#[tokio::test]
async fn a_warm_target_that_is_gone_or_sick_is_started_anew() {
    for what in ["gone", "sick", "ended"] {
        let stage = Stage::new().await;
        stage.deploy_all(&["1.0", "1.1"]).await;
        match what {
            "gone" => stage.world.lose_instances(&v("1.0")),
            "sick" => stage.world.put_instances(&v("1.0"), InstanceState::Unhealthy),
            _ => stage.world.put_instances(&v("1.0"), InstanceState::BackingOff),
        }
        let rolled = stage.rollback().rollback_as(&stage.forced(), &Asking::by("ada")).await.unwrap();
        assert_eq!(rolled.event.status, RollbackStatus::Completed, "{what}: {:?}", rolled.event);
        assert_eq!(
            (rolled.event.path, rolled.event.rollback_type),
            (RollbackPath::Cold, RollbackType::Previous)
        );
        assert_eq!(
            rolled.remarks,
            ["1.0 was warm but only 0 of 2 instances of web are ready; it is started again"]
        );
        assert_eq!(stage.live().await.as_deref(), Some("1.0"));
    }
}

#[tokio::test]
async fn a_warm_target_that_turns_sick_before_the_switch_is_started_anew_under_the_same_event() {
    let stage = Stage::new().await;
    stage.deploy_all(&["1.0", "1.1"]).await;
    stage.world.fault(When::Kind(Kind::Switch), 1, Fault::Sicken);
    let rolled = stage.rollback().rollback_as(&stage.forced(), &Asking::by("ada")).await.unwrap();
    assert_eq!(rolled.event.status, RollbackStatus::Completed, "{:?}", rolled.event);
    assert_eq!((rolled.event.path, rolled.event.rollback_type), (RollbackPath::Cold, RollbackType::Previous));
    let [remark] = &rolled.remarks[..] else { panic!("{:?}", rolled.remarks) };
    assert!(remark.starts_with("the warm 1.0 was not ready ("), "{remark}");
    assert_eq!(stage.live().await.as_deref(), Some("1.0"));
    assert_eq!(stage.rollback().list_rollbacks(&stage.environment, 9).await.unwrap().len(), 1);
    assert!(stage.db.list_open_operations().await.unwrap().is_empty());
}

#[tokio::test]
async fn a_cold_target_that_does_not_come_up_leaves_users_where_they_are() {
    let stage = Stage::new().await;
    stage.deploy_all(&["1.0", "1.1"]).await;
    stage.world.never_healthy(&v("1.0"));
    stage.world.lose_instances(&v("1.0"));
    let rolled = stage.rollback().rollback_as(&stage.forced(), &Asking::by("ada")).await.unwrap();
    assert_eq!(rolled.event.status, RollbackStatus::Failed);
    let message = rolled.event.error_message.unwrap();
    assert_eq!(message, "blue-web-1 of 1.0 is not ready after 30s");
    assert_eq!(rolled.detail.as_deref(), Some("address in use"));
    assert_eq!(stage.live().await.as_deref(), Some("1.1"));
    assert_eq!(stage.world.running(&stage.environment), ["green-web-1@1.1", "green-web-2@1.1"]);
    assert!(stage.db.list_holds(&stage.environment).await.unwrap().is_empty());
    crate::slot_tending::tend(&stage.db, &stage.world.ports()).await.unwrap();
    assert_eq!(stage.slots().await.len(), 1);
}

#[tokio::test]
async fn a_sick_warm_target_that_does_not_come_up_again_leaves_users_where_they_are() {
    let stage = Stage::new().await;
    stage.deploy_all(&["1.0", "1.1"]).await;
    stage.world.never_healthy(&v("1.0"));
    stage.world.put_instances(&v("1.0"), InstanceState::Unhealthy);
    let rolled = stage.rollback().rollback_as(&stage.forced(), &Asking::by("ada")).await.unwrap();
    assert_eq!(rolled.event.status, RollbackStatus::Failed, "{:?}", rolled.event);
    assert_eq!(stage.live().await.as_deref(), Some("1.1"));
    assert_eq!(stage.world.running(&stage.environment), ["green-web-1@1.1", "green-web-2@1.1"]);
}

#[tokio::test]
async fn a_live_target_that_is_sick_is_started_again() {
    for what in ["gone", "sick", "ended"] {
        let stage = Stage::new().await;
        stage.deploy_all(&["1.0", "1.1"]).await;
        stage.world.never_healthy(&v("1.2"));
        stage.deploy("1.2").await;
        match what {
            "gone" => stage.world.lose_instances(&v("1.1")),
            "sick" => stage.world.put_instances(&v("1.1"), InstanceState::Unhealthy),
            _ => stage.world.put_instances(&v("1.1"), InstanceState::BackingOff),
        }
        let rolled = stage.rollback().rollback_as(&stage.back(), &Asking::by("ada")).await.unwrap();
        assert_eq!(rolled.event.status, RollbackStatus::Completed, "{what}: {:?}", rolled.event);
        assert_eq!((rolled.event.path, rolled.event.target_version), (RollbackPath::Cold, v("1.1")));
        assert_eq!(stage.live().await.as_deref(), Some("1.1"));
        let health = stage.rollback().readiness(&stage.environment).await.unwrap();
        assert_eq!(health.target_version, Some(v("1.0")), "{what}");
    }
}

#[tokio::test]
async fn workers_of_a_warm_target_start_after_the_switch() {
    let stage = Stage::with(with_worker(), &[]).await;
    stage.deploy_all(&["1.0", "1.1"]).await;
    crate::slot_tending::tend(&stage.db, &stage.world.ports()).await.unwrap();
    assert!(!stage.world.running(&stage.environment).contains(&"blue-worker-1@1.0".to_owned()));
    stage.world.forget_calls();
    let event = stage.rollback().rollback(&stage.forced()).await.unwrap();
    let phases: Vec<_> = event.phases.iter().map(|phase| phase.name.as_str()).collect();
    assert_eq!(phases, ["switch_traffic", "prove_live", "start", "await_healthy"]);
    assert!(stage.world.running(&stage.environment).contains(&"blue-worker-1@1.0".to_owned()));
}

#[tokio::test]
async fn recreate_goes_both_ways() {
    let stage = Stage::with(recreate(), &[]).await;
    stage.deploy_all(&["1.0", "1.1"]).await;
    assert_eq!(stage.live().await.as_deref(), Some("1.1"));
    assert!(stage.world.running(&stage.environment).iter().all(|id| id.ends_with("@1.1")));
    crate::slot_tending::tend(&stage.db, &stage.world.ports()).await.unwrap();
    let event = stage.rollback().rollback(&stage.forced()).await.unwrap();
    let phases: Vec<_> = event.phases.iter().map(|phase| phase.name.as_str()).collect();
    assert_eq!(phases, ["fetch", "stop", "start", "await_healthy", "switch_traffic", "prove_live"]);
    assert_eq!((event.rollback_type, event.path), (RollbackType::Previous, RollbackPath::Cold));
    assert_eq!(stage.live().await.as_deref(), Some("1.0"));
}

#[tokio::test]
async fn recreate_puts_the_old_release_back_where_the_new_one_fails() {
    let stage = Stage::with(recreate(), &[]).await;
    stage.deploy("1.0").await;
    stage.world.never_healthy(&v("1.1"));
    stage.deploy("1.1").await;
    assert_eq!(stage.live().await.as_deref(), Some("1.0"));
    assert_eq!(stage.world.running(&stage.environment), ["blue-web-1@1.0", "blue-web-2@1.0"]);
    let serves = stage.rollback().rollback(&stage.back()).await.unwrap();
    assert_eq!(serves.path, RollbackPath::None, "it is whole again");

    stage.world.healthy_again(&v("1.1"));
    let now = stage.world.clock.read();
    stage.db.unhold(&stage.environment, &v("1.1"), "ada", None, now).await.unwrap();
    stage.deploy("1.1").await;
    stage.world.never_healthy(&v("1.0"));
    let rolled = stage.rollback().rollback_as(&stage.forced(), &Asking::by("ada")).await.unwrap();
    assert_eq!(rolled.event.status, RollbackStatus::Failed);
    assert_eq!(stage.live().await.as_deref(), Some("1.1"));
    assert_eq!(stage.world.running(&stage.environment), ["green-web-1@1.1", "green-web-2@1.1"]);
}

#[tokio::test]
async fn of_two_rollbacks_at_once_one_wins_and_the_other_is_told_who_and_since_when() {
    let stage = Stage::new().await;
    stage.deploy_all(&["1.0", "1.1"]).await;
    let gate = Gate::default();
    stage.world.fault(When::Kind(Kind::Switch), 1, Fault::Hold(gate.clone()));
    let began = stage.world.clock.read();
    let request = stage.forced();
    let winner = async { stage.rollback().rollback_as(&request, &Asking::by("ada")).await };
    let loser = async {
        gate.reached().await;
        let error = stage.rollback().rollback(&stage.forced()).await.unwrap_err();
        gate.open();
        error
    };
    let (winner, error) = tokio::join!(winner, loser);
    assert_eq!(winner.unwrap().event.status, RollbackStatus::Completed);
    assert_eq!(error.code(), "ORC-0110");
    let since = began.plus(std::time::Duration::from_millis(1));
    assert_eq!(
        error.to_string(),
        format!("production is busy: a rollback to 1.0 by ada (process 100 on here), since {since}")
    );
    assert_eq!(stage.live().await.as_deref(), Some("1.0"));
    assert_eq!(stage.rollback().list_rollbacks(&stage.environment, 9).await.unwrap().len(), 1);
}

#[tokio::test]
async fn of_many_rollbacks_in_the_same_instant_no_two_have_effects_together() {
    let stage = Stage::new().await;
    stage.deploy_all(&["1.0", "1.1", "1.2"]).await;
    stage.world.answers_wrongly(&v("1.3"));
    stage.deploy("1.3").await;
    stage.world.answers_rightly(&v("1.3"));
    let mut tasks = tokio::task::JoinSet::new();
    // More than the pool has connections, so that all but one wait for the same lock.
    for _ in 0..24 {
        let (rollback, request) = (stage.rollback(), stage.back());
        tasks.spawn(async move { rollback.rollback(&request).await });
    }
    let results = tasks.join_all().await;
    let won: Vec<_> = results.iter().filter_map(|result| result.as_ref().ok()).collect();
    assert_eq!(won.len(), 1, "without force only the failed deployment can be rolled back");
    for error in results.iter().filter_map(|result| result.as_ref().err()) {
        assert!(["ORC-0104", "ORC-0110", "ORC-0115"].contains(&error.code()), "{error:?}");
    }
    assert_eq!(stage.live().await.as_deref(), Some("1.2"));
}

#[tokio::test]
async fn an_automatic_rollback_says_so_and_needs_no_force() {
    for trigger in [Trigger::Verification, Trigger::Watch] {
        let stage = Stage::new().await;
        stage.deploy_all(&["1.0", "1.1"]).await;
        let asking = Asking { trigger, ..Asking::by("orchestrate") };
        let rolled = stage.rollback().rollback_as(&stage.back(), &asking).await.unwrap();
        assert_eq!((rolled.event.rollback_type, rolled.event.trigger), (RollbackType::Automatic, trigger));
        assert_eq!(rolled.event.path, RollbackPath::Warm);
        assert_eq!(stage.live().await.as_deref(), Some("1.0"));
    }
    let stage = Stage::new().await;
    stage.deploy_all(&["1.0", "1.1"]).await;
    for trigger in [Trigger::Manual, Trigger::Api] {
        let asking = Asking { trigger, ..Asking::by("ada") };
        let error = stage.rollback().rollback_as(&stage.back(), &asking).await.unwrap_err();
        assert_eq!(error.code(), "ORC-0104");
    }
}

#[tokio::test]
async fn every_step_of_a_rollback_is_in_the_journal() {
    let stage = Stage::new().await;
    stage.deploy_all(&["1.0", "1.1"]).await;
    stage.rollback().rollback(&stage.forced()).await.unwrap();
    let journal = stage.db.journal(crate::name::OperationId(3)).await.unwrap();
    let events: Vec<_> = journal.iter().map(|entry| (entry.step, entry.event)).collect();
    use StepEvent::{Done, Started};
    assert_eq!(events, [(0, Started), (0, Done), (1, Started), (1, Done)]);
}
