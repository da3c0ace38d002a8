//! Settings of workloads of a Kubernetes cluster.

use std::collections::BTreeMap;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// The port that a container listens on, unless it is said.
const PORT: u16 = 8080;

/// Where the cluster is (`context`, `kubeconfig`, `namespace`, `route`) goes by the environment of the day; what decides about
/// pods goes by the sealed release.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct Kubernetes {
    /// Of the kubeconfig; its current one, where there is none.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub context: Option<String>,
    /// A file; `KUBECONFIG`, `~/.kube/config` or the identity of the pod, where there is none.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub kubeconfig: Option<String>,
    /// That of the context, else `default`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub namespace: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub image_pull_policy: Option<PullPolicy>,
    /// What every routed container listens on; it is told by the variable `PORT`.
    pub port: u16,
    #[serde(skip_serializing_if = "Resources::is_none")]
    pub resources: Resources,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub service_account: Option<String>,
    /// Secrets of the namespace, by name.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub image_pull_secrets: Vec<String>,
    /// Of Deployments and pods, beside our own.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub labels: BTreeMap<String, String>,
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub annotations: BTreeMap<String, String>,
    /// An HTTPRoute of the namespace whose weights share the traffic.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub route: Option<String>,
}

impl Default for Kubernetes {
    fn default() -> Self {
        Self {
            context: None,
            kubeconfig: None,
            namespace: None,
            image_pull_policy: None,
            port: PORT,
            resources: Resources::default(),
            service_account: None,
            image_pull_secrets: Vec::new(),
            labels: BTreeMap::new(),
            annotations: BTreeMap::new(),
            route: None,
        }
    }
}

/// When the image is pulled, in the cluster's own words.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub enum PullPolicy {
    Always,
    IfNotPresent,
    Never,
}

impl PullPolicy {
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Always => "Always",
            Self::IfNotPresent => "IfNotPresent",
            Self::Never => "Never",
        }
    }
}

/// What a container asks for, and what it gets at most.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct Resources {
    #[serde(skip_serializing_if = "Amounts::is_none")]
    pub requests: Amounts,
    #[serde(skip_serializing_if = "Amounts::is_none")]
    pub limits: Amounts,
}

impl Resources {
    pub fn is_none(&self) -> bool {
        *self == Self::default()
    }
}

/// In the cluster's own words: `250m`, `512Mi`.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct Amounts {
    #[serde(skip_serializing_if = "Option::is_none")]
    pub cpu: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub memory: Option<String>,
}

impl Amounts {
    pub fn is_none(&self) -> bool {
        *self == Self::default()
    }
}
