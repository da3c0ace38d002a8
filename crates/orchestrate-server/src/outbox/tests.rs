//! Real receivers on loopback, the real channels, and a clock that moves when it is told to.

use std::time::{Duration, Instant};

use orchestrate_core::database::{Database, DatabaseUrl, Flush, NewNotice, OutboxStatus};
use orchestrate_core::fakes::World;
use orchestrate_core::name::EnvironmentName;
use orchestrate_core::notification::{Channel, NoticeKind, Via};
use orchestrate_core::secrets::{KeyRing, KeySource, Look, SecretKey};
use orchestrate_core::time::Timestamp;
use orchestrate_notify::{ChannelNotifier, backoff};
use orchestrate_testkit::{Answer, Received, WebhookReceiver};
use tempfile::TempDir;
use tokio::sync::watch;
use tokio::task::JoinHandle;

use super::*;
use crate::{Bell, DaemonOptions, verdicts};

/// A deadline, not a duration.
const WITHIN: Duration = Duration::from_secs(60);

struct OneKey(SecretKey);

#[async_trait::async_trait]
impl KeySource for OneKey {
    async fn keys(&self, _: Look) -> Result<KeyRing> {
        Ok(KeyRing::new(self.0.clone()))
    }
}

/// A daemon that does nothing but deliver.
struct Post {
    daemon: Arc<Daemon>,
    world: World,
    task: JoinHandle<()>,
    _directory: TempDir,
}

impl Drop for Post {
    fn drop(&mut self) {
        self.task.abort();
    }
}

pub(crate) fn daemon(db: Database, world: &World, traces: crate::Traces) -> Arc<Daemon> {
    let options = DaemonOptions {
        socket: "unused".into(),
        wake: "unused".into(),
        db,
        ports: world.ports(),
        notifier: Arc::new(ChannelNotifier::new()),
        keys: Arc::new(OneKey(SecretKey::generate().unwrap())),
        backoff,
        metrics: None,
        traces,
        instances_changed: watch::channel(0).1,
        router_changed: watch::channel(0).1,
        router_status: Arc::new(|| serde_json::Value::Null),
        version: "0",
    };
    Arc::new(Daemon {
        started_at: options.ports.clock.now(),
        bell: Bell::default(),
        verdicts: verdicts::Verdicts::default(),
        telling: crate::traces::Telling::default(),
        farewell: watch::channel(None).0,
        options,
    })
}

impl Post {
    async fn start() -> Self {
        let directory = tempfile::tempdir().unwrap();
        let db = Database::open(&DatabaseUrl::Sqlite(directory.path().join("state.db"))).await.unwrap();
        let world = World::new(&db);
        let daemon = daemon(db, &world, crate::Traces::Off);
        let task = tokio::spawn(deliver(Arc::clone(&daemon)));
        Self { daemon, world, task, _directory: directory }
    }

    /// As after a kill: nothing of what was under way goes on.
    async fn restart(&mut self) {
        self.task.abort();
        let _ = (&mut self.task).await;
        self.task = tokio::spawn(deliver(Arc::clone(&self.daemon)));
    }

    fn now(&self) -> Timestamp {
        self.world.clock.read()
    }

    fn is_later_by(&self, span: Span) {
        self.world.clock.advance(span);
        self.daemon.bell.outbox.notify_one();
    }

    async fn writes(&self, channel: &Channel, kind: NoticeKind, key: &str) {
        // Two notices of the same instant do not follow one another.
        self.world.clock.advance(Span::from_millis(1));
        let notice = NewNotice {
            key: key.to_owned(),
            environment: Some(EnvironmentName::new("production").unwrap()),
            kind,
            channel: channel.clone(),
            payload: serde_json::json!({ "service": "shop", "environment": "production", "text": key }),
            subject: Some("rollback-1".into()),
            rollback: None,
            now: self.now(),
        };
        self.daemon.options.db.enqueue_notice(&notice).await.unwrap();
    }

    async fn record(&self, key: &str) -> OutboxRecord {
        let all = self.daemon.options.db.list_notices(100).await.unwrap();
        all.into_iter().find(|record| record.notice.key == key).unwrap()
    }

