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
    /// What containers may do; as the cluster makes them, where there is none.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub security: Option<Security>,
    /// Files of the user's, read at each deployment; what was in them is sealed.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub manifests: Vec<String>,
    /// Which container of their Deployment the image is put into; its only one, where there is none.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub container: Option<String>,
}

/// An object of the user's, as it was read at a deployment.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Manifest {
    /// For people: the file, and which of its documents.
    pub from: String,
    /// Of a Secret, without what is secret.
    pub object: serde_json::Value,
    /// Under this name the secrets of the release have what is in a Secret.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub secret: Option<String>,
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
            security: None,
            manifests: Vec::new(),
            container: None,
        }
    }
}

/// What a container may do. What is not said is as the pod security standard `restricted` asks for it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct Security {
    pub run_as_non_root: bool,
    /// The image's own, where there is none; a `user` of the environment or of a process type goes before it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub run_as_user: Option<u32>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub run_as_group: Option<u32>,
    pub seccomp_profile: Seccomp,
    pub allow_privilege_escalation: bool,
    pub drop_capabilities: Vec<String>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub add_capabilities: Vec<String>,
    pub read_only_root_filesystem: bool,
}

impl Default for Security {
    fn default() -> Self {
        Self {
            run_as_non_root: true,
            run_as_user: None,
            run_as_group: None,
            seccomp_profile: Seccomp::RuntimeDefault,
            allow_privilege_escalation: false,
            drop_capabilities: vec!["ALL".to_owned()],
            add_capabilities: Vec::new(),
            read_only_root_filesystem: false,
        }
    }
}

/// Which calls of the kernel are let through, in the cluster's own words.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub enum Seccomp {
    RuntimeDefault,
    Unconfined,
}

impl Seccomp {
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::RuntimeDefault => "RuntimeDefault",
            Self::Unconfined => "Unconfined",
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
