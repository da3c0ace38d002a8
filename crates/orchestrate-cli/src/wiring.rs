//! The only place that names adapters: puts core's ports and the programs behind them together.

mod by_provider;
mod by_router;
mod cluster_places;
mod sealed_specs;
mod starting;

pub use by_provider::ByProvider;
pub use by_router::ByRouter;
pub use cluster_places::ClusterPlaces;
pub use sealed_specs::SealedSpecs;

use std::collections::BTreeMap;
use std::sync::Arc;

use orchestrate_core::database::{Database, DatabaseUrl};
use orchestrate_core::environment::{EnvironmentSettings, ProviderKind, RouterKind};
use orchestrate_core::name::EnvironmentName;
use orchestrate_core::ports::{Elsewhere, Ports, Progress, Router, SystemClock};
use orchestrate_core::release::Artifact;
use orchestrate_core::time::Span;
use orchestrate_core::{DeploymentExecutor, DeploymentRollback, Error, Result};
use orchestrate_providers::artifact::{ArtifactLimits, ArtifactStore};
use orchestrate_providers::kubernetes::KubernetesRouter;
use orchestrate_providers::process::ProcessProvider;
use orchestrate_proxy::BuiltinRouter;

use crate::args::Global;
use crate::daemon_client::DaemonClient;
use crate::home::Home;
use crate::host::ThisHost;
use crate::keys::HomeKeys;
use starting::Starting;

/// How long a lease lasts without being renewed, unless `ORCHESTRATE_LEASE_TTL` says otherwise.
const LEASE_TTL: Span = Span::from_secs(15);

/// What every command that touches state works with.
pub struct Wiring {
    pub home: Home,
    pub keys: Arc<HomeKeys>,
    pub db: Database,
    pub daemon: DaemonClient,
}

impl Wiring {
    /// Opens the home and the database that the command line names.
    pub async fn open(global: &Global) -> Result<Self> {
        Self::open_with(global, 1).await
    }

    /// The same with so many connections to the database: the daemon does several things at a time.
    pub async fn open_with(global: &Global, connections: u32) -> Result<Self> {
        let home = Home::locate(global.home.as_deref())?;
        home.prepare()?;
        let (url, passed_on) = database(global, &home)?;
        let db = Database::open_with(&url, connections).await?;
        let keys = Arc::new(HomeKeys::new(home.clone()));
        keys.remember(&db).await?;
        Ok(Self { daemon: DaemonClient::new(home.clone(), passed_on), db, keys, home })
    }

    /// The ports of a command: the provider is in the daemon, which is started where it is needed.
    pub fn ports(&self, progress: Arc<dyn Progress>) -> Ports {
        let provider = ProcessProvider::new(self.home.daemon_socket());
        let router = BuiltinRouter::new(self.home.proxy_socket());
        Ports {
            provider: Arc::new(Starting { daemon: self.daemon.clone(), port: provider }),
            router: Arc::new(ByRouter::new(
                self.db.clone(),
                routers(&self.db, Arc::new(Starting { daemon: self.daemon.clone(), port: router })),
            )),
            witness: Arc::new(Elsewhere),
            clock: Arc::new(SystemClock),
            host: Arc::new(ThisHost),
            progress,
            lease_ttl: lease_ttl(),
        }
    }

    /// Whichever router an environment has, where looking must not start anything.
    pub fn router_that_runs(&self) -> ByRouter {
        let builtin = Arc::new(BuiltinRouter::new(self.home.proxy_socket()));
        ByRouter::new(self.db.clone(), routers(&self.db, builtin))
    }

    pub fn executor(&self, progress: Arc<dyn Progress>) -> DeploymentExecutor {
        DeploymentExecutor::new(self.db.clone(), self.ports(progress))
    }

    pub fn rollback(&self, progress: Arc<dyn Progress>) -> DeploymentRollback {
        DeploymentRollback::new(self.db.clone(), self.ports(progress))
    }

    /// The artifact store, taking in artifacts of at most so many unpacked bytes.
    pub fn store(&self, most: Option<u64>) -> ArtifactStore {
        let limits = ArtifactLimits::default();
        ArtifactStore::new(
            self.home.directory(),
            ArtifactLimits { bytes: most.unwrap_or(limits.bytes), ..limits },
        )
    }

    /// Tells the daemon that there is work, and starts it if there is nobody to hear it.
    pub async fn hand_over(&self) -> Result<()> {
        if self.daemon.ring() {
            return Ok(());
        }
        self.daemon.ensure().await.map(drop)
    }
}

/// Every router that an environment may have; `builtin` is reached in its own way by commands and by the daemon.
pub fn routers(db: &Database, builtin: Arc<dyn Router>) -> BTreeMap<RouterKind, Arc<dyn Router>> {
    let places = Arc::new(ClusterPlaces::new(db.clone()));
    BTreeMap::from([
        (RouterKind::Builtin, builtin),
        (RouterKind::Kubernetes, Arc::new(KubernetesRouter::new(places)) as _),
    ])
}

/// What the reference means now, by the engine that will run it.
pub async fn resolve_image(settings: &EnvironmentSettings, reference: &str) -> Result<Artifact> {
    let provider = settings.provider;
    if provider == ProviderKind::Kubernetes {
        let cluster = settings.engine.kubernetes.clone().unwrap_or_default();
        return orchestrate_providers::kubernetes::resolve(&cluster, reference).await;
    }
    Err(Error::usage("ORC-0208", format!("the provider {provider} cannot resolve the image {reference}")))
}

/// Which database, and how it is passed on to the daemon.
pub fn database(global: &Global, home: &Home) -> Result<(DatabaseUrl, Vec<String>)> {
    match (&global.database_url, &global.db_path) {
        (Some(url), _) => Ok(match DatabaseUrl::parse(url)? {
            DatabaseUrl::Sqlite(path) => sqlite(&path),
            postgres @ DatabaseUrl::Postgres(_) => (postgres, vec![url.clone()]),
        }),
        (None, Some(path)) => Ok(sqlite(path)),
        (None, None) => Ok((DatabaseUrl::Sqlite(home.database()), Vec::new())),
    }
}

/// The daemon runs in another directory, so it is told the whole path.
fn sqlite(path: &std::path::Path) -> (DatabaseUrl, Vec<String>) {
    let path = std::path::absolute(path).unwrap_or_else(|_| path.to_owned());
    (DatabaseUrl::Sqlite(path.clone()), vec!["--db-path".into(), path.display().to_string()])
}

pub fn lease_ttl() -> Span {
    let named = std::env::var("ORCHESTRATE_LEASE_TTL").ok().and_then(|text| text.parse::<Span>().ok());
    named.filter(|span| *span >= Span::from_secs(1)).unwrap_or(LEASE_TTL)
}

/// Under which name an environment's secrets are kept.
pub fn secret_scope(environment: &EnvironmentName) -> String {
    format!("environment/{environment}")
}
