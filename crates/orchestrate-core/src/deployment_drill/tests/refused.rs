//! What keeps a drill out: nothing is touched, and the refusal is on record.

use crate::data_change::{DataChange, Schema};
use crate::drill::DrillStatus;
use crate::environment::{DrillPolicy, EnvironmentSettings, EnvironmentType};
use crate::error::ErrorKind;
use crate::execute::Limits;
use crate::fakes::{Fault, Gate, Kind, When};
use crate::hooks::Hook;
use crate::policy::{ClockTime, DeployWindow};
use crate::ports::InstanceState;
use crate::slot_tending::tend;
use crate::stage::{Stage, baking, canary, hooked, recreate, settings, v};
use crate::time::{Span, Timestamp};

async fn refused(stage: &Stage, code: &str, says: &str) {
    let (before, running) = (stage.dump().await, stage.world.running(&stage.environment));
    let error = stage.drill().await.unwrap_err();
    assert_eq!((error.code(), error.kind()), (code, ErrorKind::Refused), "{error:?}");
    assert!(error.message().contains(says), "{error}");
    assert!(error.hint_text().is_some());
    assert_eq!(stage.dump().await, before);
    assert_eq!(stage.world.running(&stage.environment), running);
    let audit = stage.db.list_audit(Some(&stage.environment), 1).await.unwrap().remove(0);
    assert_eq!((audit.action.as_str(), &audit.detail["asked"]), ("refused", &"drill".into()), "{audit:?}");
}

async fn deployed(settings: EnvironmentSettings, versions: &[&str]) -> Stage {
    let stage = Stage::with(settings, &[]).await;
    stage.deploy_all(versions).await;
    stage
}

#[tokio::test]
async fn without_anything_to_go_back_to() {
    refused(&deployed(settings(), &[]).await, "ORC-0190", "nothing is live").await;
    refused(&deployed(settings(), &["1.0"]).await, "ORC-0190", "no good release before 1.0").await;
}

#[tokio::test]
async fn in_production_before_it_was_allowed() {
    let mut production = EnvironmentSettings { kind: EnvironmentType::Production, ..settings() };
    refused(&deployed(production.clone(), &["1.0", "1.1"]).await, "ORC-0192", "must be allowed first").await;
    production.drill = Box::new(DrillPolicy { production: true, ..DrillPolicy::default() });
    deployed(production, &["1.0", "1.1"]).await.drill().await.unwrap();
}

#[tokio::test]
async fn while_no_deployment_window_is_open() {
    let stage = deployed(settings(), &["1.0", "1.1"]).await;
    let in_hours = |hours: i64| {
        let at = Timestamp::from_millis(stage.world.clock.read().as_millis() + hours * 3_600_000);
        ClockTime::try_from(at.to_string()[11..16].to_owned()).unwrap()
    };
    let windows = vec![DeployWindow {
        days: Vec::new(),
        from: in_hours(1),
        to: in_hours(2),
        time_zone: Default::default(),
    }];
    let settings = EnvironmentSettings { windows, ..settings() };
    let now = stage.world.clock.read();
    stage.db.apply_environment(&stage.environment, "shop", &settings, &[], "ada", now).await.unwrap();
    refused(&stage, "ORC-0195", "no deployment window is open").await;
    stage.world.clock.advance(Span::from_secs(3_660));
    tend(&stage.db, &stage.world.ports()).await.unwrap();
    stage.drill().await.unwrap();
}

#[tokio::test]
async fn while_what_is_live_is_watched_or_another_release_comes() {
    let watched = baking(Span::from_secs(60));
    let stage = deployed(watched, &["1.0", "1.1"]).await;
    refused(&stage, "ORC-0191", "1.1 is still being watched").await;
    let stage = deployed(canary(), &["1.0", "1.1"]).await;
    refused(&stage, "ORC-0191", "1.1 is being rolled out").await;
}

#[tokio::test]
async fn during_an_operation() {
    let stage = deployed(settings(), &["1.0", "1.1"]).await;
    let gate = Gate::default();
    stage.world.fault(When::Kind(Kind::Start), 1, Fault::Hold(gate.clone()));
    let (executor, request) = (stage.executor(), stage.to_deploy("1.2"));
    let (deployed, ()) = tokio::join!(executor.deploy(&request), async {
        gate.reached().await;
        refused(&stage, "ORC-0191", "production is busy: a deploy to 1.2").await;
        gate.open();
    });
    deployed.unwrap();
}

