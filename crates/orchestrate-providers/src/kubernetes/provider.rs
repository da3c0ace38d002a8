//! The `kubernetes` provider: Deployments, which the cluster keeps running whether we look or not.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};

use async_trait::async_trait;
use orchestrate_core::name::EnvironmentName;
use orchestrate_core::ports::{
    AwaitHealthy, CountLines, Ended, Fetch, ForgetHooks, HookRequest, Instance, Lines, OneOff, Placement,
    PortError, PortErrorKind, PortResult, Processes, Provider, StartRequest, StopRequest,
};
use orchestrate_core::release::Digest;
use tokio::sync::watch;
use tokio::task::AbortHandle;

use super::access::Access;
use super::api::Kind;
use super::follow::Follow;
use super::live::{self, Deployed};
use super::site::{Place, Places, Site};
use super::{await_healthy, drift, fetch, job, lines, start, stop};
use crate::hosted::{Hosted, whole};
use crate::spec::{RunSpec, RunSpecs};

/// Runs releases in the clusters of their environments.
pub struct KubernetesProvider {
    shared: Arc<Shared>,
}

pub(super) struct Shared {
    pub specs: Arc<dyn RunSpecs>,
    places: Arc<dyn Places>,
    access: Arc<Access>,
    changes: watch::Sender<u64>,
    /// Who tells of changes, by environment.
    watchers: Mutex<BTreeMap<EnvironmentName, AbortHandle>>,
}

impl KubernetesProvider {
    pub fn new(specs: Arc<dyn RunSpecs>, places: Arc<dyn Places>) -> Arc<Self> {
        let shared = Shared {
            specs,
            places,
            access: Access::shared(),
            changes: watch::Sender::new(0),
            watchers: Mutex::default(),
        };
        Arc::new(Self { shared: Arc::new(shared) })
    }
}

impl Drop for KubernetesProvider {
    fn drop(&mut self) {
        let watchers = self.shared.watchers.lock().unwrap_or_else(PoisonError::into_inner);
        watchers.values().for_each(AbortHandle::abort);
    }
}

impl Shared {
    /// Where the environment is now; where it is not a cluster's any more, what the release says.
    pub async fn site(&self, environment: &EnvironmentName, spec: Option<&RunSpec>) -> PortResult<Site> {
        let place = match (self.places.place(environment).await?, spec) {
            (Some(place), _) => place,
            (None, Some(spec)) => Place {
                service: spec.service.clone(),
                settings: spec.engine.kubernetes.clone().unwrap_or_default(),
            },
            (None, None) => {
                return Err(PortError::new(
                    PortErrorKind::Missing,
                    format!("it is not known which cluster {environment} is in"),
                ));
            }
        };
        Site::of(&self.access, environment, place).await
    }

    /// The site of a placement whose release may be known, or not any more.
    pub async fn site_of(&self, placement: &Placement) -> PortResult<Site> {
        match self.places.place(&placement.environment).await? {
            Some(place) => Site::of(&self.access, &placement.environment, place).await,
            None => {
                let spec = self.specs.run_spec(placement.release).await?;
                self.site(&placement.environment, Some(&spec)).await
            }
        }
    }

    /// From now on, changes of the environment's pods are told.
    fn tell_of(&self, site: &Site) {
        let mut watchers = self.watchers.lock().unwrap_or_else(PoisonError::into_inner);
        watchers.entry(site.names.environment.clone()).or_insert_with(|| {
            let mut follow = Follow::begin(&site.cluster, Kind::Pod, site.names.selector());
            let changes = self.changes.clone();
            let told = async move {
                loop {
                    follow.changed().await;
                    changes.send_modify(|count| *count += 1);
                }
            };
            tokio::spawn(told).abort_handle()
        });
    }
}

/// The Deployments of an environment.
pub(super) async fn deployed(site: &Site) -> PortResult<Vec<Deployed>> {
    let (items, _) = site.cluster.list(Kind::Deployment, &site.names.selector()).await?;
    let there = items.into_iter().filter(|one| !one.is_leaving());
    Ok(there.filter_map(|object| Deployed::read(object, &site.names.environment)).collect())
}

pub(super) async fn instances(site: &Site) -> PortResult<Vec<Instance>> {
    let deployed = deployed(site).await?;
    let (pods, _) = site.cluster.list(Kind::Pod, &site.names.selector()).await?;
    Ok(live::instances(&deployed, &pods, &site.names.environment))
}

#[async_trait]
impl Provider for KubernetesProvider {
    async fn fetch(&self, request: &Fetch) -> PortResult<()> {
        fetch::fetch(&self.shared, request).await
    }

    async fn start(&self, request: &StartRequest) -> PortResult<Vec<Instance>> {
        let (shared, request) = (Arc::clone(&self.shared), request.clone());
        whole("kubernetes provider", async move { start::start(&shared, &request).await }).await
    }

    async fn await_healthy(&self, request: &AwaitHealthy) -> PortResult<Vec<Instance>> {
        await_healthy::await_healthy(&self.shared, request).await
    }

    async fn stop(&self, request: &StopRequest) -> PortResult<()> {
        let (shared, request) = (Arc::clone(&self.shared), request.clone());
        whole("kubernetes provider", async move { stop::stop(&shared, &request).await }).await
    }

    async fn hook(&self, request: &HookRequest) -> PortResult<Ended> {
        job::hook(&self.shared, request).await
    }

    async fn forget_hooks(&self, request: &ForgetHooks) -> PortResult<()> {
        match self.shared.places.place(&request.environment).await? {
            Some(place) => {
                let site = Site::of(&self.shared.access, &request.environment, place).await?;
                job::forget(&site, request).await
            }
            None => Ok(()),
        }
    }

    /// Images are kept by their registry.
    async fn discard(&self, _: &Digest) -> PortResult<bool> {
        Ok(false)
    }

    async fn instances(&self, environment: &EnvironmentName) -> PortResult<Vec<Instance>> {
        let Some(place) = self.shared.places.place(environment).await? else { return Ok(Vec::new()) };
        let site = Site::of(&self.shared.access, environment, place).await?;
        self.shared.tell_of(&site);
        instances(&site).await
    }

    async fn drift(&self, placement: &Placement, of: Processes) -> PortResult<Vec<String>> {
        drift::drift(&self.shared, placement, of).await
    }
}

#[async_trait]
impl Hosted for KubernetesProvider {
    fn subscribe(&self) -> watch::Receiver<u64> {
        self.shared.changes.subscribe()
    }

    async fn run_once(&self, command: &OneOff) -> PortResult<Ended> {
        job::once(&self.shared, command).await
    }

    async fn count_lines(&self, request: &CountLines) -> PortResult<Lines> {
        lines::count(&self.shared, request).await
    }

    /// What runs in a cluster is not on this machine, and others may be looking after it.
    async fn stop_everything(&self) -> PortResult<()> {
        Ok(())
    }
}
