//! What a command prints on its stdout: one JSON object, and why it is not taken if it is not one.

use std::net::SocketAddr;

use orchestrate_core::ports::{Instance, InstanceState, Placement, PortError, PortErrorKind, PortResult};
use orchestrate_core::time::Timestamp;
use serde::Deserialize;

use crate::spec::RunSpec;

/// How much of what was printed is shown.
const SHOWN: usize = 300;

/// The object of a command that did what it was asked.
#[derive(Clone, Debug, Default, Deserialize)]
pub struct Answer {
    #[serde(default)]
    pub instances: Option<Vec<Told>>,
    /// The share of the release in the traffic, in percent.
    #[serde(default)]
    pub weight: Option<u8>,
    #[serde(default)]
    pub in_flight: Option<u64>,
    /// Whether `switch` can share the traffic between two releases.
    #[serde(default)]
    pub weights: bool,
}

/// One instance, as the command knows it.
#[derive(Clone, Debug, Deserialize)]
pub struct Told {
    pub id: String,
    pub process: String,
    #[serde(default)]
    pub address: Option<SocketAddr>,
    pub state: InstanceState,
    #[serde(default)]
    pub version: Option<String>,
    #[serde(default)]
    pub pid: Option<u32>,
    #[serde(default)]
    pub restarts: u32,
    #[serde(default)]
    pub started_at: Option<Timestamp>,
    #[serde(default)]
    pub last_exit: Option<String>,
}

#[derive(Deserialize)]
struct Raw {
    ok: bool,
    #[serde(default)]
    kind: Option<Kind>,
    #[serde(default)]
    message: Option<String>,
    #[serde(default)]
    detail: Option<String>,
}

/// Why it did not do it, in the command's own words.
#[derive(Clone, Copy, Deserialize)]
#[serde(rename_all = "snake_case")]
enum Kind {
    NotReady,
    Missing,
    Failed,
    Unreachable,
    Fenced,
}

impl Kind {
    const fn port(self) -> PortErrorKind {
        match self {
            Self::NotReady => PortErrorKind::NotReady,
            Self::Missing => PortErrorKind::Missing,
            Self::Failed => PortErrorKind::Failed,
            Self::Unreachable => PortErrorKind::Unreachable,
            Self::Fenced => PortErrorKind::Fenced,
        }
    }
}

/// Reads what was printed; `who` names the command, `how` says how it ended.
pub fn read(stdout: &[u8], who: &str, how: &str, success: bool) -> PortResult<Answer> {
    let text = String::from_utf8_lossy(stdout);
    let shown = || match text.trim() {
        "" => "nothing".to_owned(),
        text => format!("`{}`", text.chars().take(SHOWN).collect::<String>().escape_debug()),
    };
    let no_answer = |why: &str| {
        let ended = if success { String::new() } else { format!(" and {how}") };
        PortError::failed(format!("{who} {why}{ended}; it printed {}", shown()))
    };
    let raw: Raw = serde_json::from_slice(stdout)
        .map_err(|cause| no_answer(&format!("did not print one JSON object with `ok` ({cause})")))?;
    if !raw.ok {
        let kind = raw.kind.unwrap_or(Kind::Failed);
        let message = raw.message.unwrap_or_else(|| format!("{who} said no, and not why"));
        let error = PortError::new(kind.port(), message);
        return Err(match raw.detail {
            Some(detail) => error.detail(detail),
            None => error,
        });
    }
    if !success {
        return Err(no_answer("said `\"ok\":true`"));
    }
    let answer: Answer = serde_json::from_slice(stdout).map_err(|cause| {
        no_answer(&format!("printed an object that the protocol does not have ({cause})"))
    })?;
    match answer.weight {
        Some(weight) if weight > 100 => Err(no_answer("gave a `weight` above 100 percent")),
        _ => Ok(answer),
    }
}

/// The instances as core wants them; what no release of this kind can have is an error.
pub fn instances(
    told: Vec<Told>,
    spec: &RunSpec,
    placement: &Placement,
    since: Timestamp,
    who: &str,
) -> PortResult<Vec<Instance>> {
    let mut instances: Vec<Instance> = Vec::with_capacity(told.len());
    for one in told {
        let wrong = |why: String| Err(PortError::failed(format!("{who} told of {}, {why}", one.id)));
        if !spec.processes.contains_key(&one.process) {
            return wrong(format!("whose process type `{}` the release does not have", one.process));
        }
        if instances.iter().any(|other| other.id == one.id) {
            return wrong("twice".into());
        }
        instances.push(Instance {
            id: one.id,
            placement: placement.clone(),
            process: one.process,
            address: one.address,
            pid: one.pid,
            state: one.state,
            restarts: one.restarts,
            started_at: one.started_at.unwrap_or(since),
            last_exit: one.last_exit,
        });
    }
    instances.sort_by(|a, b| a.id.cmp(&b.id));
    Ok(instances)
}

/// The instances that say that they are of another version than the one that is meant.
pub fn of_another_version(told: &[Told], placement: &Placement) -> Vec<String> {
    let other =
        |one: &&Told| one.version.as_deref().is_some_and(|version| version != placement.version.as_str());
    let words = |one: &Told| {
        let version = one.version.as_deref().unwrap_or_default();
        format!("{} runs {version} instead of {}", one.id, placement.version)
    };
    told.iter().filter(other).map(words).collect()
}
