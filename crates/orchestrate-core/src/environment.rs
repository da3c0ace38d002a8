//! Where a service runs: the settings of one environment, as the config file writes them and a release seals them.

mod drill;
mod engine;
mod verify;

pub use drill::DrillPolicy;
pub use engine::{
    Amounts, Custom, CustomTimeouts, Docker, DockerHealth, Engine, Kubernetes, Manifest, PullPolicy,
    Resources, RouterSettings, Seccomp, SecretsAs, Security, Static, Swarm,
};
pub use verify::{
    Comparison, Expected, HttpTest, LatencyLimits, LogPattern, MINIMUM_REQUESTS, MetricQuery, OnBad,
    OnNoData, Prometheus, SmokeTest, Verify,
};

use std::collections::BTreeMap;
use std::fmt;
use std::net::SocketAddr;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::confinement::Confinement;
use crate::deployment_strategy::{Strategy, StrategyKind};
use crate::hooks::Hooks;
use crate::name::{EnvironmentName, Version};
use crate::policy::{DeployWindow, Policy};
use crate::time::{Span, Timestamp};

/// What kind of place an environment is.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum EnvironmentType {
    #[default]
    Development,
    Staging,
    Production,
}

/// What puts the instances somewhere.
#[derive(
    Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, JsonSchema,
)]
#[serde(rename_all = "snake_case")]
pub enum ProviderKind {
    /// Processes of this machine, behind the built-in proxy.
    #[default]
    Process,
    Docker,
    Swarm,
    Kubernetes,
    Static,
    Custom,
}

impl EnvironmentType {
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Development => "development",
            Self::Staging => "staging",
            Self::Production => "production",
        }
    }
}

impl ProviderKind {
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Process => "process",
            Self::Docker => "docker",
            Self::Swarm => "swarm",
            Self::Kubernetes => "kubernetes",
            Self::Static => "static",
            Self::Custom => "custom",
        }
    }

    /// Whether its engine replaces instances batch by batch itself, and moves the traffic with them.
    pub const fn rolls_by_itself(self) -> bool {
        match self {
            Self::Kubernetes => true,
            Self::Process | Self::Docker | Self::Swarm | Self::Static | Self::Custom => false,
        }
    }

    /// Whether others than orchestrate can change what it runs, as whoever reaches a cluster can.
    pub const fn may_drift(self) -> bool {
        match self {
            Self::Swarm | Self::Kubernetes => true,
            Self::Process | Self::Docker | Self::Static | Self::Custom => false,
        }
    }

    /// Whether the daemon hears at once of what becomes of an instance. If not, what runs is asked for regularly.
    pub const fn tells_changes(self) -> bool {
        match self {
            Self::Process | Self::Docker | Self::Static => true,
            Self::Swarm | Self::Kubernetes | Self::Custom => false,
        }
    }

    /// Whether an environment of it belongs to one home, whose daemon alone looks after it: its instances are there, or at
    /// least the proxy that sends them their requests.
    pub const fn is_local(self) -> bool {
        match self {
            Self::Process | Self::Docker | Self::Swarm | Self::Static | Self::Custom => true,
            Self::Kubernetes => false,
        }
    }

    /// Whether its instances outlive their home: every home of the database finds the same ones.
    pub const fn is_found_from_everywhere(self) -> bool {
        match self {
            Self::Swarm | Self::Kubernetes => true,
            Self::Process | Self::Docker | Self::Static | Self::Custom => false,
        }
    }

    /// Whether a release is an image of a registry, which brings its own command.
    pub const fn runs_images(self) -> bool {
        match self {
            Self::Docker | Self::Swarm | Self::Kubernetes => true,
            Self::Process | Self::Static | Self::Custom => false,
        }
    }
}

/// Who decides about the traffic of an environment.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum RouterKind {
    /// The proxy of this program.
    Builtin,
    Haproxy,
    /// What routes in the cluster.
    Kubernetes,
    /// A command of the user's.
    Custom,
    /// A link that a web server serves.
    Symlink,
}

impl fmt::Display for EnvironmentType {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.as_str())
    }
}

