//! Watches that break, come too late or are refused: what is seen after that is what there is, and not what was.

use std::time::{Duration, Instant};

use hyper::Method;
use orchestrate_core::name::Fence;
use orchestrate_core::ports::{Instance, PortError, PortErrorKind, PortResult, Router as _};
use orchestrate_core::time::Span;
use orchestrate_testkit::contract::provider::{ProviderStage as _, Sample};

use crate::contract::{IMAGE, Stage};
use crate::fake::{Answer, Fake, Fault, Look};
use crate::rolling::{placement, register, stop, switch};

const SOON: Span = Span::from_secs(30);
/// What a test waits for happens long before this.
const NEVER: Duration = Duration::from_secs(20);
const OF_PODS: &str = "/pods?*watch=true";
const OF_DEPLOYMENTS: &str = "/deployments?*watch=true";
const TOO_OLD: Answer = Answer::status(410, "Expired", "too old resource version");

fn fault(path: &'static str, times: usize, answer: Answer) -> Fault {
    Fault { method: Method::GET, path, times, answer }
}

async fn stage() -> Stage<Fake> {
    Stage::new().await
}

async fn until(what: &str, mut is_so: impl FnMut() -> bool) {
    let began = Instant::now();
    while !is_so() {
        assert!(began.elapsed() < NEVER, "not within {NEVER:?}: {what}");
        tokio::time::sleep(Duration::from_millis(2)).await;
    }
}

fn looks(stage: &Stage<Fake>, plural: &str) -> Vec<Look> {
    let world = stage.ground.world();
    world.looks.iter().filter(|look| look.plural == plural).cloned().collect()
}

/// Two pods are waited for that find no place; then `happens`, beside the waiting.
async fn waits_while(
    stage: &Stage<Fake>,
    happens: impl AsyncFnOnce(&Stage<Fake>),
) -> PortResult<Vec<Instance>> {
    let first = placement(&stage.scene, 1);
    stage.ground.world().full = true;
    stage.scene.seal(&first, stage.scene.spec(&first, Sample::web(2)));
    stage.scene.start(&first, 1).await.unwrap();
    stage.ground.world().looks.clear();
    let beside = async {
        until("both watches", || {
            let both = ["pods", "deployments"].map(|plural| looks(stage, plural));
            both.iter().all(|looks| looks.iter().any(|look| look.watch))
        })
        .await;
        happens(stage).await;
    };
    tokio::join!(stage.scene.ready(&first, SOON), beside).0
}

fn is_refused_watch(look: &Look) -> bool {
    look.watch && look.refused
}

/// After what was refused there was a new list, and the next watch began at what that told.
fn began_anew(looks: &[Look]) -> bool {
    let Some(last) = looks.iter().rposition(is_refused_watch) else { return false };
    let rest = &looks[last + 1..];
    let list = rest.iter().position(|look| !look.watch);
    let Some((list, watch)) = list.and_then(|at| Some((&rest[at], rest.get(at + 1)?))) else { return false };
    watch.watch && !watch.refused && watch.version == list.version && !rest[0].watch
}

#[tokio::test]
async fn after_a_410_all_is_listed_anew() {
    for answer in [None, Some(TOO_OLD), Some(Answer::Event(410))] {
        let stage = stage().await;
        let faults = usize::from(answer.is_some()) * 2;
        let ready = waits_while(&stage, async |stage| {
            for path in [OF_PODS, OF_DEPLOYMENTS] {
                answer.iter().for_each(|answer| stage.ground.inject(fault(path, 1, answer.clone())));
            }
            // Without a fault the server itself does not have the versions any more.
            stage.ground.cut_watches(answer.is_none());
            until("a new list of each", || {
                ["pods", "deployments"].iter().all(|plural| began_anew(&looks(stage, plural)))
            })
            .await;
            stage.ground.world().full = false;
        });
        assert_eq!(ready.await.unwrap_or_else(|error| panic!("{answer:?}: {error}")).len(), 2);
        assert_eq!(stage.ground.met(), faults, "{answer:?}");
    }
}

/// What became ready between the last event and the 410 is in no event that is still told.
#[tokio::test]
async fn what_happened_before_a_410_is_seen_in_the_new_list() {
    let stage = stage().await;
    let ready = waits_while(&stage, async |stage| {
        // Nobody watches while the pods get their place.
        for path in [OF_PODS, OF_DEPLOYMENTS] {
            stage.ground.inject(fault(path, 3, Answer::status(500, "InternalError", "etcd is away")));
        }
        stage.ground.cut_watches(false);
        until("nobody watches", || stage.ground.met() >= 2).await;
        stage.ground.world().full = false;
        until("all are ready", || {
            let pods = stage.ground.world().all("pods");
            pods.len() == 2 && pods.iter().all(crate::fake::is_ready)
        })
        .await;
        stage.ground.cut_watches(true);
    });
    assert_eq!(ready.await.unwrap().len(), 2);
    assert!(looks(&stage, "pods").iter().any(|look| look.watch && look.refused));
}

