//! Secrets: equal values keep their version, and what is stored says nothing.

use std::collections::BTreeMap;

use orchestrate_core::secrets::{SecretKey, SecretText};
use sqlx::Row as _;

use super::scene::Fresh;
use super::time;

pub async fn secrets_keep_their_versions(fresh: Fresh) {
    let db = fresh.open().await;
    let (key, other) = (SecretKey::generate().unwrap(), SecretKey::generate().unwrap());
    let of = |pairs: &[(&str, &str)]| -> BTreeMap<String, SecretText> {
        pairs.iter().map(|(name, value)| ((*name).to_owned(), SecretText::new(*value))).collect()
    };
    let keep = async |key: &SecretKey, pairs: &[(&str, &str)]| {
        db.keep_secrets(key, "production", &of(pairs), "ada", time(0)).await.unwrap()
    };
    let versions = |pairs: &[(&str, i64)]| -> BTreeMap<String, i64> {
        pairs.iter().map(|(name, version)| ((*name).to_owned(), *version)).collect()
    };
    assert_eq!(keep(&key, &[]).await, versions(&[]));
    assert_eq!(keep(&key, &[("A", "hunter2"), ("B", "")]).await, versions(&[("A", 1), ("B", 1)]));
    assert_eq!(keep(&key, &[("A", "hunter2")]).await, versions(&[("A", 1)]));
    assert_eq!(keep(&key, &[("A", "hunter3")]).await, versions(&[("A", 2)]));
    assert_eq!(keep(&key, &[("A", "hunter2")]).await, versions(&[("A", 3)]), "only the newest is compared");
    assert_eq!(
        keep(&other, &[("A", "hunter2")]).await,
        versions(&[("A", 4)]),
        "an unreadable one has changed"
    );

    assert_eq!(db.secret(&key, "production", "A", 1).await.unwrap().expose(), "hunter2");
    assert_eq!(db.secret(&key, "production", "A", 2).await.unwrap().expose(), "hunter3");
    assert_eq!(db.secret(&key, "production", "A", 4).await.unwrap_err().code(), "ORC-0211");
    assert_eq!(db.secret(&key, "production", "A", 9).await.unwrap_err().code(), "ORC-0212");
    assert_eq!(db.secret(&key, "staging", "A", 1).await.unwrap_err().code(), "ORC-0212");
    let opened = db.open_secrets(&key, "production", &versions(&[("A", 2), ("B", 1)])).await.unwrap();
    assert_eq!(opened, of(&[("A", "hunter3"), ("B", "")]));

    let mut connection = fresh.connect().await;
    let rows = sqlx::query("SELECT sealed FROM secrets").fetch_all(&mut connection).await.unwrap();
    assert_eq!(rows.len(), 5);
    for row in rows {
        let sealed: Vec<u8> = row.get("sealed");
        assert!(!sealed.windows(6).any(|part| part == b"hunter"));
    }
    drop(connection);
    fresh.clear_up(db).await;
}
