//! The database suite on PostgreSQL.

#![expect(clippy::unwrap_used, reason = "a test that cannot set its scene has failed")]

mod database_suite;

use std::sync::atomic::{AtomicUsize, Ordering};

use database_suite::{Fresh, run_suite};
use orchestrate_core::Database;
use orchestrate_core::database::DatabaseUrl;
use sqlx::Connection as _;

const VARIABLE: &str = "ORCHESTRATE_TEST_POSTGRES_URL";

/// A database of its own for every test.
async fn fresh() -> Fresh {
    static NUMBER: AtomicUsize = AtomicUsize::new(0);
    let server = std::env::var(VARIABLE).unwrap_or_else(|_| {
        panic!(
            "{VARIABLE} is not set: run `make test`, which starts PostgreSQL, \
             or `scripts/with-postgres cargo test -p orchestrate-core --test postgres`"
        )
    });
    let name = format!("suite_{}_{}", std::process::id(), NUMBER.fetch_add(1, Ordering::Relaxed));
    sqlx::any::install_default_drivers();
    let mut connection = sqlx::AnyConnection::connect(&server).await.unwrap();
    sqlx::query(sqlx::AssertSqlSafe(format!("CREATE DATABASE {name}")))
        .execute(&mut connection)
        .await
        .unwrap();
    connection.close().await.unwrap();
    let (host, _) = server.rsplit_once('/').unwrap();
    let raw = format!("{host}/{name}");
    Fresh { url: DatabaseUrl::parse(&raw).unwrap(), raw, dir: None }
}

run_suite!(crate::fresh);

#[tokio::test]
async fn every_earlier_schema_is_brought_up_to_date() {
    database_suite::every_earlier_schema_is_brought_up_to_date(fresh().await, fresh).await;
}

#[tokio::test]
async fn every_earlier_schema_is_brought_up_to_date_under_load() {
    database_suite::it_is_brought_up_to_date_under_load(fresh().await, fresh).await;
}

#[tokio::test]
async fn a_server_that_is_not_there_is_told_without_the_password() {
    let socket = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let port = socket.local_addr().unwrap().port();
    drop(socket);
    let url =
        DatabaseUrl::parse(&format!("postgres://me:hunter2@127.0.0.1:{port}/x?sslmode=disable")).unwrap();
    let error = Database::open(&url).await.unwrap_err();
    assert_eq!(error.code(), "ORC-0406");
    assert_eq!(error.to_string(), format!("the database postgres://127.0.0.1:{port}/x cannot be reached"));
    assert!(!error.full_message().contains("hunter2") && !format!("{error:?}").contains("hunter2"));
}
