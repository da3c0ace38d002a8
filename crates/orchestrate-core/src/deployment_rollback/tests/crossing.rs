//! Rollbacks across what a release did to data.

use crate::automatic_rollback::Automatic;
use crate::data_change::{DataChange, Schema};
use crate::notification::NoticeKind;
use crate::rollback_event::RollbackStatus;
use crate::stage::{Stage, hook, settings, v};

use super::super::{Asking, RollbackRequest};

fn schema(reads: [u32; 2], writes: u32) -> DataChange {
    DataChange { schema: Some(Schema::new(reads, writes).unwrap()), irreversible: None }
}

fn irreversible(what: &str) -> DataChange {
    DataChange { schema: None, irreversible: Some(what.into()) }
}

async fn deploy(stage: &Stage, version: &str, data: DataChange) {
    stage.world.clock.advance(crate::time::Span::from_secs(60));
    let mut request = stage.to_deploy(version);
    request.contents.data = data;
    stage.executor().deploy(&request).await.unwrap();
}

async fn refused(stage: &Stage, request: &RollbackRequest, says: &str) {
    let before = stage.dump().await;
    let error = stage.rollback().rollback(request).await.unwrap_err();
    assert_eq!((error.code(), error.kind()), ("ORC-0140", crate::ErrorKind::Refused));
    assert!(error.to_string().ends_with(says), "{error}");
    assert_eq!(stage.dump().await, before);
    let preview = stage.rollback().preview(request, &Asking::by("ada")).await.unwrap();
    assert!(preview.blockers.iter().any(|blocker| blocker.ends_with(says)), "{:?}", preview.blockers);
}

#[tokio::test]
async fn a_release_that_cannot_read_what_was_written_is_not_gone_back_to() {
    let stage = Stage::new().await;
    deploy(&stage, "1.0", schema([3, 4], 4)).await;
    deploy(&stage, "1.1", schema([4, 5], 4)).await;
    deploy(&stage, "1.2", schema([4, 5], 5)).await;
    refused(&stage, &stage.back_to("1.0"), "1.2 writes schema 5, and 1.0 reads only 3 to 4").await;
    let ready = stage.rollback().readiness(&stage.environment).await.unwrap();
    assert_eq!((ready.ready, ready.target_version), (true, Some(v("1.1"))));
    stage.rollback().rollback(&stage.forced()).await.unwrap();
    assert_eq!(stage.live().await.as_deref(), Some("1.1"));
    // What 1.2 wrote is still there, although 1.1 is live by now.
    refused(&stage, &stage.forced(), "1.2 writes schema 5, and 1.0 reads only 3 to 4").await;
    let ready = stage.rollback().readiness(&stage.environment).await.unwrap();
    assert!(!ready.ready, "{ready:?}");
}

#[tokio::test]
async fn what_cannot_be_taken_back_is_not_crossed_wherever_it_lies_between() {
    let stage = Stage::new().await;
    stage.deploy("1.0").await;
    deploy(&stage, "1.1", irreversible("drops column email")).await;
    stage.deploy_all(&["1.2", "1.3"]).await;
    refused(&stage, &stage.back_to("1.0"), "1.1 cannot be taken back: drops column email").await;
    stage.rollback().rollback(&stage.forced()).await.unwrap();
    assert_eq!(stage.live().await.as_deref(), Some("1.2"), "nothing lies between 1.3 and 1.2");
    // Forward again, over nothing that 1.3 does not know.
    stage.undo().await.unwrap();
    // A release that was deployed again after it is past it.
    stage.deploy_all(&["1.0", "1.4"]).await;
    stage.rollback().rollback(&stage.back_to("1.0")).await.unwrap();
    assert_eq!(stage.live().await.as_deref(), Some("1.0"));
}

