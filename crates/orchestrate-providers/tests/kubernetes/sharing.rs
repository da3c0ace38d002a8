//! Two releases share the traffic by numbers of pods, where there is no HTTPRoute.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use hyper::Method;
use orchestrate_core::name::Fence;
use orchestrate_core::ports::{Deregister, Drain, Placement, PortErrorKind, PortResult, Prove, Router as _};
use orchestrate_core::time::Span;
use orchestrate_core::traffic::{Shift, TrafficRules};
use orchestrate_testkit::contract::provider::{ProviderStage as _, Sample};
use orchestrate_testkit::contract_tests;
use serde_json::Value;

use crate::contract::{Routed, Stage};
use crate::fake::{Answer, Fake, Fault};
use crate::rolling::{placement, register, switch};
use crate::stage::{Scene, listen};

// The suite of every router but its last case, which starts a third release in the slot of one that has a share: there a
// cluster has no pods of that one any more. What it is about is below.
contract_tests! { router, RouterStage, Routed<Fake, false>:
    what_is_registered_has_no_traffic
    a_switch_moves_all_traffic
    telling_it_again_changes_nothing
    two_slots_share_as_they_are_told
    the_view_tells_what_is_where
    a_proof_names_who_answers
    what_was_switched_outlives_the_router
    a_closed_environment_is_forgotten
    nothing_is_switched_to_that_is_not_ready_or_not_there
    an_older_fence_is_refused_and_changes_nothing
}

const SOON: Duration = Duration::from_secs(20);

/// The first release serves with so many pods, the second one stands by with as many.
async fn two(count: u32) -> (Stage<Fake>, Placement, Placement) {
    let stage: Stage<Fake> = Stage::new().await;
    let both = [placement(&stage.scene, 1), placement(&stage.scene, 2)];
    for one in &both {
        let instances = stage.scene.run(one, stage.scene.spec(one, Sample::web(count))).await;
        register(&stage.scene, one, &instances).await.unwrap();
    }
    let [first, second] = both;
    switch(&stage.scene, &first, count).await.unwrap();
    until_behind(&stage, count as usize, 0).await;
    (stage, first, second)
}

async fn shift(scene: &Scene, to: &Placement, rest: &Placement, weight: u8) -> PortResult<()> {
    let (placement, rest) = (to.clone(), rest.clone());
    let needs = BTreeMap::from([("web".to_owned(), 1)]);
    let rules = TrafficRules::default();
    scene.router.shift(&Shift { placement, weight, rest, needs, rules, fence: Fence(1) }).await
}

fn front(stage: &Stage<Fake>) -> Value {
    let name = format!("contract-{}-web", stage.scene.environment);
    stage.ground.world().get("services", &name).unwrap().clone()
}

/// The releases of the pods that get requests.
fn behind(stage: &Stage<Fake>) -> Vec<String> {
    let world = stage.ground.world();
    let slice = world.get("endpointslices", &format!("contract-{}-web-slice", stage.scene.environment));
    let endpoints = slice.unwrap()["endpoints"].as_array().unwrap().clone();
    let ready = endpoints.iter().filter(|one| one["conditions"]["ready"] == true);
    let pods = ready.filter_map(|one| world.get("pods", one["targetRef"]["name"].as_str().unwrap()));
    let release =
        |pod: &Value| pod["metadata"]["labels"]["orchestrate.dev/release"].as_str().unwrap().to_owned();
    let mut releases: Vec<String> = pods.map(release).collect();
    releases.sort();
    releases
}

async fn until_behind(stage: &Stage<Fake>, first: usize, second: usize) {
    let began = Instant::now();
    let count = |all: &[String], release: &str| all.iter().filter(|one| *one == release).count();
    loop {
        let all = behind(stage);
        if (count(&all, "1"), count(&all, "2")) == (first, second) {
            return;
        }
        assert!(began.elapsed() < SOON, "{all:?} are behind the Service, not {first} and {second}");
        tokio::time::sleep(Duration::from_millis(3)).await;
    }
}

async fn weights(stage: &Stage<Fake>) -> Vec<(i64, u8)> {
    let view = stage.scene.router.observe(&stage.scene.environment).await.unwrap();
    let mut weights: Vec<_> = view.slots.iter().map(|slot| (slot.release.0, slot.weight)).collect();
    weights.sort_unstable();
    weights
}

