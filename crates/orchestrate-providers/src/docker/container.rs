//! From a process type to a container: what the engine is told to make.

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;

use bollard::models::{
    ContainerCreateBody, HostConfig, HostConfigLogConfig, NetworkConnectRequest, PortBinding,
    ResourcesUlimits, RestartPolicy, RestartPolicyNameEnum,
};
use bollard::query_parameters::{
    CreateContainerOptionsBuilder, KillContainerOptions, RemoveContainerOptionsBuilder, StartContainerOptions,
};
use orchestrate_core::confinement::Confinement;
use orchestrate_core::environment::Docker as Settings;
use orchestrate_core::ports::{Placement, PortError, PortErrorKind, PortResult};

use super::engine::{is_status, told, unless_gone};
use super::secrets;
use super::shared::Shared;
use crate::process::book::InstanceEntry;
use crate::spec::RunSpec;

/// What the labels of everything of ours begin with.
pub(super) const HOME: &str = "dev.orchestrate.home";
pub(super) const ENVIRONMENT: &str = "dev.orchestrate.environment";
pub(super) const SLOT: &str = "dev.orchestrate.slot";
pub(super) const RELEASE: &str = "dev.orchestrate.release";
pub(super) const VERSION: &str = "dev.orchestrate.version";
pub(super) const PROCESS: &str = "dev.orchestrate.process";
pub(super) const NUMBER: &str = "dev.orchestrate.number";
pub(super) const PORT: &str = "dev.orchestrate.port";
/// On what is run once.
pub(super) const ONCE: &str = "dev.orchestrate.once";

/// How much of its output the engine keeps itself; it is copied into the home all the time.
const LOG: [(&str, &str); 2] = [("max-size", "10m"), ("max-file", "2")];

/// Why a container was not started.
pub(super) enum Failure {
    /// Somebody else listens where it should.
    PortTaken(PortError),
    Other(PortError),
}

impl From<PortError> for Failure {
    fn from(error: PortError) -> Self {
        Self::Other(error)
    }
}

/// Makes sure that the instance's container is there and was started, as it stands in the book.
pub(super) async fn launch(
    shared: &Shared,
    spec: &Arc<RunSpec>,
    placement: &Placement,
    entry: &InstanceEntry,
) -> Result<(), Failure> {
    let body = of_instance(shared, spec, placement, entry)?;
    let launched = create_and_start(shared, spec, &entry.token, body).await;
    let Err(error) = launched else { return Ok(()) };
    // Half made it is of no use to anybody.
    if let Err(error) = remove(shared, &entry.token).await {
        tracing::warn!(container = entry.token, %error, "a container that was not started is left");
    }
    Err(if is_about_the_port(&error) { Failure::PortTaken(error) } else { Failure::Other(error) })
}

pub(super) async fn create_and_start(
    shared: &Shared,
    spec: &RunSpec,
    name: &str,
    mut body: ContainerCreateBody,
) -> PortResult<()> {
    let client = shared.engine.client().await?;
    let settings = settings(spec);
    secrets::mount(shared, spec, name, &mut body)?;
    let options = CreateContainerOptionsBuilder::new().name(name).build();
    match client.create_container(Some(options), body).await {
        Ok(_) => {}
        // Its name is nobody else's: an earlier attempt got so far.
        Err(error) if is_status(&error, 409) && is_there(&client, name).await => {}
        Err(error) if is_status(&error, 404) => {
            let message = format!("{name} cannot be made: {}", told("the engine says", &error));
            return Err(PortError::new(PortErrorKind::Missing, message));
        }
        Err(error) => return Err(told(&format!("{name} cannot be made"), &error)),
    }
    for network in settings.networks.iter().skip(1) {
        let request = NetworkConnectRequest { container: name.to_owned(), endpoint_config: None };
        let joined = client.connect_network(network, request).await;
        joined.map_err(|error| told(&format!("{name} cannot join the network {network}"), &error))?;
    }
    secrets::lay(shared, spec, name).await?;
    start(shared, name).await
}

/// Starts a container that is there.
pub(super) async fn start(shared: &Shared, name: &str) -> PortResult<()> {
    let client = shared.engine.client().await?;
    match client.start_container(name, None::<StartContainerOptions>).await {
        // It runs already.
        Err(error) if is_status(&error, 304) => Ok(()),
        other => other.map_err(|error| told(&format!("{name} cannot be started"), &error)),
    }
}

async fn is_there(client: &bollard::Docker, name: &str) -> bool {
    client.inspect_container(name, None).await.is_ok()
}

fn is_about_the_port(error: &PortError) -> bool {
    ["port is already allocated", "address already in use", "ports are not available"]
        .iter()
        .any(|sign| error.message.contains(sign))
}

/// Ends it at once, as far as it runs.
pub(super) async fn kill(shared: &Shared, name: &str) {
    if let Ok(client) = shared.engine.client().await
        && let Err(error) = client.kill_container(name, None::<KillContainerOptions>).await
    {
        tracing::debug!(container = name, %error, "it cannot be killed");
    }
}

/// Ends what is left of it at once, its anonymous volumes too.
pub(super) async fn remove(shared: &Shared, name: &str) -> PortResult<()> {
    let client = shared.engine.client().await?;
    let options = RemoveContainerOptionsBuilder::new().force(true).v(true).build();
    match client.remove_container(name, Some(options)).await {
        // It is being removed by somebody else just now.
        Err(error) if is_status(&error, 409) => {}
        other => unless_gone(other).map_err(|error| told(&format!("{name} cannot be removed"), &error))?,
    }
    secrets::clear(shared, name);
    Ok(())
}

