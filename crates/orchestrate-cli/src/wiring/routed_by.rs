//! Which HAProxy is in front of an environment, as it is recorded.

use async_trait::async_trait;
use orchestrate_core::database::Database;
use orchestrate_core::environment::RouterSettings;
use orchestrate_core::name::EnvironmentName;
use orchestrate_core::ports::{PortError, PortResult};
use orchestrate_providers::routers::haproxy::RouterLookup;

/// Asks the database whenever HAProxy is asked.
pub struct RoutedBy {
    pub db: Database,
}

#[async_trait]
impl RouterLookup for RoutedBy {
    async fn router_settings(&self, environment: &EnvironmentName) -> PortResult<Option<RouterSettings>> {
        let told = |error: orchestrate_core::Error| PortError::unreachable(error.full_message());
        let found = self.db.find_environment(environment).await.map_err(told)?;
        Ok(found.and_then(|record| record.environment.settings.engine.router))
    }
}
