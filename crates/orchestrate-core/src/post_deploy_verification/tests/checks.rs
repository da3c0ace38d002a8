//! Bakes with checks: of answers, smoke tests, output and metrics; and their bad luck.

use super::{BAKE, proven};
use crate::deployment::{Deployment, DeploymentStatus};
use crate::environment::{
    Expected, HttpTest, LogPattern, MetricQuery, OnBad, OnNoData, Prometheus, SmokeTest, Verify,
};
use crate::evidence::{Consequence, Evidence, Finding};
use crate::measure::Measure;
use crate::notification::NoticeKind;
use crate::plan::Place;
use crate::ports::{Ended, PortError, PortErrorKind};
use crate::post_deploy_verification::{Judged, Marks, Subject, Verdict, analyse, watch};
use crate::slot::SlotState;
use crate::stage::{Stage, hook, settings, v};
use crate::time::Span;

/// 1.1 is live and baking under these checks; 1.0 before it proved good.
async fn stage(verify: Verify) -> (Stage, Deployment) {
    let mut settings = settings();
    settings.verify = Verify { bake: BAKE, ..verify };
    let stage = Stage::with(settings, &[hook("http://all", &[NoticeKind::NeedsAttention])]).await;
    let first = stage.deploy("1.0").await.deployment;
    stage.executor().finish_bake(first.id, Ok(())).await.unwrap();
    let second = stage.deploy("1.1").await.deployment;
    (stage, second)
}

async fn judged(stage: &Stage, deployment: &Deployment) -> Judged {
    let fresh = stage.db.deployment(deployment.id).await.unwrap().unwrap();
    watch(&stage.db, &stage.world.ports(), &fresh).await.unwrap()
}

fn found<'a>(judged: &'a Judged, check: &str) -> &'a Evidence {
    judged.evidence.iter().find(|one| one.check == check).unwrap_or_else(|| panic!("no {check}: {judged:?}"))
}

fn rate() -> Verify {
    Verify { max_error_rate: Some("1%".parse().unwrap()), ..Verify::default() }
}

fn smoke(name: &str, http: Option<&str>, command: Option<&str>) -> SmokeTest {
    let http = http.map(|path| HttpTest {
        process: None,
        path: path.into(),
        method: "GET".into(),
        headers: Default::default(),
        body: None,
        expect: Expected { contains: Some("v{version}".into()), ..Expected::default() },
    });
    let command = command.map(|program| vec![program.to_owned()]);
    SmokeTest { name: name.into(), command, http, timeout: Span::from_secs(10), on_bad: None }
}

fn queue(on_no_data: OnNoData) -> Verify {
    let query = MetricQuery {
        name: "queue".into(),
        query: "queue".into(),
        at_most: Measure::new(10.0),
        at_least: None,
        on_bad: None,
        on_no_data: Some(on_no_data),
    };
    let prometheus =
        Prometheus { url: "http://p".into(), interval: Span::from_secs(5), queries: vec![query] };
    Verify { prometheus: Some(prometheus), ..Verify::default() }
}

async fn notices(stage: &Stage) -> Vec<String> {
    let all = stage.db.list_notices(9).await.unwrap();
    all.iter().map(|one| one.notice.payload["text"].as_str().unwrap_or_default().to_owned()).collect()
}

#[tokio::test]
async fn a_release_that_answers_with_errors_is_bad_as_soon_as_that_is_certain() {
    let (stage, deployment) = stage(rate()).await;
    stage.world.answers(&v("1.1"), 60, 24, 1).await;
    let judged = judged(&stage, &deployment).await;
    let why = "40 % of 60 answers were errors, more than the 1% allowed";
    assert_eq!(judged.verdict, Verdict::Bad(why.into()));
    let waited = stage.world.clock.read().millis_since(deployment.went_live_at.unwrap());
    assert!(waited < 500, "{waited} ms");
    let ended =
        stage.executor().end_bake(deployment.id, Err(why.into()), &judged.evidence).await.unwrap().unwrap();
    assert_eq!(ended.evidence, judged.evidence);
    let stored = stage.db.deployment(deployment.id).await.unwrap().unwrap();
    assert_eq!((stored.evidence, stored.status), (judged.evidence, DeploymentStatus::Failed));
}

#[tokio::test]
async fn errors_from_before_the_deployment_are_not_counted_against_it() {
    let (stage, first) = stage(rate()).await;
    stage.executor().finish_bake(first.id, Ok(())).await.unwrap();
    // What runs in the slot answered badly once, long ago, and is deployed again by a rollback's undoing.
    stage.world.answers(&v("1.1"), 1_000, 0, 1).await;
    stage.world.answers(&v("1.0"), 1_000, 600, 1).await;
    let next = stage.deploy("1.2").await.deployment;
    stage.world.answers(&v("1.2"), 1_000, 2, 1).await;
    let judged = judged(&stage, &next).await;
    assert_eq!(judged.verdict, Verdict::Good, "{judged:?}");
    assert_eq!(found(&judged, "error_rate").requests, Some(1_000));
    assert_eq!(found(&judged, "error_rate").before, Measure::new(0.0));
}

