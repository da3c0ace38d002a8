//! What tests deploy: a version is what its own text makes it.

use std::collections::BTreeMap;

use crate::deployment_executor::DeployRequest;
use crate::environment::EnvironmentSettings;
use crate::execute::Limits;
use crate::name::{EnvironmentName, Version};
use crate::release::{Artifact, Contents, Digest};

/// What a version consists of, with these settings.
pub fn contents(settings: &EnvironmentSettings, version: &str) -> Contents {
    Contents {
        artifact: Artifact {
            digest: Digest::of(version.as_bytes()),
            origin: version.to_owned(),
            size: 1,
            commit: None,
            committed_at: None,
            signed_by: None,
            image: None,
        },
        processes: settings.processes.clone(),
        settings: settings.sealed(),
        variables: BTreeMap::new(),
        secrets: BTreeMap::new(),
        data: Default::default(),
        hooks: settings.hooks.clone(),
    }
}

/// By ada, without a reason.
pub fn to_deploy(environment: &EnvironmentName, version: Version, contents: Contents) -> DeployRequest {
    DeployRequest {
        environment: environment.clone(),
        version,
        contents,
        strategy: None,
        no_switch: false,
        force: false,
        break_glass: false,
        actor: "ada".into(),
        reason: None,
        limits: Limits::default(),
    }
}