fn of_instance(
    shared: &Shared,
    spec: &RunSpec,
    placement: &Placement,
    entry: &InstanceEntry,
) -> PortResult<ContainerCreateBody> {
    let process = spec.processes.get(&entry.process).ok_or_else(|| {
        PortError::failed(format!("{} has no process type {}", placement.version, entry.process))
    })?;
    let settings = settings(spec);
    let inside = if settings.on_host_network() { entry.port } else { entry.port.map(|_| settings.port) };
    let own =
        [("PORT", inside.map(|port| port.to_string())), ("ORCHESTRATE_INSTANCE", Some(entry.token.clone()))];
    let mut body = common(shared, spec, placement, &process.confinement, own)?;
    body.cmd = (!process.command.is_empty()).then(|| process.command.clone());
    body.stop_timeout = i64::try_from(spec.stop_timeout.duration().as_millis().div_ceil(1000)).ok();
    let labels = body.labels.get_or_insert_default();
    labels.insert(PROCESS.into(), entry.process.clone());
    labels.insert(NUMBER.into(), entry.number.to_string());
    labels.extend(entry.port.map(|port| (PORT.into(), port.to_string())));
    let host = body.host_config.get_or_insert_default();
    // The engine's own restarts need no daemon, and outlast a restart of the engine.
    host.restart_policy =
        Some(RestartPolicy { name: Some(RestartPolicyNameEnum::UNLESS_STOPPED), maximum_retry_count: None });
    if let Some(port) = entry.port.filter(|_| !settings.on_host_network()) {
        let inside = format!("{}/tcp", settings.port);
        let binding = PortBinding { host_ip: Some("127.0.0.1".into()), host_port: Some(port.to_string()) };
        host.port_bindings = Some(HashMap::from([(inside.clone(), Some(vec![binding]))]));
        body.exposed_ports = Some(vec![inside]);
    }
    Ok(body)
}

/// What everything that is run of a release has.
pub(super) fn common<const N: usize>(
    shared: &Shared,
    spec: &RunSpec,
    placement: &Placement,
    confinement: &Confinement,
    own: [(&str, Option<String>); N],
) -> PortResult<ContainerCreateBody> {
    let settings = settings(spec);
    let limits = confinement.limits;
    let number = |value: u64| i64::try_from(value).unwrap_or(i64::MAX);
    let ulimit = |files: u64| {
        let most = Some(number(files));
        ResourcesUlimits { name: Some("nofile".into()), soft: most, hard: most }
    };
    let host = HostConfig {
        binds: (!settings.volumes.is_empty()).then(|| settings.volumes.clone()),
        network_mode: settings.networks.first().cloned(),
        memory: limits.memory.or(settings.memory).map(number),
        nano_cpus: settings.millicpus.map(|cpus| i64::from(cpus) * 1_000_000),
        pids_limit: limits.processes.map(number),
        ulimits: limits.files.map(|files| vec![ulimit(files)]),
        readonly_rootfs: Some(settings.read_only),
        init: settings.init.then_some(true),
        security_opt: confinement.forbids_new_privileges().then(|| vec!["no-new-privileges".into()]),
        log_config: Some(HostConfigLogConfig {
            typ: Some("json-file".into()),
            config: Some(LOG.map(|(key, value)| (key.to_owned(), value.to_owned())).into()),
        }),
        ..HostConfig::default()
    };
    let labels = [
        (HOME, shared.home_mark.clone()),
        (ENVIRONMENT, placement.environment.to_string()),
        (SLOT, placement.slot.to_string()),
        (RELEASE, placement.release.to_string()),
        (VERSION, placement.version.to_string()),
    ];
    Ok(ContainerCreateBody {
        image: Some(format!("sha256:{}", spec.digest)),
        user: confinement.user.clone(),
        env: Some(variables(spec, placement, own)?),
        labels: Some(labels.map(|(key, value)| (key.to_owned(), value)).into()),
        host_config: Some(host),
        ..ContainerCreateBody::default()
    })
}

pub(super) fn settings(spec: &RunSpec) -> Settings {
    spec.engine.docker.clone().unwrap_or_default()
}

pub(crate) fn variables<const N: usize>(
    spec: &RunSpec,
    placement: &Placement,
    own: [(&str, Option<String>); N],
) -> PortResult<Vec<String>> {
    let are_variables = !secrets::are_files(spec);
    let secrets = spec.secrets.iter().filter(|_| are_variables);
    let secrets = secrets.map(|(name, value)| (name.as_str(), value.expose()));
    let given = spec.variables.iter().map(|(name, value)| (name.as_str(), value.as_str())).chain(secrets);
    let mut all: BTreeMap<String, String> = BTreeMap::new();
    for (name, value) in given {
        if name.is_empty() || name.contains(['=', '\0']) || value.contains('\0') {
            let name = name.escape_debug();
            return Err(PortError::failed(format!("variable `{name}` cannot be given to a container")));
        }
        all.insert(name.to_owned(), value.to_owned());
    }
    // Last, so that no variable can hide who an instance is.
    all.insert("ORCHESTRATE_VERSION".into(), placement.version.to_string());
    all.insert("ORCHESTRATE_ENVIRONMENT".into(), placement.environment.to_string());
    all.extend(own.into_iter().filter_map(|(name, value)| Some((name.to_owned(), value?))));
    Ok(all.into_iter().map(|(name, value)| format!("{name}={value}")).collect())
}
