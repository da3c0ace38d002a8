//! How an operation ends early: out of time, interrupted, or in need of a person.

use std::time::Duration;

use tokio::sync::watch;

use crate::deployment::DeploymentStatus;
use crate::deployment_executor::{DeploymentExecutor, Resumed};
use crate::error::ErrorKind;
use crate::execute::{FailureKind, Limits, Outcome};
use crate::fakes::{Fault, Gate, Kind, When};
use crate::ports::Ports;
use crate::rollback_event::RollbackStatus;
use crate::stage::{Stage, v};
use crate::time::Span;

use super::super::{Asking, failed};

fn soon() -> Limits {
    Limits { timeout: Some(Span::from_millis(50)), interrupt: None, unwanted: None }
}

#[tokio::test]
async fn a_deployment_that_runs_out_of_time_is_put_back_and_timed_out() {
    let stage = Stage::new().await;
    stage.deploy("1.0").await;
    stage.world.fault(When::Kind(Kind::AwaitHealthy), 1, Fault::Hold(Gate::default()));
    let mut request = stage.to_deploy("1.1");
    request.limits = soon();
    let deployed = stage.executor().deploy(&request).await.unwrap();
    assert_eq!(deployed.deployment.status, DeploymentStatus::TimedOut);
    assert_eq!(deployed.deployment.error_message.as_deref(), Some("it took longer than 50ms"));
    assert!(deployed.deployment.completed_at.is_some());
    let error = crate::deployment_executor::failed(&deployed, None).unwrap();
    assert_eq!((error.code(), error.kind()), ("ORC-0125", ErrorKind::Failed));
    assert_eq!(stage.live().await.as_deref(), Some("1.0"));
    assert_eq!(stage.world.running(&stage.environment), ["blue-web-1@1.0", "blue-web-2@1.0"]);
    // A timed-out deployment needs no force.
    stage.rollback().rollback(&stage.back()).await.unwrap();
}

#[tokio::test]
async fn a_rollback_that_runs_out_of_time_is_put_back() {
    let stage = Stage::new().await;
    stage.deploy_all(&["1.0", "1.1", "1.2"]).await;
    stage.world.fault(When::Kind(Kind::AwaitHealthy), 1, Fault::Hold(Gate::default()));
    let asking = Asking { limits: soon(), ..Asking::by("ada") };
    let rolled = stage.rollback().rollback_as(&stage.back_to("1.0"), &asking).await.unwrap();
    assert_eq!(rolled.event.status, RollbackStatus::Failed);
    assert_eq!(rolled.event.error_message.as_deref(), Some("it took longer than 50ms"));
    let error = failed(&rolled);
    assert_eq!((error.code(), error.kind()), ("ORC-0118", ErrorKind::Failed));
    assert_eq!(stage.live().await.as_deref(), Some("1.2"));
    assert_eq!(stage.current().await.version, v("1.2"));
}

#[tokio::test]
async fn an_interrupt_before_the_switch_undoes() {
    let stage = Stage::new().await;
    stage.deploy_all(&["1.0", "1.1", "1.2"]).await;
    let gate = Gate::default();
    stage.world.fault(When::Kind(Kind::Start), 1, Fault::Hold(gate.clone()));
    let (press, interrupt) = watch::channel(false);
    let limits = Limits { timeout: None, interrupt: Some(interrupt), unwanted: None };
    let asking = Asking { limits, ..Asking::by("ada") };
    let request = stage.back_to("1.0");
    let rollback = stage.rollback();
    let (rolled, ()) = tokio::join!(rollback.rollback_as(&request, &asking), async {
        gate.reached().await;
        press.send_replace(true);
    });
    let rolled = rolled.unwrap();
    assert_eq!(rolled.event.status, RollbackStatus::Failed);
    assert_eq!(rolled.event.error_message.as_deref(), Some("it was interrupted"));
    assert_eq!(stage.live().await.as_deref(), Some("1.2"));
    assert!(stage.db.open_operation(&stage.environment).await.unwrap().is_none());
}

#[tokio::test]
async fn from_the_switch_on_an_interrupt_is_too_late() {
    for kind in [Kind::Switch, Kind::Prove] {
        let stage = Stage::new().await;
        stage.deploy_all(&["1.0", "1.1"]).await;
        let gate = Gate::default();
        stage.world.fault(When::Kind(kind), 1, Fault::Hold(gate.clone()));
        let (press, interrupt) = watch::channel(false);
        let limits =
            Limits { timeout: Some(Span::from_millis(1)), interrupt: Some(interrupt), unwanted: None };
        let asking = Asking { limits, ..Asking::by("ada") };
        let request = stage.forced();
        let rollback = stage.rollback();
        let (rolled, ()) = tokio::join!(rollback.rollback_as(&request, &asking), async {
            gate.reached().await;
            press.send_replace(true);
            tokio::time::sleep(std::time::Duration::from_millis(20)).await;
            gate.open();
        });
        assert_eq!(rolled.unwrap().event.status, RollbackStatus::Completed, "{kind:?}");
        assert_eq!(stage.live().await.as_deref(), Some("1.0"));
    }
}

