//! What goes wrong between the cluster and us.

use std::time::{Duration, Instant};

use hyper::Method;
use orchestrate_core::ports::{
    Fetch, Instance, InstanceState, PortError, PortErrorKind, Provider as _, Router as _,
};
use orchestrate_core::time::Span;
use orchestrate_testkit::contract::provider::{ProviderStage as _, Sample};

use crate::contract::Stage;
use crate::fake::{Answer, Fake, Fault};
use crate::rolling::{placement, register, stop, switch};
use crate::stage::Scene;

const SOON: Span = Span::from_secs(30);

async fn stage() -> Stage<Fake> {
    Stage::new().await
}

fn fault(method: Method, path: &'static str, times: usize, answer: Answer) -> Fault {
    Fault { method, path, times, answer }
}

async fn ready(scene: &Scene, number: i64, sample: Sample) -> Result<Vec<Instance>, PortError> {
    let placement = placement(scene, number);
    scene.seal(&placement, scene.spec(&placement, sample));
    scene.start(&placement, 1).await?;
    scene.ready(&placement, SOON).await
}

/// A release starts, gets ready and gets the traffic, whatever the API server answers in between.
async fn gets_there_all_the_same(faults: Vec<Fault>) {
    let stage = stage().await;
    let scene = &stage.scene;
    let wanted = faults.iter().map(|fault| fault.times).sum::<usize>();
    faults.into_iter().for_each(|fault| stage.ground.inject(fault));
    let instances = ready(scene, 1, Sample::web(2)).await.unwrap();
    assert!(instances.len() == 2 && instances.iter().all(|one| one.state == InstanceState::Ready));
    let first = placement(scene, 1);
    register(scene, &first, &instances).await.unwrap();
    switch(scene, &first, 2).await.unwrap();
    let view = scene.router.observe(&scene.environment).await.unwrap();
    assert_eq!(view.live().map(|live| live.release), Some(first.release));
    assert_eq!(stage.ground.met(), wanted, "not every fault was met");
    stage.ground.no_faults();
    assert_eq!(scene.provider.instances(&scene.environment).await.unwrap().len(), 2);
}

#[tokio::test]
async fn what_somebody_else_wrote_meanwhile_is_read_again() {
    gets_there_all_the_same(vec![
        fault(Method::PUT, "/services/", 2, Answer::Raced),
        fault(Method::PUT, "/configmaps/", 2, Answer::Raced),
        fault(Method::PATCH, "/deployments/", 1, Answer::status(409, "Conflict", "try again")),
    ])
    .await;
}

#[tokio::test]
async fn a_server_that_is_not_well_is_asked_again() {
    gets_there_all_the_same(vec![
        fault(Method::PATCH, "/deployments/", 2, Answer::status(500, "InternalError", "etcd is away")),
        fault(Method::POST, "/configmaps", 1, Answer::status(503, "ServiceUnavailable", "starting")),
        fault(Method::GET, "/pods?", 2, Answer::status(504, "Timeout", "too slow")),
        fault(Method::PUT, "/services/", 1, Answer::status(500, "InternalError", "etcd is away")),
    ])
    .await;
}

#[tokio::test]
async fn an_answer_that_is_lost_is_asked_for_again() {
    gets_there_all_the_same(vec![
        fault(Method::POST, "/configmaps", 1, Answer::Lost),
        fault(Method::PATCH, "/deployments/", 1, Answer::Lost),
        fault(Method::POST, "/services", 1, Answer::Lost),
        fault(Method::PUT, "/services/", 1, Answer::Lost),
        fault(Method::PUT, "/configmaps/", 1, Answer::Lost),
        fault(Method::GET, "/deployments?", 1, Answer::Cut),
    ])
    .await;
}

#[tokio::test]
async fn too_many_requests_are_made_again_when_the_server_says_so() {
    let stage = stage().await;
    let answer =
        Answer::Status { code: 429, reason: "TooManyRequests", message: "later", retry_after: Some(2) };
    stage.ground.inject(fault(Method::PATCH, "/deployments/", 1, answer));
    let began = Instant::now();
    ready(&stage.scene, 1, Sample::web(1)).await.unwrap();
    assert!(began.elapsed() >= Duration::from_secs(2), "it did not wait as long as it was told to");
}

#[tokio::test]
async fn a_watch_that_is_cut_or_too_old_goes_on() {
    for compact in [false, true] {
        let stage = stage().await;
        let first = placement(&stage.scene, 1);
        stage.ground.world().images.clear();
        stage.scene.seal(&first, stage.scene.spec(&first, Sample::web(2)));
        stage.ground.world().full = true;
        stage.scene.start(&first, 1).await.unwrap();
        let wait = stage.scene.ready(&first, SOON);
        let happens = async {
            for _ in 0..3 {
                tokio::time::sleep(Duration::from_millis(150)).await;
                stage.ground.cut_watches(compact);
            }
            stage.ground.inject(fault(
                Method::GET,
                "watch=true",
                1,
                Answer::status(500, "InternalError", "no"),
            ));
            stage.ground.cut_watches(compact);
            tokio::time::sleep(Duration::from_millis(150)).await;
            let mut world = stage.ground.world();
            world.images.insert(crate::contract::IMAGE.to_owned());
            world.full = false;
        };
        let (ready, ()) = tokio::join!(wait, happens);
        assert_eq!(ready.unwrap().len(), 2);
    }
}

