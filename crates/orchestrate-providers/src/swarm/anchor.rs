//! The fence of an environment, kept in the swarm itself: a label of a config object, changed only from the version that was read.

use std::collections::HashMap;

use base64::Engine as _;
use bollard::models::{Config, ConfigSpec};
use bollard::query_parameters::{ListConfigsOptionsBuilder, UpdateConfigOptionsBuilder};
use orchestrate_core::name::{EnvironmentName, Fence};
use orchestrate_core::ports::{PortError, PortErrorKind, PortResult};

use super::labels::{ENVIRONMENT, FENCE, OWNER, named};
use super::shared::{Shared, is_out_of_sequence, moved};
use crate::docker::engine::{is_status, told, unless_gone};

const ATTEMPTS: usize = 20;

/// Refuses a fence older than one that was seen; a newer one is with the swarm's managers when this returns.
pub(super) async fn accept(shared: &Shared, environment: &EnvironmentName, fence: Fence) -> PortResult<()> {
    shared.node().await?;
    let cannot =
        |error: bollard::errors::Error| told(&format!("the fence of {environment} cannot be kept"), &error);
    for _ in 0..ATTEMPTS {
        let client = shared.client().await?;
        let Some(config) = find(shared, &shared.owner, environment).await? else {
            let before = older(shared, environment).await?;
            if let Some(seen) = before.as_ref().and_then(fence_in).filter(|seen| *seen > fence) {
                return Err(fenced(environment, seen, fence));
            }
            match client.create_config(new(shared, environment, fence)).await {
                Ok(_) => {
                    forget(&client, before).await;
                    return Ok(());
                }
                Err(error) if is_status(&error, 409) => continue,
                Err(error) => return Err(cannot(error)),
            }
        };
        let seen = fence_in(&config);
        if seen.is_some_and(|seen| seen > fence) {
            return Err(fenced(environment, seen.unwrap_or(fence), fence));
        }
        if seen == Some(fence) {
            return Ok(());
        }
        let (id, version) = (config.id.unwrap_or_default(), config.version.and_then(|version| version.index));
        let mut spec = config.spec.unwrap_or_default();
        spec.labels.get_or_insert_default().insert(FENCE.into(), fence.to_string());
        let version = i64::try_from(version.unwrap_or_default()).unwrap_or_default();
        let options = UpdateConfigOptionsBuilder::new().version(version).build();
        match client.update_config(&id, spec, options).await {
            Ok(()) => return Ok(()),
            Err(error) if is_out_of_sequence(&error) => {}
            Err(error) => return Err(cannot(error)),
        }
    }
    Err(moved(&format!("the fence of {environment}")))
}

fn fenced(environment: &EnvironmentName, seen: Fence, fence: Fence) -> PortError {
    PortError::new(
        PortErrorKind::Fenced,
        format!("a newer operation works on {environment}: its fence is {seen}, this one's is {fence}"),
    )
}

/// What an older program kept the fence in.
async fn older(shared: &Shared, environment: &EnvironmentName) -> PortResult<Option<Config>> {
    match &shared.formerly {
        Some(owner) => find(shared, owner, environment).await,
        None => Ok(None),
    }
}

/// The one that took its place has its fence.
async fn forget(client: &bollard::Docker, older: Option<Config>) {
    let Some(id) = older.and_then(|config| config.id) else { return };
    if let Err(error) = unless_gone(client.delete_config(&id).await) {
        tracing::warn!(config = id, %error, "what an older program kept a fence in is left");
    }
}

fn name(owner: &str, environment: &EnvironmentName) -> String {
    named(owner, &["orchestrate", environment.as_str()])
}

async fn find(shared: &Shared, owner: &str, environment: &EnvironmentName) -> PortResult<Option<Config>> {
    let name = name(owner, environment);
    let filters = HashMap::from([("name", vec![name.as_str()])]);
    let options = ListConfigsOptionsBuilder::new().filters(&filters).build();
    let found = shared.client().await?.list_configs(Some(options)).await;
    let found = found.map_err(|error| told(&format!("the fence of {environment} cannot be read"), &error))?;
    // The filter takes every name that begins so.
    let is_it =
        |config: &Config| config.spec.as_ref().and_then(|spec| spec.name.as_deref()) == Some(name.as_str());
    Ok(found.into_iter().find(is_it))
}

fn fence_in(config: &Config) -> Option<Fence> {
    let labels = config.spec.as_ref()?.labels.as_ref()?;
    labels.get(FENCE)?.parse().ok().map(Fence)
}

fn new(shared: &Shared, environment: &EnvironmentName, fence: Fence) -> ConfigSpec {
    let labels =
        [(OWNER, shared.owner.clone()), (ENVIRONMENT, environment.to_string()), (FENCE, fence.to_string())];
    let about = format!("The fence of {environment}, kept by orchestrate in a label of this object.\n");
    ConfigSpec {
        name: Some(name(&shared.owner, environment)),
        labels: Some(labels.map(|(key, value)| (key.to_owned(), value)).into()),
        data: Some(base64::engine::general_purpose::STANDARD.encode(about)),
        ..ConfigSpec::default()
    }
}