/// The Deployment was ready once, and is not there any more: that was told in an event that is lost.
#[tokio::test]
async fn what_is_gone_since_a_410_is_no_success() {
    let stage = stage().await;
    let deployment = format!("contract-{}-blue-web", stage.scene.environment);
    let ready = waits_while(&stage, async |stage| {
        for path in [OF_PODS, OF_DEPLOYMENTS] {
            stage.ground.inject(fault(path, 3, Answer::status(500, "InternalError", "etcd is away")));
        }
        stage.ground.cut_watches(false);
        until("nobody watches", || stage.ground.met() >= 2).await;
        stage.ground.world().delete("deployments", &deployment);
        stage.ground.cut_watches(true);
    });
    let error = ready.await.unwrap_err();
    assert_eq!(error.kind, PortErrorKind::NotReady, "{error}");
    assert!(error.message.contains(&format!("the Deployment {deployment} is not there")), "{error}");
}

/// A stop waits for the last pod to go, and what it is told of that is too late.
#[tokio::test]
async fn a_stop_sees_by_the_new_list_that_the_pods_are_gone() {
    let stage = stage().await;
    let first = placement(&stage.scene, 1);
    let mut spec = stage.scene.spec(&first, Sample::web(1));
    spec.variables.insert("IGNORE_TERM".into(), "1".into());
    spec.stop_timeout = Span::from_secs(2);
    stage.scene.run(&first, spec).await;
    stage.ground.world().looks.clear();
    let lost = async {
        until("the wait", || looks(&stage, "pods").iter().any(|look| look.watch)).await;
        stage.ground.inject(fault(OF_PODS, 4, Answer::status(500, "InternalError", "etcd is away")));
        stage.ground.cut_watches(false);
        until("the pod is gone", || stage.ground.world().all("pods").is_empty()).await;
        stage.ground.no_faults();
        stage.ground.cut_watches(true);
    };
    let stopped = tokio::time::timeout(NEVER, async { tokio::join!(stop(&stage.scene, &first), lost).0 });
    stopped.await.expect("it waits for an event that does not come any more").unwrap();
    assert!(
        began_anew(&looks(&stage, "pods")) || looks(&stage, "pods").last().is_some_and(|look| !look.watch)
    );
}

/// A server that has no version for anybody: lists are what is left, and they are not asked for all the time.
#[tokio::test]
async fn a_server_that_answers_every_watch_with_410_is_not_run_down() {
    for answer in [TOO_OLD, Answer::Event(410)] {
        let stage = stage().await;
        let ready = waits_while(&stage, async |stage| {
            stage.ground.inject(fault("watch=true", usize::MAX, answer.clone()));
            stage.ground.cut_watches(false);
            tokio::time::sleep(Duration::from_secs(2)).await;
            let asked = looks(stage, "pods").len() + looks(stage, "deployments").len();
            assert!((8..=40).contains(&asked), "{asked} lists and watches in two seconds");
            stage.ground.world().full = false;
        });
        assert_eq!(ready.await.unwrap().len(), 2, "{answer:?}");
    }
}

#[tokio::test]
async fn a_watch_that_ends_in_the_middle_of_an_event_goes_on_from_the_one_before() {
    let stage = stage().await;
    let ready = waits_while(&stage, async |stage| {
        for path in [OF_PODS, OF_DEPLOYMENTS] {
            stage.ground.inject(fault(path, 2, Answer::Half));
        }
        stage.ground.world().full = false;
        stage.ground.cut_watches(false);
    });
    assert_eq!(ready.await.unwrap().len(), 2);
    assert_eq!(stage.ground.met(), 4);
    let lists = looks(&stage, "pods").into_iter().filter(|look| !look.watch);
    assert_eq!(lists.count(), 1, "what was cut goes on where it was");
}

#[tokio::test]
async fn a_watch_is_asked_for_again_when_the_server_says_so() {
    let stage = stage().await;
    let busy =
        Answer::Status { code: 429, reason: "TooManyRequests", message: "later", retry_after: Some(2) };
    let mut waited = Duration::ZERO;
    let ready = waits_while(&stage, async |stage| {
        stage.ground.inject(fault(OF_PODS, 1, busy));
        stage.ground.cut_watches(false);
        until("it is told to wait", || stage.ground.met() == 1).await;
        let (began, watches) = (Instant::now(), looks(stage, "pods").len());
        until("it comes again", || looks(stage, "pods").len() > watches).await;
        waited = began.elapsed();
        stage.ground.world().full = false;
    });
    assert_eq!(ready.await.unwrap().len(), 2);
    assert!(waited >= Duration::from_millis(1900), "it came again after {waited:?}");
}

/// Waiting until the deadline would only hide what is missing.
#[tokio::test]
async fn who_may_not_watch_is_told_at_once() {
    let stage = stage().await;
    let message = "pods is forbidden: User \"ci\" cannot watch resource \"pods\" in API group \"\"";
    let began = Instant::now();
    let ready = waits_while(&stage, async |stage| {
        stage.ground.inject(fault(OF_PODS, usize::MAX, Answer::status(403, "Forbidden", message)));
        stage.ground.cut_watches(false);
    });
    let error: PortError = ready.await.unwrap_err();
    assert_eq!(error.kind, PortErrorKind::Failed);
    assert!(error.message.contains("it is not allowed to watch pods in namespace shop"), "{error}");
    assert!(error.detail.unwrap().contains("rbac.yaml"));
    assert!(began.elapsed() < SOON.duration() / 2);
}

