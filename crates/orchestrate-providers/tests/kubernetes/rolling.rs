//! Where the cluster itself puts one release in the place of another, in the order in which core asks for it.

use orchestrate_core::name::{Fence, ReleaseId, Version};
use orchestrate_core::ports::{
    Backend, Close, Deregister, Drain, Instance, Placement, PortResult, Processes, Prove, Provider as _,
    Register, Router as _, StopRequest, Switch,
};
use orchestrate_core::slot::Slot;
use orchestrate_core::time::Span;
use orchestrate_providers::RunSpec;
use orchestrate_testkit::contract::provider::{Manner, Sample};
use std::collections::BTreeMap;

use crate::contract::Stage;
use crate::fake::Fake;
use crate::stage::{Scene, listen};

const SOON: Span = Span::from_secs(120);

pub fn placement(scene: &Scene, number: i64) -> Placement {
    Placement {
        environment: scene.environment.clone(),
        slot: if number % 2 == 1 { Slot::Blue } else { Slot::Green },
        release: ReleaseId(number),
        version: Version::new(format!("1.{number}.0")).unwrap(),
    }
}

fn spec(scene: &Scene, placement: &Placement, sample: Sample) -> RunSpec {
    let mut spec = scene.spec(placement, sample);
    (spec.engine.rolls, spec.engine.shares) = (true, false);
    spec.variables.insert("RELEASE".into(), placement.version.to_string());
    spec
}

pub async fn register(scene: &Scene, placement: &Placement, instances: &[Instance]) -> PortResult<()> {
    let instances = instances.iter().filter(|one| one.process == "web");
    let backend = Backend {
        process: "web".into(),
        listen: listen(),
        instances: instances.map(|one| (one.id.clone(), one.address.unwrap())).collect(),
        health_check: Default::default(),
    };
    let (placement, backends) = (placement.clone(), vec![backend]);
    scene.router.register(&Register { placement, backends, drain: None, fence: Fence(1) }).await
}

pub async fn switch(scene: &Scene, placement: &Placement, needs: u32) -> PortResult<()> {
    let needs = BTreeMap::from([("web".to_owned(), needs)]);
    scene.router.switch(&Switch { placement: placement.clone(), needs, fence: Fence(1) }).await
}

async fn prove(scene: &Scene, placement: &Placement) -> PortResult<ReleaseId> {
    let request = Prove {
        placement: placement.clone(),
        listen: listen(),
        path: "/".into(),
        expected_status: 200,
        contains: Some(placement.version.to_string()),
        timeout: Span::from_secs(5),
        directed: false,
    };
    scene.router.prove(&request).await.map(|proof| proof.release)
}

pub async fn stop(scene: &Scene, placement: &Placement) -> PortResult<()> {
    let placement = placement.clone();
    let request = StopRequest { placement, processes: Processes::All, counts: None, fence: Fence(1) };
    scene.provider.stop(&request).await
}

/// As the daemon does for a slot that lost its traffic, and core for what it started in vain.
async fn take_away(scene: &Scene, placement: &Placement) {
    let (environment, slot, release) = (placement.environment.clone(), placement.slot, placement.release);
    let drain = Drain { placement: placement.clone(), deadline: Span::from_secs(1), fence: Fence(1) };
    scene.router.drain(&drain).await.unwrap();
    scene.router.deregister(&Deregister { environment, slot, release, fence: Fence(1) }).await.unwrap();
    stop(scene, placement).await.unwrap();
}

async fn shares(scene: &Scene) -> Vec<(i64, u8)> {
    let view = scene.router.observe(&scene.environment).await.unwrap();
    let mut shares: Vec<_> = view.slots.iter().map(|slot| (slot.release.0, slot.weight)).collect();
    shares.sort_unstable();
    shares
}

pub async fn goes_live(scene: &Scene, number: i64, sample: Sample) -> Placement {
    let placement = placement(scene, number);
    let instances = scene.run(&placement, spec(scene, &placement, sample)).await;
    register(scene, &placement, &instances).await.unwrap();
    switch(scene, &placement, sample.web).await.unwrap();
    assert_eq!(prove(scene, &placement).await.unwrap(), placement.release);
    placement
}

