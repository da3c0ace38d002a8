//! A sealed release as objects of the cluster: the same release gives the same objects, to the byte.

use std::collections::BTreeMap;

use orchestrate_core::environment::{Amounts, Kubernetes, ProcessType, PullPolicy};
use orchestrate_core::ports::{Placement, PortError, PortResult};
use orchestrate_core::time::Span;
use serde_json::{Map, Value, json};

use super::manifests::{self, Ours, Workload};
use super::names::{self, Names, PROCESS, TRACK, Track, VERSION};
use super::security;
use crate::spec::RunSpec;

/// How many instances are wanted, as an annotation of a Deployment: its replicas may be changed by hand.
pub(super) const INSTANCES: &str = "orchestrate.dev/instances";
/// Whether the process type gets traffic.
pub(super) const ROUTED: &str = "orchestrate.dev/routed";
/// What a rolling release took the place of, as JSON.
pub(super) const PREVIOUS: &str = "orchestrate.dev/previous-release";
/// Under which fence variables and secrets were asked for last.
pub(super) const FENCE: &str = "orchestrate.dev/fence";
/// Variables and secrets have this label.
pub(super) const CONTENTS: &str = "orchestrate.dev/contents";
pub(super) const CONTAINER: &str = "main";
/// Which container is ours, as an annotation, where it has a name of the user's.
pub(super) const CONTAINER_OF: &str = "orchestrate.dev/container";

/// A release on its way into the cluster.
pub(super) struct Release<'a> {
    pub names: &'a Names,
    pub spec: &'a RunSpec,
    pub placement: &'a Placement,
}

impl Release<'_> {
    pub fn track(&self) -> Track {
        if self.spec.engine.rolls { Track::Rolling } else { Track::Slot(self.placement.slot) }
    }

    pub fn settings(&self) -> Kubernetes {
        self.spec.engine.kubernetes.clone().unwrap_or_default()
    }

    /// The Deployment of a process type, without what it rolled over.
    pub fn deployment(&self, process: &str, kind: &ProcessType, instances: u32) -> PortResult<Value> {
        let settings = self.settings();
        let own = self.names.pods(self.track().as_str(), process);
        let mut labels = text_map(&settings.labels);
        labels.extend(own.clone());
        labels.extend(names::placed(self.placement));
        let mut annotations = text_map(&settings.annotations);
        annotations.insert(VERSION.into(), self.placement.version.as_str().into());
        annotations.insert(PROCESS.into(), process.into());
        let workload = self.workload(&settings)?;
        if let Some(theirs) = workload.filter(|theirs| theirs.container != CONTAINER) {
            annotations.insert(CONTAINER_OF.into(), theirs.container.into());
        }
        let mut pod = json!({
            "metadata": { "labels": labels, "annotations": annotations },
            "spec": self.pod(Some((process, kind)), &settings)?,
        });
        if self.spec.engine.shares && kind.listen.is_some() {
            pod["metadata"]["labels"][names::SHARE] = names::IN.into();
        }
        annotations.insert(INSTANCES.into(), instances.to_string().into());
        annotations.insert(ROUTED.into(), kind.listen.is_some().to_string().into());
        let object = json!({
            "apiVersion": "apps/v1",
            "kind": "Deployment",
            "metadata": {
                "name": self.names.deployment(self.track(), process),
                "labels": labels,
                "annotations": annotations,
            },
            "spec": {
                "replicas": instances,
                "progressDeadlineSeconds": seconds(self.spec.health_check.deadline).max(1),
                "selector": { "matchLabels": own },
                "strategy": {
                    "type": "RollingUpdate",
                    "rollingUpdate": { "maxUnavailable": 0, "maxSurge": "25%" },
                },
                "template": pod,
            },
        });
        match workload {
            None => Ok(object),
            Some(theirs) => self.with(&settings, object, |ours| manifests::deployment(theirs, ours)),
        }
    }

    fn workload(&self, settings: &Kubernetes) -> PortResult<Option<Workload<'_>>> {
        let found = manifests::workload(&self.spec.engine.manifests, settings.container.as_deref());
        found.map_err(unusable)
    }

    /// What is made of manifests of the user's and of this.
    fn with(
        &self,
        settings: &Kubernetes,
        object: Value,
        merged: impl FnOnce(&Ours<'_>) -> Result<Value, String>,
    ) -> PortResult<Value> {
        let renamed = self.renamed();
        merged(&Ours { object, renamed: &renamed, port: settings.port, is_routed: self.is_routed() })
            .map_err(unusable)
    }

    /// Whether any process type of the release gets requests.
    pub fn is_routed(&self) -> bool {
        self.spec.processes.values().any(|kind| kind.listen.is_some())
    }

    /// A command that runs once, as an instance would.
    pub fn job(
        &self,
        name: &str,
        command: &[String],
        variables: &BTreeMap<String, String>,
        timeout: Span,
    ) -> PortResult<Value> {
        let settings = self.settings();
        let mut labels = text_map(&settings.labels);
        labels.extend(self.names.labels());
        labels.extend(names::placed(self.placement));
        labels.remove(TRACK);
        let mut annotations = json!({ VERSION: self.placement.version.as_str() });
        let mut pod = self.pod(None, &settings)?;
        if let Some(theirs) = self.workload(&settings)? {
            annotations[CONTAINER_OF] = theirs.container.into();
            pod = self.with(&settings, pod, |ours| manifests::job_pod(theirs, ours))?;
        }
        pod["restartPolicy"] = "Never".into();
        pod["containers"][0]["command"] = words(command);
        pod["containers"][0].as_object_mut().and_then(|container| container.remove("args"));
        if let Some(env) = pod["containers"][0]["env"].as_array_mut() {
            env.extend(
                variables.iter().map(|(name, value)| json!({ "name": name, "value": escaped(value) })),
            );
        }
        Ok(json!({
            "apiVersion": "batch/v1",
            "kind": "Job",
            "metadata": { "name": name, "labels": labels, "annotations": annotations },
            "spec": {
                "backoffLimit": 0,
                "activeDeadlineSeconds": seconds(timeout).max(1),
                "template": { "metadata": { "labels": labels, "annotations": annotations }, "spec": pod },
            },
        }))
    }

    fn pod(&self, process: Option<(&str, &ProcessType)>, settings: &Kubernetes) -> PortResult<Value> {
        let spec = self.spec;
        let routed = process.is_some_and(|(_, kind)| kind.listen.is_some());
        let mut container = json!({
            "name": CONTAINER,
            "image": image(spec, settings)?,
            "env": self.environment(routed.then_some(settings.port)),
            "envFrom": self.sources(),
        });
        if let Some((_, kind)) = process.filter(|(_, kind)| !kind.command.is_empty()) {
            container["command"] = words(&kind.command);
        }
        if let Some(policy) = settings.image_pull_policy {
            container["imagePullPolicy"] = policy.as_str().into();
        }
        for (what, amounts) in
            [("requests", &settings.resources.requests), ("limits", &settings.resources.limits)]
        {
            if !amounts.is_none() {
                container["resources"][what] = quantities(amounts);
            }
        }
        let confinement = process.map_or(&spec.confinement, |(_, kind)| &kind.confinement);
        if let Some(context) = security::context(settings.security.as_ref(), confinement)? {
            container["securityContext"] = context;
        }
        let grace = seconds(spec.stop_timeout).max(1)
            + if routed { self.receive(&mut container, settings.port) } else { 0 };
        let mut pod = json!({ "containers": [container], "terminationGracePeriodSeconds": grace });
        if let Some(account) = &settings.service_account {
            pod["serviceAccountName"] = account.as_str().into();
        }
        if !settings.image_pull_secrets.is_empty() {
            let secrets = settings.image_pull_secrets.iter().map(|name| json!({ "name": name }));
            pod["imagePullSecrets"] = secrets.collect();
        }
        Ok(pod)
    }

    /// What a container needs to get requests, and how much longer it may take to end for that.
    fn receive(&self, container: &mut Value, port: u16) -> u64 {
        container["ports"] = json!([{ "name": "http", "containerPort": port, "protocol": "TCP" }]);
        container["readinessProbe"] = self.probe(port);
        let drain = seconds(self.spec.drain);
        if self.track() != Track::Rolling || drain == 0 {
            return 0;
        }
        // The pod is told to end in the moment in which it loses its traffic: requests in flight end before that.
        container["lifecycle"] = json!({ "preStop": { "sleep": { "seconds": drain } } });
        drain
    }

    fn probe(&self, port: u16) -> Value {
        let check = &self.spec.health_check;
        json!({
            "httpGet": { "path": check.path, "port": port, "scheme": "HTTP" },
            "periodSeconds": seconds(check.interval).max(1),
            "timeoutSeconds": seconds(check.timeout).max(1),
            "failureThreshold": 3,
            "successThreshold": 1,
        })
    }

    /// Beside variables and secrets, and stronger than they are: nothing can hide who an instance is.
    fn environment(&self, port: Option<u16>) -> Vec<Value> {
        let mut all = vec![
            json!({ "name": "ORCHESTRATE_VERSION", "value": self.placement.version.as_str() }),
            json!({ "name": "ORCHESTRATE_ENVIRONMENT", "value": self.placement.environment.as_str() }),
            json!({ "name": "ORCHESTRATE_INSTANCE", "valueFrom": { "fieldRef": { "fieldPath": "metadata.name" } } }),
        ];
        all.extend(port.map(|port| json!({ "name": "PORT", "value": port.to_string() })));
        all
    }
}

