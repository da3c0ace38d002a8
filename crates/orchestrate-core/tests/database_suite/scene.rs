//! A fresh database, and one environment in it with a world in memory.

use std::collections::BTreeMap;

use orchestrate_core::database::DatabaseUrl;
use orchestrate_core::deployment_executor::{DeployRequest, Deployed};
use orchestrate_core::environment::{EnvironmentSettings, ProcessType};
use orchestrate_core::fakes::{self, World};
use orchestrate_core::name::{EnvironmentName, Version};
use orchestrate_core::release::Contents;
use orchestrate_core::time::Span;
use orchestrate_core::{Database, DeploymentExecutor, DeploymentRollback, RollbackRequest};
use sqlx::Connection as _;

/// Where an empty database is, and what keeps it there.
pub struct Fresh {
    pub url: DatabaseUrl,
    /// As sqlx wants it, for statements that core has no words for.
    pub raw: String,
    pub dir: Option<tempfile::TempDir>,
}

pub fn name(text: &str) -> EnvironmentName {
    EnvironmentName::new(text).unwrap()
}

pub fn v(text: &str) -> Version {
    Version::new(text).unwrap()
}

pub fn settings() -> EnvironmentSettings {
    let web = ProcessType {
        command: vec!["./serve".into()],
        instances: 2,
        listen: Some(([127, 0, 0, 1], 8080).into()),
        confinement: Default::default(),
    };
    EnvironmentSettings { processes: BTreeMap::from([("web".to_owned(), web)]), ..Default::default() }
}

pub fn contents(version: &str) -> Contents {
    fakes::contents(&settings(), version)
}

impl Fresh {
    pub async fn open(&self) -> Database {
        Database::open(&self.url).await.unwrap()
    }

    /// A connection beside core's.
    pub async fn connect(&self) -> sqlx::AnyConnection {
        sqlx::any::install_default_drivers();
        sqlx::AnyConnection::connect(&self.raw).await.unwrap()
    }

    pub async fn sql(&self, statement: &str) -> u64 {
        let mut connection = self.connect().await;
        let done =
            sqlx::query(sqlx::AssertSqlSafe(statement.to_owned())).execute(&mut connection).await.unwrap();
        connection.close().await.unwrap();
        done.rows_affected()
    }

    pub async fn clear_up(self, db: Database) {
        db.close().await;
        drop(self.dir);
    }
}

pub struct Scene {
    pub db: Database,
    pub world: World,
    pub environment: EnvironmentName,
}

impl Scene {
    pub async fn new(fresh: &Fresh) -> Self {
        let db = fresh.open().await;
        let (world, environment) = (World::new(&db), name("production"));
        let now = world.clock.read();
        db.apply_environment(&environment, "shop", &settings(), &[], "ada", now).await.unwrap();
        Self { db, world, environment }
    }

    pub fn executor(&self) -> DeploymentExecutor {
        DeploymentExecutor::new(self.db.clone(), self.world.ports())
    }

    pub fn rollback(&self) -> DeploymentRollback {
        DeploymentRollback::new(self.db.clone(), self.world.ports())
    }

    pub fn to_deploy(&self, version: &str) -> DeployRequest {
        let request = fakes::to_deploy(&self.environment, v(version), contents(version));
        DeployRequest { reason: Some("Wednesday".into()), ..request }
    }

    pub async fn deploy(&self, version: &str) -> Deployed {
        self.world.clock.advance(Span::from_secs(60));
        self.executor().deploy(&self.to_deploy(version)).await.unwrap()
    }

    pub fn forced(&self) -> RollbackRequest {
        RollbackRequest {
            environment: self.environment.clone(),
            target_version: None,
            skip_validation: false,
            force: true,
        }
    }

    pub async fn end(self, fresh: Fresh) {
        fresh.clear_up(self.db).await;
    }
}