#[tokio::test]
async fn an_error_rate_that_was_high_before_does_not_condemn() {
    let (stage, deployment) = stage(rate()).await;
    stage.world.answers(&v("1.0"), 500, 100, 1).await;
    stage.world.answers(&v("1.1"), 500, 105, 1).await;
    let judged = judged(&stage, &deployment).await;
    assert_eq!(judged.verdict, Verdict::Good, "{judged:?}");
    assert_eq!(found(&judged, "error_rate").before, Measure::new(20.0));
}

#[tokio::test]
async fn a_router_that_started_anew_or_does_not_count_is_no_data() {
    let (stage, deployment) = stage(rate()).await;
    stage.world.hide_counts();
    let judged = judged(&stage, &deployment).await;
    assert_eq!(judged.verdict, Verdict::Good);
    assert_eq!(found(&judged, "error_rate").finding, Finding::NoData);
}

#[tokio::test]
async fn a_smoke_test_that_fails_or_hangs_is_bad() {
    let verify = || Verify {
        smoke: vec![smoke("page", Some("/page"), None), smoke("tool", None, Some("./check"))],
        ..Verify::default()
    };
    let (stage, deployment) = stage(verify()).await;
    stage.world.answers_at("/page", 200, "shop v1.1");
    assert_eq!(judged(&stage, &deployment).await.verdict, Verdict::Good);

    let (stage, deployment) = self::stage(verify()).await;
    stage.world.answers_at("/page", 500, "no");
    let found = judged(&stage, &deployment).await;
    let why = "the smoke test page failed: GET /page of green-web-1 answered 500 instead of 200";
    assert_eq!(found.verdict, Verdict::Bad(why.into()), "200 for its health, and errors elsewhere");

    let (stage, deployment) = self::stage(verify()).await;
    stage.world.answers_at("/page", 200, "shop v1.0");
    let found = judged(&stage, &deployment).await;
    let why = "the smoke test page failed: GET /page of green-web-1 did not contain `v1.1`";
    assert_eq!(found.verdict, Verdict::Bad(why.into()));

    let (stage, deployment) = self::stage(verify()).await;
    stage.world.answers_at("/page", 200, "shop v1.1");
    let hung = PortError::new(PortErrorKind::TimedOut, "`./check` did not end within 10s and was ended");
    stage.world.command_ends("./check", Err(hung));
    let found = judged(&stage, &deployment).await;
    let why = "the smoke test tool failed: `./check` did not end within 10s and was ended";
    assert_eq!(found.verdict, Verdict::Bad(why.into()));

    let (stage, deployment) = self::stage(verify()).await;
    stage.world.answers_at("/page", 200, "shop v1.1");
    let output = "no stock\n".to_owned();
    let ended = Ended { success: false, how: "exited with status 2".into(), code: Some(2), output };
    stage.world.command_ends("./check", Ok(ended));
    let found = judged(&stage, &deployment).await;
    let why = "the smoke test tool failed: `./check` exited with status 2: no stock";
    assert_eq!(found.verdict, Verdict::Bad(why.into()));
}

#[tokio::test]
async fn what_an_instance_prints_is_bad_unless_the_release_before_printed_as_much() {
    let pattern = LogPattern {
        name: "panics".into(),
        process: None,
        pattern: "panicked".into(),
        at_most: 0,
        on_bad: None,
    };
    let verify = || Verify { logs: vec![pattern.clone()], ..Verify::default() };
    let (stage, deployment) = stage(verify()).await;
    stage.world.prints(&v("1.1"), 1, "it panicked");
    let why = "1 line matches panics, 0 allowed: it panicked";
    assert_eq!(judged(&stage, &deployment).await.verdict, Verdict::Bad(why.into()));
    let (stage, deployment) = self::stage(verify()).await;
    stage.world.prints(&v("1.0"), 5, "it panicked");
    stage.world.prints(&v("1.1"), 1, "it panicked");
    assert_eq!(judged(&stage, &deployment).await.verdict, Verdict::Good);
}

#[tokio::test]
async fn a_metric_condemns_unless_it_fired_before_and_its_absence_has_a_consequence() {
    let (stage, deployment) = stage(queue(OnNoData::Good)).await;
    stage.world.metric_is("queue", Ok(Some(11.0)), Some(1.0));
    assert_eq!(judged(&stage, &deployment).await.verdict, Verdict::Bad("queue is 11, above 10".into()));

    let (stage, deployment) = self::stage(queue(OnNoData::Good)).await;
    stage.world.metric_is("queue", Ok(Some(11.0)), Some(12.0));
    assert_eq!(judged(&stage, &deployment).await.verdict, Verdict::Good);

    let unreachable = || Err(PortError::unreachable("http://p does not answer"));
    for (consequence, verdict) in [
        (OnNoData::Good, Verdict::Good),
        (OnNoData::Notify, Verdict::Good),
        (OnNoData::Bad, Verdict::Bad("queue cannot be asked: http://p does not answer".into())),
    ] {
        let (stage, deployment) = self::stage(queue(consequence)).await;
        stage.world.metric_is("queue", unreachable(), None);
        let judged = judged(&stage, &deployment).await;
        assert_eq!(judged.verdict, verdict, "{consequence:?}");
        assert_eq!(found(&judged, "prometheus queue").finding, Finding::NoData);
        let lasted = stage.world.clock.read() >= deployment.bake_until.unwrap();
        assert!(lasted, "no data is known only at the end");
        stage.executor().end_bake(deployment.id, Ok(()), &judged.evidence).await.unwrap();
        let told = notices(&stage).await;
        assert_eq!(told.len(), usize::from(consequence == OnNoData::Notify), "{told:?}");
    }
}

