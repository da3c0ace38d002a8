//! The outbox: oldest first, at least once, and never before its time.

use orchestrate_core::Database;
use orchestrate_core::database::{NewNotice, OutboxStatus};
use orchestrate_core::notification::NoticeKind;

use super::scene::{Fresh, name, settings};
use super::{hook, time};

async fn enqueue(db: &Database, key: &str, at: i64) {
    let notice = NewNotice {
        key: key.to_owned(),
        environment: Some(name("production")),
        kind: NoticeKind::Test,
        channel: hook("http://x", &[NoticeKind::Test]),
        payload: serde_json::json!({ "text": key, "n": 1.5, "none": null }),
        rollback: None,
        subject: None,
        now: time(at),
    };
    db.enqueue_notice(&notice).await.unwrap();
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
    db.notice_failed(ids[0], "status 503", Some(time(60)), time(1)).await.unwrap();
    db.notice_failed(ids[1], "status 400", None, time(1)).await.unwrap();
    assert_eq!(due(&db, 59).await, ["c"]);
    assert_eq!(due(&db, 60).await, ["a", "c"]);
    let failed = db.due_notices(time(60), 1).await.unwrap().remove(0);
    assert_eq!((failed.attempts, failed.last_error.as_deref()), (1, Some("status 503")));
    assert_eq!(failed.next_attempt_at, Some(time(60)));
    assert_eq!(db.flush_notices(false, "ada", time(2)).await.unwrap(), 2);
    assert_eq!(due(&db, 0).await, ["a", "c"]);
    assert_eq!(db.flush_notices(true, "ada", time(2)).await.unwrap(), 3);
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
    db.notice_failed(id, "status 503", Some(time(60)), time(2)).await.unwrap();
    db.notice_failed(id, "status 400", None, time(2)).await.unwrap();
    db.notice_waits(id, "nobody has the key").await.unwrap();
    let delivered = db.list_notices(1).await.unwrap().remove(0);
    assert_eq!((delivered.status, delivered.last_error), (OutboxStatus::Delivered, None));
    assert!(db.list_audit(None, 10).await.unwrap().is_empty());
    fresh.clear_up(db).await;
}
