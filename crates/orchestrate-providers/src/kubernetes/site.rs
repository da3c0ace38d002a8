//! Where an environment is: its cluster, its namespace, its names.

use std::sync::Arc;

use async_trait::async_trait;
use orchestrate_core::environment::Kubernetes;
use orchestrate_core::name::EnvironmentName;
use orchestrate_core::ports::{PortError, PortErrorKind, PortResult};

use super::access::Access;
use super::api::Cluster;
use super::names::Names;

/// Knows the environments as they are configured now. Commands and the daemon answer from their database.
#[async_trait]
pub trait Places: Send + Sync {
    /// None, where the environment is not one of a cluster's.
    async fn place(&self, environment: &EnvironmentName) -> PortResult<Option<Place>>;
}

/// The service of an environment, and how its cluster is reached.
#[derive(Clone, Debug)]
pub struct Place {
    pub service: String,
    pub settings: Kubernetes,
}

/// An environment that can be asked about.
#[derive(Clone)]
pub(super) struct Site {
    pub cluster: Cluster,
    pub names: Names,
    pub settings: Kubernetes,
}

impl Site {
    /// Where whoever knows says that it is.
    pub async fn known(
        places: &dyn Places,
        access: &Arc<Access>,
        environment: &EnvironmentName,
    ) -> PortResult<Self> {
        let place = places.place(environment).await?.ok_or_else(|| {
            let why = format!("it is not known which cluster {environment} is in");
            PortError::new(PortErrorKind::Missing, why)
        })?;
        Self::of(access, environment, place).await
    }

    pub async fn of(access: &Arc<Access>, environment: &EnvironmentName, place: Place) -> PortResult<Self> {
        let cluster = Cluster::of(access, &place.settings).await?;
        let names = Names { service: place.service, environment: environment.clone() };
        Ok(Self { cluster, names, settings: place.settings })
    }
}
