//! What people are told: why a release does not get ready, what somebody changed, what a command said.

use std::collections::BTreeMap;
use std::time::Instant;

use orchestrate_core::hooks::Hook;
use orchestrate_core::name::Fence;
use orchestrate_core::ports::{
    CountLines, Drain, ForgetHooks, HookRequest, OneOff, Placement, PortError, PortErrorKind, Processes,
    Provider as _, Router as _, StopRequest, Switch,
};
use orchestrate_core::secrets::SecretText;
use orchestrate_core::time::Span;
use orchestrate_providers::Hosted as _;
use orchestrate_testkit::contract::provider::{Manner, ProviderStage as _, Sample};

use crate::contract::Stage;
use crate::fake::Fake;
use crate::rolling::{placement, register, stop, switch};

const LONG: Span = Span::from_secs(600);

async fn stage() -> Stage<Fake> {
    Stage::new().await
}

async fn not_ready(stage: &Stage<Fake>, number: i64, sample: Sample) -> PortError {
    let placement = placement(&stage.scene, number);
    stage.scene.seal(&placement, stage.scene.spec(&placement, sample));
    stage.scene.start(&placement, 1).await.unwrap();
    stage.scene.ready(&placement, LONG).await.unwrap_err()
}

async fn live(stage: &Stage<Fake>, number: i64, sample: Sample) -> Placement {
    let placement = placement(&stage.scene, number);
    let instances = stage.scene.run(&placement, stage.scene.spec(&placement, sample)).await;
    register(&stage.scene, &placement, &instances).await.unwrap();
    switch(&stage.scene, &placement, sample.web).await.unwrap();
    placement
}

#[tokio::test]
async fn an_image_that_is_not_there() {
    let stage = stage().await;
    stage.ground.world().images.clear();
    let error = not_ready(&stage, 1, Sample::web(1)).await;
    assert!(
        error.message.contains("cannot get its image orchestrate-sample:1 (ErrImageNeverPull)"),
        "{error}"
    );
}

/// A busy node has not everything in time, and tries again.
#[tokio::test]
async fn a_container_that_is_started_at_the_second_try() {
    let stage = stage().await;
    stage.ground.world().unsynced = 2;
    live(&stage, 1, Sample::web(2)).await;
    assert_eq!(stage.ground.world().unsynced, 0);
}

#[tokio::test]
async fn a_quota_that_is_used_up() {
    let stage = stage().await;
    stage.ground.world().quota = Some(1);
    let error = not_ready(&stage, 1, Sample::web(2)).await;
    assert!(error.message.contains("exceeded quota"), "{error}");
}

#[tokio::test]
async fn a_container_that_does_not_stay() {
    let stage = stage().await;
    let error = not_ready(&stage, 1, Sample::web(1).that_is(Manner::Crashing)).await;
    assert!(error.message.contains("it exited with status 3"), "{error}");
    assert_eq!(error.detail.as_deref(), Some("starts\naddress in use"));
}

#[tokio::test]
async fn a_pod_without_a_place() {
    let stage = stage().await;
    stage.ground.world().full = true;
    let error = not_ready(&stage, 1, Sample::web(1)).await;
    assert_eq!(error.kind, PortErrorKind::Failed);
    assert!(error.message.contains("finds no place in the cluster: 0/1 nodes"), "{error}");
}

#[tokio::test]
async fn what_was_changed_by_hand() {
    let stage = stage().await;
    let scene = &stage.scene;
    let first = live(&stage, 1, Sample::web(2)).await;
    let drift = async || scene.provider.drift(&first, Processes::All).await.unwrap();
    assert_eq!(drift().await, [""; 0], "nobody changed anything");
    let (deployment, service) =
        (format!("contract-{}-blue-web", scene.environment), format!("contract-{}-web", scene.environment));
    stage.ground.edit("deployments", &deployment, |object| object["spec"]["replicas"] = 1.into());
    let found = drift().await;
    assert!(found[0].contains("spec.replicas is 1, and 2 was applied"), "{found:?}");
    assert!(found[1].contains("was written by kubectl-edit"), "{found:?}");
    stage.ground.edit("deployments", &deployment, |object| {
        object["spec"]["replicas"] = 2.into();
        object["spec"]["template"]["spec"]["containers"][0]["image"] = "other:1".into();
    });
    assert!(drift().await[0].contains("image is \"other:1\""));
    stage.ground.edit("services", &service, |object| {
        object["spec"]["selector"] = serde_json::json!({ "app": "mine" })
    });
    assert!(drift().await.iter().any(|one| one.contains("the selector of the Service")));
    let waiting = scene.provider.drift(&first, Processes::Routed).await.unwrap();
    assert!(waiting.iter().any(|one| one.contains("image is")), "{waiting:?}");
    assert!(!waiting.iter().any(|one| one.contains("Service")), "what waits gets no traffic: {waiting:?}");
    // What is recorded is not put back over what a person did; only an operation does that.
    let restore = Switch { placement: first.clone(), needs: BTreeMap::new(), fence: Fence(1) };
    let error = scene.router.switch(&restore).await.unwrap_err();
    assert!(error.message.contains("was changed by hand, and is left as it is"), "{error}");
    assert!(error.detail.unwrap().contains(&format!("patch service {service} --type=json")));
    scene.start(&first, 1).await.unwrap();
    scene.ready(&first, LONG).await.unwrap();
    switch(scene, &first, 2).await.unwrap();
    assert_eq!(drift().await, [""; 0], "it is as it was sealed, and nobody else's");
}

