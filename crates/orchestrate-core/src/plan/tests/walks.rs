//! Random lives of an environment, on a real database: whatever is done in whatever order, the records stay true.

use proptest::prelude::{ProptestConfig, Strategy as _, any, prop, prop_oneof};
use proptest::proptest;

use crate::deployment::DeploymentStatus;
use crate::error::ErrorKind;
use crate::fakes::{Fault, Kind, When};
use crate::slot_tending::tend;
use crate::stage::{Stage, v};
use crate::time::Span;

#[derive(Clone, Copy, Debug)]
enum Deed {
    Deploy(u8),
    /// It never becomes healthy.
    DeployBad(u8),
    /// It gets traffic and answers wrongly.
    DeployWrong(u8),
    Rollback,
    RollbackTo(u8),
    Undo,
    Hold(u8),
    Unhold(u8),
    /// Time passes, and the daemon looks after the slots.
    Tend(u16),
    /// The program dies at a call of the next deed; another one finishes its work.
    Crash(u8, bool),
}

fn deed() -> impl proptest::strategy::Strategy<Value = Deed> {
    let version = 0..5u8;
    prop_oneof![
        4 => version.clone().prop_map(Deed::Deploy),
        1 => version.clone().prop_map(Deed::DeployBad),
        1 => version.clone().prop_map(Deed::DeployWrong),
        4 => proptest::strategy::Just(Deed::Rollback),
        1 => version.clone().prop_map(Deed::RollbackTo),
        2 => proptest::strategy::Just(Deed::Undo),
        1 => version.clone().prop_map(Deed::Hold),
        2 => version.prop_map(Deed::Unhold),
        1 => (0..2000u16).prop_map(Deed::Tend),
        1 => (1..8u8, any::<bool>()).prop_map(|(call, after)| Deed::Crash(call, after)),
    ]
}

fn name(number: u8) -> String {
    format!("1.{number}")
}

async fn deploy(stage: &Stage, number: u8) -> Result<(), crate::Error> {
    stage.executor().deploy(&stage.to_deploy(&name(number))).await.map(drop)
}

/// A refusal is a good answer; a bug or a failure is not.
async fn act(stage: &Stage, deed: Deed) -> Result<(), crate::Error> {
    let now = stage.world.clock.read();
    match deed {
        Deed::Deploy(number) => deploy(stage, number).await,
        Deed::DeployBad(number) => {
            stage.world.never_healthy(&v(&name(number)));
            deploy(stage, number).await
        }
        Deed::DeployWrong(number) => {
            // One wrong answer for each attempt to prove it.
            stage.world.fault(When::Kind(Kind::Prove), 6, Fault::Fail(crate::ports::PortErrorKind::Failed));
            let result = deploy(stage, number).await;
            stage.world.forget_faults();
            result
        }
        Deed::Rollback => stage.rollback().rollback(&stage.forced()).await.map(drop),
        Deed::RollbackTo(number) => stage.rollback().rollback(&stage.back_to(&name(number))).await.map(drop),
        Deed::Undo => stage.undo().await.map(drop),
        Deed::Hold(number) => stage.db.hold(&stage.environment, &v(&name(number)), "ada", "no", now).await,
        Deed::Unhold(number) => {
            stage.db.unhold(&stage.environment, &v(&name(number)), "ada", None, now).await
        }
        Deed::Tend(seconds) => {
            stage.world.clock.advance(Span::from_secs(seconds.into()));
            tend(&stage.db, &stage.world.ports()).await.map(drop)
        }
        Deed::Crash(call, after) => {
            stage.world.forget_calls();
            let fault = if after { Fault::CrashAfter } else { Fault::CrashBefore };
            stage.world.fault(When::Call(call.into()), 1, fault);
            Ok(())
        }
    }
}

async fn check(stage: &Stage, deeds: &[Deed]) {
    assert!(stage.db.list_open_operations().await.unwrap().is_empty(), "{deeds:?}");
    let live = stage.live().await;
    let Some(current) = stage.db.current_deployment(&stage.environment).await.unwrap() else {
        assert_eq!(live, None, "{deeds:?}");
        return;
    };
    let never_live = current.went_live_at.is_none();
    assert!(!never_live || current.status != DeploymentStatus::Completed, "{deeds:?}: {current:?}");
    assert!(
        never_live || live.as_deref() == Some(current.version.as_str()),
        "{deeds:?}: {live:?} is live, but current is {current:?}"
    );
    let slots = stage.slots().await;
    for id in stage.world.running(&stage.environment) {
        let known = slots
            .iter()
            .any(|slot| id.starts_with(slot.slot.as_str()) && id.ends_with(&format!("@{}", slot.version)));
        assert!(known, "{deeds:?}: {id} runs without a record");
    }
}

async fn walk(deeds: &[Deed]) {
    let stage = Stage::new().await;
    for (index, deed) in deeds.iter().enumerate() {
        stage.world.clock.advance(Span::from_secs(1));
        let done = stage.world.until_crash(act(&stage, *deed)).await;
        match done {
            Some(Ok(())) => {}
            Some(Err(error)) => {
                let tried = matches!(error.kind(), ErrorKind::Refused);
                assert!(tried, "{:?}: {error:?}", &deeds[..=index]);
            }
            None => {
                let ports = stage.world.reborn();
                if stage.db.open_operation(&stage.environment).await.unwrap().is_some() {
                    let executor = crate::DeploymentExecutor::new(stage.db.clone(), ports);
                    executor.resume(&stage.environment, "daemon").await.unwrap();
                }
            }
        }
        if !matches!(deed, Deed::Crash(..)) {
            stage.world.forget_faults();
        }
        // Also where the program died in it: what is made up for a deed must not outlast it.
        if let Deed::DeployBad(number) = deed {
            stage.world.healthy_again(&v(&name(*number)));
        }
        check(&stage, &deeds[..=index]).await;
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 24, max_shrink_iters: 200, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn whatever_is_done_the_records_say_what_runs(deeds in prop::collection::vec(deed(), 1..24)) {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        runtime.block_on(walk(&deeds));
    }
}
