//! How a sealed release runs, for the providers.

use std::collections::BTreeMap;
use std::sync::Arc;

use async_trait::async_trait;
use orchestrate_core::database::Database;
use orchestrate_core::environment::{ProcessType, ProviderKind, SealedSettings};
use orchestrate_core::name::ReleaseId;
use orchestrate_core::ports::{PortError, PortErrorKind, PortResult};
use orchestrate_core::secrets::KeySource;
use orchestrate_providers::{RunSpec, RunSpecs};

use super::secret_scope;
use crate::program;

/// How a sealed release runs, read from the database whenever an instance of it is started.
pub struct SealedSpecs {
    pub db: Database,
    /// Asked when a release has secrets: a key that is put back is used at once.
    pub keys: Arc<dyn KeySource>,
}

#[async_trait]
impl RunSpecs for SealedSpecs {
    async fn run_spec(&self, release: ReleaseId) -> PortResult<RunSpec> {
        let told = |error: orchestrate_core::Error| PortError::failed(error.full_message());
        let found = self.db.release(release).await.map_err(told)?;
        let release = found.ok_or_else(|| {
            PortError::new(PortErrorKind::Missing, format!("release {release} is not recorded"))
        })?;
        let scope = secret_scope(&release.environment);
        let secrets = match release.contents.secrets.is_empty() {
            true => BTreeMap::new(),
            false => {
                let versions = &release.contents.secrets;
                self.db.open_secrets(&*self.keys, &scope, versions).await.map_err(told)?
            }
        };
        let processes = with_commands(release.contents.processes, &release.contents.settings)?;
        Ok(RunSpec {
            service: self.db.environment(&release.environment).await.map_err(told)?.environment.service,
            engine: *release.contents.settings.engine,
            environment: release.environment,
            version: release.version,
            digest: release.contents.artifact.digest,
            image: release.contents.artifact.image.map(|image| *image),
            processes,
            confinement: *release.contents.settings.confinement,
            health_check: release.contents.settings.health_check,
            drain: release.contents.settings.drain,
            stop_timeout: release.contents.settings.stop_timeout,
            variables: release.contents.variables,
            secrets,
        })
    }
}

/// What serves the files of a site is this very program, as it is today.
fn with_commands(
    mut processes: BTreeMap<String, ProcessType>,
    settings: &SealedSettings,
) -> PortResult<BTreeMap<String, ProcessType>> {
    if settings.provider != ProviderKind::Static {
        return Ok(processes);
    }
    let failed = |error: &dyn std::fmt::Display| {
        PortError::failed(format!("what serves the files of a site cannot be started: {error}"))
    };
    let site = settings.engine.r#static.clone().unwrap_or_default();
    let site = serde_json::to_string(&site).map_err(|error| failed(&error))?;
    let program = program::path().map_err(|error| failed(&error))?.display().to_string();
    for process in processes.values_mut().filter(|process| process.command.is_empty()) {
        process.command = vec![program.clone(), "static-serve".into(), "--settings".into(), site.clone()];
    }
    Ok(processes)
}