#[tokio::test]
async fn a_failed_release_that_never_ran_wrote_nothing() {
    let stage = Stage::new().await;
    stage.deploy_all(&["1.0", "1.1"]).await;
    stage.world.never_healthy(&v("1.2"));
    deploy(&stage, "1.2", irreversible("drops column email")).await;
    stage.rollback().rollback(&stage.back_to("1.0")).await.unwrap();
    assert_eq!(stage.live().await.as_deref(), Some("1.0"));
}

#[tokio::test]
async fn who_says_nothing_is_gone_back_to_with_a_remark() {
    let stage = Stage::new().await;
    stage.deploy("1.0").await;
    deploy(&stage, "1.1", schema([1, 1], 1)).await;
    let rolled = stage.rollback().rollback_as(&stage.forced(), &Asking::by("ada")).await.unwrap();
    assert_eq!(rolled.remarks, ["1.1 writes schema 1, and 1.0 does not say what it reads"]);
    assert_eq!(rolled.event.crossed, None);
}

#[tokio::test]
async fn a_person_who_says_why_goes_across_and_it_is_recorded() {
    let stage = Stage::new().await;
    stage.deploy("1.0").await;
    deploy(&stage, "1.1", irreversible("drops column email")).await;
    let says_why = Asking { reason: Some("the column is still there".into()), ..Asking::by("ada") };
    let unforced = stage.rollback().rollback_as(&stage.back(), &says_why).await.unwrap_err();
    assert_eq!(unforced.code(), "ORC-0104");
    let rolled = stage.rollback().rollback_as(&stage.forced(), &says_why).await.unwrap();
    assert_eq!(rolled.remarks, ["crosses a change of data: 1.1 cannot be taken back: drops column email"]);
    let recorded = stage.rollback().get_rollback(rolled.event.id).await.unwrap();
    assert_eq!(recorded.status, RollbackStatus::Completed);
    assert_eq!(recorded.crossed.as_deref(), Some("1.1 cannot be taken back: drops column email"));
    let audit = stage.db.list_audit(Some(&stage.environment), 1).await.unwrap();
    assert_eq!(audit[0].detail["crossed"], "1.1 cannot be taken back: drops column email");
}

#[tokio::test]
async fn by_itself_nothing_goes_across_and_a_person_is_told_once() {
    let told = hook("http://127.0.0.1:9/", &[NoticeKind::NeedsAttention]);
    let stage = Stage::with(settings(), &[told]).await;
    stage.deploy("1.0").await;
    stage.world.answers_wrongly(&v("1.1"));
    deploy(&stage, "1.1", irreversible("drops column email")).await;
    for _ in 0..2 {
        let held = stage.rollback().rollback_by_itself(&stage.current().await, false).await.unwrap();
        assert!(matches!(held, Automatic::Held(_)), "{held:?}");
    }
    assert_eq!(stage.live().await.as_deref(), Some("1.1"));
    let why = stage.current().await.automatic_hold.unwrap();
    assert!(why.ends_with("1.1 cannot be taken back: drops column email"), "{why}");
    let audit = stage.db.list_audit(Some(&stage.environment), 100).await.unwrap();
    assert_eq!(audit.iter().filter(|entry| entry.action == "automatic_rollback_held").count(), 1);
    let notices = stage.dump().await;
    assert_eq!(notices["outbox"].len(), 1, "{:?}", notices["outbox"]);
}

#[tokio::test]
async fn what_was_sealed_before_keeps_its_digest() {
    let stage = Stage::new().await;
    let contents = stage.contents("1.0");
    let mut sealed = serde_json::to_value(&contents).unwrap();
    assert!(
        sealed.as_object_mut().unwrap().remove("data").is_none(),
        "nothing is written where there is none"
    );
    let read: crate::release::Contents = serde_json::from_value(sealed).unwrap();
    assert_eq!(read.digest(), contents.digest());
    let declared = crate::release::Contents { data: irreversible("x"), ..contents.clone() };
    assert_ne!(declared.digest(), contents.digest());
}
