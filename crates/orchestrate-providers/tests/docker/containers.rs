//! What is put into a container, what it writes, and what happens to it behind the provider's back.

use std::collections::BTreeMap;
use std::fs;

use orchestrate_core::confinement::Limits;
use orchestrate_core::environment::{Docker, DockerHealth};
use orchestrate_core::ports::{CountLines, InstanceState, Provider as _};
use orchestrate_core::secrets::SecretText;
use orchestrate_core::time::Span;
use orchestrate_providers::Hosted as _;
use orchestrate_testkit::contract::provider::{ProviderStage, Sample};
use orchestrate_testkit::docker::Engine;
use serde_json::Value;

use crate::waiting::{in_time, until};
use crate::world::World;

fn inspect(world: &World, name: &str) -> Value {
    serde_json::from_str::<Value>(&world.engine.docker(&["inspect", name])).unwrap()[0].take()
}

#[tokio::test]
async fn settings_limits_and_secrets_arrive_in_the_container() {
    let mut world = World::on(Engine::shared()).await;
    let placement = world.release(1, Sample::web(1)).await;
    let volume = format!("test-{}", world.mark());
    world.edit(&placement, |spec| {
        spec.secrets = BTreeMap::from([("PASSWORD".to_owned(), SecretText::new("hunter2"))]);
        spec.engine.docker = Some(Docker {
            port: 3000,
            volumes: vec![format!("{volume}:/data")],
            memory: Some(64 << 20),
            millicpus: Some(500),
            read_only: true,
            ..Docker::default()
        });
        let web = spec.processes.get_mut("web").unwrap();
        web.confinement.user = Some("1234:1234".into());
        web.confinement.limits = Limits { memory: None, files: Some(512), processes: Some(50) };
    });
    world.start(&placement).await.unwrap();
    world.ready(&placement).await.unwrap();
    let found = inspect(&world, &world.containers()[0]);
    let (config, host) = (&found["Config"], &found["HostConfig"]);
    let env: Vec<&str> = config["Env"].as_array().unwrap().iter().filter_map(Value::as_str).collect();
    for wanted in [
        "PORT=3000",
        "PASSWORD=hunter2",
        "GREETING=hello",
        "ORCHESTRATE_VERSION=1.1.0",
        "ORCHESTRATE_ENVIRONMENT=production",
    ] {
        assert!(env.contains(&wanted), "{wanted} is not among {env:?}");
    }
    assert_eq!(config["User"], "1234:1234");
    assert_eq!((&host["Memory"], &host["NanoCpus"]), (&(64 << 20).into(), &500_000_000.into()));
    assert_eq!((&host["PidsLimit"], &host["ReadonlyRootfs"]), (&50.into(), &true.into()));
    assert_eq!(host["SecurityOpt"][0], "no-new-privileges", "with a user, unless it is said");
    assert_eq!(host["Ulimits"][0]["Soft"], 512);
    assert_eq!(host["PortBindings"]["3000/tcp"][0]["HostIp"], "127.0.0.1");
    assert_eq!(found["Mounts"][0]["Name"], volume.as_str());
    world.stop(&placement).await.unwrap();
    // The data of a named volume stays.
    world.engine.docker(&["volume", "rm", &volume]);
}

#[tokio::test]
async fn on_the_machines_own_network_an_instance_listens_on_its_port_itself() {
    let mut world = World::on(Engine::shared()).await;
    let placement = world.release(1, Sample::web(2)).await;
    world.edit(&placement, |spec| {
        spec.engine.docker = Some(Docker { networks: vec!["host".into()], ..Docker::default() });
    });
    world.start(&placement).await.unwrap();
    let ready = world.ready(&placement).await.unwrap();
    assert_eq!(world.answer(&ready[1]).await.as_deref(), Some("1.1.0"));
    world.stop(&placement).await.unwrap();
}

#[tokio::test]
async fn containers_of_two_networks_are_on_both() {
    let mut world = World::on(Engine::shared()).await;
    let placement = world.release(1, Sample::web(1)).await;
    let names = [format!("front-{}", world.mark()), format!("back-{}", world.mark())];
    for name in &names {
        world.engine.docker(&["network", "create", name]);
    }
    world.edit(&placement, |spec| {
        spec.engine.docker = Some(Docker { networks: names.to_vec(), ..Docker::default() });
    });
    world.start(&placement).await.unwrap();
    world.ready(&placement).await.unwrap();
    let found = inspect(&world, &world.containers()[0]);
    let joined = found["NetworkSettings"]["Networks"].as_object().unwrap();
    assert!(names.iter().all(|name| joined.contains_key(name)), "{joined:?}");
    world.stop(&placement).await.unwrap();
    for name in &names {
        world.engine.docker(&["network", "rm", name]);
    }
    // One that does not exist is told at once, and nothing is left.
    let error = world.start(&placement).await.unwrap_err();
    assert!(names.iter().any(|name| error.message.contains(name)), "{error}");
    assert_eq!((world.containers().len(), world.instances().await.len()), (0, 0));
}

