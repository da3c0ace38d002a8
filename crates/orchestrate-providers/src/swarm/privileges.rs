//! Whether the nodes of the swarm hold a task to what its service says of new privileges: older engines leave that out, and say nothing.

use bollard::query_parameters::ListNodesOptions;
use orchestrate_core::ports::{PortError, PortResult};

use super::shared::Shared;
use crate::docker::engine::told;
use crate::spec::RunSpec;

/// Docker 25 and its API.
const FIRST_ENGINE: u32 = 25;
const FIRST_API: (usize, usize) = (1, 44);

/// Refuses what was asked for in so many words and would not be so. What only follows from a `user` is had where it can be.
pub(super) async fn check(shared: &Shared, spec: &RunSpec) -> PortResult<()> {
    let wished = spec.processes.values().any(|process| process.confinement.no_new_privs == Some(true));
    if !wished {
        return Ok(());
    }
    let client = shared.client().await?;
    let api = client.client_version();
    if (api.major_version, api.minor_version) < FIRST_API {
        return Err(too_old("the Docker engine of the manager"));
    }
    let nodes = client.list_nodes(None::<ListNodesOptions>).await;
    let nodes = nodes.map_err(|error| told("the nodes of the swarm cannot be listed", &error))?;
    for node in nodes {
        let about = node.description.unwrap_or_default();
        let version = about.engine.and_then(|engine| engine.engine_version).unwrap_or_default();
        if !knows(&version) {
            return Err(too_old(&format!("the engine of {}", about.hostname.unwrap_or_default())));
        }
    }
    Ok(())
}

fn knows(version: &str) -> bool {
    version
        .split('.')
        .next()
        .and_then(|major| major.parse().ok())
        .is_some_and(|major: u32| major >= FIRST_ENGINE)
}

fn too_old(whose: &str) -> PortError {
    PortError::failed(format!("no_new_privs is asked for, and {whose} cannot hold a service to it"))
        .detail(format!("run Docker {FIRST_ENGINE} or newer on all nodes, or take `no_new_privs` out"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn engines_are_told_apart_by_their_major_version() {
        assert!(knows("25.0.0") && knows("28.2.2+dfsg1"));
        assert!(!knows("20.10.24+dfsg1") && !knows("24.0.9") && !knows("") && !knows("dev"));
    }
}