impl fmt::Display for ProviderKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.as_str())
    }
}

/// One kind of instance of a release: `web`, `worker`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct ProcessType {
    /// The program and its arguments, run without a shell in the release's own directory. Empty where the release brings
    /// its own, as an image does.
    #[serde(default)]
    pub command: Vec<String>,
    /// How many of it run.
    #[serde(default = "one")]
    pub instances: u32,
    /// The address on which the proxy takes requests for it, e.g. `127.0.0.1:8080`. Without it, it gets no traffic.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub listen: Option<SocketAddr>,
    /// As whom and within which limits it runs.
    #[serde(default, skip_serializing_if = "Confinement::is_none")]
    pub confinement: Confinement,
}

fn one() -> u32 {
    1
}

/// When an instance counts as ready for traffic.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct HealthCheck {
    /// The path that is asked, with GET.
    pub path: String,
    pub expected_status: u16,
    /// How long one answer may take.
    pub timeout: Span,
    /// The pause between two checks.
    pub interval: Span,
    /// How long a started instance has to become ready.
    pub deadline: Span,
}

impl Default for HealthCheck {
    fn default() -> Self {
        Self {
            path: "/".into(),
            expected_status: 200,
            timeout: Span::from_secs(1),
            interval: Span::from_millis(100),
            deadline: Span::from_secs(30),
        }
    }
}

/// A request whose answer names the version that gave it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct VersionCheck {
    pub path: String,
    /// Text that the body must contain; `{version}` stands for the release's version.
    pub contains: String,
}

/// What happens when a release turns out bad.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct RollbackPolicy {
    /// Whether a bad release is rolled back by itself.
    pub automatic: bool,
    /// How many automatic rollbacks an environment may see within an hour.
    pub at_most_per_hour: u32,
    /// How long after an automatic rollback no other one is made.
    pub cool_down: Span,
}

impl Default for RollbackPolicy {
    fn default() -> Self {
        Self { automatic: true, at_most_per_hour: 3, cool_down: Span::default() }
    }
}

/// How many old releases are kept, so that a rollback can go there.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct Retention {
    /// The newest proven ones, which are kept however old they are.
    pub keep: u32,
    /// How long the others are kept; without it they go once they are not among the newest.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub max_age: Option<Span>,
}

impl Default for Retention {
    fn default() -> Self {
        Self { keep: 10, max_age: None }
    }
}

/// A command of the user's that must succeed before a deployment: tests, a scan.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Check {
    pub name: String,
    /// The program and its arguments, run without a shell beside the config file.
    pub command: Vec<String>,
    #[serde(default = "default_check_timeout")]
    pub timeout: Span,
}

fn default_check_timeout() -> Span {
    Span::from_secs(600)
}

/// All settings of one environment, with `${NAME}` resolved everywhere but in `secrets`, which are never kept here.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct EnvironmentSettings {
    /// development | staging | production.
    #[serde(rename = "type", default)]
    pub kind: EnvironmentType,
    #[serde(default)]
    pub provider: ProviderKind,
    /// Where users reach it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub url: Option<String>,
    pub processes: BTreeMap<String, ProcessType>,
    #[serde(default)]
    pub strategy: Strategy,
    #[serde(default)]
    pub health_check: HealthCheck,
    /// How long requests in flight may take to end once a release lost its traffic.
    #[serde(default = "default_drain")]
    pub drain: Span,
    /// How long after SIGTERM an instance is killed.
    #[serde(default = "default_stop_timeout")]
    pub stop_timeout: Span,
    #[serde(default)]
    pub variables: BTreeMap<String, String>,
    #[serde(default)]
    pub verify: Verify,
    #[serde(default)]
    pub rollback: RollbackPolicy,
    #[serde(default)]
    pub requires_approval: bool,
    /// What else a team has agreed on.
    #[serde(default, skip_serializing_if = "Policy::is_none")]
    pub policy: Box<Policy>,
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub checks: Vec<Check>,
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub windows: Vec<DeployWindow>,
    /// When rollbacks are rehearsed.
    #[serde(default, skip_serializing_if = "DrillPolicy::is_none")]
    pub drill: Box<DrillPolicy>,
    #[serde(default, skip_serializing_if = "Hooks::is_empty")]
    pub hooks: Hooks,
    /// Of what runs once, and of a process type that says nothing else.
    #[serde(default, skip_serializing_if = "Confinement::is_none")]
    pub confinement: Box<Confinement>,
    /// Without it, every release is kept.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub retention: Option<Retention>,
    /// The group with which it can go back together.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub group: Option<String>,
    /// What its releases need of other environments.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    #[schemars(with = "BTreeMap<String, Option<String>>")]
    pub depends_on: DependsOn,
    /// What only its provider or its router has to know.
    #[serde(default, skip_serializing_if = "Engine::is_none")]
    pub engine: Box<Engine>,
}

