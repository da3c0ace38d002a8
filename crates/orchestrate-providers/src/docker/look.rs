//! How a container is, as the engine says it, in the words that its keeper needs.

use bollard::container::LogOutput;
use bollard::models::{ContainerInspectResponse, ContainerState, ContainerStateStatusEnum, HealthStatusEnum};
use bollard::query_parameters::LogsOptionsBuilder;
use futures_util::StreamExt as _;
use orchestrate_core::ports::PortResult;
use orchestrate_core::time::Timestamp;

use super::engine::{is_status, told};
use super::shared::Shared;

const LONGEST_LINE: usize = 400;

pub(super) enum Seen {
    Running(Run),
    /// It ended, and the engine starts it again by itself.
    Restarting(End),
    /// It ended, and stays so.
    Ended(End),
    /// There is no such container.
    Missing,
}

/// One run of a container.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Run {
    pub started_at: Timestamp,
    pub pid: Option<u32>,
    /// How often the engine itself has started it again so far.
    pub engine_restarts: u32,
    pub health: Health,
}

/// What the image's own health check says.
#[derive(Clone, Debug, PartialEq)]
pub(super) enum Health {
    /// The image has none.
    None,
    Unknown,
    Healthy,
    Unhealthy(String),
}

#[derive(Clone, Debug)]
pub(super) struct End {
    pub how: String,
    pub status: i64,
    pub engine_restarts: u32,
}

pub(super) async fn look(shared: &Shared, container: &str) -> PortResult<Seen> {
    let client = shared.engine.client().await?;
    match client.inspect_container(container, None).await {
        Ok(found) => Ok(seen(found)),
        Err(error) if is_status(&error, 404) => Ok(Seen::Missing),
        Err(error) => Err(told(&format!("{container} cannot be looked at"), &error)),
    }
}

fn seen(found: ContainerInspectResponse) -> Seen {
    let engine_restarts = found.restart_count.and_then(|count| u32::try_from(count).ok()).unwrap_or(0);
    let state = found.state.unwrap_or_default();
    let end = |state: &ContainerState| End {
        how: how_it_ended(state),
        status: state.exit_code.unwrap_or(0),
        engine_restarts,
    };
    match state.status {
        Some(ContainerStateStatusEnum::RESTARTING) => Seen::Restarting(end(&state)),
        Some(
            ContainerStateStatusEnum::RUNNING
            | ContainerStateStatusEnum::PAUSED
            | ContainerStateStatusEnum::STOPPING,
        ) => Seen::Running(Run {
            started_at: time(state.started_at.as_deref()),
            pid: state.pid.and_then(|pid| u32::try_from(pid).ok()).filter(|pid| *pid > 0),
            engine_restarts,
            health: health(&state),
        }),
        Some(ContainerStateStatusEnum::REMOVING | ContainerStateStatusEnum::DEAD) => Seen::Missing,
        Some(
            ContainerStateStatusEnum::CREATED
            | ContainerStateStatusEnum::EXITED
            | ContainerStateStatusEnum::EMPTY,
        )
        | None => Seen::Ended(end(&state)),
    }
}

fn time(text: Option<&str>) -> Timestamp {
    text.and_then(|text| text.parse().ok()).unwrap_or_else(|| Timestamp::from_millis(0))
}

fn health(state: &ContainerState) -> Health {
    let Some(health) = &state.health else { return Health::None };
    match health.status {
        Some(HealthStatusEnum::HEALTHY) => Health::Healthy,
        Some(HealthStatusEnum::UNHEALTHY) => {
            let last = health.log.as_ref().and_then(|log| log.last()).and_then(|last| last.output.clone());
            Health::Unhealthy(last.unwrap_or_default().trim().chars().take(LONGEST_LINE).collect())
        }
        Some(HealthStatusEnum::STARTING) => Health::Unknown,
        Some(HealthStatusEnum::NONE | HealthStatusEnum::EMPTY) | None => Health::None,
    }
}

fn how_it_ended(state: &ContainerState) -> String {
    let error = state.error.as_deref().filter(|error| !error.is_empty());
    match (error, state.status) {
        (Some(error), _) => format!("could not run: {error}"),
        (None, Some(ContainerStateStatusEnum::CREATED)) => "was never started".into(),
        (None, _) if state.oom_killed == Some(true) => {
            "was killed: it needed more memory than it may have".into()
        }
        (None, _) => exited(state.exit_code.unwrap_or(0)),
    }
}

/// In the words of a shell, which tells of a signal by a status above 128.
pub(super) fn exited(status: i64) -> String {
    match status {
        137 => "exited with status 137 (SIGKILL)".into(),
        139 => "exited with status 139 (SIGSEGV)".into(),
        134 => "exited with status 134 (SIGABRT)".into(),
        143 => "exited with status 143 (SIGTERM)".into(),
        status => format!("exited with status {status}"),
    }
}

/// The last lines that a container wrote, long ones cut. Nothing, if nobody can say.
pub(super) async fn last_lines(shared: &Shared, container: &str, count: usize) -> Vec<String> {
    let Ok(client) = shared.engine.client().await else { return Vec::new() };
    let tail = (count * 2).to_string();
    let options = LogsOptionsBuilder::new().stdout(true).stderr(true).tail(&tail).build();
    let frames: Vec<LogOutput> =
        client.logs(container, Some(options)).filter_map(|frame| async { frame.ok() }).collect().await;
    let bytes: Vec<u8> = frames.iter().flat_map(|frame| frame.as_ref()).copied().collect();
    let text = String::from_utf8_lossy(&bytes);
    let written = text.lines().filter(|line| !line.trim().is_empty());
    let mut lines: Vec<String> =
        written.rev().take(count).map(|line| line.trim_end().chars().take(LONGEST_LINE).collect()).collect();
    lines.reverse();
    lines
}
