//! From the schema of each earlier migration, with data in it, to today's: everything is there, and a rollback works.

use std::borrow::Cow;
use std::sync::atomic::{AtomicBool, Ordering};

use orchestrate_core::fakes::World;
use orchestrate_core::{Database, RollbackStatus};
use sqlx::migrate::Migrator;
use sqlx::{Connection as _, Row as _};

use super::scene::{Fresh, Scene, v};

static SQLITE: Migrator = sqlx::migrate!("../../migrations");
static POSTGRES: Migrator = sqlx::migrate!("../../migrations/postgres");

/// The first schema in which all of a rollback could be recorded.
const FIRST: i64 = 17;
/// Parents before those that refer to them.
const TABLES: [&str; 11] = [
    "environments",
    "releases",
    "deployments",
    "slots",
    "operations",
    "journal",
    "leases",
    "holds",
    "outbox",
    "audit",
    "deployment_rollback_events",
];

/// Brings an empty database to an earlier schema.
async fn migrate(to: &Fresh, version: i64) {
    let all = if to.dir.is_some() { &SQLITE } else { &POSTGRES };
    let earlier: Vec<_> = all.iter().filter(|migration| migration.version <= version).cloned().collect();
    let migrator = Migrator { migrations: Cow::Owned(earlier), ..Migrator::DEFAULT };
    if to.dir.is_some() {
        let mut connection = sqlx::SqliteConnection::connect(&to.raw).await.unwrap();
        migrator.run(&mut connection).await.unwrap();
        connection.close().await.unwrap();
    } else {
        let mut connection = sqlx::PgConnection::connect(&to.raw).await.unwrap();
        migrator.run(&mut connection).await.unwrap();
        connection.close().await.unwrap();
    }
}

async fn columns(of: &Fresh, table: &str) -> Vec<String> {
    let sql = match of.dir.is_some() {
        true => format!("SELECT name FROM pragma_table_info('{table}')"),
        false => format!(
            "SELECT column_name::text AS name FROM information_schema.columns WHERE table_name = '{table}'"
        ),
    };
    let mut connection = of.connect().await;
    let rows = sqlx::query(sqlx::AssertSqlSafe(sql)).fetch_all(&mut connection).await.unwrap();
    rows.iter().map(|row| row.get("name")).collect()
}

/// What an older program would have written: the rows, as far as the older schema has columns for them.
async fn copy(from: &Fresh, to: &Fresh) {
    let mut source = from.connect().await;
    for table in TABLES {
        let columns = columns(to, table).await;
        let texts: Vec<String> =
            columns.iter().map(|name| format!("CAST({name} AS TEXT) AS {name}")).collect();
        let all = format!("SELECT {} FROM {table} ORDER BY 1", texts.join(", "));
        for row in sqlx::query(sqlx::AssertSqlSafe(all)).fetch_all(&mut source).await.unwrap() {
            let values = columns.iter().map(|name| match row.get::<Option<String>, _>(name.as_str()) {
                Some(text) => format!("'{}'", text.replace('\'', "''")),
                None => "NULL".to_owned(),
            });
            let values = values.collect::<Vec<_>>().join(", ");
            to.sql(&format!("INSERT INTO {table} ({}) VALUES ({values})", columns.join(", "))).await;
        }
        if to.dir.is_none() && columns.contains(&"id".to_owned()) {
            let next = format!("SELECT setval(pg_get_serial_sequence('{table}', 'id'), 1000)");
            to.sql(&next).await;
        }
    }
    if columns(to, "audit_head").await.is_empty() {
        source.close().await.unwrap();
        return;
    }
    let head = sqlx::query("SELECT id, hash, at FROM audit_head").fetch_one(&mut source).await.unwrap();
    let (id, hash, at): (i64, String, String) = (head.get("id"), head.get("hash"), head.get("at"));
    to.sql(&format!("UPDATE audit_head SET id = {id}, hash = '{hash}', at = '{at}'")).await;
    source.close().await.unwrap();
}

pub async fn every_earlier_schema_is_brought_up_to_date(today: Fresh, another: impl AsyncFn() -> Fresh) {
    let scene = Scene::new(&today).await;
    for version in ["1.0", "1.1", "1.2"] {
        scene.deploy(version).await;
    }
    scene.rollback().rollback(&scene.forced()).await.unwrap();
    let known: Vec<i64> =
        SQLITE.iter().map(|migration| migration.version).filter(|one| *one >= FIRST).collect();
    let expected = all(&scene.db, &scene).await;
    let newest = known[known.len() - 1];
    for version in known.into_iter().filter(|version| *version < newest) {
        let old = another().await;
        migrate(&old, version).await;
        copy(&today, &old).await;
        let db = old.open().await;
        let chain = db.verify_audit(None).await.unwrap();
        assert!(chain.records > 8 && chain.findings.is_empty(), "from {version}: {chain:?}");
        let wrong: Vec<_> =
            db.check_records().await.unwrap().into_iter().filter(|one| !one.wrong.is_empty()).collect();
        assert!(wrong.is_empty(), "from {version}: {wrong:?}");
        assert_eq!(all(&db, &scene).await, expected, "from {version}");
        let upgraded = Scene { world: World::new(&db), environment: scene.environment.clone(), db };
        let mut back = upgraded.forced();
        back.target_version = Some(v("1.0"));
        let event = upgraded.rollback().rollback(&back).await.unwrap();
        assert_eq!((event.status, event.target_version), (RollbackStatus::Completed, v("1.0")));
        upgraded.end(old).await;
    }
    scene.end(today).await;
}