#[tokio::test]
async fn a_rollback_whose_target_does_not_answer_needs_attention_and_is_finished_once_mended() {
    let stage = Stage::new().await;
    stage.deploy_all(&["1.0", "1.1"]).await;
    stage.world.answers_wrongly(&v("1.0"));
    let rolled = stage.rollback().rollback_as(&stage.forced(), &Asking::by("ada")).await.unwrap();
    assert_eq!(rolled.event.status, RollbackStatus::NeedsAttention);
    assert_eq!(rolled.event.completed_at, None);
    let error = failed(&rolled);
    assert_eq!((error.code(), error.kind()), ("ORC-0119", ErrorKind::NeedsAttention));

    let error = stage.rollback().rollback(&stage.forced()).await.unwrap_err();
    assert_eq!(error.code(), "ORC-0116");
    assert_eq!(
        error.to_string(),
        "a rollback to 1.0 in production needs attention: 1.0 answered with status 500"
    );
    assert_eq!(stage.executor().deploy(&stage.to_deploy("1.2")).await.unwrap_err().code(), "ORC-0116");

    stage.world.answers_rightly(&v("1.0"));
    let resumed = stage.executor().resume(&stage.environment, "bob").await.unwrap();
    let Resumed::Rollback(event) = resumed else { panic!("{resumed:?}") };
    assert_eq!((event.status, event.id), (RollbackStatus::Completed, rolled.event.id));
    assert_eq!(event.error_message, None);
    assert_eq!(stage.live().await.as_deref(), Some("1.0"));
    assert_eq!(stage.rollback().get_rollback(event.id).await.unwrap(), *event);
}

#[tokio::test]
async fn a_deployment_that_got_traffic_and_answers_wrongly_is_condemned_and_live() {
    let stage = Stage::new().await;
    stage.deploy("1.0").await;
    stage.world.answers_wrongly(&v("1.1"));
    let deployed = stage.deploy("1.1").await;
    assert!(matches!(&deployed.outcome, Outcome::Condemned(failure) if failure.kind == FailureKind::Failed));
    assert_eq!(deployed.deployment.status, DeploymentStatus::Failed);
    assert_eq!(stage.live().await.as_deref(), Some("1.1"));
    stage.world.answers_rightly(&v("1.1"));
    let event = stage.rollback().rollback(&stage.back()).await.unwrap();
    assert_eq!(event.target_version, v("1.0"));
}

#[tokio::test]
async fn a_resume_is_refused_while_its_holder_runs_and_where_nothing_was_interrupted() {
    let stage = Stage::new().await;
    stage.deploy_all(&["1.0", "1.1"]).await;
    assert_eq!(stage.executor().resume(&stage.environment, "bob").await.unwrap_err().code(), "ORC-0120");
    let gate = Gate::default();
    stage.world.fault(When::Kind(Kind::Switch), 1, Fault::Hold(gate.clone()));
    let (request, rollback) = (stage.forced(), stage.rollback());
    let (rolled, error) = tokio::join!(rollback.rollback(&request), async {
        gate.reached().await;
        let error = stage.executor().resume(&stage.environment, "bob").await.unwrap_err();
        gate.open();
        error
    });
    assert_eq!(error.code(), "ORC-0110");
    assert_eq!(rolled.unwrap().status, RollbackStatus::Completed);
}

#[tokio::test]
async fn a_program_that_lost_its_lease_stops_at_once() {
    let stage = Stage::new().await;
    stage.deploy_all(&["1.0", "1.1", "1.2"]).await;
    let gate = Gate::default();
    stage.world.fault(When::Kind(Kind::Start), 1, Fault::Hold(gate.clone()));
    let (request, rollback) = (stage.back_to("1.0"), stage.rollback());
    let (paused, resumed) = tokio::join!(rollback.rollback(&request), async {
        gate.reached().await;
        // It is paused for so long that its lease runs out, and another program finishes its work.
        stage.world.clock.advance(Span::from_secs(3600));
        let resumed = stage.executor().resume(&stage.environment, "bob").await;
        gate.open();
        resumed
    });
    assert!(matches!(resumed.unwrap(), Resumed::Rollback(_)));
    assert_eq!(paused.unwrap_err().code(), "ORC-0107");
    assert_eq!(stage.live().await.as_deref(), Some("1.0"));
    assert_eq!(stage.rollback().list_rollbacks(&stage.environment, 9).await.unwrap().len(), 1);
}

#[tokio::test]
async fn a_program_at_work_renews_its_lease_and_ends_once_another_has_it() {
    let stage = Stage::new().await;
    let gate = Gate::default();
    stage.world.fault(When::Kind(Kind::Start), 1, Fault::Hold(gate.clone()));
    let ports = Ports { lease_ttl: Span::from_millis(60), ..stage.world.ports() };
    let (executor, request) = (DeploymentExecutor::new(stage.db.clone(), ports), stage.to_deploy("1.0"));
    let another = async {
        gate.reached().await;
        stage.world.clock.advance(Span::from_secs(3600));
        let now = Some(stage.world.clock.read());
        let expires = async || stage.db.lease(&stage.environment).await.unwrap().unwrap().expires_at;
        while expires().await <= now {
            tokio::task::yield_now().await;
        }
        // Nothing is journaled while the start is waited for, so only the renewal can tell.
        stage.sql("UPDATE leases SET fence = fence + 1").await;
    };
    let both = async { tokio::join!(executor.deploy(&request), another).0 };
    let deployed = tokio::time::timeout(Duration::from_secs(20), both).await;
    assert_eq!(deployed.expect("it waits for its start, without a lease").unwrap_err().code(), "ORC-0107");
}
