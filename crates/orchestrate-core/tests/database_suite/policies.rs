//! Approvals, freezes, limits and broken glass, from the request to the record.

use std::time::Duration;

use orchestrate_core::approval::ApprovalStatus;
use orchestrate_core::database::Say;
use orchestrate_core::deployment_executor::{DeployRequest, Deployed, WAITS_FOR_APPROVAL};
use orchestrate_core::deployment_rollback::Asking;
use orchestrate_core::environment::EnvironmentSettings;
use orchestrate_core::notification::{Channel, NoticeKind};
use orchestrate_core::policy::{DeployWindow, Freeze, When};
use orchestrate_core::rollback_event::RollbackEvent;
use orchestrate_core::time::Span;
use orchestrate_core::{Error, Result, RollbackRequest};

use super::scene::{settings, v};
use super::{Fresh, Scene};

async fn policy(scene: &Scene, change: impl FnOnce(&mut EnvironmentSettings)) {
    let mut settings = settings();
    change(&mut settings);
    // What a channel filters does not count for broken glass.
    let channel = Channel::webhook("http://127.0.0.1:1/x", &[NoticeKind::ApprovalWanted]);
    let now = scene.world.clock.read();
    scene
        .db
        .apply_environment(&scene.environment, "shop", &settings, &[channel], "ada@here", now)
        .await
        .unwrap();
}

fn by(scene: &Scene, version: &str, actor: &str) -> DeployRequest {
    DeployRequest { actor: actor.into(), ..scene.to_deploy(version) }
}

async fn deploy(scene: &Scene, version: &str) -> Result<Deployed> {
    scene.world.clock.advance(Span::from_secs(60));
    scene.executor().deploy(&by(scene, version, "ada@laptop")).await
}

fn say<'a>(scene: &Scene, actor: &'a str, approves: bool) -> Say<'a> {
    Say { approves, actor, reason: Some("because"), now: scene.world.clock.read() }
}

async fn kinds_told(scene: &Scene) -> Vec<String> {
    let notices = scene.db.list_notices(100).await.unwrap();
    notices.iter().map(|notice| notice.notice.kind.to_string()).collect()
}

async fn actions(scene: &Scene) -> Vec<String> {
    let records = scene.db.list_audit(Some(&scene.environment), 100).await.unwrap();
    records.into_iter().map(|record| record.action).collect()
}

fn code<T: std::fmt::Debug>(result: Result<T>) -> &'static str {
    result.as_ref().map_err(Error::code).unwrap_err()
}

pub async fn a_deployment_waits_until_somebody_else_approves_it(fresh: Fresh) {
    let scene = Scene::new(&fresh).await;
    scene.deploy("1.0").await;
    policy(&scene, |settings| settings.requires_approval = true).await;
    assert_eq!(code(deploy(&scene, "1.1").await), WAITS_FOR_APPROVAL);
    assert_eq!(code(deploy(&scene, "1.1").await), WAITS_FOR_APPROVAL, "typed again, it waits on");
    assert_eq!(kinds_told(&scene).await, ["approval_wanted"], "and is told once");
    let (db, name) = (&scene.db, &scene.environment);
    let own = db.say_to_request(name, None, say(&scene, "ada@desktop", true)).await.unwrap_err();
    assert_eq!(own.code(), "ORC-0176", "the author has another machine, and is the author all the same");
    let approved = db.say_to_request(name, Some(&v("1.1")), say(&scene, "ben@here", true)).await.unwrap();
    assert_eq!(approved.status(scene.world.clock.read()), ApprovalStatus::Approved);
    let own = scene.executor().deploy(&by(&scene, "1.1", "ben@laptop")).await.unwrap_err();
    assert_eq!(own.code(), WAITS_FOR_APPROVAL, "who approves is not who deploys");
    assert!(own.hint_text().unwrap().contains("have ada@laptop type"), "{own:?}");
    let deployed = deploy(&scene, "1.1").await.unwrap().deployment;
    let request = db.list_approvals(name, 10).await.unwrap().remove(0);
    assert_eq!((request.used_by, request.approvers()), (Some(deployed.id), "ben@here".to_owned()));
    assert_eq!(code(deploy(&scene, "1.2").await), WAITS_FOR_APPROVAL, "one approval is good for one release");
    let actions = actions(&scene).await;
    for action in ["approval_requested", "approval_given"] {
        assert!(actions.iter().any(|found| found == action), "{action}: {actions:?}");
    }
    // What serves already is not new.
    deploy(&scene, "1.1").await.unwrap();
    // The way back needs nobody's word.
    scene.rollback().rollback(&scene.forced()).await.unwrap();
    scene.end(fresh).await;
}