/// What has its traffic back in a moment is waited for.
#[tokio::test]
async fn nothing_else_begins_during_a_drill() {
    let stage = deployed(settings(), &["1.0", "1.1"]).await;
    let gate = Gate::default();
    stage.world.fault(When::Kind(Kind::Prove), 1, Fault::Hold(gate.clone()));
    let (drilled, ()) = tokio::join!(stage.drill(), async {
        gate.reached().await;
        let (rollback, forced) = (stage.rollback(), stage.forced());
        let (event, ()) = tokio::join!(rollback.rollback(&forced), async {
            tokio::time::sleep(std::time::Duration::from_millis(200)).await;
            assert!(
                stage.db.list_deployment_rollback_events(&stage.environment, 1).await.unwrap().is_empty()
            );
            gate.open();
        });
        assert_eq!(event.unwrap().target_version, v("1.0"));
    });
    assert_eq!(drilled.unwrap().drill.status, DrillStatus::Completed);
    assert_eq!(stage.live().await.as_deref(), Some("1.0"));
}

#[tokio::test]
async fn who_stops_everything_waits_for_the_end_of_a_drill_too() {
    let stage = deployed(settings(), &["1.0", "1.1"]).await;
    stage.world.allow_gaps();
    let gate = Gate::default();
    stage.world.fault(When::Kind(Kind::Prove), 1, Fault::Hold(gate.clone()));
    let (drilled, ()) = tokio::join!(stage.drill(), async {
        gate.reached().await;
        let executor = stage.executor();
        let (stopped, ()) = tokio::join!(executor.stop_environment(&stage.environment, "ada"), async {
            tokio::time::sleep(std::time::Duration::from_millis(200)).await;
            gate.open();
        });
        assert_eq!(stopped.unwrap(), v("1.1"));
    });
    drilled.unwrap();
    assert!(stage.world.running(&stage.environment).is_empty());
}

/// A version may be held while its deployment waits.
#[tokio::test]
async fn what_is_held_while_it_waits_for_the_end_of_a_drill_is_not_deployed() {
    let stage = deployed(settings(), &["1.0", "1.1"]).await;
    let gate = Gate::default();
    stage.world.fault(When::Kind(Kind::Prove), 1, Fault::Hold(gate.clone()));
    let (drilled, ()) = tokio::join!(stage.drill(), async {
        gate.reached().await;
        let (executor, request) = (stage.executor(), stage.to_deploy("1.2"));
        let (deployed, ()) = tokio::join!(executor.deploy(&request), async {
            tokio::time::sleep(std::time::Duration::from_millis(200)).await;
            let now = stage.world.clock.read();
            stage.db.hold(&stage.environment, &v("1.2"), "bob", "it is bad", now).await.unwrap();
            gate.open();
        });
        assert_eq!(deployed.unwrap_err().code(), "ORC-0114");
    });
    drilled.unwrap();
    assert_eq!(stage.live().await.as_deref(), Some("1.1"));
}

#[tokio::test]
async fn a_slow_drill_is_given_up_for_a_rollback_and_for_a_deployment() {
    for deploys in [false, true] {
        let stage = deployed(settings(), &["1.0", "1.1"]).await;
        stage.world.clock.advance(Span::from_secs(3600));
        tend(&stage.db, &stage.world.ports()).await.unwrap();
        let gate = Gate::default();
        stage.world.fault(When::Kind(Kind::AwaitHealthy), 1, Fault::Hold(gate.clone()));
        let (drilled, ()) = tokio::join!(stage.drill(), async {
            gate.reached().await;
            match deploys {
                true => drop(stage.executor().deploy(&stage.to_deploy("1.2")).await.unwrap()),
                false => drop(stage.rollback().rollback(&stage.forced()).await.unwrap()),
            }
        });
        let drill = drilled.unwrap().drill;
        assert_eq!(drill.status, DrillStatus::GivenUp);
        let who = if deploys { "ada" } else { "api" };
        assert_eq!(drill.error_message, Some(format!("{who} wanted to act here")));
        assert_eq!(stage.live().await.as_deref(), Some(if deploys { "1.2" } else { "1.0" }));
        let ready = stage.rollback().readiness(&stage.environment).await.unwrap();
        assert!(ready.problems.is_empty(), "it showed nothing: {ready:?}");
    }
}