/// Users that were sent elsewhere by hand stay there, and who is asked to stop what they are sent to says how they come back.
#[tokio::test]
async fn what_users_were_sent_to_by_hand_is_not_drained() {
    let stage = stage().await;
    let scene = &stage.scene;
    live(&stage, 1, Sample::web(1)).await;
    let second = live(&stage, 2, Sample::web(1)).await;
    let first = live(&stage, 1, Sample::web(1)).await;
    let service = format!("contract-{}-web", scene.environment);
    let track = |track: &'static str| {
        stage.ground.edit("services", &service, |object| {
            object["spec"]["selector"]["orchestrate.dev/track"] = track.into()
        });
    };
    let drain = Drain { placement: second, deadline: Span::from_secs(0), fence: Fence(1) };
    track("green");
    let error = scene.router.drain(&drain).await.unwrap_err();
    assert!(error.message.contains("1.2.0 has traffic"), "{error}");
    let told = error.detail.unwrap();
    assert!(
        told.contains(&format!(
            "kubectl --namespace {} patch service {service} --type=json",
            scene.namespace
        ))
    );
    assert!(told.contains(r#""orchestrate.dev/track":"blue""#), "{told}");
    track("blue");
    scene.router.drain(&drain).await.unwrap();
    assert_eq!(scene.router.observe(&scene.environment).await.unwrap().slots[0].release, first.release);
}

/// A Deployment that was scaled to nothing by hand is not taken for one that is not there.
#[tokio::test]
async fn what_was_scaled_to_nothing_is_waited_for() {
    let stage = stage().await;
    let first = live(&stage, 1, Sample::web(2)).await;
    let deployment = format!("contract-{}-blue-web", stage.scene.environment);
    stage.ground.edit("deployments", &deployment, |object| object["spec"]["replicas"] = 0.into());
    while !stage.ground.world().all("pods").is_empty() {
        tokio::time::sleep(std::time::Duration::from_millis(5)).await;
    }
    let instances = stage.scene.provider.instances(&stage.scene.environment).await.unwrap();
    assert_eq!(instances.len(), 2);
    assert!(instances.iter().all(|one| one.placement == first && one.address.is_none()));
}

#[tokio::test]
async fn what_is_there_under_our_names_is_left_to_its_owner() {
    let stage = stage().await;
    let scene = &stage.scene;
    let first = placement(scene, 1);
    let deployment = format!("contract-{}-blue-web", scene.environment);
    let selector = serde_json::json!({ "matchLabels": { "app": "theirs" } });
    let theirs = serde_json::json!({ "metadata": { "name": deployment, "labels": { "app": "theirs" } }, "spec": { "replicas": 0, "template": {}, "selector": selector } });
    scene.api("POST", "/apis/apps/v1/NS/deployments", Some(theirs)).await.unwrap();
    scene.seal(&first, scene.spec(&first, Sample::web(1)));
    let error = scene.start(&first, 1).await.unwrap_err();
    assert!(error.message.contains("was not made by orchestrate"), "{error}");
    stop(scene, &first).await.unwrap();
    assert!(stage.ground.world().get("deployments", &deployment).is_some());
}

#[tokio::test]
async fn a_hook_runs_once_and_is_told_again() {
    let stage = stage().await;
    let scene = &stage.scene;
    let first = live(&stage, 1, Sample::web(1)).await;
    let mut request = HookRequest {
        placement: first.clone(),
        of: "d7".into(),
        hook: Hook::PreDeploy,
        command: vec!["true".into(), "migrate".into()],
        timeout: Span::from_secs(20),
        fence: Fence(1),
    };
    let ended = scene.provider.hook(&request).await.unwrap();
    assert!(ended.success && ended.code == Some(0), "{ended:?}");
    assert_eq!(ended.output, "ran true migrate pre_deploy as 1.1.0");
    assert_eq!(scene.provider.hook(&request).await.unwrap(), ended);
    assert_eq!(stage.ground.world().all("jobs").len(), 1);
    (request.of, request.command) = ("d8".into(), vec!["false".into()]);
    let ended = scene.provider.hook(&request).await.unwrap();
    assert_eq!((ended.success, ended.code, ended.how.as_str()), (false, Some(1), "exited with status 1"));
    // What cannot even be started printed nothing; the cluster says why.
    (request.of, request.command) = ("d9".into(), vec!["/nothing".into()]);
    let ended = scene.provider.hook(&request).await.unwrap();
    assert_eq!((ended.code, ended.how.as_str()), (Some(128), "exited with status 128 (StartError)"));
    assert!(ended.output.contains("no such file or directory"), "{ended:?}");
    let but = ForgetHooks { environment: scene.environment.clone(), but: Some("d8".into()), fence: Fence(1) };
    scene.provider.forget_hooks(&but).await.unwrap();
    let left = stage.ground.world().all("jobs");
    assert!(left.len() == 1 && left[0]["metadata"]["labels"]["orchestrate.dev/of"] == "d8", "{left:?}");
    (request.of, request.fence) = ("d6".into(), Fence(0));
    assert_eq!(scene.provider.hook(&request).await.unwrap_err().kind, PortErrorKind::Fenced);
}

/// It is not waited for to its time, and does not run later, when the image is there.
#[tokio::test]
async fn a_hook_whose_image_is_not_there_is_told_at_once_and_never_runs() {
    let stage = stage().await;
    let first = live(&stage, 1, Sample::web(1)).await;
    let images = std::mem::take(&mut stage.ground.world().images);
    let request = HookRequest {
        placement: first,
        of: "d7".into(),
        hook: Hook::PreDeploy,
        command: vec!["true".into()],
        timeout: LONG,
        fence: Fence(1),
    };
    let began = Instant::now();
    let error = stage.scene.provider.hook(&request).await.unwrap_err();
    assert!(error.message.contains("cannot get its image orchestrate-sample:1"), "{error}");
    assert!(began.elapsed() < LONG.duration() / 2, "{:?}", began.elapsed());
    assert!(stage.ground.world().all("jobs").is_empty(), "nothing is left that could run yet");
    // Who asks again, asks for a run.
    stage.ground.world().images = images;
    assert!(stage.scene.provider.hook(&request).await.unwrap().success);
}

#[tokio::test]
async fn a_command_runs_once_and_leaves_nothing() {
    let stage = stage().await;
    let placement = live(&stage, 1, Sample::web(1)).await;
    let mut command = OneOff {
        placement,
        name: "smoke".into(),
        command: vec!["true".into()],
        variables: BTreeMap::from([("A".to_owned(), "$(B)".to_owned())]),
        timeout: Span::from_secs(20),
    };
    assert!(stage.scene.provider.run_once(&command).await.unwrap().success);
    (command.command, command.timeout) = (vec!["sleep".into()], Span::from_secs(1));
    let error = stage.scene.provider.run_once(&command).await.unwrap_err();
    assert_eq!(error.kind, PortErrorKind::TimedOut, "{error}");
    assert!(stage.ground.world().all("jobs").is_empty());
    let instances = stage.scene.provider.instances(&stage.scene.environment).await.unwrap();
    assert_eq!(instances.len(), 1, "a command is no instance");
}

#[tokio::test]
async fn lines_are_counted() {
    let stage = stage().await;
    let placement = live(&stage, 1, Sample::web(2)).await;
    let pods: Vec<String> = stage
        .ground
        .world()
        .all("pods")
        .iter()
        .map(|pod| pod["metadata"]["name"].as_str().unwrap().to_owned())
        .collect();
    for pod in pods {
        stage.ground.world().logs.insert(pod, "ok\nERROR one\nERROR two\n".to_owned());
    }
    let request = CountLines { placement, process: Some("web".into()), pattern: "ERROR".into() };
    let lines = stage.scene.provider.count_lines(&request).await.unwrap();
    assert_eq!((lines.matches, lines.first.as_deref()), (4, Some("ERROR one")));
}

#[tokio::test]
async fn secrets_are_in_a_secret_and_nowhere_else() {
    let stage = stage().await;
    let first = placement(&stage.scene, 1);
    let mut spec = stage.scene.spec(&first, Sample::web(1));
    spec.secrets.insert("TOKEN".into(), SecretText::new("hunter2"));
    stage.scene.run(&first, spec).await;
    let world = stage.ground.world().objects.clone();
    let digest = orchestrate_core::release::Digest::of(b"hunter2");
    for ((plural, name), object) in &world {
        let text = object.to_string();
        assert!(!text.contains("hunter2") && !text.contains(&digest.as_str()[..8]), "{plural}/{name}");
        assert_eq!(text.contains("aHVudGVyMg=="), plural == "secrets", "{plural}/{name}");
    }
    stop(&stage.scene, &first).await.unwrap();
    assert!(stage.ground.world().all("secrets").is_empty());
}

#[tokio::test]
async fn changes_are_told() {
    let stage = stage().await;
    let mut changes = stage.scene.provider.subscribe();
    let first = live(&stage, 1, Sample::web(1)).await;
    stage.scene.provider.instances(&stage.scene.environment).await.unwrap();
    changes.mark_unchanged();
    let request = StopRequest { placement: first, processes: Processes::All, counts: None, fence: Fence(1) };
    let (stopped, changed) = tokio::join!(
        stage.scene.provider.stop(&request),
        tokio::time::timeout(std::time::Duration::from_secs(20), changes.changed())
    );
    stopped.unwrap();
    changed.unwrap().unwrap();
}