    /// Waits until it is so.
    async fn until(&self, key: &str, so: impl Fn(&OutboxRecord) -> bool) -> OutboxRecord {
        let deadline = Instant::now() + WITHIN;
        loop {
            let record = self.record(key).await;
            if so(&record) {
                return record;
            }
            assert!(Instant::now() < deadline, "{record:?}");
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    }

    async fn is_delivered(&self, key: &str) -> OutboxRecord {
        self.until(key, |record| record.status == OutboxStatus::Delivered).await
    }
}

fn hook(receiver: &WebhookReceiver) -> Channel {
    Channel::webhook(receiver.url(), &[])
}

fn ids(received: &[Received]) -> Vec<String> {
    received.iter().map(|one| one.header("webhook-id").to_owned()).collect()
}

#[tokio::test]
async fn a_receiver_that_was_down_for_a_day_hears_everything_once_and_in_order() {
    let (post, receiver) = (Post::start().await, WebhookReceiver::start().await.unwrap());
    receiver.answer(Answer::Drop);
    for key in ["a", "b", "c"] {
        post.writes(&hook(&receiver), NoticeKind::Rollback, key).await;
    }
    let (began, mut attempts) = (post.now(), 0);
    while post.now().millis_since(began) < 24 * 3_600_000 {
        let head = post.until("a", |record| record.attempts > attempts).await;
        attempts = head.attempts;
        let pause = head.next_attempt_at.unwrap().millis_since(post.now());
        post.is_later_by(Span::from_millis(pause));
    }
    assert!((20..=60).contains(&attempts), "{attempts} attempts in a day");
    assert!(ids(&receiver.received()).iter().all(|id| id == "a"), "who comes later waits");
    let before = receiver.received().len();
    receiver.answer(Answer::Status(200));
    let head = post
        .until("a", |record| record.attempts > attempts || record.status == OutboxStatus::Delivered)
        .await;
    if let Some(next) = head.next_attempt_at.filter(|_| head.status == OutboxStatus::Pending) {
        post.is_later_by(Span::from_millis(next.millis_since(post.now())));
    }
    for key in ["a", "b", "c"] {
        post.is_delivered(key).await;
    }
    let mut heard = ids(&receiver.received()[before..]);
    // The attempt that was under way when it came back may have been dropped still.
    heard.dedup();
    assert_eq!(heard, ["a", "b", "c"]);
    assert_eq!(ids(&receiver.received()).iter().filter(|id| *id != "a").count(), 2);
}

#[tokio::test]
async fn news_is_a_reason_to_try_a_receiver_again() {
    let (post, receiver) = (Post::start().await, WebhookReceiver::start().await.unwrap());
    receiver.answer_next([Answer::Status(503), Answer::Status(503), Answer::Status(503)]);
    post.writes(&hook(&receiver), NoticeKind::Rollback, "a").await;
    for attempts in 1..3 {
        let waits = post.until("a", |record| record.attempts == attempts).await;
        post.is_later_by(Span::from_millis(waits.next_attempt_at.unwrap().millis_since(post.now())));
    }
    let waits = post.until("a", |record| record.attempts == 3).await;
    post.is_later_by(Span::from_secs(31));
    assert!(waits.next_attempt_at.unwrap() > post.now());
    post.writes(&hook(&receiver), NoticeKind::Rollback, "b").await;
    post.is_delivered("b").await;
    assert_eq!(ids(&receiver.received()), ["a", "a", "a", "a", "b"]);
}

#[tokio::test]
async fn a_receiver_that_names_a_time_is_left_alone_until_then() {
    let (post, receiver) = (Post::start().await, WebhookReceiver::start().await.unwrap());
    let other = WebhookReceiver::start().await.unwrap();
    let headers = vec![("retry-after".to_owned(), "120".to_owned())];
    receiver.answer_next([Answer::Full { status: 429, headers, body: Default::default() }]);
    post.writes(&hook(&receiver), NoticeKind::Rollback, "a").await;
    let waits = post.until("a", |record| record.attempts == 1).await;
    let pause = waits.next_attempt_at.unwrap().millis_since(post.now());
    assert_eq!(pause, 120_000);
    // Not even news changes that; another receiver is not concerned.
    post.writes(&hook(&receiver), NoticeKind::Rollback, "b").await;
    post.is_later_by(Span::from_secs(119));
    post.writes(&hook(&other), NoticeKind::Rollback, "c").await;
    post.is_delivered("c").await;
    assert_eq!(receiver.received().len(), 1);
    post.is_later_by(Span::from_secs(1));
    post.is_delivered("b").await;
    assert_eq!(ids(&receiver.received()), ["a", "a", "b"]);
}

#[tokio::test]
async fn what_is_refused_for_ever_holds_nothing_up_and_can_be_sent_again() {
    let (post, receiver) = (Post::start().await, WebhookReceiver::start().await.unwrap());
    receiver.answer_next([Answer::Status(400)]);
    post.writes(&hook(&receiver), NoticeKind::Rollback, "a").await;
    let dead = post.until("a", |record| record.status == OutboxStatus::Dead).await;
    post.writes(&hook(&receiver), NoticeKind::Rollback, "b").await;
    post.is_delivered("b").await;
    let db = &post.daemon.options.db;
    let listed = db.list_dead_notices(10).await.unwrap();
    assert_eq!((listed.len(), listed[0].id), (1, dead.id));
    assert!(listed[0].last_error.as_deref().unwrap().contains("400"), "{listed:?}");
    db.flush_notices(Flush::One(dead.id), "ada", post.now()).await.unwrap();
    post.daemon.bell.outbox.notify_one();
    post.is_delivered("a").await;
    assert_eq!(ids(&receiver.received()), ["a", "b", "a"]);
}

#[tokio::test]
async fn a_slow_receiver_holds_up_no_other() {
    let (post, slow) = (Post::start().await, WebhookReceiver::start().await.unwrap());
    let quick = WebhookReceiver::start().await.unwrap();
    slow.answer(Answer::After(Duration::from_secs(600)));
    post.writes(&hook(&slow), NoticeKind::Rollback, "a").await;
    slow.await_received(1, WITHIN).await.unwrap();
    post.writes(&hook(&quick), NoticeKind::Rollback, "b").await;
    post.is_delivered("b").await;
    assert_eq!(post.record("a").await.status, OutboxStatus::Pending);
}

#[tokio::test]
async fn a_redirect_to_a_private_address_leads_nowhere() {
    let (post, receiver) = (Post::start().await, WebhookReceiver::start().await.unwrap());
    let private = WebhookReceiver::start().await.unwrap();
    let headers = vec![("location".to_owned(), private.url())];
    receiver.answer(Answer::Full { status: 307, headers, body: Default::default() });
    post.writes(&hook(&receiver), NoticeKind::Rollback, "a").await;
    let waits = post.until("a", |record| record.attempts == 1).await;
    assert!(waits.last_error.unwrap().contains("redirects are not followed"));
    assert!(private.received().is_empty());
}

#[tokio::test]
async fn a_kill_between_sending_and_noting_it_tells_again_by_the_same_key() {
    let (mut post, receiver) = (Post::start().await, WebhookReceiver::start().await.unwrap());
    receiver.answer_next([Answer::After(Duration::from_secs(600))]);
    post.writes(&hook(&receiver), NoticeKind::Rollback, "a").await;
    receiver.await_received(1, WITHIN).await.unwrap();
    post.restart().await;
    post.is_delivered("a").await;
    assert_eq!(ids(&receiver.received()), ["a", "a"]);
    post.restart().await;
    post.writes(&hook(&receiver), NoticeKind::Rollback, "b").await;
    post.is_delivered("b").await;
    assert_eq!(ids(&receiver.received()), ["a", "a", "b"], "what is noted is told no more");
}

#[tokio::test]
async fn the_thread_of_an_operation_outlives_a_restart() {
    let (mut post, receiver) = (Post::start().await, WebhookReceiver::start().await.unwrap());
    let body = br#"{"ok":true,"ts":"1700.25"}"#[..].into();
    receiver.answer(Answer::Full { status: 200, headers: Vec::new(), body });
    let mut channel = hook(&receiver);
    channel.via = Via::Slack { channel: Some("#ops".into()) };
    let values = [("token".to_owned(), orchestrate_core::secrets::SecretText::new("xoxb-1"))].into();
    let options = &post.daemon.options;
    options.db.keep_secrets(&*options.keys, SECRET_SCOPE, &values, "ada", post.now()).await.unwrap();
    let kept = orchestrate_core::notification::SecretRef { name: "token".into(), version: 1 };
    channel.secret = Some(kept);
    post.writes(&channel, NoticeKind::RollbackStarted, "a").await;
    post.is_delivered("a").await;
    post.restart().await;
    post.writes(&channel, NoticeKind::Rollback, "b").await;
    post.is_delivered("b").await;
    let said: Vec<serde_json::Value> =
        receiver.received().iter().map(|one| serde_json::from_slice(&one.body).unwrap()).collect();
    assert_eq!(said[0].get("thread_ts"), None);
    assert_eq!(said[1]["thread_ts"], "1700.25");
    assert_eq!(receiver.received()[0].header("authorization"), "Bearer xoxb-1");
}