pub async fn what_was_rejected_stays_so_and_what_expired_is_asked_anew(fresh: Fresh) {
    let scene = Scene::new(&fresh).await;
    scene.deploy("1.0").await;
    policy(&scene, |settings| settings.requires_approval = true).await;
    assert_eq!(code(deploy(&scene, "1.1").await), WAITS_FOR_APPROVAL);
    let (db, name) = (&scene.db, &scene.environment);
    db.say_to_request(name, None, say(&scene, "ben@here", true)).await.unwrap();
    db.say_to_request(name, None, say(&scene, "ben@here", false)).await.unwrap();
    let refused = deploy(&scene, "1.1").await.unwrap_err();
    assert_eq!(refused.code(), "ORC-0178");
    assert!(refused.message().contains("ben@here") && refused.message().contains("because"), "{refused}");
    assert_eq!(code(db.say_to_request(name, None, say(&scene, "eve@here", true)).await), "ORC-0177");
    assert_eq!(code(deploy(&scene, "1.2").await), WAITS_FOR_APPROVAL);
    scene.world.clock.advance(Span::from_secs(24 * 3600));
    let late = db.say_to_request(name, Some(&v("1.2")), say(&scene, "ben@here", true)).await.unwrap_err();
    assert_eq!(late.code(), "ORC-0177");
    assert!(late.message().contains("expired"), "{late}");
    // Approved in time and used too late is no better.
    assert_eq!(code(deploy(&scene, "1.2").await), WAITS_FOR_APPROVAL);
    db.say_to_request(name, None, say(&scene, "ben@here", true)).await.unwrap();
    scene.world.clock.advance(Span::from_secs(24 * 3600));
    assert_eq!(code(deploy(&scene, "1.2").await), WAITS_FOR_APPROVAL);
    assert_eq!(db.list_approvals(name, 10).await.unwrap().len(), 4);
    scene.end(fresh).await;
}

pub async fn two_approvals_in_the_same_instant_are_two(fresh: Fresh) {
    let scene = Scene::new(&fresh).await;
    scene.deploy("1.0").await;
    policy(&scene, |settings| {
        settings.requires_approval = true;
        settings.policy.approval.count = 2;
        settings.policy.approval.by = vec!["ben".into(), "eve@there".into(), "ada".into()];
    })
    .await;
    assert_eq!(code(deploy(&scene, "1.1").await), WAITS_FOR_APPROVAL);
    let other = fresh.open().await;
    let name = &scene.environment;
    assert_eq!(code(other.say_to_request(name, None, say(&scene, "bob", true)).await), "ORC-0176");
    let (ben, again, eve) = tokio::join!(
        scene.db.say_to_request(name, None, say(&scene, "ben@here", true)),
        other.say_to_request(name, None, say(&scene, "ben@there", true)),
        other.say_to_request(name, None, say(&scene, "eve@there", true)),
    );
    assert_eq!([ben.is_ok(), again.is_ok()].iter().filter(|ok| **ok).count(), 1, "nobody counts twice");
    eve.unwrap();
    let request = scene.db.list_approvals(name, 1).await.unwrap().remove(0);
    assert_eq!(request.approvals(), 2);
    let both = [by(&scene, "1.1", "ada@one"), by(&scene, "1.1", "ada@two")];
    let (one, two) = (scene.executor(), scene.executor());
    let (one, two) = tokio::join!(one.deploy(&both[0]), two.deploy(&both[1]));
    assert!(one.is_ok() || two.is_ok(), "{one:?} {two:?}");
    // Whoever came second may have asked anew.
    let all = scene.db.list_approvals(name, 10).await.unwrap();
    assert_eq!(all.iter().filter(|request| request.used_by.is_some()).count(), 1, "{all:?}");
    other.close().await;
    scene.end(fresh).await;
}

/// From now on, for an hour.
fn freeze(scene: &Scene) -> Freeze {
    let now = scene.world.clock.read();
    let time = |at: &str| at[11..16].to_owned().try_into().unwrap();
    let (from, to) = (now.to_string(), now.plus(Duration::from_secs(3600)).to_string());
    let window =
        DeployWindow { days: vec![], from: time(&from), to: time(&to), time_zone: Default::default() };
    Freeze { name: "the sale".into(), when: When::Weekly(window) }
}

