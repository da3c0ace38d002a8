//! What is written to the outbox, and when a rollback counts as told.

use crate::database::{FailedAttempt, OperationStatus, OutboxRecord, OutboxStatus};
use crate::notification::NoticeKind;
use crate::stage::{Stage, hook, settings, v};
use crate::time::Span;

use super::super::Asking;

async fn of_rollbacks(stage: &Stage) -> Vec<OutboxRecord> {
    let mut notices = stage.db.list_notices(100).await.unwrap();
    notices.retain(|record| record.rollback.is_some());
    notices.reverse();
    notices
}

#[tokio::test]
async fn a_rollback_is_told_to_those_who_want_it_and_counts_as_told_once_all_accepted() {
    let channels = [
        hook("http://all", &[]),
        hook("http://rollbacks", &[NoticeKind::Rollback]),
        hook("http://failures", &[NoticeKind::RollbackFailed, NoticeKind::DeploymentFailed]),
    ];
    let stage = Stage::with(settings(), &channels).await;
    stage.deploy_all(&["1.0", "1.1"]).await;
    let asking = Asking { reason: Some("slow".into()), ..Asking::by("ada") };
    let rolled = stage.rollback().rollback_as(&stage.forced(), &asking).await.unwrap();
    assert!(!rolled.event.notification_sent);
    let notices = of_rollbacks(&stage).await;
    let [first, second] = &notices[..] else { panic!("{notices:?}") };
    assert_eq!(first.notice.channel, channels[0]);
    assert_eq!(second.notice.channel, channels[1]);
    assert_ne!(first.notice.key, second.notice.key);
    assert_eq!(first.notice.kind, NoticeKind::Rollback);
    assert_eq!(
        first.notice.payload["text"],
        "shop in production was rolled back from 1.1 to 1.0 by ada: slow"
    );
    assert_eq!(first.notice.payload["target_version"], "1.0");
    assert_eq!(first.notice.payload["service"], "shop");
    assert_eq!(first.notice.payload["status"], "completed");

    let (id, now) = (rolled.event.id, stage.world.clock.read());
    let sent = async || stage.rollback().get_rollback(id).await.unwrap().notification_sent;
    stage.db.notice_delivered(first.id, first.rollback, None, now).await.unwrap();
    assert!(!sent().await, "one has not accepted it yet");
    stage
        .db
        .notice_failed(second.id, FailedAttempt { error: "status 503", next: Some(now), wished: false }, now)
        .await
        .unwrap();
    assert!(!sent().await);
    stage.db.notice_delivered(second.id, second.rollback, None, now).await.unwrap();
    assert!(sent().await);
}

#[tokio::test]
async fn a_rollback_that_nobody_wants_to_hear_of_is_not_told() {
    let stage = Stage::with(settings(), &[hook("http://x", &[NoticeKind::NeedsAttention])]).await;
    stage.deploy_all(&["1.0", "1.1"]).await;
    let event = stage.rollback().rollback(&stage.forced()).await.unwrap();
    assert!(of_rollbacks(&stage).await.is_empty());
    assert!(!event.notification_sent);
}

#[tokio::test]
async fn a_failed_rollback_and_one_that_needs_attention_are_told_as_such() {
    let stage = Stage::with(settings(), &[hook("http://all", &[])]).await;
    stage.deploy_all(&["1.0", "1.1", "1.2"]).await;
    stage.world.never_healthy(&v("1.0"));
    stage.rollback().rollback(&stage.back_to("1.0")).await.unwrap_err();
    stage.world.answers_wrongly(&v("1.1"));
    stage.rollback().rollback(&stage.forced()).await.unwrap_err();
    let told: Vec<_> = of_rollbacks(&stage).await.into_iter().map(|record| record.notice.kind).collect();
    assert_eq!(told, [NoticeKind::RollbackFailed, NoticeKind::NeedsAttention]);
    // Finished later, it is told again, as what it became.
    stage.world.answers_rightly(&v("1.1"));
    stage.executor().resume(&stage.environment, "bob").await.unwrap();
    let last = of_rollbacks(&stage).await.pop().unwrap();
    assert_eq!((last.notice.kind, last.status), (NoticeKind::Rollback, OutboxStatus::Pending));
}

