//! Where core's tests play: a real SQLite file, a world in memory, and one environment.

use std::collections::BTreeMap;

use sqlx::{Connection as _, Row as _};
use tempfile::TempDir;

use crate::database::{Database, DatabaseUrl};
use crate::deployment::Deployment;
use crate::deployment_drill::{DeploymentDrill, DrillRequest, Drilled};
use crate::deployment_executor::{DeployRequest, Deployed, DeploymentExecutor};
use crate::deployment_rollback::{Asking, DeploymentRollback, RollbackRequest, RolledBack};
use crate::deployment_strategy::StrategyKind;
use crate::drill::DrillTrigger;
use crate::environment::{EnvironmentSettings, ProcessType};
use crate::error::Result;
use crate::execute::Limits;
use crate::fakes::{self, World};
use crate::hooks::{Hook, HookCommand, IfItFails};
use crate::name::{EnvironmentName, Version};
use crate::notification::{Channel, NoticeKind};
use crate::release::Contents;
use crate::slot::{SlotRecord, SlotState};
use crate::time::{Span, Timestamp};

pub(crate) struct Stage {
    pub dir: TempDir,
    pub db: Database,
    pub world: World,
    pub environment: EnvironmentName,
    pub settings: EnvironmentSettings,
}

pub(crate) fn v(text: &str) -> Version {
    Version::new(text).unwrap()
}

/// Blue-green, two web instances, warm for a quarter of an hour.
pub(crate) fn settings() -> EnvironmentSettings {
    let web = ProcessType {
        command: vec!["./serve".into()],
        instances: 2,
        listen: Some(([127, 0, 0, 1], 8080).into()),
        confinement: Default::default(),
    };
    EnvironmentSettings {
        processes: BTreeMap::from([("web".to_owned(), web)]),
        url: Some("http://127.0.0.1:8080".into()),
        drain: Span::from_secs(30),
        ..EnvironmentSettings::default()
    }
}

pub(crate) fn with_worker() -> EnvironmentSettings {
    let mut settings = settings();
    let worker = ProcessType {
        command: vec!["./work".into()],
        instances: 1,
        listen: None,
        confinement: Default::default(),
    };
    settings.processes.insert("worker".into(), worker);
    settings
}

/// A command at every place where there can be one.
pub(crate) fn hooked() -> EnvironmentSettings {
    let mut settings = with_worker();
    for hook in Hook::ALL {
        let command = HookCommand {
            command: vec![format!("./{hook}")],
            timeout: Span::from_secs(300),
            on_failure: IfItFails::Rollback,
        };
        settings.hooks.insert(hook, command);
    }
    settings
}

pub(crate) fn recreate() -> EnvironmentSettings {
    let mut settings = settings();
    settings.strategy.kind = StrategyKind::Recreate;
    settings
}

/// Four web instances and a worker, replaced one at a time.
pub(crate) fn rolling() -> EnvironmentSettings {
    let mut settings = with_worker();
    settings.strategy.kind = StrategyKind::Rolling;
    if let Some(web) = settings.processes.get_mut("web") {
        web.instances = 4;
    }
    settings
}

pub(crate) fn canary() -> EnvironmentSettings {
    let mut settings = settings();
    settings.strategy.kind = StrategyKind::Canary;
    settings
}

pub(crate) fn baking(span: Span) -> EnvironmentSettings {
    let mut settings = settings();
    settings.verify.bake = span;
    settings
}

pub(crate) fn hook(url: &str, on: &[NoticeKind]) -> Channel {
    Channel::webhook(url, on)
}

/// In memory where there is such a place: the sweeps write many thousand times.
pub(crate) fn directory() -> TempDir {
    tempfile::tempdir_in("/dev/shm").or_else(|_| tempfile::tempdir()).unwrap()
}

impl Stage {
    pub async fn new() -> Self {
        Self::with(settings(), &[]).await
    }

