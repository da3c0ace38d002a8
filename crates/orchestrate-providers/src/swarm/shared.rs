//! What the provider's verbs have in common.

use std::collections::{BTreeMap, BTreeSet, HashMap, HashSet};
use std::path::PathBuf;
use std::sync::{Arc, Mutex, PoisonError};

use bollard::query_parameters::InspectServiceOptions;
use orchestrate_core::name::{EnvironmentName, ReleaseId};
use orchestrate_core::ports::{PortError, PortErrorKind, PortResult};
use orchestrate_core::slot::Slot;
use tokio::sync::watch;
use tokio::task::AbortHandle;

use super::provider::{Belongings, SwarmOptions};
use super::watching;
use crate::docker::Engine;
use crate::docker::engine::told;
use crate::process::lines::Counted;
use crate::spec::{RunSpec, RunSpecs};

type Gate = Arc<tokio::sync::Mutex<()>>;

pub(super) struct Shared {
    pub home: PathBuf,
    /// On everything of this installation that the swarm has.
    pub owner: String,
    /// What was on it when an older program made it.
    pub formerly: Option<String>,
    pub engine: Engine,
    /// Counts what others can see of the instances.
    pub changes: watch::Sender<u64>,
    pub counted: Counted,
    /// Tasks that were seen ready: what is not any more is unhealthy, what never was is starting.
    pub seen_ready: Mutex<HashSet<String>>,
    /// How far the output of each service is copied.
    pub copied: tokio::sync::Mutex<HashMap<String, String>>,
    specs: Arc<dyn RunSpecs>,
    known_specs: Mutex<HashMap<ReleaseId, Arc<RunSpec>>>,
    gates: Mutex<BTreeMap<(EnvironmentName, Slot), Gate>>,
    node: tokio::sync::OnceCell<String>,
    belongings: Arc<dyn Belongings>,
    /// Environments whose tasks are watched from here.
    watched: Mutex<BTreeSet<EnvironmentName>>,
    watcher: Mutex<Option<AbortHandle>>,
}

impl Shared {
    pub fn new(options: SwarmOptions) -> Self {
        let SwarmOptions { home, host, owner, formerly, specs, belongings, containers: _ } = options;
        Self {
            home,
            owner,
            formerly,
            engine: Engine::new(host),
            belongings,
            watched: Mutex::default(),
            changes: watch::Sender::new(0),
            counted: Counted::default(),
            seen_ready: Mutex::default(),
            copied: tokio::sync::Mutex::default(),
            specs,
            known_specs: Mutex::default(),
            gates: Mutex::default(),
            node: tokio::sync::OnceCell::new(),
            watcher: Mutex::default(),
        }
    }

    pub async fn client(&self) -> PortResult<bollard::Docker> {
        self.engine.client().await
    }

    /// The node that is asked; an error that says what to do, where the engine is no manager of a swarm.
    pub async fn node(&self) -> PortResult<&str> {
        let node = self.node.get_or_try_init(|| async {
            let info = self.client().await?.info().await;
            let swarm = info.map_err(|error| told("the swarm cannot be looked at", &error))?.swarm;
            match swarm {
                Some(swarm) if swarm.control_available == Some(true) => Ok(swarm.node_id.unwrap_or_default()),
                _ => Err(PortError::failed("the Docker engine here is no manager of a swarm")
                    .detail("make a swarm: docker swarm init; or name a manager: DOCKER_HOST=tcp://…")),
            }
        });
        node.await.map(String::as_str)
    }

    pub async fn spec(&self, release: ReleaseId) -> PortResult<Arc<RunSpec>> {
        let known = self.known_specs.lock().unwrap_or_else(PoisonError::into_inner).get(&release).cloned();
        if let Some(spec) = known {
            return Ok(spec);
        }
        let spec = Arc::new(self.specs.run_spec(release).await?);
        let mut specs = self.known_specs.lock().unwrap_or_else(PoisonError::into_inner);
        Ok(Arc::clone(specs.entry(release).or_insert(spec)))
    }

    /// Its secrets leave the memory with it.
    pub fn forget_spec(&self, release: ReleaseId) {
        self.known_specs.lock().unwrap_or_else(PoisonError::into_inner).remove(&release);
    }

    /// Whoever starts or stops in a slot from here goes through its gate, one after the other.
    pub fn gate(&self, environment: &EnvironmentName, slot: Slot) -> Gate {
        let mut gates = self.gates.lock().unwrap_or_else(PoisonError::into_inner);
        Arc::clone(gates.entry((environment.clone(), slot)).or_default())
    }

    pub fn changed(&self) {
        self.changes.send_modify(|count| *count += 1);
    }

    /// Whether the environment is looked after from here, and not from another home of the database.
    pub async fn belongs_here(&self, environment: &EnvironmentName) -> PortResult<bool> {
        self.belongings.belongs_here(environment).await
    }

    pub fn watched(&self) -> BTreeSet<EnvironmentName> {
        self.watched.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// From now on it is noticed what becomes of its tasks.
    pub fn watch(self: &Arc<Self>, environment: &EnvironmentName) {
        self.watched.lock().unwrap_or_else(PoisonError::into_inner).insert(environment.clone());
        let mut watcher = self.watcher.lock().unwrap_or_else(PoisonError::into_inner);
        let watched = Arc::downgrade(self);
        watcher.get_or_insert_with(|| tokio::spawn(watching::watch(watched)).abort_handle());
    }

    pub fn let_go(&self) {
        if let Some(watcher) = self.watcher.lock().unwrap_or_else(PoisonError::into_inner).take() {
            watcher.abort();
        }
    }

    /// The version of a service, which an update must name.
    pub async fn version_of(&self, name: &str) -> PortResult<Option<(u64, bollard::models::ServiceSpec)>> {
        let found = self.client().await?.inspect_service(name, None::<InspectServiceOptions>).await;
        match found {
            Ok(service) => {
                let version = service.version.and_then(|version| version.index).unwrap_or_default();
                Ok(service.spec.map(|spec| (version, spec)))
            }
            Err(error) if crate::docker::engine::is_status(&error, 404) => Ok(None),
            Err(error) => Err(told(&format!("the service {name} cannot be looked at"), &error)),
        }
    }
}

/// Whether somebody else changed an object since it was read.
pub(super) fn is_out_of_sequence(error: &bollard::errors::Error) -> bool {
    matches!(error, bollard::errors::Error::DockerResponseServerError { message, .. }
        if message.contains("out of sequence"))
}

pub(super) fn moved(what: &str) -> PortError {
    PortError::new(
        PortErrorKind::Unreachable,
        format!("{what} is being changed by somebody else all the time"),
    )
}
