//! What "previous" and `--undo` mean, as a model written a second time: histories are drawn, and both must agree.

mod model;

use proptest::prelude::{Just, ProptestConfig, Strategy, any, prop, prop_oneof};
use proptest::proptest;

use crate::deployment::DeploymentStatus;
use crate::deployment_rollback::Asking;
use crate::error::Error;
use crate::fakes::{Fault, Kind, When};
use crate::plan::previous::{Asker, History, previous};
use crate::ports::PortErrorKind;
use crate::rollback_event::Trigger;
use crate::stage::{Stage, v};
use crate::time::Span;
use model::{Life, Mark, Moved};

/// How a deployment ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum End {
    Good,
    /// It never gets traffic.
    NeverLive,
    /// It gets traffic, and shows itself bad.
    Wrong,
}

/// Versions and contents are drawn apart, so that one version has several contents and the other way round.
#[derive(Clone, Copy, Debug)]
pub(super) enum Deed {
    Deploy { version: u8, content: u8, end: End },
    Back(Asker),
    BackTo(u8),
    Undo,
    Hold(u8),
    Unhold(u8),
}

fn deed() -> impl Strategy<Value = Deed> {
    let version = || 0..5u8;
    let end = prop_oneof![4 => Just(End::Good), 1 => Just(End::NeverLive), 1 => Just(End::Wrong)];
    let back = any::<bool>().prop_map(|automatic| Deed::Back(Asker::of(automatic)));
    let deploy = (version(), 0..3u8, end).prop_map(|(version, twist, end)| Deed::Deploy {
        version,
        // Mostly a content of its own.
        content: if twist == 0 { version / 2 } else { version },
        end,
    });
    prop_oneof![
        6 => deploy,
        5 => back,
        2 => version().prop_map(Deed::BackTo),
        3 => Just(Deed::Undo),
        1 => version().prop_map(Deed::Hold),
        2 => version().prop_map(Deed::Unhold),
    ]
}

fn deeds(most: usize) -> impl Strategy<Value = Vec<Deed>> {
    prop::collection::vec(deed(), 1..most)
}

/// The function that is asked in earnest gives what the model's plain words give, whoever asks.
fn agree(life: &Life, deeds: &[Deed]) {
    let Some(current) = life.current() else { return };
    let releases = life.as_releases();
    let release = &releases[current.release];
    let status = DeploymentStatus::Completed;
    let deployment = super::deployment(1, release, status, current.was_live.is_some());
    let live = life.live.map(|live| &releases[live.release]);
    let history = History { current: (&deployment, release), live, releases: &releases };
    for asker in [Asker::Person, Asker::Automatic] {
        let found = previous(&history, asker).map(|release| release.id);
        let wanted = life.previous(asker).map(|index| releases[index].id);
        assert_eq!(found, wanted, "{asker:?} after {deeds:?}");
    }
}

fn imagine(deeds: &[Deed]) {
    let mut life = Life::default();
    let mut walked: Option<i64> = None;
    for (index, deed) in deeds.iter().enumerate() {
        let told = &deeds[..=index];
        agree(&life, told);
        let before = (life.live, life.current_index(), life.marks());
        let moved = life.act(*deed);
        match (deed, moved) {
            (Deed::Back(_), Some(moved @ Moved { traffic: true, .. })) => {
                let (target, left) = (&life.releases[moved.to], &life.releases[moved.rolled_back]);
                assert!(target.proven && !life.is_held(target.version), "{told:?}");
                assert!(target.lineage.unwrap() < left.lineage.unwrap_or(i64::MAX), "{told:?}");
                assert!(left.lineage.is_none() || target.content != left.content, "{told:?}");
                assert!(walked.is_none_or(|last| target.lineage.unwrap() < last), "{told:?}");
                walked = target.lineage;
                // Taken back at once, everything is where it was.
                let mut again = life.clone();
                assert!(again.act(Deed::Undo).is_some(), "{told:?}");
                assert_eq!((again.live, again.current_index(), again.marks()), before, "{told:?}");
            }
            (Deed::Back(_), _) => {}
            _ => walked = None,
        }
    }
}

async fn perform(stage: &Stage, deed: Deed) -> Result<(), Error> {
    let (now, name) = (stage.world.clock.read(), |number: u8| v(&model::name(number)));
    match deed {
        Deed::Deploy { version, content, end } => {
            let mut request = stage.to_deploy(&model::name(version));
            request.contents = stage.contents(&format!("content {content}"));
            match end {
                End::Good => {}
                End::NeverLive => stage.world.never_healthy(&name(version)),
                End::Wrong => {
                    stage.world.fault(When::Kind(Kind::Prove), 6, Fault::Fail(PortErrorKind::Failed));
                }
            }
            let result = stage.executor().deploy(&request).await.map(drop);
            stage.world.healthy_again(&name(version));
            stage.world.forget_faults();
            result
        }
        Deed::Back(Asker::Person) => stage.rollback().rollback(&stage.forced()).await.map(drop),
        Deed::Back(Asker::Automatic) => {
            let asking = Asking { trigger: Trigger::Verification, ..Asking::by("orchestrate") };
            stage.rollback().rollback_as(&stage.back(), &asking).await.map(drop)
        }
        Deed::BackTo(version) => {
            stage.rollback().rollback(&stage.back_to(&model::name(version))).await.map(drop)
        }
        Deed::Undo => stage.undo().await.map(drop),
        Deed::Hold(version) => stage.db.hold(&stage.environment, &name(version), "ada", "no", now).await,
        Deed::Unhold(version) => stage.db.unhold(&stage.environment, &name(version), "ada", None, now).await,
    }
}

/// How the records say that each deployment stands.
async fn marks(stage: &Stage) -> Vec<Mark> {
    let mut all = stage.db.list_deployments(&stage.environment, 1000).await.unwrap();
    all.reverse();
    let passed = stage.passed().await;
    let mark = |deployment: &crate::deployment::Deployment| match deployment.status {
        DeploymentStatus::RolledBack => Mark::RolledBack,
        _ if passed.contains(&deployment.id) => Mark::Passed,
        _ => Mark::Stands,
    };
    all.iter().map(mark).collect()
}

async fn live(deeds: &[Deed]) {
    let (stage, mut life) = (Stage::new().await, Life::default());
    for (index, deed) in deeds.iter().enumerate() {
        let told = &deeds[..=index];
        if life.is_senseless(*deed) {
            continue;
        }
        stage.world.clock.advance(Span::from_secs(1));
        let changed = life.act(*deed).is_some();
        match perform(&stage, *deed).await {
            Ok(()) => assert!(changed, "{told:?}: it was done"),
            Err(error) => {
                assert_eq!(error.kind(), crate::ErrorKind::Refused, "{told:?}: {error:?}");
                assert!(!changed, "{told:?}: {error:?}");
            }
        }
        let lives = life.live.map(|live| model::name(life.releases[live.release].version));
        assert_eq!(stage.live().await, lives, "{told:?}");
        let current = stage.db.current_deployment(&stage.environment).await.unwrap();
        let expected = life.current_index().map(|index| index as i64 + 1);
        assert_eq!(current.map(|deployment| deployment.id.0), expected, "{told:?}");
        assert_eq!(marks(&stage).await, life.marks(), "{told:?}");
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 2000, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn in_every_history_previous_is_good_and_older_and_an_undo_returns(deeds in deeds(40)) {
        imagine(&deeds);
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 24, max_shrink_iters: 200, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn what_is_done_and_recorded_is_what_the_model_says(deeds in deeds(24)) {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        runtime.block_on(live(&deeds));
    }
}
