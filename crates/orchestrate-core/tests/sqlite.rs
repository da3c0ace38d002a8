//! The database suite on SQLite, and what only a file can do wrong.

#![expect(clippy::unwrap_used, reason = "a test that cannot set its scene has failed")]

mod database_suite;

use std::io::{Seek as _, SeekFrom, Write as _};
use std::os::unix::fs::PermissionsExt as _;
use std::time::Duration;

use database_suite::{Fresh, run_suite};
use orchestrate_core::Database;
use orchestrate_core::database::{DatabaseUrl, backup};
use orchestrate_core::name::EnvironmentName;
use sqlx::Row as _;

async fn fresh() -> Fresh {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("orchestrate.db");
    let raw = format!("sqlite://{}?mode=rwc", path.display());
    Fresh { url: DatabaseUrl::Sqlite(path), raw, dir: Some(dir) }
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
async fn its_files_are_readable_by_their_owner_only() {
    let fresh = fresh().await;
    let db = fresh.open().await;
    let dir = fresh.dir.as_ref().unwrap().path();
    let mut seen = 0;
    for entry in std::fs::read_dir(dir).unwrap() {
        let entry = entry.unwrap();
        let mode = entry.metadata().unwrap().permissions().mode() & 0o777;
        assert_eq!(mode, 0o600, "{:?}", entry.file_name());
        seen += 1;
    }
    assert!(seen >= 2, "the database and its log");
    fresh.clear_up(db).await;
}

#[tokio::test]
async fn it_is_durable_and_looks_after_its_references() {
    let fresh = fresh().await;
    let db = fresh.open().await;
    let mut connection = fresh.connect().await;
    let row = sqlx::query("PRAGMA journal_mode").fetch_one(&mut connection).await.unwrap();
    assert_eq!(row.get::<String, _>(0), "wal");
    drop(connection);
    let error = db
        .create_deployment_rollback_event(&orchestrate_core::rollback_event::NewRollbackEvent {
            deployment_id: orchestrate_core::name::DeploymentId(77),
            environment: EnvironmentName::new("production").unwrap(),
            from_version: orchestrate_core::name::Version::new("1.1").unwrap(),
            from_release: orchestrate_core::name::ReleaseId(1),
            target_version: orchestrate_core::name::Version::new("1.0").unwrap(),
            target_release: orchestrate_core::name::ReleaseId(2),
            rollback_type: orchestrate_core::RollbackType::Previous,
            path: orchestrate_core::rollback_event::RollbackPath::Cold,
            started_at: orchestrate_core::time::Timestamp::from_millis(0),
            actor: "ada".into(),
            reason: None,
            trigger: orchestrate_core::rollback_event::Trigger::Manual,
            evidence: Vec::new(),
            undoes: None,
        })
        .await
        .unwrap_err();
    assert!(error.full_message().contains("FOREIGN KEY"), "{}", error.full_message());
    fresh.clear_up(db).await;
}

#[tokio::test]
async fn a_database_that_another_program_locks_is_told_after_a_while() {
    let fresh = fresh().await;
    let db = fresh.open().await;
    let mut other = fresh.connect().await;
    sqlx::query("BEGIN IMMEDIATE").execute(&mut other).await.unwrap();
    let (place, now) = (EnvironmentName::new("production").unwrap(), database_time());
    let begun = std::time::Instant::now();
    let error = db.apply_environment(&place, "shop", &Default::default(), &[], "ada", now).await.unwrap_err();
    assert_eq!(error.code(), "ORC-0401", "{error:?}");
    assert!(begun.elapsed() >= Duration::from_secs(4), "it waited for the other one");
    assert!(db.list_environments().await.unwrap().is_empty(), "reading goes on");
    sqlx::query("ROLLBACK").execute(&mut other).await.unwrap();
    assert!(db.apply_environment(&place, "shop", &Default::default(), &[], "ada", now).await.unwrap());
    drop(other);
    fresh.clear_up(db).await;
}

fn database_time() -> orchestrate_core::time::Timestamp {
    orchestrate_core::time::Timestamp::from_millis(1_700_000_000_000)
}

#[tokio::test]
async fn a_file_that_is_no_database_or_a_damaged_one_is_told() {
    let broken = fresh().await;
    let DatabaseUrl::Sqlite(path) = &broken.url else { panic!() };
    std::fs::write(path, b"this is not a database, but it is long enough to be read as one".repeat(20))
        .unwrap();
    let error = Database::open(&broken.url).await.unwrap_err();
    assert_eq!(error.code(), "ORC-0402", "{error:?}");

    let damaged = fresh().await;
    damaged.open().await.close().await;
    let DatabaseUrl::Sqlite(path) = &damaged.url else { panic!() };
    let mut file = std::fs::OpenOptions::new().write(true).open(path).unwrap();
    file.seek(SeekFrom::Start(100)).unwrap();
    file.write_all(&[0xff; 16 * 1024]).unwrap();
    drop(file);
    let error = match Database::open(&damaged.url).await {
        Ok(db) => db.check_integrity().await.unwrap_err(),
        Err(error) => error,
    };
    assert_eq!(error.code(), "ORC-0402", "{error:?}");
}

#[tokio::test]
async fn a_place_that_cannot_be_written_is_told() {
    let dir = tempfile::tempdir().unwrap();
    // Permissions do not bind root, but these bind everyone: a missing directory, a file as directory, a directory.
    std::fs::write(dir.path().join("file"), b"").unwrap();
    for path in
        [dir.path().join("missing/orchestrate.db"), dir.path().join("file/orchestrate.db"), dir.path().into()]
    {
        let error = Database::open(&DatabaseUrl::Sqlite(path.clone())).await.unwrap_err();
        assert_eq!(error.code(), "ORC-0404", "{error:?}");
        let message = format!("the database {} cannot be opened for writing", path.display());
        assert_eq!(error.to_string(), message);
    }
    // A file system that takes no files at all.
    let error = Database::open(&DatabaseUrl::Sqlite("/proc/orchestrate.db".into())).await.unwrap_err();
    assert_eq!(error.code(), "ORC-0404", "{error:?}");
}

#[tokio::test]
async fn a_path_may_look_like_anything() {
    let dir = tempfile::tempdir().unwrap();
    for file in ["a b?c#d.db", "ü%20ß.db", "x:y&z=1.db"] {
        let path = dir.path().join(file);
        let db = Database::open(&DatabaseUrl::Sqlite(path.clone())).await.unwrap();
        db.list_environments().await.unwrap();
        db.close().await;
        assert!(path.metadata().unwrap().len() > 0, "{file}");
    }
}

/// A database with a few transactions in its log, and both files as they are while it is open.
async fn with_a_log() -> (Vec<u8>, Vec<u8>) {
    let fresh = fresh().await;
    let db = fresh.open().await;
    let path = fresh.dir.as_ref().unwrap().path().join("orchestrate.db");
    let mut raw = fresh.connect().await;
    sqlx::query("PRAGMA wal_checkpoint(TRUNCATE)").execute(&mut raw).await.unwrap();
    drop(raw);
    for number in 0..5 {
        let place = EnvironmentName::new(format!("place-{number}")).unwrap();
        db.apply_environment(&place, "shop", &Default::default(), &[], "ada", database_time()).await.unwrap();
    }
    let files = (std::fs::read(&path).unwrap(), std::fs::read(path.with_extension("db-wal")).unwrap());
    fresh.clear_up(db).await;
    files
}

#[tokio::test]
async fn a_torn_log_loses_whole_transactions_from_its_end_and_nothing_else() {
    let (file, log) = with_a_log().await;
    let mut last = 0;
    for cut in (0..log.len()).step_by(997).chain([log.len()]) {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("orchestrate.db");
        std::fs::write(&path, &file).unwrap();
        std::fs::write(path.with_extension("db-wal"), &log[..cut]).unwrap();
        let db = Database::open(&DatabaseUrl::Sqlite(path)).await.unwrap();
        let places = db.list_environments().await.unwrap().len();
        let trail = db.verify_audit(None).await.unwrap();
        assert_eq!((trail.records, trail.findings.len()), (places as u64, 0), "cut at {cut}");
        assert!(db.check_records().await.unwrap().iter().all(|checked| checked.wrong.is_empty()));
        assert!(places >= last, "cut at {cut}");
        last = places;
        db.close().await;
    }
    assert_eq!(last, 5, "the whole log has everything");
}

#[tokio::test]
async fn a_torn_file_is_said_to_be_damaged_and_a_backup_takes_its_place() {
    let (whole, copy) = (fresh().await, tempfile::tempdir().unwrap());
    let db = whole.open().await;
    let place = EnvironmentName::new("production").unwrap();
    db.apply_environment(&place, "shop", &Default::default(), &[], "ada", database_time()).await.unwrap();
    let path = whole.dir.as_ref().unwrap().path().join("orchestrate.db");
    let kept = copy.path().join("backup.db");
    backup::copy(&path, &kept).unwrap();
    assert_eq!(kept.metadata().unwrap().permissions().mode() & 0o777, 0o600);
    assert_eq!(backup::copy(&path, &kept).unwrap_err().code(), "ORC-0509", "it is never written over");
    assert!(backup::inspect(&kept).unwrap() > 28);
    assert_eq!(std::fs::read_dir(copy.path()).unwrap().count(), 1, "one file is all of it");
    assert_eq!(backup::hold(&path).err().unwrap().code(), "ORC-0416", "it is open");
    db.close().await;
    let held = backup::hold(&path).unwrap().unwrap();
    assert!(held.numbers.fence == 0);
    drop(held);
    let bytes = std::fs::read(&kept).unwrap();
    let mut whole_ones = 0;
    for cut in (1..bytes.len()).step_by(1009) {
        let torn = copy.path().join("torn.db");
        std::fs::write(&torn, &bytes[..cut]).unwrap();
        let found = backup::inspect(&torn);
        assert!(found.as_ref().err().is_none_or(|error| error.code() == "ORC-0415"), "cut at {cut}");
        match Database::open(&DatabaseUrl::Sqlite(torn.clone())).await {
            // The rest of the last page may have been empty; then nothing is missing.
            Ok(db) if found.is_ok() => assert!(db.find_environment(&place).await.unwrap().is_some()),
            Ok(_) => {}
            Err(error) => assert_eq!(error.code(), "ORC-0402", "cut at {cut}"),
        }
        whole_ones += usize::from(found.is_ok());
        for rest in ["torn.db", "torn.db-wal", "torn.db-shm"] {
            let _ = std::fs::remove_file(copy.path().join(rest));
        }
    }
    assert!(whole_ones <= 4, "only within the last page");
    drop(whole);
}

#[tokio::test]
async fn a_file_whose_references_lead_nowhere_is_no_backup() {
    let fresh = fresh().await;
    let db = fresh.open().await;
    let place = EnvironmentName::new("production").unwrap();
    db.apply_environment(&place, "shop", &Default::default(), &[], "ada", database_time()).await.unwrap();
    db.close().await;
    let path = fresh.dir.as_ref().unwrap().path().join("orchestrate.db");
    assert!(backup::inspect(&path).is_ok());
    let mut raw = fresh.connect().await;
    for statement in ["PRAGMA foreign_keys = OFF", "DELETE FROM environments"] {
        sqlx::query(statement).execute(&mut raw).await.unwrap();
    }
    drop(raw);
    let error = backup::inspect(&path).unwrap_err();
    assert_eq!(error.code(), "ORC-0415");
    assert!(error.message().contains("a row of leases refers to one of environments"), "{error:?}");
}
