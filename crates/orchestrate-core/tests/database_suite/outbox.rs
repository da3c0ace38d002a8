//! The outbox: oldest first, at least once, and never before its time.

use orchestrate_core::Database;
use orchestrate_core::database::{FailedAttempt, Flush, NewNotice, OutboxStatus};
use orchestrate_core::notification::NoticeKind;
use orchestrate_core::ports::Receipt;
use orchestrate_core::time::Timestamp;

use super::scene::{Fresh, name, settings};
use super::{hook, time};

/// To a channel of its own, so that it waits for no other.
async fn enqueue(db: &Database, key: &str, at: i64) {
    enqueue_to(db, &format!("http://{key}"), key, at).await;
}

async fn enqueue_to(db: &Database, url: &str, key: &str, at: i64) {
    let notice = NewNotice {
        key: key.to_owned(),
        environment: Some(name("production")),
        kind: NoticeKind::Test,
        channel: hook(url, &[NoticeKind::Test]),
        payload: serde_json::json!({ "text": key, "n": 1.5, "none": null }),
        subject: Some("deployment-1".to_owned()),
        rollback: None,
        now: time(at),
    };
    db.enqueue_notice(&notice).await.unwrap();
}

fn failed(error: &str, next: Option<Timestamp>) -> FailedAttempt<'_> {
    FailedAttempt { error, next, wished: false }
}

async fn due(db: &Database, at: i64) -> Vec<String> {
    db.due_notices(time(at), 10).await.unwrap().into_iter().map(|record| record.notice.key).collect()
}

async fn ids(db: &Database) -> Vec<i64> {
    let mut ids: Vec<_> = db.list_notices(10).await.unwrap().into_iter().map(|record| record.id).collect();
    ids.reverse();
    ids
}

pub async fn notices_are_delivered_in_order(fresh: Fresh) {
    let db = fresh.open().await;
    db.apply_environment(&name("production"), "shop", &settings(), &[], "ada", time(0)).await.unwrap();
    assert_eq!(db.next_notice_at().await.unwrap(), None);
    for (key, at) in [("a", 3), ("b", 1), ("c", 2), ("a", 9)] {
        enqueue(&db, key, at).await;
    }
    assert_eq!(due(&db, 0).await, ["a", "b", "c"], "a key is written once, and the order is that of writing");
    assert_eq!(db.due_notices(time(0), 2).await.unwrap().len(), 2);
    assert_eq!(db.next_notice_at().await.unwrap(), Some(time(1)));
    let record = db.due_notices(time(0), 1).await.unwrap().remove(0);
    assert_eq!(record.notice.payload, serde_json::json!({ "text": "a", "n": 1.5, "none": null }));
    assert_eq!((record.status, record.attempts), (OutboxStatus::Pending, 0));
    assert_eq!(record.environment, Some(name("production")));

    db.notice_delivered(record.id, None, None, time(5)).await.unwrap();
    assert_eq!(due(&db, 5).await, ["b", "c"]);
    let delivered = db.list_notices(10).await.unwrap().pop().unwrap();
    assert_eq!((delivered.status, delivered.attempts), (OutboxStatus::Delivered, 1));
    assert_eq!(delivered.delivered_at, Some(time(5)));
    let counts = db.count_notices().await.unwrap();
    assert_eq!(counts, [(OutboxStatus::Delivered, 1), (OutboxStatus::Pending, 2)]);
    fresh.clear_up(db).await;
}

pub async fn notices_wait_for_their_time(fresh: Fresh) {
    let db = fresh.open().await;
    for (key, at) in [("a", 0), ("b", 0), ("c", 0)] {
        enqueue(&db, key, at).await;
    }
    let ids = ids(&db).await;
    db.notice_failed(ids[0], failed("status 503", Some(time(60))), time(1)).await.unwrap();
    db.notice_failed(ids[1], failed("status 400", None), time(1)).await.unwrap();
    assert_eq!(due(&db, 59).await, ["c"]);
    assert_eq!(due(&db, 60).await, ["a", "c"]);
    let failed = db.due_notices(time(60), 1).await.unwrap().remove(0);
    assert_eq!((failed.attempts, failed.last_error.as_deref()), (1, Some("status 503")));
    assert_eq!(failed.next_attempt_at, Some(time(60)));
    assert_eq!(db.flush_notices(Flush::Pending, "ada", time(2)).await.unwrap(), 2);
    assert_eq!(due(&db, 0).await, ["a", "c"]);
    assert_eq!(db.flush_notices(Flush::Dead, "ada", time(2)).await.unwrap(), 3);
    assert_eq!(due(&db, 0).await, ["a", "b", "c"]);
    fresh.clear_up(db).await;
}

