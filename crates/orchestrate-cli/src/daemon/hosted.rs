//! Every provider that the daemon hosts, each with what it had here before.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;
use std::sync::Arc;

use orchestrate_core::Result;
use orchestrate_core::environment::ProviderKind;
use orchestrate_core::name::EnvironmentName;
use orchestrate_providers::artifact::ArtifactStore;
use orchestrate_providers::custom::CustomProvider;
use orchestrate_providers::docker::{Docker, DockerOptions, home_mark};
use orchestrate_providers::kubernetes::KubernetesProvider;
use orchestrate_providers::process::{Supervisor, SupervisorOptions};
use orchestrate_providers::static_site::StaticSites;
use orchestrate_providers::swarm::{Swarm, SwarmOptions};
use orchestrate_providers::{Hosted, RunSpecs};

use crate::wiring::{ClusterPlaces, OwnersInRecords, SealedSpecs, Wiring, home_directory};

pub(super) async fn all(
    wiring: &Wiring,
    store: &Arc<ArtifactStore>,
    specs: &Arc<SealedSpecs>,
) -> Result<BTreeMap<ProviderKind, Arc<dyn Hosted>>> {
    let home = home_directory(&wiring.home);
    let known: Arc<dyn RunSpecs> = Arc::clone(specs) as _;
    let mut supervised = SupervisorOptions::new(home.clone(), Arc::clone(store), Arc::clone(&known));
    supervised.elsewhere = elsewhere(wiring).await?;
    let processes: Arc<dyn Hosted> = Supervisor::open(supervised).await?;
    let custom =
        CustomProvider::new(home.clone(), Arc::clone(store), Arc::clone(&known), Arc::clone(&processes));
    let sites = StaticSites::new(home.clone(), Arc::clone(store), Arc::clone(&known), Arc::clone(&processes));
    let docker = Docker::open(DockerOptions::new(home.clone(), Arc::clone(&known))).await?;
    let (owner, formerly) = marks(wiring, &home).await?;
    let (db, site) = (wiring.db.clone(), wiring.site.clone());
    let swarm = Swarm::open(SwarmOptions {
        owner,
        formerly,
        home,
        host: None,
        specs: known,
        belongings: Arc::new(OwnersInRecords { db, site }),
        containers: Arc::clone(&docker),
    });
    let places = Arc::new(ClusterPlaces::new(wiring.db.clone()));
    let cluster = KubernetesProvider::new(Arc::clone(specs) as _, places);
    Ok(BTreeMap::from([
        (ProviderKind::Kubernetes, cluster as _),
        (ProviderKind::Process, processes),
        (ProviderKind::Custom, Arc::new(custom) as _),
        (ProviderKind::Static, Arc::new(sites) as _),
        (ProviderKind::Docker, docker as _),
        (ProviderKind::Swarm, swarm as _),
    ]))
}

/// The mark of what is ours in a swarm, and the one that older programs gave it: homes that share a database go on with the
/// same services, and a file belongs to one home.
async fn marks(wiring: &Wiring, home: &Path) -> Result<(String, Option<String>)> {
    let of_home = home_mark(home);
    match wiring.db.is_shared() {
        true => Ok((wiring.db.identity().await?, Some(of_home))),
        false => Ok((of_home, None)),
    }
}

/// What another site took over from this one.
async fn elsewhere(wiring: &Wiring) -> Result<BTreeSet<EnvironmentName>> {
    let Some(here) = &wiring.site else { return Ok(BTreeSet::new()) };
    let records = wiring.db.list_environments().await?.into_iter();
    let others = records.filter(|record| record.owner.as_ref().is_some_and(|owner| *owner != here.id));
    Ok(others.map(|record| record.environment.name).collect())
}
