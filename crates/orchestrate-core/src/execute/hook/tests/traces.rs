//! What is left of a command that was run: its record, and nothing in the home once its operation has ended.

use crate::deployment_rollback::Asking;
use crate::deployment_strategy::StrategyKind;
use crate::execute::{Outcome, forget_hooks};
use crate::fakes::{Fault, When};
use crate::hooks::{Hook, HookRun, HookStatus, IfItFails};
use crate::ports::PortErrorKind;
use crate::rollback_event::RollbackStatus;
use crate::stage::{Stage, canary, hooked, rolling, v};

use super::stage;

fn told(runs: &[HookRun]) -> Vec<String> {
    let one = |run: &HookRun| {
        let error = run.error.as_deref().map_or_else(String::new, |error| format!(" {error}"));
        format!("{} {:?}{error}: {}", run.name, run.exit_code, run.output)
    };
    runs.iter().map(one).collect()
}

#[tokio::test]
async fn whatever_fails_after_traffic_moved_is_on_record_with_what_it_said() {
    let mut settings = hooked();
    settings.hooks.get_mut(&Hook::PostDeploy).unwrap().on_failure = IfItFails::Ignore;
    let stage = Stage::with(settings, &[]).await;
    stage.deploy("1.0").await;
    stage.world.hook_fails(Hook::PostDeploy, "the cache is cold");
    let deployed = stage.deploy("1.1").await.deployment;
    let expected = [
        "pre_deploy Some(0): pre_deploy is done",
        "post_deploy Some(1) exited with status 1: the cache is cold",
    ];
    assert_eq!(told(&deployed.hooks), expected);
    assert_eq!(deployed.hooks[1].status, HookStatus::Failed);
    stage.world.hook_fails(Hook::PostRollback, "no such channel");
    let rolled = stage.rollback().rollback_as(&stage.forced(), &Asking::by("ada")).await.unwrap();
    assert_eq!(rolled.event.status, RollbackStatus::Completed);
    let expected = [
        "pre_rollback Some(0): pre_rollback is done",
        "post_rollback Some(1) exited with status 1: no such channel",
    ];
    assert_eq!(told(&rolled.event.hooks), expected);
    let recorded = stage.db.get_deployment_rollback_event(rolled.event.id).await.unwrap().unwrap();
    assert_eq!(recorded.hooks, rolled.event.hooks);
    let recorded = stage.db.deployment(deployed.id).await.unwrap().unwrap();
    assert_eq!(recorded.hooks, deployed.hooks, "the deployment's own");
}

#[tokio::test]
async fn one_that_could_not_be_run_at_all_is_on_record_too() {
    let stage = stage().await;
    let hook = When::Kind(crate::fakes::Kind::Hook);
    stage.world.fault(hook, 1, Fault::Fail(PortErrorKind::TimedOut));
    let failed = stage.deploy("1.1").await.deployment;
    let expected = ["pre_deploy None a fault was injected: ", "on_failure Some(0): on_failure is done"];
    assert_eq!(told(&failed.hooks), expected);
}

#[tokio::test]
async fn on_failure_is_run_once_and_on_record_wherever_the_program_dies() {
    let template = stage().await;
    template.world.never_healthy(&v("1.1"));
    let calls = {
        let stage = template.fork().await;
        stage.deploy("1.1").await;
        stage.world.calls().len()
    };
    for (number, fault) in (1..=calls).flat_map(|n| [(n, Fault::CrashBefore), (n, Fault::CrashAfter)]) {
        let (stage, what) = (template.fork().await, format!("{fault:?} of call {number}"));
        stage.world.fault(When::Call(number), 1, fault);
        let db = stage.another_handle().await;
        let executor = crate::deployment_executor::DeploymentExecutor::new(db.clone(), stage.world.ports());
        let request = stage.to_deploy("1.1");
        assert!(stage.world.until_crash(executor.deploy(&request)).await.is_none(), "{what}");
        db.close().await;
        let executor =
            crate::deployment_executor::DeploymentExecutor::new(stage.db.clone(), stage.world.reborn());
        if stage.db.open_operation(&stage.environment).await.unwrap().is_none() {
            continue;
        }
        executor.resume(&stage.environment, "daemon").await.unwrap();
        let ran = stage.world.hooks_ran();
        assert_eq!(ran[2..], ["pre_deploy of 1.1", "on_failure of 1.1"], "{what}");
        let names: Vec<Hook> = stage.current().await.hooks.iter().map(|run| run.name).collect();
        assert_eq!(names, [Hook::PreDeploy, Hook::OnFailure], "{what}");
    }
}

