//! Noticing what becomes of tasks: a swarm announces nothing of them, so it is asked while anything of ours is there.

use std::sync::{Arc, Weak};
use std::time::Duration;

use tokio::time::sleep;

use super::look;
use super::output;
use super::shared::Shared;

const LOOK_EVERY: Duration = Duration::from_secs(1);

/// Ends with the provider.
pub(super) async fn watch(shared: Weak<Shared>) {
    let mut before = Vec::new();
    loop {
        sleep(LOOK_EVERY).await;
        let Some(shared) = shared.upgrade() else { return };
        match look_around(&shared).await {
            Some(now) if now != before => {
                before = now;
                shared.changed();
            }
            Some(_) => {}
            // A client that lost its engine may speak to another one, which knows another version.
            None => shared.engine.forget_client(),
        }
    }
}

/// Every task and its state.
async fn look_around(shared: &Arc<Shared>) -> Option<Vec<(String, String)>> {
    let mut services = Vec::new();
    for environment in shared.watched() {
        services.extend(look::services(shared, Some(&environment)).await.ok()?);
    }
    let tasks = look::tasks(shared, &services).await.ok()?;
    for (who, service) in &services {
        output::copy(shared, who, service.id.as_deref().unwrap_or_default()).await;
    }
    let mut all: Vec<(String, String)> = tasks
        .into_values()
        .flatten()
        .map(|task| {
            let state = task.status.and_then(|status| status.state).map(|state| state.to_string());
            (task.id.unwrap_or_default(), state.unwrap_or_default())
        })
        .collect();
    all.sort();
    Some(all)
}