async fn back(scene: &Scene, request: &RollbackRequest, asking: Asking) -> Result<RollbackEvent> {
    scene.rollback().rollback_as(request, &asking).await.map(|rolled| rolled.event)
}

fn asking(reason: Option<&str>) -> Asking {
    Asking { reason: reason.map(str::to_owned), ..Asking::by("ada@laptop") }
}

pub async fn in_a_freeze_nothing_new_comes_and_a_rollback_says_why(fresh: Fresh) {
    let scene = Scene::new(&fresh).await;
    scene.deploy("1.0").await;
    scene.deploy("1.1").await;
    let freeze = freeze(&scene);
    policy(&scene, |settings| settings.policy.freezes = vec![freeze]).await;
    let refused = deploy(&scene, "1.2").await.unwrap_err();
    assert_eq!(refused.code(), "ORC-0170");
    assert!(refused.message().contains("the sale"), "{refused}");
    let preview = scene.rollback().preview(&scene.forced(), &asking(None)).await.unwrap();
    assert!(preview.needs_reason && preview.blockers.iter().any(|why| why.contains("the sale")));
    let ready = scene.rollback().readiness(&scene.environment).await.unwrap();
    assert!(
        ready.ready && ready.command.as_deref().is_some_and(|typed| typed.contains("--reason")),
        "{ready:?}"
    );
    assert_eq!(code(back(&scene, &scene.forced(), asking(None)).await), "ORC-0171");
    let event = back(&scene, &scene.forced(), asking(Some("checkout is down"))).await.unwrap();
    assert_eq!((event.target_version, event.break_glass), (v("1.0"), None));
    // Broken glass is on record, and told to a channel that asked for something else.
    let request = DeployRequest { break_glass: true, ..by(&scene, "1.2", "ada@laptop") };
    let deployed = scene.executor().deploy(&request).await.unwrap().deployment;
    let overrode = scene.db.deployment(deployed.id).await.unwrap().unwrap().break_glass.unwrap();
    assert!(overrode.contains("the sale"), "{overrode}");
    assert_eq!(kinds_told(&scene).await, ["break_glass"]);
    assert!(actions(&scene).await.contains(&"glass_broken".to_owned()));
    // An hour later it is over.
    scene.world.clock.advance(Span::from_secs(3600));
    deploy(&scene, "1.3").await.unwrap();
    scene.end(fresh).await;
}

pub async fn a_rollback_goes_as_far_and_as_often_as_was_agreed(fresh: Fresh) {
    let scene = Scene::new(&fresh).await;
    for version in ["1.0", "1.1", "1.2", "1.3"] {
        scene.deploy(version).await;
    }
    let to = |version: &str| RollbackRequest { target_version: Some(v(version)), ..scene.forced() };
    policy(&scene, |settings| settings.policy.rollback.max_back = Some(2)).await;
    assert_eq!(code(back(&scene, &to("1.0"), asking(None)).await), "ORC-0173");
    let preview = scene.rollback().preview(&to("1.1"), &asking(None)).await.unwrap();
    assert_eq!(preview.blockers, Vec::<String>::new());
    // 1.2 was left when 1.3 came, a minute ago by the end of this; 1.1 a minute before that.
    policy(&scene, |settings| settings.policy.rollback.max_age = Some(Span::from_secs(90))).await;
    scene.world.clock.advance(Span::from_secs(60));
    assert_eq!(code(back(&scene, &to("1.1"), asking(None)).await), "ORC-0173");
    policy(&scene, |settings| {
        settings.policy.rollback.max_age = Some(Span::from_secs(90));
        settings.policy.rollback.manual_at_most_per_hour = Some(2);
    })
    .await;
    back(&scene, &to("1.2"), asking(None)).await.unwrap();
    scene.world.clock.advance(Span::from_secs(60));
    let undo = Asking { undo: true, ..asking(None) };
    back(&scene, &scene.forced(), undo.clone()).await.unwrap();
    assert_eq!(code(back(&scene, &to("1.2"), asking(None)).await), "ORC-0174");
    let glass = Asking { break_glass: true, ..asking(Some("it is on fire")) };
    let unforced = RollbackRequest { force: false, ..to("1.0") };
    let event = back(&scene, &unforced, glass).await.unwrap();
    let overrode = event.break_glass.unwrap();
    assert!(overrode.contains("within an hour") && overrode.contains("not live since"), "{overrode}");
    assert_eq!(kinds_told(&scene).await, ["break_glass"]);
    scene.end(fresh).await;
}