#[tokio::test]
async fn so_many_pods_of_each_get_requests() {
    let (stage, first, second) = two(4).await;
    for (weight, mix) in [(10, (4, 1)), (25, (3, 1)), (50, (4, 4)), (80, (1, 4))] {
        shift(&stage.scene, &second, &first, weight).await.unwrap();
        until_behind(&stage, mix.0, mix.1).await;
        assert_eq!(weights(&stage).await, [(1, 100 - weight), (2, weight)], "as it was asked for");
        let noted = front(&stage)["metadata"]["annotations"]["orchestrate.dev/shares"].clone();
        let noted: Value = serde_json::from_str(noted.as_str().unwrap()).unwrap();
        assert_eq!((&noted["target_pods"], &noted["rest_pods"]), (&mix.1.into(), &mix.0.into()));
    }
    switch(&stage.scene, &second, 4).await.unwrap();
    until_behind(&stage, 0, 4).await;
    assert_eq!(weights(&stage).await, [(1, 0), (2, 100)]);
    // And the other way round, from what was let out before.
    shift(&stage.scene, &first, &second, 25).await.unwrap();
    until_behind(&stage, 1, 3).await;
    shift(&stage.scene, &first, &second, 0).await.unwrap();
    until_behind(&stage, 0, 4).await;
    assert!(front(&stage)["metadata"]["annotations"]["orchestrate.dev/shares"].is_null());
}