pub async fn a_late_word_changes_nothing(fresh: Fresh) {
    let db = fresh.open().await;
    enqueue(&db, "a", 0).await;
    let id = ids(&db).await[0];
    assert!(db.is_due(id, time(0)).await.unwrap());
    db.notice_waits(id, "nobody has the key").await.unwrap();
    let waits = db.list_notices(1).await.unwrap().remove(0);
    assert_eq!((waits.attempts, waits.last_error.as_deref()), (0, Some("nobody has the key")));
    db.notice_delivered(id, None, None, time(1)).await.unwrap();
    assert!(!db.is_due(id, time(1)).await.unwrap());
    // Somebody who slept for long tells of an attempt that failed.
    db.notice_failed(id, failed("status 503", Some(time(60))), time(2)).await.unwrap();
    db.notice_failed(id, failed("status 400", None), time(2)).await.unwrap();
    db.notice_waits(id, "nobody has the key").await.unwrap();
    let delivered = db.list_notices(1).await.unwrap().remove(0);
    assert_eq!((delivered.status, delivered.last_error), (OutboxStatus::Delivered, None));
    assert!(db.list_audit(None, 10).await.unwrap().is_empty());
    fresh.clear_up(db).await;
}

pub async fn notices_of_a_lane_wait_for_one_another(fresh: Fresh) {
    let db = fresh.open().await;
    for (key, url, at) in [("a1", "http://a", 1), ("b1", "http://b", 1), ("a2", "http://a", 1)] {
        enqueue_to(&db, url, key, at).await;
    }
    assert_eq!(due(&db, 1).await, ["a1", "b1"]);
    let ids = ids(&db).await;
    db.notice_failed(ids[0], failed("status 503", Some(time(60))), time(2)).await.unwrap();
    assert_eq!(due(&db, 3).await, ["b1"], "the second waits behind the first");
    assert!(!db.is_due(ids[2], time(3)).await.unwrap() && !db.is_due(ids[0], time(3)).await.unwrap());
    db.notice_delivered(ids[1], None, None, time(3)).await.unwrap();
    assert_eq!(db.next_notice_at().await.unwrap(), Some(time(60)), "who waits behind another wakes nobody");
    // News for a receiver is a reason to try it again, in the old order.
    enqueue_to(&db, "http://a", "a3", 4).await;
    assert_eq!(due(&db, 31).await, [""; 0], "it was tried just now");
    assert_eq!(due(&db, 32).await, ["a1"]);
    assert!(db.is_due(ids[0], time(32)).await.unwrap() && !db.is_due(ids[0], time(31)).await.unwrap());
    db.notice_failed(ids[0], failed("status 503", Some(time(90))), time(33)).await.unwrap();
    assert_eq!(due(&db, 80).await, [""; 0], "what was there at the last attempt is no news");
    // Unless the receiver itself asked for a pause.
    let wished = FailedAttempt { error: "status 429", next: Some(time(180)), wished: true };
    db.notice_failed(ids[0], wished, time(90)).await.unwrap();
    enqueue_to(&db, "http://a", "a4", 91).await;
    assert_eq!(due(&db, 179).await, [""; 0]);
    assert_eq!(due(&db, 180).await, ["a1"]);
    db.notice_failed(ids[0], failed("status 400", None), time(181)).await.unwrap();
    assert_eq!(due(&db, 181).await, ["a2"], "what is given up on holds nothing up");
    fresh.clear_up(db).await;
}

pub async fn one_notice_is_sent_again(fresh: Fresh) {
    let db = fresh.open().await;
    for (key, at) in [("a", 0), ("b", 0), ("c", 0)] {
        enqueue(&db, key, at).await;
    }
    let ids = ids(&db).await;
    for id in &ids[..2] {
        db.notice_failed(*id, failed("status 400", None), time(1)).await.unwrap();
    }
    db.notice_delivered(ids[2], None, None, time(3)).await.unwrap();
    let dead: Vec<_> = db.list_dead_notices(10).await.unwrap().into_iter().map(|record| record.id).collect();
    assert_eq!(dead, [ids[1], ids[0]], "newest first");
    assert_eq!(db.flush_notices(Flush::One(ids[1]), "ada", time(4)).await.unwrap(), 1);
    assert_eq!(due(&db, 4).await, ["b"]);
    let again = db.due_notices(time(4), 1).await.unwrap().remove(0);
    assert_eq!(again.attempts, 0, "what is sent again has all its attempts before it");
    for (id, wanted) in [(ids[2], "accepted already at "), (9_999, "there is no notice 9999")] {
        let error = db.flush_notices(Flush::One(id), "ada", time(4)).await.unwrap_err();
        assert_eq!(error.code(), "ORC-0134");
        assert!(error.to_string().contains(wanted), "{error}");
    }
    fresh.clear_up(db).await;
}

pub async fn a_thread_is_known_by_what_its_first_notice_is_called(fresh: Fresh) {
    let db = fresh.open().await;
    for (key, url) in [("a1", "http://a"), ("a2", "http://a"), ("b1", "http://b")] {
        enqueue_to(&db, url, key, 0).await;
    }
    let records = db.list_notices(10).await.unwrap();
    let record = |key: &str| records.iter().find(|record| record.notice.key == key).unwrap();
    let (first, second, other) = (record("a1"), record("a2"), record("b1"));
    assert_eq!(db.thread_of(second).await.unwrap(), None);
    let called = Receipt("1700.1".to_owned());
    db.notice_delivered(first.id, None, Some(&called), time(1)).await.unwrap();
    assert_eq!(db.thread_of(second).await.unwrap(), Some(called));
    assert_eq!(db.thread_of(other).await.unwrap(), None, "another channel has another thread");
    fresh.clear_up(db).await;
}