/// Each of them means what is live when they ask; the second one does not go further back than that.
#[tokio::test]
async fn of_two_who_wait_for_the_end_of_a_drill_one_rolls_back() {
    let stage = deployed(settings(), &["0.9", "1.0", "1.1"]).await;
    let gate = Gate::default();
    stage.world.fault(When::Kind(Kind::Prove), 1, Fault::Hold(gate.clone()));
    let (drilled, ()) = tokio::join!(stage.drill(), async {
        gate.reached().await;
        let (rollback, forced) = (stage.rollback(), stage.forced());
        let (first, second, ()) =
            tokio::join!(rollback.rollback(&forced), rollback.rollback(&forced), async {
                tokio::time::sleep(std::time::Duration::from_millis(200)).await;
                gate.open();
            });
        let refused: Vec<_> = [first, second].into_iter().filter_map(Result::err).collect();
        assert!(refused.len() == 1 && ["ORC-0110", "ORC-0115"].contains(&refused[0].code()), "{refused:?}");
    });
    drilled.unwrap();
    assert_eq!(stage.live().await.as_deref(), Some("1.0"));
}

#[tokio::test]
async fn who_presses_ctrl_c_gives_a_drill_up() {
    let stage = deployed(settings(), &["1.0", "1.1"]).await;
    stage.world.clock.advance(Span::from_secs(3600));
    tend(&stage.db, &stage.world.ports()).await.unwrap();
    let gate = Gate::default();
    stage.world.fault(When::Kind(Kind::AwaitHealthy), 1, Fault::Hold(gate.clone()));
    let (press, interrupt) = tokio::sync::watch::channel(false);
    let mut request = stage.to_drill();
    request.limits = Limits { interrupt: Some(interrupt), ..Limits::default() };
    let drill = crate::DeploymentDrill::new(stage.db.clone(), stage.world.ports());
    let (drilled, ()) = tokio::join!(drill.drill(&request), async {
        gate.reached().await;
        press.send_replace(true);
    });
    let drilled = drilled.unwrap();
    assert_eq!(drilled.drill.status, DrillStatus::GivenUp);
    let error = crate::deployment_drill::failed(&drilled);
    assert_eq!((error.code(), error.kind()), ("ORC-0197", ErrorKind::Failed));
    assert!(error.message().contains("was given up; users are served as before"), "{error}");
    assert_eq!(stage.world.running(&stage.environment).len(), 2);
}

#[tokio::test]
async fn where_there_is_no_place_beside_what_is_live() {
    let stage = deployed(recreate(), &["1.0", "1.1"]).await;
    refused(&stage, "ORC-0193", "`recreate` stops one release").await;
    let mut unrouted = settings();
    unrouted.processes.get_mut("web").unwrap().listen = None;
    refused(&deployed(unrouted, &["1.0", "1.1"]).await, "ORC-0193", "gets no traffic").await;
    // It went back, and what it left is kept for whoever takes that back.
    let stage = deployed(settings(), &["1.0", "1.1", "1.2"]).await;
    stage.rollback().rollback(&stage.forced()).await.unwrap();
    refused(&stage, "ORC-0194", "1.2 is kept warm there until").await;
}

#[tokio::test]
async fn while_what_is_live_is_not_well() {
    let stage = deployed(settings(), &["1.0", "1.1"]).await;
    stage.world.put_instances(&v("1.1"), InstanceState::Unhealthy);
    refused(&stage, "ORC-0196", "1.1 is live in production but only 0 of 2 instances of web are ready").await;
}

#[tokio::test]
async fn where_a_command_or_the_data_stand_in_the_way() {
    refused(&deployed(hooked(), &["1.0", "1.1"]).await, "ORC-0198", "begins with its pre_rollback").await;
    let mut after = hooked();
    after.hooks.remove(&Hook::PreRollback);
    let drilled = deployed(after, &["1.0", "1.1"]).await.drill().await.unwrap();
    assert!(drilled.remarks.contains(&"post_rollback of 1.1 is not run".to_owned()));

    let stage = deployed(settings(), &[]).await;
    for (version, schema) in [("1.0", Schema::new([3, 4], 4)), ("1.1", Schema::new([4, 5], 5))] {
        stage.world.clock.advance(Span::from_secs(60));
        let mut request = stage.to_deploy(version);
        request.contents.data = DataChange { schema: Some(schema.unwrap()), irreversible: None };
        stage.executor().deploy(&request).await.unwrap();
    }
    refused(&stage, "ORC-0199", "1.1 writes schema 5, and 1.0 reads only 3 to 4").await;
}