/// What goes on is told by the cluster: a wait of some seconds asks a few times, not hundreds.
#[tokio::test]
async fn readiness_is_not_polled() {
    let stage = stage().await;
    let first = placement(&stage.scene, 1);
    stage.ground.world().full = true;
    stage.scene.seal(&first, stage.scene.spec(&first, Sample::web(1)));
    stage.scene.start(&first, 1).await.unwrap();
    let before: usize = stage.ground.world().asked.values().sum();
    stage.scene.ready(&first, Span::from_secs(3)).await.unwrap_err();
    let asked = stage.ground.world().asked.values().sum::<usize>() - before;
    assert!(asked <= 6, "{asked} requests in three seconds");
}

#[tokio::test]
async fn what_is_not_allowed_is_told_by_verb_and_resource() {
    let stage = stage().await;
    let message = "deployments.apps \"x\" is forbidden: User \"ci\" cannot patch resource \"deployments\"";
    stage.ground.inject(fault(Method::PATCH, "/deployments/", 99, Answer::status(403, "Forbidden", message)));
    let error = ready(&stage.scene, 1, Sample::web(1)).await.unwrap_err();
    assert_eq!(error.kind, PortErrorKind::Failed);
    assert!(error.message.contains("patch deployments/") && error.message.contains("ci"), "{error}");
    assert!(error.detail.unwrap().contains("rbac.yaml"));
    assert_eq!(stage.ground.met(), 1, "what is not allowed is not asked for again");
}

#[tokio::test]
async fn a_namespace_that_is_not_there_is_told_before_anything_is_touched() {
    let mut stage = stage().await;
    stage.scene.records.place.settings.namespace = Some("elsewhere".into());
    stage.scene.restart();
    let first = placement(&stage.scene, 1);
    let artifact = stage.scene.seal(&first, stage.scene.spec(&first, Sample::web(1)));
    let fetch = Fetch { release: first.release, artifact, size: 0 };
    let error = stage.scene.provider.fetch(&fetch).await.unwrap_err();
    assert_eq!(error.kind, PortErrorKind::Missing);
    assert!(error.message.contains("namespace elsewhere"), "{error}");
    assert!(error.detail.unwrap().contains("kubectl create namespace elsewhere"));
    assert!(stage.ground.world().objects.is_empty());
}

#[tokio::test]
async fn credentials_that_expired_are_read_again_and_then_told() {
    let stage = stage().await;
    let answer = || Answer::status(401, "Unauthorized", "Unauthorized");
    stage.ground.inject(fault(Method::GET, "/configmaps/", 1, answer()));
    ready(&stage.scene, 1, Sample::web(1)).await.unwrap();
    stage.ground.inject(fault(Method::GET, "/configmaps/", 9, answer()));
    let error = stop(&stage.scene, &placement(&stage.scene, 1)).await.unwrap_err();
    assert!(error.message.contains("may have expired"), "{error}");
}

#[tokio::test]
async fn a_kubeconfig_that_cannot_be_used_is_named() {
    let mut stage = stage().await;
    for (content, why) in [(None, "No such file"), (Some("a: ["), "parse"), (Some("{}"), "context")] {
        let path = std::env::temp_dir().join(format!("orchestrate-kubeconfig-{}", std::process::id()));
        let _ = std::fs::remove_file(&path);
        if let Some(content) = content {
            std::fs::write(&path, content).unwrap();
        }
        stage.scene.records.place.settings.kubeconfig = Some(path.display().to_string());
        stage.scene.restart();
        let error = ready(&stage.scene, 1, Sample::web(1)).await.unwrap_err();
        let _ = std::fs::remove_file(&path);
        assert_eq!(error.kind, PortErrorKind::Missing);
        assert!(error.message.contains("orchestrate-kubeconfig-") && error.message.contains(why), "{error}");
        assert!(error.detail.unwrap().contains("kubectl --kubeconfig"));
    }
}

#[tokio::test]
async fn a_cluster_that_does_not_answer_is_told_as_that() {
    let stage = stage().await;
    let Stage { scene, ground } = stage;
    drop(ground);
    let error = ready(&scene, 1, Sample::web(1)).await.unwrap_err();
    assert_eq!(error.kind, PortErrorKind::Unreachable, "{error}");
}

/// In the moment before the selector is written, a newer operation comes by.
#[tokio::test]
async fn who_is_late_does_not_move_the_traffic() {
    let stage = stage().await;
    let scene = &stage.scene;
    let instances = ready(scene, 1, Sample::web(1)).await.unwrap();
    let first = placement(scene, 1);
    register(scene, &first, &instances).await.unwrap();
    let anchor = format!("contract-{}-orchestrate", scene.environment);
    let service = format!("contract-{}-web", scene.environment);
    stage.ground.inject(fault(Method::PUT, "/services/", 1, Answer::status(409, "Conflict", "changed")));
    stage.ground.inject(fault(Method::GET, "/services?", 1, Answer::Raced));
    stage.ground.edit("configmaps", &anchor, |_| {});
    let late = async {
        // After its own claim, and before its second try.
        while stage.ground.met() < 2 {
            tokio::task::yield_now().await;
        }
        stage.ground.edit("configmaps", &anchor, |anchor| {
            anchor["metadata"]["annotations"]["orchestrate.dev/fence"] = "9".into();
        });
    };
    let (switched, ()) = tokio::join!(switch(scene, &first, 1), late);
    let selector = stage.ground.world().get("services", &service).unwrap()["spec"]["selector"].clone();
    match switched {
        Err(error) => {
            assert_eq!(error.kind, PortErrorKind::Fenced, "{error}");
            assert_eq!(selector["orchestrate.dev/track"], "none");
        }
        Ok(()) => panic!("it moved the traffic with an older fence: {selector}"),
    }
}
