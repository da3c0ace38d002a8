//! The only place that names adapters: puts core's ports and the programs behind them together.

mod by_provider;
mod by_router;
mod cluster_places;
mod ringing;
mod routed_by;
mod sealed_specs;
mod starting;

pub use by_provider::ByProvider;
pub use by_router::ByRouter;
pub use cluster_places::{ClusterPlaces, read_manifests, shares_told};
pub use orchestrate_providers::kubernetes as cluster;
pub use orchestrate_providers::routers::haproxy::{check as check_haproxy, reachable};
pub use routed_by::RoutedBy;
pub use sealed_specs::SealedSpecs;

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::Arc;

use orchestrate_core::access::Right;
use orchestrate_core::database::{Asked, Database, DatabaseUrl, EnvironmentRecord, Site, SiteRecord};
use orchestrate_core::environment::{EnvironmentSettings, ProviderKind, RouterKind};
use orchestrate_core::name::EnvironmentName;
use orchestrate_core::ports::{
    Clock as _, Elsewhere, Ports, Progress, Provider, Router, Silent, SystemClock,
};
use orchestrate_core::release::Artifact;
use orchestrate_core::time::Span;
use orchestrate_core::trace::Traceparent;
use orchestrate_core::{DeploymentExecutor, DeploymentRollback, Error, Result};
use orchestrate_providers::artifact::{ArtifactLimits, ArtifactStore};
use orchestrate_providers::custom::CustomRouter;
use orchestrate_providers::docker;
use orchestrate_providers::kubernetes::KubernetesRouter;
use orchestrate_providers::process::ProcessProvider;
use orchestrate_providers::routers::haproxy::HaproxyRouter;
use orchestrate_providers::static_site::LinkRouter;
use orchestrate_proxy::BuiltinRouter;

use crate::access::Caller;
use crate::args::Global;
use crate::daemon_client::DaemonClient;
use crate::home::Home;
use crate::host::ThisHost;
use crate::keys::HomeKeys;
use ringing::Ringing;
use starting::Starting;

/// How long a lease lasts without being renewed, unless `ORCHESTRATE_LEASE_TTL` says otherwise.
const LEASE_TTL: Span = Span::from_secs(15);

/// What every command that touches state works with.
pub struct Wiring {
    pub home: Home,
    pub keys: Arc<HomeKeys>,
    pub db: Database,
    pub daemon: DaemonClient,
    /// This home, where others share its database.
    pub site: Option<Site>,
    caller: tokio::sync::OnceCell<Caller>,
    /// Of a command; the daemon hears of its own notices anyway.
    ringing: Option<Ringing>,
}

impl Wiring {
    /// Opens the home and the database that the command line names.
    pub async fn open(global: &Global) -> Result<Self> {
        let mut wiring = Self::open_with(global, 1).await?;
        wiring.ringing = Some(Ringing::start(wiring.daemon.clone(), wiring.db.notices_written()));
        Ok(wiring)
    }

    /// The same with so many connections to the database: the daemon does several things at a time.
    pub async fn open_with(global: &Global, connections: u32) -> Result<Self> {
        let home = Home::locate(global.home.as_deref())?;
        home.prepare()?;
        let (url, passed_on) = database(global, &home)?;
        let db = Database::open_with(&url, connections).await?;
        let keys = Arc::new(HomeKeys::new(home.clone()));
        keys.remember(&db).await?;
        let site = if db.is_shared() { Some(crate::site::of(&home)?) } else { None };
        let daemon = DaemonClient::new(home.clone(), passed_on);
        Ok(Self { site, daemon, db, keys, home, ringing: None, caller: tokio::sync::OnceCell::new() })
    }

    /// Who types; read once.
    pub async fn caller(&self) -> Result<&Caller> {
        self.caller.get_or_try_init(|| Caller::of(&self.db)).await
    }

    /// In whose name an environment is changed, by who may; a refusal is on record.
    pub async fn actor(
        &self,
        right: Right,
        environment: &EnvironmentName,
        what: &'static str,
    ) -> Result<String> {
        let caller = self.caller().await?;
        caller.must(&self.db, right, environment, what).await?;
        Ok(caller.name().to_owned())
    }

