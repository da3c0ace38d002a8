//! From a process type to a service: what the swarm is told to keep.

use bollard::models::{
    EndpointPortConfig, EndpointPortConfigProtocolEnum, EndpointPortConfigPublishModeEnum, EndpointSpec,
    EndpointSpecModeEnum, Limit, NetworkAttachmentConfig, ResourcesUlimits, ServiceSpec, ServiceSpecMode,
    ServiceSpecModeReplicated, TaskSpec, TaskSpecContainerSpec, TaskSpecContainerSpecPrivileges,
    TaskSpecPlacement, TaskSpecResources, TaskSpecRestartPolicy, TaskSpecRestartPolicyConditionEnum,
};
use orchestrate_core::environment::{ProcessType, Swarm as Settings};
use orchestrate_core::ports::{PortError, PortResult};

use super::labels::{Who, named};
use super::shared::Shared;
use crate::docker::container::variables;
use crate::docker::images::keep_tag;
use crate::spec::RunSpec;

const SECOND: i64 = 1_000_000_000;
/// How long the swarm waits before it starts again what ended.
const RESTART_AFTER: i64 = SECOND / 2;

pub(super) fn name(shared: &Shared, spec: &RunSpec, who: &Who) -> String {
    named(&shared.owner, &[&spec.service, who.placement.environment.as_str(), &who.id()])
}

/// By its digest where a registry has it; else by the tag that keeps it on this node.
pub(super) fn image(shared: &Shared, spec: &RunSpec) -> String {
    let pinned = spec.image.as_ref().and_then(|image| image.pinned.clone());
    pinned.unwrap_or_else(|| {
        let (repository, tag) = keep_tag(&shared.home, &spec.digest);
        format!("{repository}:{tag}")
    })
}

pub(super) fn of_instance(shared: &Shared, spec: &RunSpec, who: &Who) -> PortResult<ServiceSpec> {
    let process = spec.processes.get(&who.process).ok_or_else(|| {
        PortError::failed(format!("{} has no process type {}", who.placement.version, who.process))
    })?;
    let settings = settings(spec);
    let labels = who.labels(&shared.owner);
    let port = process.listen.map(|_| settings.port);
    let networks: Vec<NetworkAttachmentConfig> = settings
        .networks
        .iter()
        .map(|name| NetworkAttachmentConfig { target: Some(name.clone()), ..Default::default() })
        .collect();
    Ok(ServiceSpec {
        name: Some(name(shared, spec, who)),
        labels: Some(labels),
        task_template: Some(TaskSpec {
            container_spec: Some(container(shared, spec, who, process)?),
            resources: resources(process, &settings),
            restart_policy: Some(TaskSpecRestartPolicy {
                condition: Some(TaskSpecRestartPolicyConditionEnum::ANY),
                delay: Some(RESTART_AFTER),
                ..Default::default()
            }),
            placement: (!settings.constraints.is_empty()).then(|| TaskSpecPlacement {
                constraints: Some(settings.constraints.clone()),
                ..Default::default()
            }),
            networks: (!networks.is_empty()).then_some(networks),
            ..Default::default()
        }),
        mode: Some(replicas(1)),
        endpoint_spec: port.map(|port| EndpointSpec {
            mode: Some(EndpointSpecModeEnum::DNSRR),
            ports: Some(vec![published(port)]),
        }),
        ..Default::default()
    })
}

pub(super) fn replicas(count: i64) -> ServiceSpecMode {
    ServiceSpecMode {
        replicated: Some(ServiceSpecModeReplicated { replicas: Some(count) }),
        ..Default::default()
    }
}

pub(super) fn settings(spec: &RunSpec) -> Settings {
    spec.engine.swarm.clone().unwrap_or_default()
}

/// On the node itself, at a port that it chooses: the swarm's own mesh would share requests among releases.
fn published(port: u16) -> EndpointPortConfig {
    EndpointPortConfig {
        protocol: Some(EndpointPortConfigProtocolEnum::TCP),
        target_port: Some(i64::from(port)),
        publish_mode: Some(EndpointPortConfigPublishModeEnum::HOST),
        ..Default::default()
    }
}

fn container(
    shared: &Shared,
    spec: &RunSpec,
    who: &Who,
    process: &ProcessType,
) -> PortResult<TaskSpecContainerSpec> {
    let (settings, confinement) = (settings(spec), &process.confinement);
    let port = process.listen.map(|_| settings.port.to_string());
    let own = [("PORT", port), ("ORCHESTRATE_INSTANCE", Some(who.id()))];
    let patience = i64::try_from(spec.stop_timeout.duration().as_nanos()).unwrap_or(i64::MAX);
    let ulimit = |files: u64| {
        let most = Some(i64::try_from(files).unwrap_or(i64::MAX));
        vec![ResourcesUlimits { name: Some("nofile".into()), soft: most, hard: most }]
    };
    Ok(TaskSpecContainerSpec {
        image: Some(image(shared, spec)),
        labels: Some(who.labels(&shared.owner)),
        args: (!process.command.is_empty()).then(|| process.command.clone()),
        env: Some(variables(spec, &who.placement, own)?),
        user: confinement.user.clone(),
        privileges: confinement
            .forbids_new_privileges()
            .then(|| TaskSpecContainerSpecPrivileges { no_new_privileges: Some(true), ..Default::default() }),
        read_only: settings.read_only.then_some(true),
        init: settings.init.then_some(true),
        stop_grace_period: Some(patience),
        ulimits: confinement.limits.files.map(ulimit),
        ..Default::default()
    })
}

fn resources(process: &ProcessType, settings: &Settings) -> Option<TaskSpecResources> {
    let number = |value: u64| i64::try_from(value).unwrap_or(i64::MAX);
    let limits = &process.confinement.limits;
    let limit = Limit {
        memory_bytes: limits.memory.or(settings.memory).map(number),
        nano_cpus: settings.millicpus.map(|cpus| i64::from(cpus) * 1_000_000),
        pids: limits.processes.map(number),
    };
    (limit != Limit::default()).then(|| TaskSpecResources { limits: Some(limit), ..Default::default() })
}