/// Other environments, with the version that must be live there at least, if it matters.
pub type DependsOn = BTreeMap<EnvironmentName, Option<Version>>;

fn default_drain() -> Span {
    Span::from_secs(30)
}

fn default_stop_timeout() -> Span {
    Span::from_secs(10)
}

impl EnvironmentSettings {
    /// The part that belongs to a release: what decides how its instances run and are judged.
    pub fn sealed(&self) -> SealedSettings {
        SealedSettings {
            provider: self.provider,
            url: self.url.clone(),
            health_check: self.health_check.clone(),
            drain: self.drain,
            stop_timeout: self.stop_timeout,
            verify: self.verify.clone(),
            confinement: self.confinement.clone(),
            depends_on: self.depends_on.clone(),
            engine: self.sealed_engine(),
        }
    }

    /// How a release is run is sealed with it; who routes is a matter of the day.
    fn sealed_engine(&self) -> Box<Engine> {
        let rolls = self.provider.rolls_by_itself() && self.strategy.kind == StrategyKind::Rolling;
        let shares = self.provider == ProviderKind::Kubernetes && !rolls;
        Box::new(Engine { rolls, shares, router: None, ..(*self.engine).clone() })
    }

    /// Whether the daemon hears at once of what becomes of an instance and of the traffic. If not, both are asked for regularly.
    pub fn tells_changes(&self) -> bool {
        self.provider.tells_changes() && self.router() == RouterKind::Builtin
    }

    /// Who decides about the traffic.
    pub fn router(&self) -> RouterKind {
        match (self.provider, &self.engine.router) {
            (ProviderKind::Kubernetes, _) => RouterKind::Kubernetes,
            (ProviderKind::Custom, _) if self.engine.custom.as_ref().is_some_and(Custom::switches) => {
                RouterKind::Custom
            }
            (ProviderKind::Static, _) if self.engine.r#static.as_ref().is_some_and(Static::links) => {
                RouterKind::Symlink
            }
            (_, None) => RouterKind::Builtin,
            (_, Some(_)) => RouterKind::Haproxy,
        }
    }
}

impl EnvironmentSettings {
    /// Whether the traffic is decided about at the same place, so that what is live there stays reachable.
    pub fn routes_like(&self, other: &Self) -> bool {
        let place = |settings: &Self| {
            settings.engine.router.as_ref().map(|router| (router.haproxy.clone(), router.backends.clone()))
        };
        self.router() == other.router() && place(self) == place(other)
    }
}

/// The settings that a release keeps for ever; the rest is policy and belongs to the environment of the day.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct SealedSettings {
    pub provider: ProviderKind,
    pub url: Option<String>,
    pub health_check: HealthCheck,
    pub drain: Span,
    pub stop_timeout: Span,
    pub verify: Verify,
    #[serde(default, skip_serializing_if = "Confinement::is_none")]
    pub confinement: Box<Confinement>,
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub depends_on: DependsOn,
    #[serde(default, skip_serializing_if = "Engine::is_none")]
    pub engine: Box<Engine>,
}

/// An environment as the database knows it.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Environment {
    pub name: EnvironmentName,
    pub service: String,
    pub settings: EnvironmentSettings,
    pub created_at: Timestamp,
    pub updated_at: Timestamp,
}
