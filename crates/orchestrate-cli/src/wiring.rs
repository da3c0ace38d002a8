//! The only place that names adapters: puts core's ports and the programs behind them together.

use std::collections::BTreeMap;
use std::sync::Arc;

use async_trait::async_trait;
use orchestrate_core::database::{Database, DatabaseUrl};
use orchestrate_core::name::{EnvironmentName, ReleaseId};
use orchestrate_core::ports::{
    AwaitHealthy, Close, Deregister, Drain, Drained, Elsewhere, Ended, Fetch, HookRequest, Instance,
    PortError, PortErrorKind, PortResult, Ports, Progress, Proof, Prove, Provider, Register, ReleaseCounts,
    Router, RouterView, StartRequest, StopRequest, Switch, SystemClock,
};
use orchestrate_core::release::Digest;
use orchestrate_core::secrets::KeySource;
use orchestrate_core::time::Span;
use orchestrate_core::traffic::Shift;
use orchestrate_core::{DeploymentExecutor, DeploymentRollback, Result};
use orchestrate_providers::artifact::{ArtifactLimits, ArtifactStore};
use orchestrate_providers::process::{ProcessProvider, RunSpec, RunSpecs};
use orchestrate_proxy::BuiltinRouter;

use crate::args::Global;
use crate::daemon_client::DaemonClient;
use crate::home::Home;
use crate::host::ThisHost;
use crate::keys::HomeKeys;

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
            router: Arc::new(Starting { daemon: self.daemon.clone(), port: router }),
            witness: Arc::new(Elsewhere),
            clock: Arc::new(SystemClock),
            host: Arc::new(ThisHost),
            progress,
            lease_ttl: lease_ttl(),
        }
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

/// A port behind the daemon: where nobody answers, the daemon is started, once, and asked again. One that another took
/// over from in the middle is asked again, too: every request may be made twice.
struct Starting<P> {
    daemon: DaemonClient,
    port: P,
}

impl<P> Starting<P> {
    async fn again<T>(
        &self,
        first: PortResult<T>,
        second: impl Future<Output = PortResult<T>>,
    ) -> PortResult<T> {
        match first {
            Err(error) if error.kind == PortErrorKind::Unreachable => {
                self.daemon.ensure().await.map_err(|error| PortError::unreachable(error.full_message()))?;
                second.await
            }
            result => result,
        }
    }
}

#[async_trait]
impl<P: Provider> Provider for Starting<P> {
    async fn fetch(&self, request: &Fetch) -> PortResult<()> {
        self.again(self.port.fetch(request).await, self.port.fetch(request)).await
    }

    async fn start(&self, request: &StartRequest) -> PortResult<Vec<Instance>> {
        self.again(self.port.start(request).await, self.port.start(request)).await
    }

    async fn await_healthy(&self, request: &AwaitHealthy) -> PortResult<Vec<Instance>> {
        self.again(self.port.await_healthy(request).await, self.port.await_healthy(request)).await
    }

    async fn stop(&self, request: &StopRequest) -> PortResult<()> {
        self.again(self.port.stop(request).await, self.port.stop(request)).await
    }

    async fn hook(&self, request: &HookRequest) -> PortResult<Ended> {
        self.again(self.port.hook(request).await, self.port.hook(request)).await
    }

    async fn discard(&self, artifact: &Digest) -> PortResult<bool> {
        self.again(self.port.discard(artifact).await, self.port.discard(artifact)).await
    }

    async fn instances(&self, environment: &EnvironmentName) -> PortResult<Vec<Instance>> {
        self.again(self.port.instances(environment).await, self.port.instances(environment)).await
    }
}

#[async_trait]
impl<P: Router> Router for Starting<P> {
    async fn register(&self, request: &Register) -> PortResult<()> {
        self.again(self.port.register(request).await, self.port.register(request)).await
    }

    async fn switch(&self, request: &Switch) -> PortResult<()> {
        self.again(self.port.switch(request).await, self.port.switch(request)).await
    }

    async fn shift(&self, request: &Shift) -> PortResult<()> {
        self.again(self.port.shift(request).await, self.port.shift(request)).await
    }

    async fn persisted(&self) -> PortResult<()> {
        self.port.persisted().await
    }

    async fn observe(&self, environment: &EnvironmentName) -> PortResult<RouterView> {
        self.again(self.port.observe(environment).await, self.port.observe(environment)).await
    }

    async fn counts(&self, environment: &EnvironmentName) -> PortResult<Vec<ReleaseCounts>> {
        self.port.counts(environment).await
    }

    async fn prove(&self, request: &Prove) -> PortResult<Proof> {
        self.again(self.port.prove(request).await, self.port.prove(request)).await
    }

    async fn drain(&self, request: &Drain) -> PortResult<Drained> {
        self.again(self.port.drain(request).await, self.port.drain(request)).await
    }

    async fn close(&self, request: &Close) -> PortResult<()> {
        self.again(self.port.close(request).await, self.port.close(request)).await
    }

    async fn deregister(&self, request: &Deregister) -> PortResult<()> {
        self.again(self.port.deregister(request).await, self.port.deregister(request)).await
    }
}

/// How a sealed release runs, read from the database whenever an instance of it is started.
pub struct SealedSpecs {
    pub db: Database,
    /// Asked when a release has secrets: a key that is put back is used at once.
    pub keys: Arc<dyn KeySource>,
}

#[async_trait]
impl RunSpecs for SealedSpecs {
    async fn run_spec(&self, release: ReleaseId) -> PortResult<RunSpec> {
        let told = |error: orchestrate_core::Error| PortError::failed(error.full_message());
        let found = self.db.release(release).await.map_err(told)?;
        let release = found.ok_or_else(|| {
            PortError::new(PortErrorKind::Missing, format!("release {release} is not recorded"))
        })?;
        let scope = secret_scope(&release.environment);
        let secrets = match release.contents.secrets.is_empty() {
            true => BTreeMap::new(),
            false => {
                let versions = &release.contents.secrets;
                self.db.open_secrets(&*self.keys, &scope, versions).await.map_err(told)?
            }
        };
        Ok(RunSpec {
            version: release.version,
            digest: release.contents.artifact.digest,
            processes: release.contents.processes,
            confinement: *release.contents.settings.confinement,
            health_check: release.contents.settings.health_check,
            stop_timeout: release.contents.settings.stop_timeout,
            variables: release.contents.variables,
            secrets,
        })
    }
}

/// Under which name an environment's secrets are kept.
pub fn secret_scope(environment: &EnvironmentName) -> String {
    format!("environment/{environment}")
}
