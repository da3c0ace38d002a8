//! What can be said of a deployment to a cluster without asking it: manifests of the user's, and how exact shares can be.

use std::path::PathBuf;

use async_trait::async_trait;
use orchestrate_core::environment::EnvironmentSettings;
use orchestrate_core::pre_deploy_validation::{CheckFailure, PreDeployCheck};

use crate::commands::intake::Intended;
use crate::wiring::{read_manifests, shares_told};

pub(super) fn checks(intended: &Intended) -> Vec<Box<dyn PreDeployCheck>> {
    let mut checks: Vec<Box<dyn PreDeployCheck>> = Vec::new();
    let settings = &intended.settings;
    let has_manifests = settings.engine.kubernetes.as_ref().is_some_and(|one| !one.manifests.is_empty());
    if has_manifests && intended.config.is_some() {
        let directory = intended.config_directory().to_owned();
        checks.push(Box::new(Manifests { settings: settings.clone(), directory }));
    }
    checks.extend(shares_told(settings, None).map(|told| Box::new(Shares { told }) as _));
    checks
}

/// They can be read, and applied as far as that is seen from here.
struct Manifests {
    settings: EnvironmentSettings,
    directory: PathBuf,
}

#[async_trait]
impl PreDeployCheck for Manifests {
    fn name(&self) -> String {
        "manifests".into()
    }

    async fn run(&self) -> std::result::Result<String, CheckFailure> {
        match read_manifests(&self.settings, &self.directory) {
            Ok(found) => Ok(format!("{} objects, which are sealed with the release", found.manifests.len())),
            Err(error) => Err(CheckFailure {
                message: error.full_message(),
                hint: error.hint_text().map(str::to_owned),
            }),
        }
    }
}

/// It always passes: a share that is not exact is one all the same.
struct Shares {
    told: String,
}

#[async_trait]
impl PreDeployCheck for Shares {
    fn name(&self) -> String {
        "shares".into()
    }

    async fn run(&self) -> std::result::Result<String, CheckFailure> {
        Ok(self.told.clone())
    }
}