/// Whatever is shifted and switched, the Service selects pods of this environment, and never fewer than are asked for.
#[tokio::test]
async fn never_fewer_than_asked_get_requests() {
    let (stage, first, second) = two(4).await;
    let watched = async {
        loop {
            let selector = front(&stage)["spec"]["selector"].clone();
            for label in ["environment", "service", "process"] {
                assert!(selector[format!("orchestrate.dev/{label}")].is_string(), "{selector}");
            }
            let count = behind(&stage).len();
            assert!(count >= 4, "only {count} get requests");
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
    };
    let shifted = async {
        for weight in [10, 50, 90, 30, 75, 5] {
            shift(&stage.scene, &second, &first, weight).await.unwrap();
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
        switch(&stage.scene, &first, 4).await.unwrap();
        tokio::time::sleep(Duration::from_millis(20)).await;
    };
    tokio::select! {
        () = watched => {}
        () = shifted => {}
    }
}

/// A new pod is let in by itself, so that no number of crashes empties the Service; the next look puts the share right.
#[tokio::test]
async fn a_pod_that_is_made_anew_is_let_in_and_the_share_is_put_right() {
    let (stage, first, second) = two(4).await;
    shift(&stage.scene, &second, &first, 25).await.unwrap();
    until_behind(&stage, 3, 1).await;
    let out: Vec<String> = {
        let world = stage.ground.world();
        let pods = world.all("pods").into_iter();
        let out = pods.filter(|pod| pod["metadata"]["labels"]["orchestrate.dev/share"] == "out");
        let of_second = out.filter(|pod| pod["metadata"]["labels"]["orchestrate.dev/release"] == "2");
        of_second.map(|pod| pod["metadata"]["name"].as_str().unwrap().to_owned()).collect()
    };
    assert_eq!(out.len(), 3);
    stage.ground.world().delete("pods", &out[0]);
    until_behind(&stage, 3, 2).await;
    assert_eq!(weights(&stage).await, [(1, 60), (2, 40)], "what it is, where it is not what was asked for");
    shift(&stage.scene, &second, &first, 25).await.unwrap();
    until_behind(&stage, 3, 1).await;
    assert_eq!(weights(&stage).await, [(1, 75), (2, 25)]);
}

#[tokio::test]
async fn what_has_a_share_is_neither_replaced_nor_forgotten_nor_drained() {
    let (stage, first, second) = two(2).await;
    shift(&stage.scene, &second, &first, 1).await.unwrap();
    for (one, other) in [(&first, 3), (&second, 4)] {
        let router = &stage.scene.router;
        let other = placement(&stage.scene, other);
        let error = register(&stage.scene, &other, &[]).await.unwrap_err();
        assert!(error.message.contains("has traffic, so it is not replaced"), "{error}");
        let (environment, slot, release) = (one.environment.clone(), one.slot, one.release);
        let forget = Deregister { environment, slot, release, fence: Fence(1) };
        assert!(router.deregister(&forget).await.unwrap_err().message.contains("has traffic"));
        let drain = Drain { placement: one.clone(), deadline: Span::from_secs(1), fence: Fence(1) };
        assert!(router.drain(&drain).await.unwrap_err().message.contains("has traffic"));
    }
    switch(&stage.scene, &second, 2).await.unwrap();
    let drain = Drain { placement: first.clone(), deadline: Span::from_secs(1), fence: Fence(1) };
    stage.scene.router.drain(&drain).await.unwrap();
}

#[tokio::test]
async fn the_release_on_its_way_is_asked_alone() {
    let (stage, first, second) = two(2).await;
    shift(&stage.scene, &second, &first, 10).await.unwrap();
    let prove = |placement: &Placement, directed| Prove {
        placement: placement.clone(),
        listen: listen(),
        path: "/".into(),
        expected_status: 200,
        contains: Some(placement.version.to_string()),
        timeout: Span::from_secs(5),
        directed,
    };
    let proof = stage.scene.router.prove(&prove(&second, true)).await.unwrap();
    assert!(proof.release == second.release && proof.micros > 0, "{proof:?}");
    stage.scene.router.prove(&prove(&second, false)).await.unwrap_err();
}

#[tokio::test]
async fn a_share_that_would_leave_too_few_is_refused() {
    let (stage, first, second) = two(2).await;
    let before = front(&stage);
    stage.ground.world().images.clear();
    for pod in stage.scene.pods().await {
        if pod["metadata"]["labels"]["orchestrate.dev/release"] == "1" {
            stage.scene.set_image(pod["metadata"]["name"].as_str().unwrap(), "nowhere:1").await;
        }
    }
    until_behind(&stage, 0, 0).await;
    let error = shift(&stage.scene, &second, &first, 10).await.unwrap_err();
    assert_eq!(error.kind, PortErrorKind::NotReady, "{error}");
    assert!(
        error.message.contains("2 pods of web of 1.2.0 and 0 of 1.1.0 are ready, and 2 are needed"),
        "{error}"
    );
    assert_eq!(front(&stage)["spec"], before["spec"]);
}

/// What was started by an older orchestrate has pods that nobody would let in after a crash.
#[tokio::test]
async fn a_release_whose_new_pods_are_not_let_in_does_not_share() {
    let (stage, first, _) = two(2).await;
    let third = placement(&stage.scene, 4);
    let mut spec = stage.scene.spec(&third, Sample::web(2));
    spec.engine.shares = false;
    let instances = stage.scene.run(&third, spec).await;
    register(&stage.scene, &third, &instances).await.unwrap();
    let before = front(&stage);
    let error = shift(&stage.scene, &third, &first, 10).await.unwrap_err();
    assert!(error.detail.unwrap().contains("--strategy blue_green"));
    assert_eq!(front(&stage)["spec"], before["spec"]);
}

/// Between the look and the write a newer operation comes by: nobody is let in or out any more.
#[tokio::test]
async fn who_is_late_lets_nobody_in_or_out() {
    let (stage, first, second) = two(4).await;
    shift(&stage.scene, &second, &first, 25).await.unwrap();
    until_behind(&stage, 3, 1).await;
    let labels = || -> Vec<Value> {
        stage.ground.world().all("pods").iter().map(|pod| pod["metadata"]["labels"].clone()).collect()
    };
    let before = (labels(), front(&stage)["spec"].clone());
    let answer = Answer::status(409, "Conflict", "changed");
    stage.ground.inject(Fault { method: Method::PUT, path: "/services/", times: 1, answer });
    let anchor = format!("contract-{}-orchestrate", stage.scene.environment);
    let newer = async {
        while stage.ground.met() < 1 {
            tokio::task::yield_now().await;
        }
        stage.ground.edit("configmaps", &anchor, |anchor| {
            anchor["metadata"]["annotations"]["orchestrate.dev/fence"] = "9".into();
        });
    };
    let (shifted, ()) = tokio::join!(shift(&stage.scene, &second, &first, 75), newer);
    assert_eq!(shifted.unwrap_err().kind, PortErrorKind::Fenced);
    assert_eq!((labels(), front(&stage)["spec"].clone()), before);
}

/// A shift that broke off is made again, from wherever it came to.
#[tokio::test]
async fn a_shift_that_broke_off_is_made_again() {
    for (method, path) in [(Method::PATCH, "/pods/"), (Method::PUT, "/services/")] {
        let (stage, first, second) = two(4).await;
        for weight in [25, 80] {
            let answer = Answer::status(400, "BadRequest", "no");
            stage.ground.inject(Fault { method: method.clone(), path, times: 1, answer });
            shift(&stage.scene, &second, &first, weight).await.unwrap_err();
            assert!(behind(&stage).len() >= 4);
            shift(&stage.scene, &second, &first, weight).await.unwrap();
            assert_eq!(weights(&stage).await, [(1, 100 - weight), (2, weight)]);
        }
    }
}
