//! Settings of services of a Docker Swarm.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::docker::SecretsAs;

/// What every service of the environment has.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct Swarm {
    /// Where a routed process type listens inside its container.
    pub port: u16,
    /// Overlay networks that it joins.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub networks: Vec<String>,
    /// On which nodes it may run, as `docker service create --constraint` takes them.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub constraints: Vec<String>,
    /// Bytes of memory that one instance may have.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub memory: Option<u64>,
    /// Thousandths of a processor that one instance may use.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub millicpus: Option<u32>,
    /// Whether its root file system can only be read.
    pub read_only: bool,
    /// Whether the engine puts an init process in front, which reaps children.
    #[serde(skip_serializing_if = "is_false")]
    pub init: bool,
    #[serde(skip_serializing_if = "SecretsAs::is_usual")]
    pub secrets: SecretsAs,
}

#[expect(clippy::trivially_copy_pass_by_ref, reason = "serde asks by reference")]
fn is_false(value: &bool) -> bool {
    !*value
}

impl Default for Swarm {
    fn default() -> Self {
        Self {
            port: 8080,
            networks: Vec::new(),
            constraints: Vec::new(),
            memory: None,
            millicpus: None,
            read_only: false,
            init: false,
            secrets: SecretsAs::default(),
        }
    }
}