    /// In whose name something of all of the database is changed, by who may.
    pub async fn actor_of_all(&self, right: Right) -> Result<String> {
        let caller = self.caller().await?;
        caller.may(right, None)?;
        Ok(caller.name().to_owned())
    }

    /// The ports of a command: the provider is in the daemon, which is started where it is needed.
    pub fn ports(&self, progress: Arc<dyn Progress>) -> Ports {
        let provider = ProcessProvider::new(self.home.daemon_socket());
        let router = BuiltinRouter::new(self.home.proxy_socket());
        self.ports_by(
            Arc::new(Starting { daemon: self.daemon.clone(), port: provider }),
            Arc::new(Starting { daemon: self.daemon.clone(), port: router }),
            progress,
        )
    }

    /// To look at an environment; for one that runs on another site nothing is started here.
    pub async fn looking(&self, environment: &EnvironmentName) -> Result<DeploymentRollback> {
        let record = self.db.environment(environment).await?;
        let ports = match self.elsewhere(&record).await? {
            None => self.ports(Arc::new(Silent)),
            Some(_) => self.ports_by(
                Arc::new(ProcessProvider::new(self.home.daemon_socket())),
                Arc::new(BuiltinRouter::new(self.home.proxy_socket())),
                Arc::new(Silent),
            ),
        };
        Ok(DeploymentRollback::new(self.db.clone(), ports))
    }

    fn ports_by(
        &self,
        provider: Arc<dyn Provider>,
        router: Arc<dyn Router>,
        progress: Arc<dyn Progress>,
    ) -> Ports {
        Ports {
            provider,
            router: Arc::new(self.by_router(router)),
            witness: Arc::new(Elsewhere),
            clock: Arc::new(SystemClock),
            host: Arc::new(ThisHost { site: self.site.clone(), traceparent: traceparent() }),
            progress,
            lease_ttl: lease_ttl(),
        }
    }

    /// For who only looks: what does not run is not started, and has nothing to say.
    pub fn onlooker(&self) -> (impl Provider, impl Router) {
        let builtin = BuiltinRouter::new(self.home.proxy_socket());
        (ProcessProvider::new(self.home.daemon_socket()), self.by_router(Arc::new(builtin)))
    }