/// PostgreSQL ends one of two that wait for each other; the other one is the migration, and this one tries again.
fn is_deadlock(error: &sqlx::Error) -> bool {
    error.as_database_error().and_then(|error| error.code()).is_some_and(|code| code == "40P01")
}

/// An older program: writes and reads what its schema has, until it is told to stop; how many rows it wrote.
async fn older_program(of: &Fresh, tables: &[(&str, Vec<String>)], stop: &AtomicBool) -> u64 {
    let (mut connection, mut written) = (of.connect().await, 0);
    while !stop.load(Ordering::Relaxed) {
        for (table, columns) in tables {
            let all = columns.join(", ");
            let rest = columns.iter().filter(|name| *name != "id").cloned().collect::<Vec<_>>().join(", ");
            let write =
                format!("INSERT INTO {table} ({rest}) SELECT {rest} FROM {table} ORDER BY id LIMIT 1");
            match sqlx::query(sqlx::AssertSqlSafe(write)).execute(&mut connection).await {
                Ok(_) => written += 1,
                Err(error) => assert!(is_deadlock(&error), "{error}"),
            }
            let read = format!("SELECT {all} FROM {table} ORDER BY id DESC LIMIT 5");
            match sqlx::query(sqlx::AssertSqlSafe(read)).fetch_all(&mut connection).await {
                Ok(rows) => assert!(!rows.is_empty()),
                Err(error) => assert!(is_deadlock(&error), "{error}"),
            }
        }
    }
    connection.close().await.unwrap();
    written
}

/// Four newer programs bring every earlier schema up to date at the same instant, while two older ones work on it.
pub async fn it_is_brought_up_to_date_under_load(today: Fresh, another: impl AsyncFn() -> Fresh) {
    let scene = Scene::new(&today).await;
    scene.deploy("1.0").await;
    scene.deploy("1.1").await;
    scene.rollback().rollback(&scene.forced()).await.unwrap();
    let known: Vec<i64> =
        SQLITE.iter().map(|migration| migration.version).filter(|one| *one >= FIRST).collect();
    for version in &known[..known.len() - 1] {
        let old = another().await;
        migrate(&old, *version).await;
        copy(&today, &old).await;
        if old.dir.is_some() {
            // As the older program had it.
            old.sql("PRAGMA journal_mode = wal").await;
        }
        let mut tables = Vec::new();
        for table in ["deployments", "deployment_rollback_events"] {
            tables.push((table, columns(&old, table).await));
        }
        let stop = AtomicBool::new(false);
        let newer = async {
            let opened = tokio::join!(old.open(), old.open(), old.open(), old.open());
            stop.store(true, Ordering::Relaxed);
            opened
        };
        let (opened, one, two) =
            tokio::join!(newer, older_program(&old, &tables, &stop), older_program(&old, &tables, &stop));
        assert!(one + two > 0, "from {version}: nobody wrote meanwhile");
        let rows = opened.0.list_deployments(&scene.environment, 1_000_000).await.unwrap().len();
        let events =
            opened.0.list_deployment_rollback_events(&scene.environment, 1_000_000).await.unwrap().len();
        assert_eq!((rows + events) as u64, 2 + 1 + one + two, "from {version}: what was written is there");
        for db in [opened.1, opened.2, opened.3] {
            db.close().await;
        }
        old.clear_up(opened.0).await;
    }
    scene.end(today).await;
}

/// What there is, as each of the schemas can tell it.
async fn all(db: &Database, scene: &Scene) -> (usize, Vec<String>, Vec<String>, Option<String>) {
    let place = &scene.environment;
    let live = db.environment(place).await.unwrap().live.map(|live| live.release.to_string());
    let releases = db.list_lineage(place, None, 99).await.unwrap();
    let releases =
        releases.iter().map(|release| format!("{}{}", release.version, release.contents.digest())).collect();
    let deployments = db.list_deployments(place, 99).await.unwrap();
    let deployments =
        deployments.iter().map(|one| format!("{} {} {}", one.id, one.version, one.status)).collect();
    let events = db.list_deployment_rollback_events(place, 99).await.unwrap();
    (events.len(), releases, deployments, live)
}
