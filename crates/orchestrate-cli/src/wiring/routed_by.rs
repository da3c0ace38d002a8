//! Which router is in front of an environment, as it is recorded.

use std::collections::BTreeMap;
use std::sync::{Mutex, PoisonError};

use async_trait::async_trait;
use orchestrate_core::database::Database;
use orchestrate_core::environment::{RouterKind, RouterSettings};
use orchestrate_core::name::EnvironmentName;
use orchestrate_core::ports::{PortError, PortResult};
use orchestrate_providers::routers::haproxy::RouterLookup;

type Routed = (RouterKind, Option<RouterSettings>);

/// Asks the database whenever a router is asked; a command, which lives for one operation, asks it once.
pub struct RoutedBy {
    db: Database,
    known: Option<Mutex<BTreeMap<EnvironmentName, Routed>>>,
}

impl RoutedBy {
    pub fn new(db: Database) -> Self {
        Self { db, known: None }
    }

    pub fn once(db: Database) -> Self {
        Self { db, known: Some(Mutex::default()) }
    }

    pub async fn of(&self, environment: &EnvironmentName) -> PortResult<Routed> {
        let known = self.known.as_ref().map(|known| known.lock().unwrap_or_else(PoisonError::into_inner));
        if let Some(routed) = known.and_then(|known| known.get(environment).cloned()) {
            return Ok(routed);
        }
        let told = |error: orchestrate_core::Error| PortError::unreachable(error.full_message());
        let routed = match self.db.find_environment(environment).await.map_err(told)? {
            Some(record) => {
                let settings = record.environment.settings;
                (settings.router(), settings.engine.router)
            }
            // It was deleted, or is not there yet: then nobody routes for it.
            None => return Ok((RouterKind::Builtin, None)),
        };
        if let Some(known) = &self.known {
            let mut known = known.lock().unwrap_or_else(PoisonError::into_inner);
            known.insert(environment.clone(), routed.clone());
        }
        Ok(routed)
    }
}

#[async_trait]
impl RouterLookup for RoutedBy {
    async fn router_settings(&self, environment: &EnvironmentName) -> PortResult<Option<RouterSettings>> {
        Ok(self.of(environment).await?.1)
    }
}
