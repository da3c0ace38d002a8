//! What a command is told on its stdin: one JSON object, version 1 of the protocol.

use std::collections::BTreeMap;
use std::net::SocketAddr;

use orchestrate_core::environment::Custom;
use orchestrate_core::name::Fence;
use orchestrate_core::ports::{Counts, Placement, Processes};
use orchestrate_core::time::Span;
use serde::Serialize;

use crate::process::instance_id;
use crate::spec::RunSpec;

/// The version of the protocol.
const PROTOCOL: u32 = 1;

/// What a command is run for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verb {
    Deploy,
    Start,
    Health,
    Switch,
    Stop,
    Status,
}

impl Verb {
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Deploy => "deploy",
            Self::Start => "start",
            Self::Health => "health",
            Self::Switch => "switch",
            Self::Stop => "stop",
            Self::Status => "status",
        }
    }

    pub fn command(self, custom: &Custom) -> &[String] {
        match self {
            Self::Deploy => &custom.deploy,
            Self::Start => &custom.start,
            Self::Health => &custom.health,
            Self::Switch => &custom.switch,
            Self::Stop => &custom.stop,
            Self::Status => &custom.status,
        }
    }

    pub fn limit(self, custom: &Custom) -> Span {
        let limits = &custom.timeouts;
        match self {
            Self::Deploy => limits.deploy,
            Self::Start => limits.start,
            Self::Health => limits.health,
            Self::Switch => limits.switch,
            Self::Stop => limits.stop,
            Self::Status => limits.status,
        }
    }
}

/// The object itself.
#[derive(Debug, Serialize)]
pub struct Request {
    protocol: u32,
    verb: &'static str,
    environment: String,
    service: String,
    slot: &'static str,
    release: i64,
    version: String,
    /// The newest fence of the environment.
    #[serde(skip_serializing_if = "Option::is_none")]
    fence: Option<i64>,
    /// Where the sealed artifact lies, unpacked; the command runs there.
    directory: String,
    digest: String,
    processes: BTreeMap<String, Process>,
    /// `start` and `health`: who must run and be ready. `stop`: who must not run any more.
    pub instances: Vec<Named>,
    /// `stop`: nothing of the release may be left in the slot.
    pub all: bool,
    /// `switch`: who gets the traffic, all others none; empty where nobody shall have any.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub traffic: Option<Vec<Share>>,
    settings: Settings,
}

#[derive(Debug, Serialize)]
struct Process {
    instances: u32,
    #[serde(skip_serializing_if = "Option::is_none")]
    listen: Option<SocketAddr>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    command: Vec<String>,
}

/// One instance, by the name that it has here.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Named {
    pub id: String,
    pub process: String,
    /// Where it listens, if that is known.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub address: Option<SocketAddr>,
}

/// The share of one release in the traffic.
#[derive(Clone, Debug, Serialize)]
pub struct Share {
    pub slot: &'static str,
    pub release: i64,
    pub version: String,
    /// In percent.
    pub weight: u8,
    pub instances: Vec<Named>,
}

#[derive(Debug, Serialize)]
struct Settings {
    #[serde(skip_serializing_if = "Option::is_none")]
    url: Option<String>,
    health_path: String,
    expected_status: u16,
    health_timeout_ms: u64,
    drain_ms: u64,
    stop_timeout_ms: u64,
}

impl Request {
    pub fn new(verb: Verb, spec: &RunSpec, placement: &Placement, directory: &std::path::Path) -> Self {
        let process = |kind: &orchestrate_core::environment::ProcessType| Process {
            instances: kind.instances,
            listen: kind.listen,
            command: kind.command.clone(),
        };
        Self {
            protocol: PROTOCOL,
            verb: verb.as_str(),
            environment: placement.environment.to_string(),
            service: spec.service.clone(),
            slot: placement.slot.as_str(),
            release: placement.release.0,
            version: placement.version.to_string(),
            fence: None,
            directory: directory.display().to_string(),
            digest: spec.digest.as_str().to_owned(),
            processes: spec.processes.iter().map(|(name, kind)| (name.clone(), process(kind))).collect(),
            instances: Vec::new(),
            all: false,
            traffic: None,
            settings: Settings {
                url: spec.engine.custom.as_ref().and_then(|custom| custom.url.clone()),
                health_path: spec.health_check.path.clone(),
                expected_status: spec.health_check.expected_status,
                health_timeout_ms: millis(spec.health_check.timeout),
                drain_ms: millis(spec.drain),
                stop_timeout_ms: millis(spec.stop_timeout),
            },
        }
    }

    pub fn fence(&mut self, fence: Option<Fence>) {
        self.fence = fence.map(|fence| fence.0);
    }
}

fn millis(span: Span) -> u64 {
    u64::try_from(span.duration().as_millis()).unwrap_or(u64::MAX)
}

/// The instances that a release should have in its slot.
pub fn wanted(
    spec: &RunSpec,
    placement: &Placement,
    processes: Processes,
    counts: Option<&Counts>,
) -> Vec<Named> {
    let named = |wanted: crate::spec::Wanted<'_>| Named {
        id: instance_id(placement.slot.as_str(), wanted.process, wanted.number),
        process: wanted.process.to_owned(),
        address: None,
    };
    spec.wanted(processes, counts).map(named).collect()
}