    fn by_router(&self, builtin: Arc<dyn Router>) -> ByRouter {
        let routed = Arc::new(RoutedBy::once(self.db.clone()));
        let elsewhere = RoutersElsewhere {
            home: self.home.directory().to_owned(),
            store: Arc::new(self.store(None)),
            specs: Arc::new(SealedSpecs { db: self.db.clone(), keys: Arc::clone(&self.keys) as _ }),
            haproxy: haproxy(&self.home, Arc::clone(&routed)),
        };
        ByRouter::new(routed, routers(builtin, elsewhere))
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

    /// Refuses what would change an environment that runs on another site, and records the refusal. One that is not known
    /// yet runs nowhere.
    pub async fn only_here(&self, asked: Asked<'_>) -> Result<()> {
        let Some(record) = self.db.find_environment(asked.environment).await? else { return Ok(()) };
        let refused = self.db.refuse_elsewhere(&record, self.site.as_ref()).await;
        self.db.noted(&asked, refused, SystemClock.now()).await
    }

    /// Where the environment runs, if that is another site than this.
    pub async fn elsewhere(&self, record: &EnvironmentRecord) -> Result<Option<SiteRecord>> {
        let here = |owner: &String| self.site.as_ref().is_some_and(|site| site.id == *owner);
        match &record.owner {
            Some(owner) if self.site.is_some() && !here(owner) => self.db.owner(record).await,
            _ => Ok(None),
        }
    }

    /// Tells the daemon that there is work, and starts it if there is nobody to hear it.
    pub async fn hand_over(&self) -> Result<()> {
        if self.daemon.ring() {
            self.ringing.iter().for_each(Ringing::is_done);
            return Ok(());
        }
        self.daemon.ensure().await.map(drop)
    }
}

/// What routers need that go to where the traffic is by themselves, from commands as from the daemon.
pub struct RoutersElsewhere {
    pub home: PathBuf,
    pub store: Arc<ArtifactStore>,
    pub specs: Arc<SealedSpecs>,
    pub haproxy: Arc<HaproxyRouter>,
}

/// The router of environments with an HAProxy of their own, which commands and the daemon reach alike.
pub fn haproxy(home: &Home, routed: Arc<RoutedBy>) -> Arc<HaproxyRouter> {
    Arc::new(HaproxyRouter::new(home.directory(), routed))
}

/// Every router that an environment may have; `builtin` is reached in its own way by commands and by the daemon.
pub fn routers(
    builtin: Arc<dyn Router>,
    elsewhere: RoutersElsewhere,
) -> BTreeMap<RouterKind, Arc<dyn Router>> {
    let RoutersElsewhere { home, store, specs, haproxy } = elsewhere;
    let places = Arc::new(ClusterPlaces::new(specs.db.clone()));
    let link = LinkRouter::new(&home, Arc::clone(&store), Arc::clone(&specs) as _);
    BTreeMap::from([
        (RouterKind::Builtin, builtin),
        (RouterKind::Haproxy, haproxy as _),
        (RouterKind::Custom, Arc::new(CustomRouter::new(home, store, specs)) as _),
        (RouterKind::Symlink, Arc::new(link) as _),
        (RouterKind::Kubernetes, Arc::new(KubernetesRouter::new(places)) as _),
    ])
}

/// What the reference means now, by the engine that will run it.
pub async fn resolve_image(
    home: &Home,
    settings: &EnvironmentSettings,
    reference: &str,
    progress: &dyn Progress,
) -> Result<Artifact> {
    match settings.provider {
        ProviderKind::Docker | ProviderKind::Swarm => {
            let home = home_directory(home);
            docker::resolve(&docker::Engine::new(None), &home, reference, &|text| progress.remark(text)).await
        }
        ProviderKind::Kubernetes => {
            let cluster = settings.engine.kubernetes.clone().unwrap_or_default();
            orchestrate_providers::kubernetes::resolve(&cluster, reference).await
        }
        provider @ (ProviderKind::Process | ProviderKind::Static | ProviderKind::Custom) => Err(
            Error::usage("ORC-0208", format!("the provider {provider} cannot resolve the image {reference}")),
        ),
    }
}

/// Whether the reference can be resolved, without taking anything in; where it is, for people.
pub async fn find_image(settings: &EnvironmentSettings, reference: &str) -> Result<String> {
    match settings.provider {
        ProviderKind::Docker | ProviderKind::Swarm => {
            docker::find(&docker::Engine::new(None), reference).await
        }
        ProviderKind::Process | ProviderKind::Kubernetes | ProviderKind::Static | ProviderKind::Custom => {
            Ok(reference.to_owned())
        }
    }
}

/// By the same name as the daemon knows it.
pub fn home_directory(home: &Home) -> PathBuf {
    home.directory().canonicalize().unwrap_or_else(|_| home.directory().to_owned())
}

/// Which database, and how it is passed on to the daemon.
pub fn database(global: &Global, home: &Home) -> Result<(DatabaseUrl, Vec<String>)> {
    match (&global.database_url, &global.db_path) {
        (Some(url), _) => Ok(match DatabaseUrl::parse(url)? {
            DatabaseUrl::Sqlite(path) => sqlite(&path),
            DatabaseUrl::Postgres(whole) => {
                let passed_on = vec![whole.clone()];
                (DatabaseUrl::Postgres(whole), passed_on)
            }
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

/// Whoever types is a step of a pipeline that is traced itself.
fn traceparent() -> Option<Traceparent> {
    std::env::var("TRACEPARENT").ok().and_then(|text| Traceparent::parse(&text))
}

/// Under which name an environment's secrets are kept.
pub fn secret_scope(environment: &EnvironmentName) -> String {
    format!("environment/{environment}")
}
