//! The long history is made on the real schema.

use super::*;

async fn schema(path: &Path) -> SqliteConnection {
    let options = SqliteConnectOptions::new().filename(path).create_if_missing(true);
    let mut connection = SqliteConnection::connect_with(&options).await.unwrap();
    let directory = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../migrations");
    let entries = std::fs::read_dir(directory).unwrap().map(|entry| entry.unwrap().path());
    let mut files: Vec<_> = entries.filter(|path| path.extension().is_some_and(|end| end == "sql")).collect();
    files.sort();
    for file in files {
        let text = std::fs::read_to_string(file).unwrap();
        sqlx::raw_sql(sqlx::AssertSqlSafe(text)).execute(&mut connection).await.unwrap();
    }
    connection
}

/// A row with something in every column that must not be null and that `given` does not name.
async fn insert(connection: &mut SqliteConnection, table: &str, given: &[(&str, &str)]) {
    let rows = sqlx::query("SELECT name FROM pragma_table_info(?) WHERE \"notnull\" AND dflt_value IS NULL")
        .bind(table)
        .fetch_all(&mut *connection)
        .await
        .unwrap();
    let mut columns: Vec<(String, String)> =
        given.iter().map(|(name, value)| ((*name).to_owned(), format!("'{value}'"))).collect();
    for row in rows {
        let name: String = row.get(0);
        if !given.iter().any(|(known, _)| *known == name) {
            columns.push((name, "'1'".to_owned()));
        }
    }
    let (names, values): (Vec<_>, Vec<_>) = columns.into_iter().unzip();
    let sql = format!("INSERT INTO {table} ({}) VALUES ({})", names.join(", "), values.join(", "));
    sqlx::query(sqlx::AssertSqlSafe(sql)).execute(connection).await.unwrap();
}

async fn number(connection: &mut SqliteConnection, sql: &'static str) -> i64 {
    sqlx::query(sql).fetch_one(connection).await.unwrap().get(0)
}

#[tokio::test]
async fn a_history_is_as_long_as_was_asked_and_hangs_together() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("orchestrate.db");
    let mut connection = schema(&path).await;
    insert(&mut connection, "environments", &[("name", "production"), ("lineage", "1")]).await;
    let release = [("id", "1"), ("environment", "production"), ("version", FIRST), ("lineage", "1")];
    insert(&mut connection, "releases", &release).await;
    let deployment = [("id", "1"), ("environment", "production"), ("release_id", "1"), ("version", FIRST)];
    insert(&mut connection, "deployments", &deployment).await;
    let operation = [("environment", "production"), ("deployment_id", "1"), ("status", "completed")];
    insert(&mut connection, "operations", &operation).await;
    insert(&mut connection, "audit", &[("hash", "00")]).await;

    add_history(&path, 1_000).await.unwrap();

    for sql in [
        "SELECT count(*) FROM releases",
        "SELECT count(*) FROM deployments",
        "SELECT count(*) FROM operations",
        "SELECT count(*) FROM audit",
        "SELECT lineage FROM environments",
        "SELECT count(*) FROM deployments d JOIN releases r ON r.id = d.release_id AND r.version = d.version",
        "SELECT count(DISTINCT content_digest) FROM releases",
        "SELECT count(DISTINCT o.deployment_id) FROM operations o JOIN deployments d ON d.id = o.deployment_id",
    ] {
        assert_eq!(number(&mut connection, sql).await, 1_001, "{sql}");
    }
    add_history(&path, 0).await.unwrap();
    assert_eq!(number(&mut connection, "SELECT count(*) FROM deployments").await, 1_001);
}