#[tokio::test]
async fn the_images_own_health_check_counts_where_that_is_asked_for() {
    let mut world = World::on(Engine::shared()).await;
    let placement = world.placement(1);
    let tag = world.tag(&placement);
    let check = |command: &str| format!("HEALTHCHECK --interval=100ms --retries=1 CMD {command}");
    let good = world.engine.build(&tag, &check("[\"/service\", \"say\", \"well\"]"));
    world.seal_image(&placement, &good, None, Sample::web(1));
    let by_image = |world: &World, placement: &_| {
        world.edit(placement, |spec| {
            spec.engine.docker = Some(Docker { health: DockerHealth::Image, ..Docker::default() });
        });
    };
    by_image(&world, &placement);
    world.start(&placement).await.unwrap();
    world.ready(&placement).await.unwrap();
    world.stop(&placement).await.unwrap();
    let sick = world.placement(2);
    let bad = world.engine.build(&tag, &check("[\"/service\", \"fail\", \"1\"]"));
    world.seal_image(&sick, &bad, None, Sample::web(1));
    by_image(&world, &sick);
    world.start(&sick).await.unwrap();
    world.until(|all| all.iter().all(|one| one.state == InstanceState::Starting && one.pid.is_some())).await;
    let request = orchestrate_core::ports::AwaitHealthy {
        placement: sick.clone(),
        processes: orchestrate_core::ports::Processes::All,
        counts: None,
        deadline: Span::from_secs(1),
    };
    let error = in_time(world.docker().await_healthy(&request)).await.unwrap_err();
    assert!(error.message.contains("HEALTHCHECK"), "{error}");
    world.stop(&sick).await.unwrap();
}

#[tokio::test]
async fn output_lies_in_the_home_whole_and_once_whoever_copied_it() {
    let mut world = World::on(Engine::shared()).await;
    let placement = world.release(1, Sample::web(1).with_work(1)).await;
    world.start(&placement).await.unwrap();
    world.ready(&placement).await.unwrap();
    let (web, work) = (world.log(&placement, "web"), world.log(&placement, "work"));
    let text = |path: &std::path::Path| fs::read_to_string(path).unwrap_or_default();
    until(async || (text(&web) == "listening on 8080\n" && text(&work) == "working\n").then_some(())).await;
    world.open().await;
    world.ready(&placement).await.unwrap();
    let name = world.containers().into_iter().find(|name| name.contains("-web-1.")).unwrap();
    world.engine.docker(&["kill", &name]);
    until(async || (text(&web) == "listening on 8080\n".repeat(2)).then_some(())).await;
    let count =
        CountLines { placement: placement.clone(), process: None, pattern: "listening|working".into() };
    assert_eq!(world.docker().count_lines(&count).await.unwrap().matches, 3);
    world.stop(&placement).await.unwrap();
    assert_eq!((text(&web), text(&work)), ("listening on 8080\n".repeat(2), "working\n".into()));
}

#[tokio::test]
async fn a_container_that_was_removed_by_hand_is_made_again() {
    let mut world = World::on(Engine::shared()).await;
    let placement = world.release(1, Sample::web(1)).await;
    world.start(&placement).await.unwrap();
    let before = world.ready(&placement).await.unwrap();
    world.engine.docker(&["rm", "--force", &world.containers()[0]]);
    let back = world.until(|all| all[0].restarts == 1 && all[0].state == InstanceState::Ready).await;
    assert_ne!(back[0].pid, before[0].pid);
    assert!(back[0].last_exit.as_deref().unwrap().contains("removed"), "{back:?}");
    assert_eq!(world.answer(&back[0]).await.as_deref(), Some("1.1.0"));
    // The process itself is killed, past the engine.
    let pid = rustix::process::Pid::from_raw(i32::try_from(back[0].pid.unwrap()).unwrap()).unwrap();
    rustix::process::kill_process(pid, rustix::process::Signal::KILL).unwrap();
    let back = world.until(|all| all[0].restarts == 2 && all[0].state == InstanceState::Ready).await;
    assert!(back[0].last_exit.as_deref().unwrap().contains("SIGKILL"), "{back:?}");
    world.stop(&placement).await.unwrap();
}

#[tokio::test]
async fn an_instance_whose_port_was_taken_meanwhile_gets_another_one() {
    let mut world = World::on(Engine::shared()).await;
    let placement = world.release(1, Sample::web(1)).await;
    world.start(&placement).await.unwrap();
    let before = world.ready(&placement).await.unwrap()[0].address.unwrap();
    // While nobody looks, its container is stopped by hand, and somebody else listens there.
    world.close();
    world.engine.docker(&["stop", &world.containers()[0]]);
    let _taken = std::net::TcpListener::bind(before).unwrap();
    world.open().await;
    let is_elsewhere = |all: &[orchestrate_core::ports::Instance]| {
        all[0].state == InstanceState::Ready && all[0].address != Some(before)
    };
    let back = world.until(is_elsewhere).await;
    assert_eq!(world.answer(&back[0]).await.as_deref(), Some("1.1.0"));
    assert_eq!(world.containers().len(), 1, "the one that could not be started is left");
    world.stop(&placement).await.unwrap();
}

#[tokio::test]
async fn what_is_placed_is_known_by_its_labels_where_the_record_is_lost() {
    let mut world = World::on(Engine::shared()).await;
    let placement = world.release(1, Sample::web(2)).await;
    world.start(&placement).await.unwrap();
    let ready = world.ready(&placement).await.unwrap();
    fs::write(world.home.path().join("docker.json"), "torn").unwrap();
    world.open().await;
    let found =
        world.until(|all| all.len() == 2 && all.iter().all(|one| one.state == InstanceState::Ready)).await;
    let who = |all: &[orchestrate_core::ports::Instance]| -> Vec<_> {
        all.iter().map(|one| (one.id.clone(), one.pid, one.address)).collect()
    };
    assert_eq!(who(&found), who(&ready));
    world.stop(&placement).await.unwrap();
    assert_eq!(world.containers().len(), 0);
}
