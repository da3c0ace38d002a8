//! When the commands of a release are run, and what it means that one fails.

mod traces;

use crate::deployment::DeploymentStatus;
use crate::deployment_rollback::Asking;
use crate::deployment_strategy::StrategyKind;
use crate::execute::Outcome;
use crate::hooks::{Hook, IfItFails};
use crate::rollback_event::RollbackStatus;
use crate::stage::{Stage, hooked, recreate, v, with_worker};

async fn stage() -> Stage {
    let stage = Stage::with(hooked(), &[]).await;
    stage.deploy("1.0").await;
    stage
}

#[tokio::test]
async fn each_is_run_in_its_place_and_undo_hooks_are_those_of_the_release_that_is_left() {
    let stage = stage().await;
    stage.deploy("1.1").await;
    stage.rollback().rollback(&stage.forced()).await.unwrap();
    let ran = stage.world.hooks_ran();
    assert_eq!(
        ran,
        [
            "pre_deploy of 1.0",
            "post_deploy of 1.0",
            "pre_deploy of 1.1",
            "post_deploy of 1.1",
            "pre_rollback of 1.1",
            "post_rollback of 1.1",
        ]
    );
    stage.undo().await.unwrap();
    assert_eq!(stage.world.hooks_ran().len(), ran.len(), "going forward again takes nothing back");
}

#[tokio::test]
async fn a_pre_deploy_that_fails_changes_nothing() {
    for settings in
        [hooked(), crate::environment::EnvironmentSettings { hooks: hooked().hooks, ..recreate() }]
    {
        let stage = Stage::with(settings, &[]).await;
        stage.deploy("1.0").await;
        stage.world.hook_fails(Hook::PreDeploy, "cannot migrate");
        stage.world.forget_calls();
        let failed = stage.deploy("1.1").await;
        let Outcome::Undone(failure) = &failed.outcome else { panic!("{:?}", failed.outcome) };
        assert_eq!(failure.message, "pre_deploy of 1.1 exited with status 1");
        assert_eq!(failure.detail.as_deref(), Some("cannot migrate"));
        assert_eq!(failed.deployment.status, DeploymentStatus::Failed);
        assert_eq!(stage.live().await.as_deref(), Some("1.0"));
        assert_eq!(stage.world.hooks_ran()[2..], ["pre_deploy of 1.1", "on_failure of 1.1"]);
        let kinds: Vec<_> = stage.world.calls().iter().map(|call| format!("{:?}", call.kind)).collect();
        assert!(!kinds.iter().any(|kind| kind == "Start" || kind == "Stop"), "{kinds:?}");
    }
}

#[tokio::test]
async fn a_post_deploy_that_fails_condemns_or_is_told_as_configured() {
    for means in [IfItFails::Rollback, IfItFails::Ignore] {
        let mut settings = hooked();
        settings.hooks.get_mut(&Hook::PostDeploy).unwrap().on_failure = means;
        let stage = Stage::with(settings, &[]).await;
        stage.deploy("1.0").await;
        stage.world.hook_fails(Hook::PostDeploy, "the cache is cold");
        let deployed = stage.deploy("1.1").await;
        assert_eq!(stage.live().await.as_deref(), Some("1.1"));
        match means {
            IfItFails::Ignore => {
                assert_eq!(deployed.outcome, Outcome::Completed);
                assert_eq!(deployed.deployment.status, DeploymentStatus::Completed);
            }
            IfItFails::Rollback => {
                assert!(matches!(deployed.outcome, Outcome::Condemned(_)), "{:?}", deployed.outcome);
                assert_eq!(stage.world.hooks_ran().last().unwrap(), "on_failure of 1.1");
                stage.rollback().rollback_by_itself(&stage.current().await, false).await.unwrap();
                assert_eq!(stage.live().await.as_deref(), Some("1.0"));
            }
        }
    }
}

#[tokio::test]
async fn a_pre_rollback_that_fails_leaves_what_is_live() {
    let stage = stage().await;
    stage.deploy("1.1").await;
    stage.world.hook_fails(Hook::PreRollback, "no");
    let rolled = stage.rollback().rollback_as(&stage.forced(), &Asking::by("ada")).await.unwrap();
    assert_eq!(rolled.event.status, RollbackStatus::Failed);
    assert_eq!(rolled.event.error_message.as_deref(), Some("pre_rollback of 1.1 exited with status 1"));
    assert_eq!(stage.live().await.as_deref(), Some("1.1"));
}

#[tokio::test]
async fn a_post_rollback_that_fails_does_not_undo_what_serves() {
    let stage = stage().await;
    stage.deploy("1.1").await;
    stage.world.hook_fails(Hook::PostRollback, "no");
    stage.rollback().rollback(&stage.forced()).await.unwrap();
    assert_eq!(stage.live().await.as_deref(), Some("1.0"));
}

#[tokio::test]
async fn what_a_hook_says_is_in_the_journal() {
    let stage = stage().await;
    stage.deploy("1.1").await;
    let journal = &stage.dump().await["journal"];
    assert!(journal.iter().any(|line| line.contains("pre_deploy is done")), "{journal:?}");
    stage.world.hook_fails(Hook::PreDeploy, "cannot migrate");
    stage.deploy("1.2").await;
    let journal = &stage.dump().await["journal"];
    assert!(journal.iter().any(|line| line.contains("cannot migrate")), "{journal:?}");
}

#[tokio::test]
async fn of_a_release_that_fails_no_process_type_stays() {
    for kind in [StrategyKind::BlueGreen, StrategyKind::Recreate] {
        let mut settings = with_worker();
        settings.strategy.kind = kind;
        let stage = Stage::with(settings, &[]).await;
        stage.deploy("1.0").await;
        let before = stage.world.running(&stage.environment);
        stage.world.never_healthy(&v("1.1"));
        assert!(matches!(stage.deploy("1.1").await.outcome, Outcome::Undone(_)));
        assert_eq!(stage.live().await.as_deref(), Some("1.0"));
        assert_eq!(stage.world.running(&stage.environment), before, "{kind}: all of it, or nothing");
    }
}

#[tokio::test]
async fn a_canary_runs_them_before_its_first_share_and_after_its_last_and_leaves_with_its_own() {
    let settings =
        crate::environment::EnvironmentSettings { hooks: hooked().hooks, ..crate::stage::canary() };
    let stage = Stage::with(settings, &[]).await;
    stage.deploy("1.0").await;
    stage.deploy("1.1").await;
    assert_eq!(stage.world.hooks_ran()[2..], ["pre_deploy of 1.1"]);
    stage.executor().promote(&stage.to_promote(true)).await.unwrap();
    assert_eq!(stage.world.hooks_ran()[3..], ["post_deploy of 1.1"]);
    stage.deploy("1.2").await;
    stage.rollback().rollback(&stage.forced()).await.unwrap();
    assert_eq!(stage.live().await.as_deref(), Some("1.1"));
    let ran = stage.world.hooks_ran();
    assert_eq!(ran[4..], ["pre_deploy of 1.2", "pre_rollback of 1.2", "post_rollback of 1.2"]);
}