#[tokio::test]
async fn what_only_notifies_is_told_once_and_the_watch_goes_on() {
    let mut verify = rate();
    verify.smoke = vec![SmokeTest { on_bad: Some(OnBad::Notify), ..smoke("page", Some("/page"), None) }];
    let (stage, deployment) = stage(verify).await;
    stage.world.answers_at("/page", 404, "");
    let judged = judged(&stage, &deployment).await;
    assert!(matches!(judged.verdict, Verdict::Bad(_)), "it is not proven");
    assert!(judged.told && !Judged::rolls_back(&judged.evidence));
    assert!(stage.world.clock.read() >= deployment.bake_until.unwrap());
    let told = notices(&stage).await;
    assert_eq!(told.len(), 1, "{told:?}");
    assert!(
        told[0].contains("1.1 shows itself bad and is watched on: the smoke test page failed"),
        "{told:?}"
    );

    // Another daemon goes on with the watch, and tells nothing anew.
    let fresh = stage.db.deployment(deployment.id).await.unwrap().unwrap();
    assert_eq!(fresh.evidence.len(), 1);
    stage.world.clock.set(deployment.went_live_at.unwrap());
    stage.world.answers(&v("1.1"), 100, 50, 1).await;
    let again = watch(&stage.db, &stage.world.ports(), &fresh).await.unwrap();
    assert!(Judged::rolls_back(&again.evidence), "{again:?}");
    assert_eq!(again.evidence.iter().filter(|one| one.consequence == Consequence::Rollback).count(), 1);
    assert_eq!(notices(&stage).await.len(), 1);
    assert!(!proven(&stage, "1.1").await);
}

#[tokio::test]
async fn instances_that_stay_away_do_not_keep_a_watch_going_that_only_notifies() {
    let verify = Verify { on_bad: OnBad::Notify, smoke: vec![smoke("page", Some("/page"), None)], ..rate() };
    let (stage, deployment) = stage(verify).await;
    stage.world.put_instances(&v("1.1"), crate::ports::InstanceState::Starting);
    let judged = judged(&stage, &deployment).await;
    assert_eq!(judged.verdict, Verdict::Bad("only 0 of 2 instances of web are ready".into()));
    assert!(judged.told && !Judged::rolls_back(&judged.evidence));
}

#[tokio::test]
async fn a_clock_that_jumps_neither_shortens_nor_lengthens_a_bake() {
    for jump in [-3_600_000_i64, 3_600_000] {
        let (stage, deployment) = stage(rate()).await;
        let ports = stage.world.ports();
        let began = ports.clock.running_for();
        let judged = stage.with_a_jump(jump, watch(&stage.db, &ports, &deployment)).await.unwrap();
        assert_eq!(judged.verdict, Verdict::Good);
        let lasted = ports.clock.running_for().as_millis() - began.as_millis();
        assert!((25_000..40_000).contains(&lasted), "{lasted} ms after a jump of {jump} ms");
    }
}

#[tokio::test]
async fn a_release_is_analysed_in_its_slot_for_as_long_as_is_asked() {
    let (stage, _) = stage(rate()).await;
    let release = stage.db.find_release(&stage.environment, &v("1.1")).await.unwrap().unwrap();
    let slots = stage.slots().await;
    let slot = slots.iter().find(|slot| slot.state == SlotState::Live).unwrap().slot;
    let ports = stage.world.ports();
    stage.world.answers(&v("1.1"), 100, 90, 1).await;
    let subject = || async {
        Subject {
            environment: stage.environment.clone(),
            release: release.clone(),
            place: Place::of(&release, slot),
            before: None,
            marks: Marks::take(&ports, &stage.environment, release.id, None).await,
            since: stage.world.clock.read(),
            known: Vec::new(),
            share: None,
        }
    };
    let began = ports.clock.running_for();
    let good = analyse(&ports, subject().await, Span::from_secs(5)).await;
    assert_eq!(good.verdict, Verdict::Good, "what was before the marks does not count");
    assert!(ports.clock.running_for() >= began.plus(Span::from_secs(5)));
    let marked = subject().await;
    stage.world.answers(&v("1.1"), 100, 90, 1).await;
    assert!(matches!(analyse(&ports, marked, Span::from_secs(5)).await.verdict, Verdict::Bad(_)));
}