#[tokio::test]
async fn credentials_that_expire_under_a_watch_are_read_again() {
    let stage = stage().await;
    let ready = waits_while(&stage, async |stage| {
        stage.ground.inject(fault(OF_PODS, 1, Answer::status(401, "Unauthorized", "Unauthorized")));
        stage.ground.cut_watches(false);
        until("the new list", || began_anew(&looks(stage, "pods"))).await;
        stage.ground.world().full = false;
    });
    assert_eq!(ready.await.unwrap().len(), 2);
}

fn patches(answer: Answer, times: usize) -> Fault {
    Fault { method: Method::PATCH, path: "/deployments/", times, answer }
}

/// A server that is not well for good is told of as that, after a few tries.
#[tokio::test]
async fn a_server_that_stays_unwell_is_told() {
    let busy = Answer::Status { code: 429, reason: "TooManyRequests", message: "no!", retry_after: Some(1) };
    for (answer, why) in
        [(Answer::status(500, "InternalError", "etcd is away"), "500): etcd is away"), (busy, "429): no!")]
    {
        let stage = stage().await;
        stage.ground.world().images.insert(IMAGE.into());
        let first = placement(&stage.scene, 1);
        stage.scene.seal(&first, stage.scene.spec(&first, Sample::web(1)));
        stage.ground.inject(patches(answer, usize::MAX));
        let error = stage.scene.start(&first, 1).await.unwrap_err();
        assert_eq!(error.kind, PortErrorKind::Unreachable, "{error}");
        assert!(error.message.contains(why), "{error}");
        assert_eq!(stage.ground.met(), 5, "once, and four times again");
        assert!(stage.ground.world().all("deployments").is_empty());
    }
}

/// Somebody else writes the Deployment between our reading and our applying: theirs stays, and ours comes on top of it.
#[tokio::test]
async fn a_deployment_that_somebody_else_wrote_is_read_again() {
    let stage = stage().await;
    let scene = &stage.scene;
    let first = placement(scene, 1);
    let mut spec = scene.spec(&first, Sample::web(1));
    scene.run(&first, spec.clone()).await;
    spec.variables.insert("NEW".into(), "1".into());
    scene.seal(&first, spec);
    stage.ground.inject(patches(Answer::Raced, 3));
    scene.start(&first, 1).await.unwrap();
    assert_eq!(stage.ground.met(), 3);
    let deployment = stage.ground.world().all("deployments").remove(0);
    assert!(!deployment["metadata"]["annotations"]["example.com/touched"].is_null());
    let sources = &deployment["spec"]["template"]["spec"]["containers"][0]["envFrom"];
    assert_eq!(sources.as_array().unwrap().len(), 1, "{sources}");
    scene.ready(&first, SOON).await.unwrap();
}

#[tokio::test]
async fn a_conflict_that_does_not_end_is_told() {
    let stage = stage().await;
    let first = placement(&stage.scene, 1);
    stage.scene.seal(&first, stage.scene.spec(&first, Sample::web(1)));
    stage.ground.inject(patches(Answer::status(409, "Conflict", "the object has been modified"), usize::MAX));
    let error = stage.scene.start(&first, 1).await.unwrap_err();
    assert!(error.message.contains("409): the object has been modified"), "{error}");
    assert_eq!(stage.ground.met(), 10);
}

/// The conflict was a newer operation, which must not be written over.
#[tokio::test]
async fn who_is_late_does_not_apply_over_a_newer_operation() {
    let stage = stage().await;
    let scene = &stage.scene;
    let first = placement(scene, 1);
    let mut spec = scene.spec(&first, Sample::web(1));
    let instances = scene.run(&first, spec.clone()).await;
    register(scene, &first, &instances).await.unwrap();
    switch(scene, &first, 1).await.unwrap();
    spec.variables.insert("NEW".into(), "1".into());
    scene.seal(&first, spec);
    let before = stage.ground.world().all("deployments");
    stage.ground.inject(patches(Answer::status(409, "Conflict", "changed"), 1));
    let anchor = format!("contract-{}-orchestrate", scene.environment);
    let newer = async {
        while stage.ground.met() < 1 {
            tokio::task::yield_now().await;
        }
        stage.ground.edit("configmaps", &anchor, |anchor| {
            anchor["metadata"]["annotations"]["orchestrate.dev/fence"] = "9".into();
        });
    };
    let (started, ()) = tokio::join!(scene.start(&first, 1), newer);
    assert_eq!(started.unwrap_err().kind, PortErrorKind::Fenced);
    let spec = |all: &[serde_json::Value]| all[0]["spec"].clone();
    assert_eq!(spec(&stage.ground.world().all("deployments")), spec(&before));
    let view = scene.router.observe(&scene.environment).await.unwrap();
    assert_eq!(view.fence, Some(Fence(9)));
}
