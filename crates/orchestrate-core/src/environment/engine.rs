//! What only one kind of provider, or of router, has to know beside the settings that all of them share.

mod custom;
mod docker;
mod kubernetes;
mod router;
mod r#static;
mod swarm;

pub use custom::{Custom, CustomTimeouts};
pub use docker::{Docker, DockerHealth};
pub use kubernetes::{Amounts, Kubernetes, Manifest, PullPolicy, Resources, Seccomp, Security};
pub use router::RouterSettings;
pub use r#static::Static;
pub use swarm::Swarm;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// At most the part of the environment's own provider is there, and its router's.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct Engine {
    #[serde(skip_serializing_if = "Option::is_none")]
    pub docker: Option<Docker>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub swarm: Option<Swarm>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub kubernetes: Option<Kubernetes>,
    #[serde(rename = "static", skip_serializing_if = "Option::is_none")]
    pub r#static: Option<Static>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub custom: Option<Custom>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub router: Option<RouterSettings>,
    /// Sealed: the engine itself replaces the instances of the release before by those of this one.
    #[serde(skip_serializing_if = "is_false")]
    pub rolls: bool,
    /// Sealed: each of its instances can be let in and out of the traffic by itself.
    #[serde(skip_serializing_if = "is_false")]
    pub shares: bool,
    /// Sealed: what was in the files of `kubernetes.manifests`.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub manifests: Vec<Manifest>,
}

#[expect(clippy::trivially_copy_pass_by_ref, reason = "serde asks by reference")]
fn is_false(value: &bool) -> bool {
    !*value
}

impl Engine {
    pub fn is_none(&self) -> bool {
        *self == Self::default()
    }
}
