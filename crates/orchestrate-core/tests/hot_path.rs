//! A rollback costs the same whatever the history: as many statements, and each finds its rows by an index.
//!
//! A binary of its own, because it listens to every statement of its process.

#![expect(clippy::unwrap_used, reason = "a test that cannot set its scene has failed")]

#[path = "database_suite/scene.rs"]
mod scene;

use std::fmt::Debug;
use std::sync::Mutex;

use orchestrate_core::database::DatabaseUrl;
use orchestrate_core::deployment_rollback::Asking;
use scene::{Fresh, Scene, v};
use sqlx::Row as _;
use tracing::field::{Field, Visit};
use tracing::span::{Attributes, Id, Record};
use tracing::{Event, Metadata, Subscriber};

static STATEMENTS: Mutex<Vec<String>> = Mutex::new(Vec::new());

/// Writes down every statement.
struct Listener;

impl Subscriber for Listener {
    fn enabled(&self, metadata: &Metadata<'_>) -> bool {
        metadata.target() == "orchestrate_core::statement"
    }

    fn new_span(&self, _: &Attributes<'_>) -> Id {
        Id::from_u64(1)
    }

    fn record(&self, _: &Id, _: &Record<'_>) {}
    fn record_follows_from(&self, _: &Id, _: &Id) {}
    fn enter(&self, _: &Id) {}
    fn exit(&self, _: &Id) {}

    fn event(&self, event: &Event<'_>) {
        event.record(&mut Statement);
    }
}

struct Statement;

impl Visit for Statement {
    fn record_debug(&mut self, _: &Field, _: &dyn Debug) {}

    fn record_str(&mut self, field: &Field, value: &str) {
        if field.name() == "statement" {
            STATEMENTS.lock().unwrap().push(value.trim().to_owned());
        }
    }
}

/// What was asked and written since the last time.
fn taken() -> Vec<String> {
    std::mem::take(&mut *STATEMENTS.lock().unwrap())
}

async fn fresh() -> Fresh {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("orchestrate.db");
    let raw = format!("sqlite://{}?mode=rwc", path.display());
    Fresh { url: DatabaseUrl::Sqlite(path), raw, dir: Some(dir) }
}

/// Three deployments, after `old` earlier ones with their releases and rollbacks.
async fn scene_with_history(fresh: &Fresh, old: u32) -> Scene {
    let scene = Scene::new(fresh).await;
    for version in ["1.0", "1.1", "1.2"] {
        scene.deploy(version).await;
    }
    let numbers = format!("WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < {old}) ");
    let releases = "INSERT INTO releases (id, environment, version, artifact_digest, content_digest, contents, \
                    sealed_at, lineage, proven_at) SELECT -i, environment, 'old-' || i, artifact_digest, \
                    printf('%064x', i), contents, sealed_at, -i, proven_at FROM n, releases WHERE id = 1";
    let deployments = "INSERT INTO deployments (id, environment, release_id, version, provider, strategy, status, \
                       actor, started_at, completed_at, went_live_at, created_at, updated_at) SELECT -i, environment, \
                       -i, 'old-' || i, provider, strategy, 'completed', actor, started_at, completed_at, \
                       went_live_at, created_at, updated_at FROM n, deployments WHERE id = 1";
    let events = "INSERT INTO deployment_rollback_events (id, deployment_id, environment, from_version, \
                  target_version, rollback_type, status, started_at, created_at, updated_at) SELECT -i, -i, \
                  environment, 'a', 'b', 'previous', 'completed', started_at, started_at, started_at \
                  FROM n, deployments WHERE id = 1";
    let holds = "INSERT INTO holds (environment, version, reason, actor, since) \
                 SELECT environment, 'held-' || i, 'bad', 'ada', started_at FROM n, deployments WHERE id = 1";
    for statement in [releases, deployments, events, holds] {
        // `WITH` goes before `INSERT`.
        fresh.sql(&format!("{numbers}{statement}")).await;
    }
    scene
}

/// Everything a person waits for: a rollback without a version, one with a version, and an undo.
async fn statements(old: u32) -> (Fresh, Scene, Vec<Vec<String>>) {
    let fresh = fresh().await;
    let scene = scene_with_history(&fresh, old).await;
    let mut all = Vec::new();
    taken();
    scene.rollback().rollback(&scene.forced()).await.unwrap();
    all.push(taken());
    let undo = Asking { undo: true, ..Asking::by("ada") };
    scene.rollback().rollback_as(&scene.forced(), &undo).await.unwrap();
    all.push(taken());
    let mut specific = scene.forced();
    specific.target_version = Some(v("1.0"));
    scene.rollback().rollback(&specific).await.unwrap();
    all.push(taken());
    scene.rollback().readiness(&scene.environment).await.unwrap();
    all.push(taken());
    (fresh, scene, all)
}

#[tokio::test]
async fn a_rollback_costs_the_same_whatever_the_history() {
    tracing::subscriber::set_global_default(Listener).unwrap();
    let (short_fresh, short, few) = statements(1).await;
    short.end(short_fresh).await;
    let (fresh, scene, many) = statements(2000).await;
    let counts = |all: &[Vec<String>]| all.iter().map(Vec::len).collect::<Vec<_>>();
    assert!(counts(&few).iter().all(|count| *count > 5), "the statements were heard: {:?}", counts(&few));
    assert_eq!(counts(&few), counts(&many), "{many:#?}");

    let mut connection = fresh.connect().await;
    for statement in many.iter().flatten().filter(|text| is_plain(text)) {
        let explained = sqlx::AssertSqlSafe(format!("EXPLAIN QUERY PLAN {statement}"));
        let rows = sqlx::query(explained).fetch_all(&mut connection).await.unwrap();
        for row in rows {
            let detail: String = row.get("detail");
            assert!(!detail.starts_with("SCAN"), "{detail}: {statement}");
            assert!(!detail.contains("TEMP B-TREE") || is_small(statement), "{detail}: {statement}");
        }
    }
    drop(connection);
    scene.end(fresh).await;
}

fn is_plain(statement: &str) -> bool {
    ["SELECT", "UPDATE", "DELETE"].iter().any(|verb| statement.starts_with(verb))
}

/// The rows of one environment's slots, or of one version's few releases, may be sorted.
fn is_small(statement: &str) -> bool {
    statement.contains("FROM slots") || statement.contains("r.version = $2")
}
