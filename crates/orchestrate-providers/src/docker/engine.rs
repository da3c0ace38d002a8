//! The engine, as it is reached: by its socket, connected to when it is first needed.

use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use bollard::API_DEFAULT_VERSION;
use bollard::errors::Error;
use orchestrate_core::ports::{PortError, PortErrorKind, PortResult};

const USUAL: &str = "unix:///var/run/docker.sock";
/// How long the engine may think before it answers. Starting a container can take long on a busy machine.
const PATIENCE: Duration = Duration::from_secs(60);
const START_IT: &str = "start the engine (systemctl start docker), or say where it is: DOCKER_HOST=unix:///…";

/// Where an engine is, and the client that reached it.
pub struct Engine {
    host: Option<String>,
    client: Mutex<Option<bollard::Docker>>,
}

impl Engine {
    /// At this address, such as `unix:///var/run/docker.sock`; none: where `DOCKER_HOST` says, or the usual place.
    pub const fn new(host: Option<String>) -> Self {
        Self { host, client: Mutex::new(None) }
    }

    fn host(&self) -> String {
        let named = self.host.clone().or_else(|| std::env::var("DOCKER_HOST").ok());
        named.filter(|host| !host.is_empty()).unwrap_or_else(|| USUAL.to_owned())
    }

    /// Whether it runs containers on this machine, as far as its address tells.
    pub(crate) fn is_here(&self) -> bool {
        self.host().starts_with("unix://")
    }

    /// A client that speaks the engine's own version. It does not say that the engine still answers.
    pub(crate) async fn client(&self) -> PortResult<bollard::Docker> {
        if let Some(client) = self.client.lock().unwrap_or_else(PoisonError::into_inner).clone() {
            return Ok(client);
        }
        let host = self.host();
        let cannot = |error: Error| told(&format!("the Docker engine at {host} cannot be reached"), &error);
        let client = match host.split_once("://") {
            Some(("unix", path)) => {
                bollard::Docker::connect_with_unix(path, PATIENCE.as_secs(), API_DEFAULT_VERSION)
            }
            Some(("tcp" | "http", _)) => {
                bollard::Docker::connect_with_http(&host, PATIENCE.as_secs(), API_DEFAULT_VERSION)
            }
            Some(_) | None => {
                return Err(PortError::failed(format!(
                    "DOCKER_HOST={host} is of a kind that is not spoken here"
                ))
                .detail("it begins with unix:// or tcp://"));
            }
        };
        let client = client.map_err(cannot)?.negotiate_version().await.map_err(cannot)?;
        *self.client.lock().unwrap_or_else(PoisonError::into_inner) = Some(client.clone());
        Ok(client)
    }

    /// The next one who asks looks again which version the engine speaks.
    pub(crate) fn forget_client(&self) {
        self.client.lock().unwrap_or_else(PoisonError::into_inner).take();
    }
}

/// What an engine's answer means for who asked for `what`.
pub(crate) fn told(what: &str, error: &Error) -> PortError {
    match error {
        Error::DockerResponseServerError { message, .. } => {
            PortError::failed(format!("{what}: {}", one_line(message)))
        }
        Error::DockerStreamError { error } => PortError::failed(format!("{what}: {}", one_line(error))),
        // The rest never got to the engine, or its answer never came back.
        other => {
            PortError::new(PortErrorKind::Unreachable, format!("{what}: {}", causes(other))).detail(START_IT)
        }
    }
}

fn causes(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut next = error.source();
    while let Some(cause) = next {
        let said = cause.to_string();
        if !text.contains(&said) {
            text = format!("{text}: {said}");
        }
        next = cause.source();
    }
    one_line(&text)
}

fn one_line(text: &str) -> String {
    text.split_whitespace().collect::<Vec<_>>().join(" ")
}

/// Whether the engine answered with this status.
pub(crate) fn is_status(error: &Error, status: u16) -> bool {
    matches!(error, Error::DockerResponseServerError { status_code, .. } if *status_code == status)
}

/// What is not there any more needs nothing more.
pub(crate) fn unless_gone<T>(result: Result<T, Error>) -> Result<(), Error> {
    match result {
        // 304: it was so already.
        Err(error) if is_status(&error, 404) || is_status(&error, 304) => Ok(()),
        other => other.map(drop),
    }
}
