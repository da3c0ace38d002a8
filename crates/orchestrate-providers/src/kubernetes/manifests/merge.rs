//! The user's Deployment with what has to be ours in it: the image, who an instance is, its names, its marks, its number.

use serde_json::{Map, Value, json};

use super::pick::{PORT, Workload, port};
use super::refer::Renamed;

/// What was made of the release without manifests, and how its ConfigMaps and Secrets are called.
pub(in crate::kubernetes) struct Ours<'a> {
    pub object: Value,
    pub renamed: &'a Renamed,
    pub port: u16,
    pub is_routed: bool,
}

/// What of the user's metadata is kept; everything else is the cluster's, or ours.
const KEPT: [&str; 2] = ["labels", "annotations"];
/// Parts of a Deployment by which a release is rolled out, which are not the user's to say.
const OURS: [&str; 5] = ["replicas", "selector", "strategy", "progressDeadlineSeconds", "template"];

/// The user's Deployment, as the release is applied.
pub(in crate::kubernetes) fn deployment(theirs: Workload<'_>, ours: &Ours<'_>) -> Result<Value, String> {
    let mut object = ours.object.clone();
    keep_metadata(&mut object["metadata"], &theirs.object["metadata"]);
    let template = &theirs.object["spec"]["template"];
    keep_metadata(&mut object["spec"]["template"]["metadata"], &template["metadata"]);
    let own = object["spec"]["template"]["spec"].take();
    object["spec"]["template"]["spec"] = pod(theirs, &template["spec"], own, ours)?;
    for (key, value) in theirs.object["spec"].as_object().into_iter().flatten() {
        if !OURS.contains(&key.as_str()) && key != "paused" {
            object["spec"][key] = value.clone();
        }
    }
    Ok(object)
}

/// A pod for a command that runs once: the container alone, since others would not end with it.
pub(in crate::kubernetes) fn job_pod(theirs: Workload<'_>, ours: &Ours<'_>) -> Result<Value, String> {
    let mut pod = pod(theirs, &theirs.object["spec"]["template"]["spec"], ours.object.clone(), ours)?;
    if let Some(containers) = pod["containers"].as_array_mut() {
        containers.retain(|one| one["name"] == theirs.container);
        for container in containers.iter_mut().filter_map(Value::as_object_mut) {
            for key in ["ports", "readinessProbe", "livenessProbe", "startupProbe", "lifecycle"] {
                container.remove(key);
            }
        }
    }
    if let Some(fields) = pod.as_object_mut() {
        fields.remove("initContainers");
    }
    Ok(pod)
}

fn keep_metadata(ours: &mut Value, theirs: &Value) {
    for part in KEPT {
        let mut kept = theirs[part].as_object().cloned().unwrap_or_default();
        // What another tool noted of the object is not true of ours.
        kept.retain(|key, _| key != "kubectl.kubernetes.io/last-applied-configuration");
        kept.extend(ours[part].as_object().cloned().unwrap_or_default());
        if !kept.is_empty() {
            ours[part] = Value::Object(kept);
        }
    }
}

fn pod(theirs: Workload<'_>, spec: &Value, mut own: Value, ours: &Ours<'_>) -> Result<Value, String> {
    let mut pod = spec.clone();
    ours.rename(&mut pod);
    let own_container = own["containers"][0].take();
    let containers = pod["containers"].as_array_mut().into_iter().flatten();
    for container in containers.filter(|one| one["name"] == theirs.container) {
        put_into(container, &own_container, ours)?;
    }
    for (key, value) in own.as_object().into_iter().flatten().filter(|(key, _)| *key != "containers") {
        match (key.as_str(), pod[key].as_array()) {
            ("imagePullSecrets", Some(there)) => {
                let more = value.as_array().into_iter().flatten().filter(|one| !there.contains(one));
                let all: Vec<Value> = there.iter().chain(more).cloned().collect();
                pod[key] = all.into();
            }
            _ => pod[key] = value.clone(),
        }
    }
    Ok(pod)
}

fn put_into(container: &mut Value, own: &Value, ours: &Ours<'_>) -> Result<(), String> {
    let at = port(container, ours.port, ours.is_routed)?;
    for key in ["image", "imagePullPolicy", "command", "resources"] {
        if !own[key].is_null() {
            container[key] = own[key].clone();
        }
    }
    if !own["command"].is_null()
        && let Some(fields) = container.as_object_mut()
    {
        fields.remove("args");
    }
    if let Some(context) = own["securityContext"].as_object() {
        let mut both: Map<String, Value> =
            container["securityContext"].as_object().cloned().unwrap_or_default();
        both.extend(context.clone());
        container["securityContext"] = both.into();
    }
    // Who an instance is comes first, so that other variables can be made of it, and nothing hides it.
    let mut env = own["env"].as_array().cloned().unwrap_or_default();
    let mut theirs = container["env"].as_array().cloned().unwrap_or_default();
    theirs.retain(|one| !env.iter().any(|own| own["name"] == one["name"]));
    env.append(&mut theirs);
    container["env"] = env.into();
    let mut sources = container["envFrom"].as_array().cloned().unwrap_or_default();
    sources.extend(own["envFrom"].as_array().cloned().unwrap_or_default());
    container["envFrom"] = sources.into();
    if !ours.is_routed {
        return Ok(());
    }
    match at {
        Some(at) => container["ports"][at]["name"] = PORT.into(),
        None => {
            let mut ports = container["ports"].as_array().cloned().unwrap_or_default();
            ports.extend(own["ports"].as_array().cloned().unwrap_or_default());
            container["ports"] = ports.into();
        }
    }
    if container["readinessProbe"].is_null() {
        container["readinessProbe"] = own["readinessProbe"].clone();
    }
    if container["lifecycle"]["preStop"].is_null() && !own["lifecycle"].is_null() {
        let mut lifecycle = container["lifecycle"].as_object().cloned().unwrap_or_default();
        lifecycle.extend(own["lifecycle"].as_object().cloned().unwrap_or_default());
        container["lifecycle"] = json!(lifecycle);
    }
    // An index into what is not there leaves it there with nothing in it.
    if let Some(fields) = container.as_object_mut() {
        fields.retain(|_, value| !value.is_null());
    }
    Ok(())
}
