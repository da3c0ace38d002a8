//! What is pruned, and above all what is not.

use proptest::prelude::{ProptestConfig, Strategy as _, any, prop};
use proptest::{prop_assert, proptest};

use super::{Pruning, prune};
use crate::environment::Retention;
use crate::fakes::Kind;
use crate::stage::{Stage, settings, v};
use crate::time::Span;

async fn keeping(keep: u32, max_age: Option<Span>) -> Stage {
    let mut settings = settings();
    settings.retention = Some(Retention { keep, max_age });
    Stage::with(settings, &[]).await
}

async fn pruned(stage: &Stage, dry_run: bool) -> Pruning {
    prune(&stage.db, &stage.world.ports(), &stage.environment, "ada", dry_run).await.unwrap()
}

fn gone(pruning: &Pruning) -> Vec<&str> {
    let going = pruning.releases.iter().filter(|one| one.kept.is_none());
    going.map(|one| one.version.as_str()).collect()
}

#[tokio::test]
async fn the_newest_proven_ones_stay_and_a_dry_run_changes_nothing() {
    let stage = keeping(2, None).await;
    stage.deploy_all(&["1.0", "1.1", "1.2", "1.3", "1.4"]).await;
    let before = stage.dump().await;
    let shown = pruned(&stage, true).await;
    assert_eq!(gone(&shown), ["1.2", "1.1", "1.0"]);
    assert_eq!(shown.releases.iter().filter(|one| one.reachable).count(), 2);
    assert_eq!(stage.dump().await, before);
    stage.world.forget_calls();
    assert_eq!(pruned(&stage, false).await.removed, 3);
    assert_eq!(stage.world.calls().iter().filter(|call| call.kind == Kind::Discard).count(), 3);
    assert!(gone(&pruned(&stage, false).await).is_empty(), "what is pruned is not looked at again");

    let error = stage.rollback().rollback(&stage.back_to("1.1")).await.unwrap_err();
    assert_eq!((error.code(), error.kind()), ("ORC-0142", crate::ErrorKind::Refused));
    let candidates = stage.rollback().candidates(&stage.environment, 9).await.unwrap();
    assert!(candidates[3].why_not.as_ref().unwrap().starts_with("was pruned at"), "{candidates:?}");
    stage.rollback().rollback(&stage.forced()).await.unwrap();
    assert_eq!(stage.live().await.as_deref(), Some("1.3"));
    let error = stage.rollback().rollback(&stage.forced()).await.unwrap_err();
    assert_eq!(error.code(), "ORC-0102", "there is none that is kept");
}

#[tokio::test]
async fn deploying_a_pruned_version_brings_it_back() {
    let stage = keeping(1, None).await;
    stage.deploy_all(&["1.0", "1.1", "1.2", "1.3"]).await;
    assert_eq!(gone(&pruned(&stage, false).await), ["1.1", "1.0"]);
    stage.deploy("1.0").await;
    let shown = pruned(&stage, true).await;
    assert!(shown.releases.iter().any(|one| one.version == v("1.0") && one.kept.is_some()));
}

#[tokio::test]
async fn what_is_young_enough_stays() {
    let stage = keeping(1, Some(Span::from_secs(150))).await;
    stage.deploy_all(&["1.0", "1.1", "1.2", "1.3", "1.4"]).await;
    assert_eq!(gone(&pruned(&stage, true).await), ["1.1", "1.0"], "a minute lies between two");
}

#[tokio::test]
async fn an_artifact_that_another_release_needs_stays() {
    let stage = keeping(1, None).await;
    stage.deploy_all(&["1.0", "1.1", "1.2"]).await;
    let mut same = stage.to_deploy("2.0");
    same.contents.artifact = stage.contents("1.0").artifact;
    stage.executor().deploy(&same).await.unwrap();
    let pruning = pruned(&stage, false).await;
    assert_eq!((gone(&pruning), pruning.removed), (vec!["1.1", "1.0"], 1), "2.0 has the artifact of 1.0");
}