pub async fn takes_the_place(scene: &Scene) {
    let first = goes_live(scene, 1, Sample::web(2).with_work(1)).await;
    let second = goes_live(scene, 2, Sample::web(2).with_work(1)).await;
    assert_eq!(shares(scene).await, [(1, 0), (2, 100)]);
    assert!(prove(scene, &first).await.unwrap_err().message.contains("1.2.0"));
    take_away(scene, &first).await;
    let left = scene.provider.instances(&scene.environment).await.unwrap();
    assert!(left.len() == 3 && left.iter().all(|one| one.placement == second), "{left:?}");
    // A rollback is a deployment of the sealed template before.
    goes_live(scene, 1, Sample::web(2).with_work(1)).await;
    take_away(scene, &second).await;
    assert_eq!(shares(scene).await, [(1, 100)]);
    stop(scene, &first).await.unwrap();
    assert!(scene.pods().await.is_empty());
}

pub async fn gives_the_place_back(scene: &Scene) {
    let first = goes_live(scene, 1, Sample::web(2)).await;
    let second = placement(scene, 2);
    scene.seal(&second, spec(scene, &second, Sample::web(2).that_is(Manner::Sick)));
    scene.start(&second, 1).await.unwrap();
    scene.ready(&second, Span::from_secs(2)).await.unwrap_err();
    assert_eq!(shares(scene).await, [(1, 100)], "what was not switched to has nothing");
    take_away(scene, &second).await;
    let left = scene.ready(&first, SOON).await.unwrap();
    assert!(left.len() == 2 && left.iter().all(|one| one.placement == first), "{left:?}");
    assert_eq!(prove(scene, &first).await.unwrap(), first.release);
    // Asked again, it is no reason to stop what is live.
    stop(scene, &second).await.unwrap();
    assert_eq!(scene.ready(&first, SOON).await.unwrap().len(), 2);
    stop(scene, &first).await.unwrap();
    assert!(scene.pods().await.is_empty());
}

async fn stage() -> Stage<Fake> {
    orchestrate_testkit::contract::provider::ProviderStage::new().await
}

#[tokio::test]
async fn a_rolling_release_takes_the_place_of_the_one_before() {
    takes_the_place(&stage().await.scene).await;
}

#[tokio::test]
async fn a_rolling_release_that_is_stopped_gives_the_place_back() {
    gives_the_place_back(&stage().await.scene).await;
}

#[tokio::test]
async fn a_start_that_is_repeated_remembers_what_was_there_first() {
    let stage = stage().await;
    let scene = &stage.scene;
    let first = goes_live(scene, 1, Sample::web(1)).await;
    let second = placement(scene, 2);
    scene.seal(&second, spec(scene, &second, Sample::web(1)));
    for _ in 0..3 {
        scene.start(&second, 1).await.unwrap();
    }
    scene.ready(&second, SOON).await.unwrap();
    stop(scene, &second).await.unwrap();
    assert_eq!(scene.ready(&first, SOON).await.unwrap().len(), 1);
}

#[tokio::test]
async fn what_was_switched_to_gives_nothing_back() {
    let stage = stage().await;
    let scene = &stage.scene;
    goes_live(scene, 1, Sample::web(1)).await;
    let second = goes_live(scene, 2, Sample::web(1)).await;
    // As `env stop` does, before anybody tended to the one before.
    scene.router.close(&Close { environment: scene.environment.clone(), fence: Fence(1) }).await.unwrap();
    stop(scene, &second).await.unwrap();
    assert!(scene.pods().await.is_empty());
    assert!(stage.ground.world().all("deployments").is_empty());
}

/// The variables of each release are under a name of their own, so they go back with it, and go away with it.
#[tokio::test]
async fn variables_go_forth_and_back_with_their_release() {
    let stage = stage().await;
    let scene = &stage.scene;
    let told = |stage: &Stage<Fake>| {
        let world = stage.ground.world();
        let of_pod =
            |pod: &serde_json::Value| crate::fake::variables(&world, pod).unwrap()["RELEASE"].clone();
        let mut told: Vec<String> = world.all("pods").iter().map(of_pod).collect();
        told.dedup();
        told
    };
    let first = goes_live(scene, 1, Sample::web(2)).await;
    goes_live(scene, 2, Sample::web(2)).await;
    take_away(scene, &first).await;
    assert_eq!(told(&stage), ["1.2.0"]);
    assert_eq!(stage.ground.world().all("configmaps").len(), 2, "the anchor, and what is used");
    let first = goes_live(scene, 1, Sample::web(2)).await;
    take_away(scene, &placement(scene, 2)).await;
    assert_eq!(told(&stage), ["1.1.0"]);
    stop(scene, &first).await.unwrap();
    assert_eq!(stage.ground.world().all("configmaps").len(), 1, "nothing but the anchor");
}

