//! Which environments belong to this home, for a provider whose instances are found from every home.

use async_trait::async_trait;
use orchestrate_core::database::{Database, Site};
use orchestrate_core::name::EnvironmentName;
use orchestrate_core::ports::{PortError, PortResult};
use orchestrate_providers::swarm::Belongings;

/// Asked of the database each time, because a person may have another home adopt an environment.
pub struct OwnersInRecords {
    pub db: Database,
    /// This home, where others share its database.
    pub site: Option<Site>,
}

#[async_trait]
impl Belongings for OwnersInRecords {
    async fn belongs_here(&self, environment: &EnvironmentName) -> PortResult<bool> {
        let Some(here) = &self.site else { return Ok(true) };
        let told = |error: orchestrate_core::Error| PortError::failed(error.full_message());
        let record = self.db.find_environment(environment).await.map_err(told)?;
        Ok(record.and_then(|record| record.owner).is_some_and(|owner| owner == here.id))
    }
}