    pub async fn with(settings: EnvironmentSettings, channels: &[Channel]) -> Self {
        let dir = directory();
        let db = Database::open(&DatabaseUrl::Sqlite(dir.path().join("state.db"))).await.unwrap();
        let (world, environment) = (World::new(&db), EnvironmentName::new("production").unwrap());
        if settings.strategy.kind == StrategyKind::Recreate {
            world.allow_gaps();
        }
        let now = world.clock.read();
        db.apply_environment(&environment, "shop", &settings, channels, "tester", now).await.unwrap();
        Self { dir, db, world, environment, settings }
    }

    /// A copy that goes its own way, as it is now.
    pub async fn fork(&self) -> Self {
        let dir = directory();
        let path = dir.path().join("state.db");
        self.sql(&format!("VACUUM INTO '{}'", path.display())).await;
        let db = Database::open(&DatabaseUrl::Sqlite(path)).await.unwrap();
        let world = self.world.fork(&db);
        Self { dir, db, world, environment: self.environment.clone(), settings: self.settings.clone() }
    }

    /// What a version consists of, with today's settings.
    pub fn contents(&self, version: &str) -> Contents {
        let mut contents = fakes::contents(&self.settings, version);
        contents.artifact.origin = format!("dist/shop-{version}.tar.gz");
        contents
    }

    pub fn to_deploy(&self, version: &str) -> DeployRequest {
        fakes::to_deploy(&self.environment, v(version), self.contents(version))
    }

    /// A handle of its own, as another program has one.
    pub async fn another_handle(&self) -> Database {
        Database::open(&DatabaseUrl::Sqlite(self.dir.path().join("state.db"))).await.unwrap()
    }

    pub fn executor(&self) -> DeploymentExecutor {
        DeploymentExecutor::new(self.db.clone(), self.world.ports())
    }

    pub fn rollback(&self) -> DeploymentRollback {
        DeploymentRollback::new(self.db.clone(), self.world.ports())
    }

    /// Deploys, a minute after whatever happened last.
    pub async fn deploy(&self, version: &str) -> Deployed {
        self.world.clock.advance(Span::from_secs(60));
        self.executor().deploy(&self.to_deploy(version)).await.unwrap()
    }

    pub async fn deploy_all(&self, versions: &[&str]) {
        for version in versions {
            self.deploy(version).await;
        }
    }

    /// Watches to the end, while the time of day jumps by so many milliseconds soon after the beginning.
    pub async fn with_a_jump<T>(&self, millis: i64, watched: impl Future<Output = T>) -> T {
        let jumping = async {
            tokio::task::yield_now().await;
            let now = self.world.clock.read().as_millis();
            self.world.clock.set(Timestamp::from_millis(now + millis));
            std::future::pending::<()>().await;
        };
        tokio::select! {
            watched = watched => watched,
            () = jumping => unreachable!(),
        }
    }

    pub fn back(&self) -> RollbackRequest {
        RollbackRequest {
            environment: self.environment.clone(),
            target_version: None,
            skip_validation: false,
            force: false,
        }
    }

    pub fn forced(&self) -> RollbackRequest {
        RollbackRequest { force: true, ..self.back() }
    }

    pub fn back_to(&self, version: &str) -> RollbackRequest {
        RollbackRequest { target_version: Some(v(version)), ..self.forced() }
    }

    pub fn to_drill(&self) -> DrillRequest {
        DrillRequest {
            environment: self.environment.clone(),
            actor: "ada".into(),
            reason: Some("it is Sunday".into()),
            trigger: DrillTrigger::Manual,
            limits: Limits::default(),
        }
    }

    /// Rehearses, whatever comes of it.
    pub async fn drill(&self) -> Result<Drilled> {
        DeploymentDrill::new(self.db.clone(), self.world.ports()).drill(&self.to_drill()).await
    }

    pub async fn undo(&self) -> Result<RolledBack> {
        let asking = Asking { undo: true, ..Asking::by("ada") };
        self.rollback().rollback_as(&self.back(), &asking).await
    }

    /// Where an undo would go to.
    pub async fn undo_preview(&self) -> Option<Version> {
        let asking = Asking { undo: true, ..Asking::by("ada") };
        self.rollback().preview(&self.back(), &asking).await.ok().map(|preview| preview.target_version)
    }

