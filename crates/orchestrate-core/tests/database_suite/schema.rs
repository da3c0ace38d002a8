//! The schema: what the issue says of the rollback events, opening again, and a schema from the future.

use std::collections::BTreeMap;

use orchestrate_core::{Database, ErrorKind};
use sqlx::Row as _;

use super::scene::Fresh;

/// Name, whether it may be null, and its default, of every column.
async fn columns(fresh: &Fresh, table: &str) -> BTreeMap<String, (bool, Option<String>)> {
    let mut connection = fresh.connect().await;
    let sql = if fresh.dir.is_some() {
        format!(
            "SELECT name, \"notnull\" = 0 AND pk = 0 AS nullable, dflt_value AS dflt FROM pragma_table_info('{table}')"
        )
    } else {
        format!(
            "SELECT column_name::text AS name, (is_nullable = 'YES')::int AS nullable, column_default::text AS dflt \
             FROM information_schema.columns WHERE table_name = '{table}'"
        )
    };
    let rows = sqlx::query(sqlx::AssertSqlSafe(sql)).fetch_all(&mut connection).await.unwrap();
    rows.iter()
        .map(|row| {
            let nullable: i64 =
                row.try_get("nullable").unwrap_or_else(|_| i64::from(row.get::<i32, _>("nullable")));
            // PostgreSQL writes the type behind it.
            let default: Option<String> = row.get("dflt");
            let default = default.map(|text| text.split("::").next().unwrap_or_default().to_owned());
            (row.get("name"), (nullable == 1, default))
        })
        .collect()
}

async fn indexes(fresh: &Fresh, table: &str) -> Vec<String> {
    let mut connection = fresh.connect().await;
    let sql = if fresh.dir.is_some() {
        format!("SELECT name FROM sqlite_master WHERE type = 'index' AND tbl_name = '{table}' ORDER BY name")
    } else {
        format!(
            "SELECT indexname::text AS name FROM pg_indexes WHERE tablename = '{table}' ORDER BY indexname"
        )
    };
    let rows = sqlx::query(sqlx::AssertSqlSafe(sql)).fetch_all(&mut connection).await.unwrap();
    rows.iter().map(|row| row.get("name")).collect()
}

pub async fn rollback_event_schema(fresh: Fresh) {
    let db = fresh.open().await;
    let columns = columns(&fresh, "deployment_rollback_events").await;
    let told = |name: &str| {
        let (nullable, default) = columns.get(name).unwrap_or_else(|| panic!("no column {name}"));
        (*nullable, default.as_deref())
    };
    for name in ["deployment_id", "target_version", "rollback_type", "started_at", "created_at", "updated_at"]
    {
        assert_eq!(told(name), (false, None), "{name}");
    }
    assert!(!told("id").0);
    assert_eq!(told("status"), (false, Some("'pending'")));
    assert_eq!(told("notification_sent"), (false, Some("0")));
    assert_eq!(told("error_message"), (true, None));
    assert_eq!(told("completed_at"), (true, None));
    let indexes = indexes(&fresh, "deployment_rollback_events").await;
    for name in ["deployment_id", "status", "started_at", "notification_sent"] {
        let index = format!("idx_deployment_rollback_events_{name}");
        assert!(indexes.contains(&index), "{index} is not among {indexes:?}");
    }
    fresh.clear_up(db).await;
}

pub async fn opening_twice_finds_the_work_done(fresh: Fresh) {
    let first = fresh.open().await;
    let second = fresh.open().await;
    assert_eq!(first.backend(), second.backend());
    assert!(second.list_environments().await.unwrap().is_empty());
    first.close().await;
    fresh.clear_up(second).await;
}

pub async fn a_newer_schema_is_refused(fresh: Fresh) {
    fresh.open().await.close().await;
    fresh
        .sql(
            "INSERT INTO _sqlx_migrations (version, description, success, checksum, execution_time) \
             SELECT 999, 'future', success, checksum, execution_time FROM _sqlx_migrations WHERE version = 1",
        )
        .await;
    let error = Database::open(&fresh.url).await.unwrap_err();
    assert_eq!((error.code(), error.kind()), ("ORC-0403", ErrorKind::Refused));
    assert!(error.to_string().contains("has schema 999; this orchestrate knows schemas up to"), "{error}");
    fresh.sql("DELETE FROM _sqlx_migrations WHERE version = 999").await;
    let db = fresh.open().await;
    fresh.clear_up(db).await;
}