fn unusable(why: String) -> PortError {
    PortError::failed(format!("the manifests cannot be used: {why}"))
}

fn image(spec: &RunSpec, settings: &Kubernetes) -> PortResult<String> {
    let image = spec.image.as_ref().ok_or_else(|| {
        PortError::failed(format!("{} is not an image, and a cluster runs nothing else", spec.version))
            .detail("name it in the config file: release: { image: REGISTRY/NAME:{version} }")
    })?;
    Ok(match (&image.pinned, settings.image_pull_policy) {
        // What a node has by a tag it need not have by a digest.
        (_, Some(PullPolicy::Never)) | (None, _) => image.reference.clone(),
        (Some(pinned), _) => pinned.clone(),
    })
}

fn quantities(amounts: &Amounts) -> Value {
    let both = [("cpu", &amounts.cpu), ("memory", &amounts.memory)];
    let named = both.into_iter().filter_map(|(name, amount)| Some((name.to_owned(), amount.clone()?.into())));
    Value::Object(named.collect())
}

fn text_map(texts: &BTreeMap<String, String>) -> Map<String, Value> {
    texts.iter().map(|(key, value)| (key.clone(), value.as_str().into())).collect()
}

fn words(command: &[String]) -> Value {
    command.iter().map(|word| escaped(word)).collect()
}

/// The cluster would put variables where `$(NAME)` is; we run what is written.
fn escaped(text: &str) -> String {
    text.replace("$(", "$$(")
}

/// Whole seconds, rounded up.
pub(super) fn seconds(span: Span) -> u64 {
    span.as_millis().div_ceil(1000)
}