#[tokio::test]
async fn a_promotion_that_is_put_back_is_no_failure_of_its_deployment() {
    let settings = crate::environment::EnvironmentSettings { hooks: hooked().hooks, ..canary() };
    let stage = Stage::with(settings, &[]).await;
    stage.deploy("1.0").await;
    stage.deploy("1.1").await;
    stage.world.answers_wrongly(&v("1.1"));
    assert!(matches!(stage.promote(false).await.unwrap().outcome, Outcome::Undone(_)));
    assert_eq!(stage.world.hooks_ran()[2..], ["pre_deploy of 1.1"]);
    assert!(matches!(stage.promote(true).await.unwrap().outcome, Outcome::Condemned(_)));
    assert_eq!(stage.world.hooks_ran()[3..], ["on_failure of 1.1"]);
}

#[tokio::test]
async fn a_rolling_deployment_runs_them_before_its_first_batch_and_after_its_last() {
    let settings = crate::environment::EnvironmentSettings { hooks: hooked().hooks, ..rolling() };
    let stage = Stage::with(settings, &[]).await;
    stage.deploy("1.0").await;
    stage.world.forget_calls();
    let deployed = stage.deploy("1.1").await;
    assert_eq!((deployed.outcome, deployed.deployment.strategy), (Outcome::Completed, StrategyKind::Rolling));
    let kinds: Vec<String> = stage.world.calls().iter().map(|call| format!("{:?}", call.kind)).collect();
    let at = |kind: &str| kinds.iter().position(|known| known == kind).unwrap();
    let last = |kind: &str| kinds.iter().rposition(|known| known == kind).unwrap();
    assert!(at("Hook") < at("Start") && last("Prove") < last("Hook"), "{kinds:?}");
    assert_eq!(stage.world.hooks_ran()[2..], ["pre_deploy of 1.1", "post_deploy of 1.1"]);
    stage.world.hook_fails(Hook::PreDeploy, "cannot migrate");
    let before = stage.world.running(&stage.environment);
    assert!(matches!(stage.deploy("1.2").await.outcome, Outcome::Undone(_)));
    assert_eq!(stage.world.running(&stage.environment), before);
    assert_eq!(stage.world.hooks_ran()[4..], ["pre_deploy of 1.2", "on_failure of 1.2"]);
}

#[tokio::test]
async fn what_is_kept_is_forgotten_once_nobody_may_ask_again() {
    let settings = crate::environment::EnvironmentSettings { hooks: hooked().hooks, ..canary() };
    let stage = Stage::with(settings, &[]).await;
    let forget =
        || async { forget_hooks(&stage.db, &stage.world.ports(), &stage.environment).await.unwrap() };
    stage.deploy("1.0").await;
    let canary = stage.deploy("1.1").await.deployment.id;
    assert_eq!(stage.world.hooks_kept().len(), 2);
    assert!(forget().await.is_some());
    assert_eq!(stage.world.hooks_kept(), [format!("d{canary}")], "what is being rolled out goes on");
    stage.promote(true).await.unwrap();
    assert_eq!(stage.world.hooks_ran()[2..], ["pre_deploy of 1.1", "post_deploy of 1.1"]);
    assert!(forget().await.is_some());
    assert_eq!(stage.world.hooks_kept(), Vec::<String>::new());
}

#[tokio::test]
async fn nothing_is_forgotten_while_an_operation_is_open() {
    let stage = stage().await;
    let gate = crate::fakes::Gate::default();
    stage.world.fault(When::Kind(crate::fakes::Kind::Switch), 1, Fault::Hold(gate.clone()));
    let forget = async {
        gate.reached().await;
        let forgot = forget_hooks(&stage.db, &stage.world.ports(), &stage.environment).await.unwrap();
        let kept = stage.world.hooks_kept().len();
        gate.open();
        (forgot, kept)
    };
    let (deployed, (forgot, kept)) = tokio::join!(stage.deploy("1.1"), forget);
    assert_eq!((deployed.outcome, forgot, kept), (Outcome::Completed, None, 2));
}