#[tokio::test]
async fn where_an_undo_goes_to_and_what_is_held_with_evidence_stays() {
    let stage = keeping(1, None).await;
    stage.deploy_all(&["1.0", "1.1"]).await;
    stage.world.answers_wrongly(&v("1.2"));
    stage.deploy("1.2").await;
    stage.rollback().rollback(&stage.back_to("1.0")).await.unwrap();
    assert!(gone(&pruned(&stage, true).await).iter().all(|version| *version != "1.2"));
    stage.world.answers_rightly(&v("1.2"));
    pruned(&stage, false).await;
    stage.undo().await.unwrap();
    assert_eq!(stage.live().await.as_deref(), Some("1.2"));
}

#[tokio::test]
async fn without_a_retention_and_beside_an_operation_nothing_is_pruned() {
    let stage = Stage::new().await;
    stage.deploy_all(&["1.0", "1.1", "1.2"]).await;
    let ports = stage.world.ports();
    let error = prune(&stage.db, &ports, &stage.environment, "ada", false).await.unwrap_err();
    assert_eq!(error.code(), "ORC-0143");
}

#[tokio::test]
async fn a_rollback_that_was_planned_before_is_planned_anew() {
    let stage = keeping(1, None).await;
    stage.deploy_all(&["1.0", "1.1", "1.2"]).await;
    let asking = crate::deployment_rollback::Asking::by("ada");
    let shown = stage.rollback().preview(&stage.back_to("1.0"), &asking).await.unwrap();
    pruned(&stage, false).await;
    let exactly = crate::deployment_rollback::Asking { plan: Some(shown.plan_token), ..asking };
    let error = stage.rollback().rollback_as(&stage.back_to("1.0"), &exactly).await.unwrap_err();
    assert_eq!(error.code(), "ORC-0142");
}

#[derive(Clone, Copy, Debug)]
enum Deed {
    Deploy(u8),
    Bad(u8),
    Back,
    BackTo(u8),
    Undo,
    Prune,
}

fn deed() -> impl proptest::strategy::Strategy<Value = Deed> {
    (0..10u8, 0..6u8, any::<bool>()).prop_map(|(what, version, bad)| match what {
        0..=4 if bad => Deed::Bad(version),
        0..=4 => Deed::Deploy(version),
        5 | 6 => Deed::Back,
        7 => Deed::BackTo(version),
        8 => Deed::Undo,
        _ => Deed::Prune,
    })
}

/// A rollback without a version, and an undo, never meet what was pruned; what serves is never pruned.
async fn live(deeds: &[Deed]) {
    let stage = keeping(1, None).await;
    for deed in deeds {
        stage.world.clock.advance(Span::from_secs(7200));
        let version = |number: u8| format!("1.{number}");
        if let Deed::Deploy(number) | Deed::Bad(number) = *deed {
            // As a person's deployment does before core hears of it.
            stage.world.take_in(&stage.contents(&version(number)).artifact.digest);
        }
        let done = match *deed {
            Deed::Deploy(number) => {
                stage.executor().deploy(&stage.to_deploy(&version(number))).await.map(drop)
            }
            Deed::Bad(number) => {
                stage.world.answers_wrongly(&v(&version(number)));
                let done = stage.executor().deploy(&stage.to_deploy(&version(number))).await.map(drop);
                stage.world.answers_rightly(&v(&version(number)));
                done
            }
            Deed::Back => stage.rollback().rollback(&stage.forced()).await.map(drop),
            Deed::BackTo(number) => {
                stage.rollback().rollback(&stage.back_to(&version(number))).await.map(drop)
            }
            Deed::Undo => stage.undo().await.map(drop),
            Deed::Prune => Ok(()),
        };
        if let Err(error) = done {
            assert!(
                error.kind() == crate::ErrorKind::Refused && error.code() != "ORC-0117",
                "{deeds:?}: {error}"
            );
        }
        let ready = stage.rollback().readiness(&stage.environment).await.unwrap();
        let could = stage.undo_preview().await;
        pruned(&stage, false).await;
        let still = stage.rollback().readiness(&stage.environment).await.unwrap();
        assert_eq!(ready.target_version, still.target_version, "{deeds:?}");
        assert_eq!(could, stage.undo_preview().await, "{deeds:?}");
        stage.live().await;
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 6, max_shrink_iters: 100, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn whatever_happened_what_is_needed_is_kept(deeds in prop::collection::vec(deed(), 1..14)) {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        runtime.block_on(live(&deeds));
        prop_assert!(true);
    }
}
