//! What is run once, and an engine that is away.

use std::collections::BTreeMap;
use std::fs;

use orchestrate_core::hooks::Hook;
use orchestrate_core::name::Fence;
use orchestrate_core::ports::{
    ForgetHooks, HookRequest, InstanceState, OneOff, PortErrorKind, Provider as _,
};
use orchestrate_core::time::Span;
use orchestrate_providers::Hosted as _;
use orchestrate_testkit::contract::provider::{ProviderStage as _, Sample};
use orchestrate_testkit::docker::Engine;

use crate::waiting::{in_time, until};
use crate::world::World;

#[tokio::test]
async fn hooks_are_run_once_in_a_container_of_the_sealed_image() {
    let mut world = World::on(Engine::shared()).await;
    let placement = world.release(1, Sample::web(1)).await;
    let hook = |of: &str, command: &[&str], fence| HookRequest {
        placement: placement.clone(),
        of: of.into(),
        hook: Hook::PreDeploy,
        command: command.iter().map(|word| (*word).to_owned()).collect(),
        timeout: Span::from_secs(20),
        fence: Fence(fence),
    };
    let docker = world.docker();
    let ended = in_time(docker.hook(&hook("d1", &["say", "migrated"], 1))).await.unwrap();
    assert_eq!((ended.success, ended.code, ended.output.as_str()), (true, Some(0), "migrated hello"));
    // Told again, not run again.
    assert_eq!(in_time(docker.hook(&hook("d1", &["fail", "1"], 1))).await.unwrap(), ended);
    let failed = in_time(docker.hook(&hook("d2", &["fail", "7"], 2))).await.unwrap();
    assert_eq!((failed.success, failed.code, failed.how.as_str()), (false, Some(7), "exited with status 7"));
    let refused = docker.hook(&hook("d3", &["say", "x"], 1)).await.unwrap_err();
    assert_eq!(refused.kind, PortErrorKind::Fenced);
    let forget = ForgetHooks { environment: placement.environment.clone(), but: None, fence: Fence(2) };
    docker.forget_hooks(&forget).await.unwrap();
    let slow = OneOff {
        placement: placement.clone(),
        name: "smoke".into(),
        command: vec!["sleep".into()],
        variables: BTreeMap::new(),
        timeout: Span::from_secs(1),
    };
    assert_eq!(in_time(docker.run_once(&slow)).await.unwrap_err().kind, PortErrorKind::TimedOut);
    until(async || world.containers().is_empty().then_some(())).await;
    let log = fs::read_to_string(world.log(&placement, "pre_deploy")).unwrap();
    assert_eq!(log, "migrated hello\n");
}

#[tokio::test]
async fn a_home_without_containers_needs_no_engine() {
    let mut world = World::on(Engine::shared()).await;
    let placement = world.release(1, Sample::web(1)).await;
    let options = {
        let specs = world.specs();
        let mut options =
            orchestrate_providers::docker::DockerOptions::new(world.home.path().to_owned(), specs);
        options.host = Some("unix:///nowhere/docker.sock".into());
        options
    };
    let docker = orchestrate_providers::docker::Docker::open(options).await.unwrap();
    assert_eq!(docker.instances(&placement.environment).await.unwrap(), []);
    let forget = ForgetHooks { environment: placement.environment.clone(), but: None, fence: Fence(1) };
    docker.forget_hooks(&forget).await.unwrap();
    let digest = world.digest(&placement);
    assert!(!docker.discard(&digest).await.unwrap());
    docker.stop_everything().await.unwrap();
}

#[tokio::test]
async fn the_engine_may_be_started_again_in_the_middle() {
    // Its containers end and come back with it; everybody else's engine is left alone.
    let engine: &'static Engine = Box::leak(Box::new(Engine::own()));
    let mut world = World::on(engine).await;
    let placement = world.release(1, Sample::web(2)).await;
    world.start(&placement).await.unwrap();
    let before = world.ready(&placement).await.unwrap();
    let begin_again = tokio::task::spawn_blocking(|| engine.end()).await.unwrap();
    let error = world.stop(&placement).await.unwrap_err();
    assert_eq!(error.kind, PortErrorKind::Unreachable, "{error}");
    assert!(error.detail.unwrap().contains("start the engine"));
    tokio::task::spawn_blocking(begin_again).await.unwrap();
    // The stop was ordered, and is done as soon as there is somebody to do it.
    world.stop(&placement).await.unwrap();
    assert_eq!(world.containers().len(), 0);
    world.start(&placement).await.unwrap();
    world.ready(&placement).await.unwrap();
    tokio::task::spawn_blocking(|| engine.restart()).await.unwrap();
    let back =
        world.until(|all| all.iter().all(|one| one.restarts >= 1 && one.state == InstanceState::Ready)).await;
    assert_eq!(back.len(), before.len());
    for one in &back {
        assert_eq!(world.answer(one).await.as_deref(), Some("1.1.0"));
    }
    world.stop(&placement).await.unwrap();
}
