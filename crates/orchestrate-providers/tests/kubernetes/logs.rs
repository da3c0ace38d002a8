//! What pods print, passed on by the API server.

use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use hyper::Method;
use orchestrate_core::name::Version;
use orchestrate_core::ports::{Placement, PortErrorKind};
use orchestrate_providers::kubernetes::{Line, Logs, Wanted};
use orchestrate_testkit::contract::provider::{ProviderStage as _, Sample};

use crate::contract::Stage;
use crate::fake::{Answer, Fake, Fault};
use crate::rolling::placement;

const SOON: Duration = Duration::from_secs(20);

async fn runs(count: u32) -> (Stage<Fake>, Placement) {
    let stage: Stage<Fake> = Stage::new().await;
    let first = placement(&stage.scene, 1);
    stage.scene.run(&first, stage.scene.spec(&first, Sample::web(count))).await;
    (stage, first)
}

fn wanted(stage: &Stage<Fake>, version: &Version, lines: u32) -> (Logs, Wanted) {
    let logs = Logs::new(Arc::new(stage.scene.records.clone()));
    (logs, Wanted { environment: stage.scene.environment.clone(), version: version.clone(), lines })
}

fn pods(stage: &Stage<Fake>) -> Vec<String> {
    let pods = stage.ground.world().all("pods");
    pods.iter().map(|pod| pod["metadata"]["name"].as_str().unwrap().to_owned()).collect()
}

fn print(stage: &Stage<Fake>, pod: &str, text: &str) {
    stage.ground.world().logs.entry(pod.to_owned()).or_default().push_str(text);
}

fn line(pod: &str, text: &str) -> Line {
    Line { pod: pod.to_owned(), text: text.to_owned() }
}

async fn until(what: &str, is_so: impl Fn() -> bool) {
    let began = Instant::now();
    while !is_so() {
        assert!(began.elapsed() < SOON, "not within {SOON:?}: {what}");
        tokio::time::sleep(Duration::from_millis(2)).await;
    }
}

#[tokio::test]
async fn the_last_lines_of_every_pod_are_read() {
    let (stage, first) = runs(2).await;
    let pods = pods(&stage);
    print(&stage, &pods[0], "a\nb\nc\n");
    print(&stage, &pods[1], "d\n");
    let (logs, wanted) = wanted(&stage, &first.version, 2);
    let lines = logs.last(&wanted).await.unwrap();
    assert_eq!(lines, [line(&pods[0], "b"), line(&pods[0], "c"), line(&pods[1], "d")]);
    let other = Wanted { version: Version::new("9.9.9").unwrap(), ..wanted };
    assert_eq!(logs.last(&other).await.unwrap(), []);
}

/// Each line once and in order: from a pod that is there, from one that comes, across connections that end and containers
/// that are started anew.
#[tokio::test]
async fn lines_are_followed_as_they_come() {
    let (stage, first) = runs(1).await;
    let pod = pods(&stage).remove(0);
    print(&stage, &pod, "old\none\n");
    let (logs, wanted) = wanted(&stage, &first.version, 1);
    let seen: Mutex<Vec<Line>> = Mutex::default();
    let of = |pod: &str| -> Vec<String> {
        let seen = seen.lock().unwrap();
        seen.iter().filter(|line| line.pod == pod).map(|line| line.text.clone()).collect()
    };
    let follow = logs.follow(&wanted, |line| seen.lock().unwrap().push(line));
    let happens = async {
        until("what is there", || of(&pod) == ["one"]).await;
        print(&stage, &pod, "two\n");
        until("what comes", || of(&pod).len() == 2).await;
        stage.ground.cut_watches(true);
        print(&stage, &pod, "three\n");
        until("what comes after a cut", || of(&pod).len() == 3).await;
        // Killed, and started anew under the same name.
        let image = stage.scene.image_of(&pod).await;
        stage.scene.set_image(&pod, &stage.scene.alias(&image)).await;
        print(&stage, &pod, "four\n");
        until("what comes after a restart", || of(&pod).len() == 4).await;
        let before = pods(&stage);
        stage.ground.world().delete("pods", &pod);
        let other = || pods(&stage).into_iter().find(|name| !before.contains(name));
        until("another pod", || other().is_some()).await;
        let other = other().unwrap();
        print(&stage, &other, "five\n");
        until("what another pod prints", || of(&other) == ["five"]).await;
    };
    tokio::select! {
        ended = follow => panic!("it ended by itself: {ended:?}"),
        () = happens => assert_eq!(of(&pod), ["one", "two", "three", "four"]),
    }
}

/// A container that ended is not asked again and again until it runs again.
#[tokio::test]
async fn what_ended_is_not_asked_all_the_time() {
    let stage: Stage<Fake> = Stage::new().await;
    let first = placement(&stage.scene, 1);
    stage.scene.seal(&first, {
        let mut spec = stage.scene.spec(&first, Sample::web(1));
        spec.variables.insert("CRASH".into(), "1".into());
        spec
    });
    stage.scene.start(&first, 1).await.unwrap();
    until("it crashed", || stage.ground.world().logs.len() == 1).await;
    let (logs, wanted) = wanted(&stage, &first.version, 10);
    let seen: Mutex<Vec<Line>> = Mutex::default();
    let follow = logs.follow(&wanted, |line| seen.lock().unwrap().push(line));
    let _ = tokio::time::timeout(Duration::from_secs(2), follow).await;
    let texts: Vec<String> = seen.lock().unwrap().iter().map(|line| line.text.clone()).collect();
    assert_eq!(texts, ["starts", "address in use"]);
    let asked = stage.ground.world().asked["GET pods"];
    assert!(asked < 12, "pods were asked for {asked} times");
}

#[tokio::test]
async fn who_may_not_read_output_is_told() {
    let (stage, first) = runs(1).await;
    let message = "pods \"x\" is forbidden: User \"ci\" cannot get resource \"pods/log\" in API group \"\"";
    let answer = Answer::status(403, "Forbidden", message);
    stage.ground.inject(Fault { method: Method::GET, path: "/log?", times: usize::MAX, answer });
    let (logs, wanted) = wanted(&stage, &first.version, 1);
    for error in
        [logs.last(&wanted).await.map(drop).unwrap_err(), logs.follow(&wanted, drop).await.unwrap_err()]
    {
        assert_eq!(error.kind, PortErrorKind::Failed);
        assert!(error.message.contains("get the log of pods/"), "{error}");
    }
}
