//! Settings of containers of the Docker engine of this machine.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// What every container of the environment has.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct Docker {
    /// Where a routed process type listens inside its container.
    pub port: u16,
    /// Networks of the engine that it joins; none: the engine's own bridge, `host`: no network of its own.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub networks: Vec<String>,
    /// As `docker run --volume` takes them: `NAME:/path` or `/here:/path`, with `:ro` at the end or not.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub volumes: Vec<String>,
    /// Bytes of memory that one container may have.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub memory: Option<u64>,
    /// Thousandths of a processor that one container may use.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub millicpus: Option<u32>,
    /// Whether its root file system can only be read.
    pub read_only: bool,
    /// Whether the engine puts an init process in front, which reaps children.
    pub init: bool,
    pub health: DockerHealth,
    #[serde(skip_serializing_if = "SecretsAs::is_usual")]
    pub secrets: SecretsAs,
}

/// How an instance gets its secrets.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum SecretsAs {
    /// Among its variables.
    #[default]
    Variables,
    /// Each a file below `/run/secrets`, in memory.
    Files,
}

impl SecretsAs {
    #[expect(clippy::trivially_copy_pass_by_ref, reason = "serde asks by reference")]
    pub(super) fn is_usual(&self) -> bool {
        *self == Self::default()
    }
}

/// Who says whether an instance is ready.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum DockerHealth {
    /// The environment's `health_check`, asked of the published port.
    #[default]
    Http,
    /// The `HEALTHCHECK` of the image.
    Image,
}

impl Default for Docker {
    fn default() -> Self {
        Self {
            port: 8080,
            networks: Vec::new(),
            volumes: Vec::new(),
            memory: None,
            millicpus: None,
            read_only: false,
            init: false,
            health: DockerHealth::default(),
            secrets: SecretsAs::default(),
        }
    }
}

impl Docker {
    /// Whether a container shares the machine's own network.
    pub fn on_host_network(&self) -> bool {
        self.networks == ["host"]
    }
}
