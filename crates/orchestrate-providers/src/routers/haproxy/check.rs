//! What haproxy.cfg must have: looked at before a deployment, and said with the lines to add.

use std::collections::BTreeMap;

use orchestrate_core::Error;
use orchestrate_core::environment::{ProcessType, RouterSettings};
use orchestrate_core::name::EnvironmentName;
use orchestrate_core::ports::{PortError, PortResult};
use orchestrate_core::slot::Slot;

use super::book::Books;
use super::client::Client;
use super::look::Look;

/// Whether HAProxy answers, and has what the process types need; says what was found.
pub async fn check(
    settings: &RouterSettings,
    processes: &BTreeMap<String, ProcessType>,
) -> orchestrate_core::Result<String> {
    let client = Client::new(&settings.haproxy);
    let look = Look::at(client, settings.backends.values().map(String::as_str)).await;
    let look = look.map_err(|error| told("ORC-0521", error))?;
    for (name, process) in processes.iter().filter(|(_, process)| process.listen.is_some()) {
        let backend = settings.backends.get(name).ok_or_else(|| {
            Error::refused("ORC-0522", format!("`router.backends` names no backend of HAProxy for `{name}`"))
                .hint(format!("write for example `backends: {{ {name}: {name} }}` in the config file"))
        })?;
        enough(&look, backend, process.instances).map_err(|error| told("ORC-0522", error))?;
    }
    if let Some(path) = &settings.state_file {
        let directory = path.parent().filter(|directory| directory.is_dir());
        let writable = directory
            .is_some_and(|directory| rustix::fs::access(directory, rustix::fs::Access::WRITE_OK).is_ok());
        if !writable {
            let message = format!("HAProxy's state file {} cannot be written", path.display());
            return Err(Error::refused("ORC-0523", message)
                .hint("make its directory, with this user as its owner, or name another file in `router.state_file`"));
        }
    }
    let named: Vec<&str> = settings.backends.values().map(String::as_str).collect();
    Ok(format!("{} has {}", settings.haproxy, named.join(", ")))
}

fn told(code: &'static str, error: PortError) -> Error {
    let refused = Error::refused(code, error.message.clone());
    match error.detail {
        Some(detail) => refused.hint(detail),
        None => refused,
    }
}

fn enough(look: &Look, backend: &str, instances: u32) -> PortResult<()> {
    if !look.backends.contains_key(backend) {
        return Err(missing_backend(backend));
    }
    for slot in Slot::ALL {
        let servers: Vec<_> = look.servers(backend, slot).collect();
        if servers.len() < instances as usize {
            return Err(too_few_servers(backend, slot, servers.len(), instances as usize));
        }
        if let Some(server) = servers.iter().find(|server| !server.is_checked) {
            return Err(PortError::failed(format!(
                "HAProxy does not check {backend}/{}, so it would not notice an instance that is sick",
                server.name
            ))
            .detail(format!(
                "add to `backend {backend}` of haproxy.cfg: default-server check inter 1s fall 3 rise 1"
            )));
        }
    }
    Ok(())
}

/// What to add to haproxy.cfg, in one line for each that is missing.
fn lines(instances: usize) -> String {
    let most = instances.max(10);
    let templates = Slot::ALL.map(|slot| format!("    server-template {slot} 1-{most} 127.0.0.1:1 disabled"));
    templates.join("\n")
}

pub(super) fn missing_backend(backend: &str) -> PortError {
    PortError::failed(format!("HAProxy has no backend `{backend}`")).detail(format!(
        "add to haproxy.cfg, and reload HAProxy:\nbackend {backend}\n    balance roundrobin\n    option httpchk GET /\n    \
         default-server check inter 1s fall 3 rise 1\n{}",
        lines(0)
    ))
}

pub(super) fn too_few_servers(backend: &str, slot: Slot, there: usize, instances: usize) -> PortError {
    PortError::failed(format!(
        "HAProxy's backend `{backend}` has {there} servers named {slot}1, {slot}2, …, and {instances} instances need one each"
    ))
    .detail(format!("have in `backend {backend}` of haproxy.cfg, and reload HAProxy:\n{}", lines(instances)))
}

/// Two environments behind one backend would take each other's servers out.
pub(super) fn not_shared(
    books: &Books,
    environment: &EnvironmentName,
    settings: &RouterSettings,
    backend: &str,
) -> PortResult<()> {
    match books.other_user(environment, &settings.haproxy, backend) {
        None => Ok(()),
        Some(other) => Err(PortError::failed(format!("HAProxy's backend `{backend}` serves {other}"))
            .detail(format!(
                "give {environment} a backend of its own, in haproxy.cfg and in `router.backends`"
            ))),
    }
}