#[tokio::test]
async fn a_notice_that_was_given_up_on_is_not_told() {
    let stage = Stage::with(settings(), &[hook("http://a", &[]), hook("http://b", &[])]).await;
    stage.deploy_all(&["1.0", "1.1"]).await;
    let event = stage.rollback().rollback(&stage.forced()).await.unwrap();
    let notices = of_rollbacks(&stage).await;
    stage
        .db
        .notice_failed(
            notices[0].id,
            FailedAttempt { error: "status 400", next: None, wished: false },
            event.started_at,
        )
        .await
        .unwrap();
    stage.db.notice_delivered(notices[1].id, notices[1].rollback, None, event.started_at).await.unwrap();
    assert!(!stage.rollback().get_rollback(event.id).await.unwrap().notification_sent);
}

#[tokio::test]
async fn every_effect_is_in_the_audit_trail() {
    let stage = Stage::new().await;
    stage.deploy_all(&["1.0", "1.1"]).await;
    stage.rollback().rollback(&stage.forced()).await.unwrap();
    let mut actions: Vec<_> = stage
        .db
        .list_audit(Some(&stage.environment), 100)
        .await
        .unwrap()
        .into_iter()
        .map(|record| record.action)
        .collect();
    actions.reverse();
    assert_eq!(
        actions,
        [
            "environment_created",
            "release_sealed",
            "deployment_started",
            "deployment_completed",
            "release_sealed",
            "deployment_started",
            "deployment_completed",
            "rollback_started",
            "rollback_completed",
        ]
    );
}

#[tokio::test]
async fn what_needs_attention_is_tried_again_by_itself_ever_less_often_and_told_once() {
    let stage = Stage::with(settings(), &[hook("http://all", &[])]).await;
    stage.deploy_all(&["1.0", "1.1"]).await;
    stage.world.answers_wrongly(&v("1.0"));
    stage.rollback().rollback(&stage.forced()).await.unwrap_err();
    let executor = stage.executor();
    let open = async || stage.db.open_operation(&stage.environment).await.unwrap().unwrap();
    let mut waited = Vec::new();
    for _ in 0..4 {
        let mut seconds = 0;
        while !executor.is_left_open(&open().await).await.unwrap() {
            stage.world.clock.advance(Span::from_secs(1));
            seconds += 1;
        }
        waited.push(seconds);
        executor.resume(&stage.environment, "daemon").await.unwrap();
        assert_eq!(open().await.status, OperationStatus::NeedsAttention);
    }
    assert!(waited[0] <= 5 && waited.is_sorted() && waited[3] >= 4 * waited[0], "{waited:?}");
    let told: Vec<_> = of_rollbacks(&stage).await.into_iter().map(|record| record.notice.kind).collect();
    assert_eq!(told, [NoticeKind::NeedsAttention]);

    stage.world.answers_rightly(&v("1.0"));
    executor.resume(&stage.environment, "daemon").await.unwrap();
    assert_eq!(stage.live().await.as_deref(), Some("1.0"));
    assert_eq!(stage.db.open_operation(&stage.environment).await.unwrap(), None);
}

#[tokio::test]
async fn beginnings_are_told_to_who_names_them_and_hang_together_with_their_ends() {
    let beginnings = [NoticeKind::DeploymentStarted, NoticeKind::RollbackStarted];
    let all = [beginnings[0], NoticeKind::Deployment, beginnings[1], NoticeKind::Rollback];
    let stage = Stage::with(settings(), &[hook("http://all", &all)]).await;
    stage.deploy_all(&["1.0", "1.1"]).await;
    stage.rollback().rollback_as(&stage.forced(), &Asking::by("ada")).await.unwrap();
    let mut told = stage.db.list_notices(100).await.unwrap();
    told.reverse();
    let shown: Vec<_> =
        told.iter().map(|record| (record.notice.kind, record.subject.as_deref().unwrap())).collect();
    assert_eq!(
        shown,
        [
            (all[0], "deployment-1"),
            (all[1], "deployment-1"),
            (all[0], "deployment-2"),
            (all[1], "deployment-2"),
            (all[2], "rollback-1"),
            (all[3], "rollback-1"),
        ]
    );
    let text = |at: usize| told[at].notice.payload["text"].as_str().unwrap();
    assert_eq!(text(0), "shop in production: 1.0 is being deployed by ada");
    assert_eq!(text(4), "shop in production is being rolled back from 1.1 to 1.0 by ada");
    assert!(told[4].rollback.is_none(), "that it began does not count as told of its end");
    let first: Vec<_> = [1, 3].map(|at: usize| told[at].notice.payload["first"].clone()).into();
    assert_eq!(first, [true, false]);
}