    /// The version that is live, after a look that the records and the router say the same.
    pub async fn live(&self) -> Option<String> {
        let record = self.db.environment(&self.environment).await.unwrap();
        let rollout = self.db.open_rollout(&self.environment).await.unwrap();
        let slots = self.slots().await;
        let staged: Vec<_> = slots.iter().filter(|slot| slot.state == SlotState::Staged).collect();
        assert_eq!(
            staged.iter().map(|slot| (slot.slot, slot.release)).collect::<Vec<_>>(),
            rollout.iter().map(|rollout| (rollout.slot, rollout.release)).collect::<Vec<_>>(),
            "the staged slot"
        );
        let share = rollout.as_ref().map_or(0, |rollout| rollout.weight);
        let mut routed = self.world.shares(&self.environment);
        let beside = rollout.and_then(|rollout| routed.iter().position(|there| there.1 == rollout.release));
        let beside = beside.map(|at| routed.remove(at).3);
        assert_eq!(beside.unwrap_or(0), share, "the share of what is being rolled out");
        let routed = routed.into_iter().find(|there| there.3 > 0).map(|(slot, release, version, weight)| {
            assert_eq!(weight, 100 - share, "the share of what is live");
            (slot, release, version)
        });
        let recorded = record.live.map(|live| live.release);
        assert_eq!(recorded, routed.as_ref().map(|(_, release, _)| *release), "record and router differ");
        let live: Vec<_> = slots.iter().filter(|slot| slot.state == SlotState::Live).collect();
        assert_eq!(
            live.iter().map(|slot| (slot.slot, slot.release)).collect::<Vec<_>>(),
            routed.iter().map(|(slot, release, _)| (*slot, *release)).collect::<Vec<_>>(),
            "the live slot"
        );
        routed.map(|(_, _, version)| version.to_string())
    }

    pub async fn slots(&self) -> Vec<SlotRecord> {
        self.db.slots(&self.environment).await.unwrap()
    }

    pub async fn current(&self) -> Deployment {
        self.db.current_deployment(&self.environment).await.unwrap().unwrap()
    }

    /// The deployments that a rollback passed over.
    pub async fn passed(&self) -> Vec<crate::name::DeploymentId> {
        let mut connection = self.connect().await;
        let ids = "SELECT id FROM deployments WHERE passed_by_rollback_id IS NOT NULL";
        let rows = sqlx::query(ids).fetch_all(&mut connection).await.unwrap();
        connection.close().await.unwrap();
        rows.iter().map(|row| crate::name::DeploymentId(row.get("id"))).collect()
    }

    pub async fn sql(&self, statement: &str) {
        let mut connection = self.connect().await;
        sqlx::query(sqlx::AssertSqlSafe(statement.to_owned())).execute(&mut connection).await.unwrap();
        connection.close().await.unwrap();
    }

    async fn connect(&self) -> sqlx::SqliteConnection {
        let url = format!("sqlite://{}", self.dir.path().join("state.db").display());
        sqlx::SqliteConnection::connect(&url).await.unwrap()
    }

    /// Every row of every table, to be compared; without the audit trail, which tells of refusals as well.
    pub async fn dump(&self) -> BTreeMap<String, Vec<String>> {
        let mut connection = self.connect().await;
        let tables = "SELECT m.name AS name, group_concat('quote(' || c.name || ')', '||'',''||') AS columns \
                      FROM sqlite_master m JOIN pragma_table_info(m.name) c \
                      WHERE m.type = 'table' AND m.name NOT LIKE 'sqlite%' \
                      AND m.name NOT IN ('audit', 'audit_head', 'refusal_counts') GROUP BY m.name";
        let mut dump = BTreeMap::new();
        for table in sqlx::query(tables).fetch_all(&mut connection).await.unwrap() {
            let (name, columns): (String, String) = (table.get("name"), table.get("columns"));
            let rows = format!("SELECT {columns} AS row FROM {name} ORDER BY 1");
            let rows = sqlx::query(sqlx::AssertSqlSafe(rows)).fetch_all(&mut connection).await.unwrap();
            dump.insert(name, rows.iter().map(|row| row.get("row")).collect());
        }
        connection.close().await.unwrap();
        dump
    }
}