/// While pods are replaced, never fewer than asked are ready: the fake takes down what the Deployment lets it.
#[tokio::test]
async fn never_fewer_than_asked_are_ready() {
    let stage = stage().await;
    let scene = &stage.scene;
    goes_live(scene, 1, Sample::web(4)).await;
    let second = placement(scene, 2);
    scene.seal(&second, spec(scene, &second, Sample::web(4)));
    let ready = async {
        loop {
            let pods = stage.ground.world().all("pods");
            let ready = pods
                .iter()
                .filter(|pod| crate::fake::is_ready(pod) && pod["metadata"]["deletionTimestamp"].is_null());
            assert!(ready.count() >= 4);
            tokio::time::sleep(std::time::Duration::from_millis(1)).await;
        }
    };
    let rolls = async {
        scene.start(&second, 1).await.unwrap();
        scene.ready(&second, SOON).await.unwrap()
    };
    tokio::select! {
        () = ready => {}
        rolled = rolls => assert_eq!(rolled.len(), 4),
    }
}

/// Whatever a service, an environment or a version is called, the cluster takes it.
#[tokio::test]
async fn odd_names_are_taken() {
    let mut stage = stage().await;
    let odd = format!("Prod_{}.x-", "long".repeat(12));
    stage.scene.environment = orchestrate_core::name::EnvironmentName::new(odd).unwrap();
    stage.scene.records.place.service = "1My.Shop_".into();
    stage.scene.restart();
    for rolls in [false, true] {
        let mut placement = placement(&stage.scene, 3);
        placement.version = Version::new("1.4.0+build.7-").unwrap();
        let mut spec = spec(&stage.scene, &placement, Sample::web(1).with_work(1));
        (spec.engine.rolls, spec.engine.shares) = (rolls, !rolls);
        spec.secrets.insert("TOKEN".into(), orchestrate_core::secrets::SecretText::new("x"));
        let instances = stage.scene.run(&placement, spec).await;
        assert!(instances.iter().all(|one| one.placement == placement), "{instances:?}");
        register(&stage.scene, &placement, &instances).await.unwrap();
        switch(&stage.scene, &placement, 1).await.unwrap();
    }
    assert_eq!(shares(&stage.scene).await, [(3, 100)]);
}

/// All that the settings can say, as objects that the cluster takes.
#[tokio::test]
async fn every_setting_is_one_that_the_cluster_knows() {
    use orchestrate_core::environment::{Amounts, PullPolicy, Resources};
    let stage = stage().await;
    let scene = &stage.scene;
    let placement = placement(scene, 1);
    let mut spec = spec(scene, &placement, Sample::web(1));
    let amounts = |cpu: &str| Amounts { cpu: Some(cpu.into()), memory: Some("128Mi".into()) };
    let settings = spec.engine.kubernetes.as_mut().unwrap();
    settings.image_pull_policy = Some(PullPolicy::IfNotPresent);
    settings.port = 9000;
    settings.resources = Resources { requests: amounts("250m"), limits: amounts("2") };
    settings.service_account = Some("shop".into());
    settings.image_pull_secrets = vec!["registry".into()];
    settings.labels.insert("team".into(), "checkout".into());
    settings.annotations.insert("example.com/owner".into(), "checkout".into());
    let web = spec.processes.get_mut("web").unwrap();
    web.command = vec!["/shop".into(), "$(PORT) is $HOME".into()];
    web.confinement.user = Some("1001:1002".into());
    scene.run(&placement, spec).await;
    let pods = stage.ground.world().all("pods");
    let (pod, container) = (&pods[0]["spec"], &pods[0]["spec"]["containers"][0]);
    assert_eq!(container["command"], serde_json::json!(["/shop", "$$(PORT) is $HOME"]));
    assert_eq!(container["resources"]["limits"], serde_json::json!({ "cpu": "2", "memory": "128Mi" }));
    let context =
        serde_json::json!({ "runAsUser": 1001, "runAsGroup": 1002, "allowPrivilegeEscalation": false });
    assert_eq!(container["securityContext"], context);
    assert_eq!(container["readinessProbe"]["httpGet"]["port"], 9000);
    assert_eq!(container["lifecycle"]["preStop"]["sleep"]["seconds"], 1);
    assert_eq!(pod["terminationGracePeriodSeconds"], 6, "to end, and to drain before that");
    assert_eq!(
        (&pod["serviceAccountName"], &pod["imagePullSecrets"][0]["name"]),
        (&"shop".into(), &"registry".into())
    );
    assert_eq!(pods[0]["metadata"]["labels"]["team"], "checkout");
}
