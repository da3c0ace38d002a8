//! Secrets as files: secret objects of the swarm, one for each secret of a release, which never changes. They go with the last
//! service of their release; whoever restores it makes them again, from the records.

use std::collections::{BTreeMap, HashMap};

use base64::Engine as _;
use bollard::models::{SecretSpec, TaskSpecContainerSpecFile, TaskSpecContainerSpecSecrets};
use bollard::query_parameters::ListSecretsOptionsBuilder;
use orchestrate_core::name::{EnvironmentName, ReleaseId};
use orchestrate_core::ports::{Placement, PortResult};

use super::labels::{ENVIRONMENT, OWNER, RELEASE, named};
use super::shared::Shared;
use crate::docker::Docker;
use crate::docker::engine::{is_status, told, unless_gone};
use crate::docker::secrets::are_files;
use crate::spec::RunSpec;

/// What the services of a release mount.
#[derive(Default)]
pub(super) struct Laid {
    /// The object of each secret.
    ids: BTreeMap<String, (String, String)>,
    /// The number of the user of each process type, to whom the files belong.
    owners: BTreeMap<String, u64>,
}

/// Makes sure that the objects are there.
pub(super) async fn lay(
    shared: &Shared,
    containers: &Docker,
    spec: &RunSpec,
    placement: &Placement,
) -> PortResult<Laid> {
    if !are_files(spec) {
        return Ok(Laid::default());
    }
    let mut laid = Laid::default();
    for (process, kind) in &spec.processes {
        let owner = containers.user_of(spec, kind.confinement.user.as_deref()).await?;
        laid.owners.insert(process.clone(), owner);
    }
    let there = list(shared, &placement.environment, placement.release).await?;
    for (secret, value) in &spec.secrets {
        let name = name(shared, placement, secret);
        let known = there.iter().find(|(_, known)| *known == name).map(|(id, _)| id.clone());
        let id = match known {
            Some(id) => id,
            None => make(shared, placement, &name, value.expose()).await?,
        };
        laid.ids.insert(secret.clone(), (id, name));
    }
    Ok(laid)
}

impl Laid {
    /// As a service of the process type refers to them; none, where they are variables.
    pub fn of(&self, process: &str) -> Option<Vec<TaskSpecContainerSpecSecrets>> {
        let owner = self.owners.get(process)?;
        let refer = |(secret, (id, name)): (&String, &(String, String))| TaskSpecContainerSpecSecrets {
            file: Some(TaskSpecContainerSpecFile {
                name: Some(secret.clone()),
                uid: Some(owner.to_string()),
                gid: Some("0".to_owned()),
                mode: Some(0o400),
            }),
            secret_id: Some(id.clone()),
            secret_name: Some(name.clone()),
        };
        Some(self.ids.iter().map(refer).collect())
    }
}

/// The services of the release are gone. What one still has, the swarm itself does not give away.
pub(super) async fn clear(shared: &Shared, environment: &EnvironmentName, release: ReleaseId) {
    let there = list(shared, environment, release).await;
    let Ok(client) = shared.client().await else { return };
    for (id, name) in there.unwrap_or_default() {
        match unless_gone(client.delete_secret(&id).await) {
            Ok(()) => {}
            // 400: a service has it.
            Err(error) if is_status(&error, 400) => {}
            Err(error) => {
                tracing::warn!(secret = name, %error, "a secret that nobody needs is left in the swarm")
            }
        }
    }
}

fn name(shared: &Shared, placement: &Placement, secret: &str) -> String {
    let release = placement.release.to_string();
    named(&shared.owner, &["secret", placement.environment.as_str(), &release, secret])
}

/// ID and name of each.
async fn list(
    shared: &Shared,
    environment: &EnvironmentName,
    release: ReleaseId,
) -> PortResult<Vec<(String, String)>> {
    let labels = vec![
        format!("{OWNER}={}", shared.owner),
        format!("{ENVIRONMENT}={environment}"),
        format!("{RELEASE}={release}"),
    ];
    let filters = HashMap::from([("label".to_owned(), labels)]);
    let options = ListSecretsOptionsBuilder::new().filters(&filters).build();
    let found = shared.client().await?.list_secrets(Some(options)).await;
    let found = found.map_err(|error| told("the secrets of the swarm cannot be listed", &error))?;
    Ok(found.into_iter().filter_map(|secret| Some((secret.id?, secret.spec?.name?))).collect())
}

async fn make(shared: &Shared, placement: &Placement, name: &str, value: &str) -> PortResult<String> {
    let labels = [
        (OWNER, shared.owner.clone()),
        (ENVIRONMENT, placement.environment.to_string()),
        (RELEASE, placement.release.to_string()),
    ];
    let spec = SecretSpec {
        name: Some(name.to_owned()),
        labels: Some(labels.map(|(key, value)| (key.to_owned(), value)).into()),
        data: Some(base64::engine::general_purpose::STANDARD.encode(value)),
        ..SecretSpec::default()
    };
    let cannot = |error: &bollard::errors::Error| {
        told(&format!("the secret {name} cannot be put into the swarm"), error)
    };
    let client = shared.client().await?;
    match client.create_secret(spec).await {
        Ok(made) => Ok(made.id),
        // Somebody made it in this moment.
        Err(error) if is_status(&error, 409) => {
            let found = list(shared, &placement.environment, placement.release).await?;
            let same = found.into_iter().find(|(_, known)| known == name);
            same.map(|(id, _)| id).ok_or_else(|| cannot(&error))
        }
        Err(error) => Err(cannot(&error)),
    }
}
