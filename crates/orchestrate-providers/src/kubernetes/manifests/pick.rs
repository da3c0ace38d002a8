//! What manifests may be, and which of them is the workload.

use std::collections::BTreeSet;

use orchestrate_core::environment::{Kubernetes, Manifest};
use serde_json::Value;

/// The Deployment that runs the image, and the container in it.
#[derive(Clone, Copy, Debug)]
pub(in crate::kubernetes) struct Workload<'a> {
    pub object: &'a Value,
    pub container: &'a str,
}

/// What we have rights for, and can take away again with the release.
const KINDS: [(&str, &str); 3] = [("apps/v1", "Deployment"), ("v1", "ConfigMap"), ("v1", "Secret")];

/// Whether all of them can be applied; else why not.
pub(in crate::kubernetes) fn check(
    manifests: &[Manifest],
    settings: &Kubernetes,
    namespace: Option<&str>,
    is_routed: bool,
) -> Result<(), String> {
    let mut names = BTreeSet::new();
    for one in manifests {
        let (from, object) = (&one.from, &one.object);
        let text = |pointer: &str| object.pointer(pointer).and_then(Value::as_str);
        let (Some(version), Some(kind)) = (text("/apiVersion"), text("/kind")) else {
            return Err(format!("{from} has no `apiVersion` and `kind`, so it is no object of a cluster"));
        };
        if !KINDS.contains(&(version, kind)) {
            return Err(format!(
                "{from} is a {kind} ({version}), which orchestrate does not apply: it takes one Deployment, ConfigMaps and \
                 Secrets; apply it yourself with kubectl, it stays from release to release"
            ));
        }
        let Some(name) = text("/metadata/name").filter(|name| !name.is_empty()) else {
            return Err(format!("{from}, a {kind}, has no `metadata.name`"));
        };
        if let (Some(theirs), Some(ours)) = (text("/metadata/namespace"), namespace)
            && theirs != ours
        {
            return Err(format!(
                "{from}, the {kind} {name}, is for the namespace {theirs}, and the environment is in {ours}; leave \
                 `metadata.namespace` out"
            ));
        }
        if !names.insert((kind, name)) {
            return Err(format!("{from}: there is another {kind} {name}"));
        }
    }
    let Some(found) = workload(manifests, settings.container.as_deref())? else { return Ok(()) };
    let beside = containers(found.object).iter().filter(|one| one["name"] != found.container);
    for one in beside {
        let ports = one["ports"].as_array().map_or(&[] as &[Value], Vec::as_slice);
        if ports.iter().any(|port| port["name"] == PORT) {
            return Err(format!(
                "the container {} has a port called `{PORT}`, by which Services find {}; call it something else",
                one["name"], found.container
            ));
        }
    }
    let container = container(found.object, found.container).unwrap_or(&Value::Null);
    port(container, settings.port, is_routed).map(drop)
}

/// The one Deployment among them; none, where there are no manifests at all.
pub(in crate::kubernetes) fn workload<'a>(
    manifests: &'a [Manifest],
    container: Option<&str>,
) -> Result<Option<Workload<'a>>, String> {
    if manifests.is_empty() {
        return Ok(None);
    }
    let all: Vec<&Manifest> = manifests.iter().filter(|one| one.object["kind"] == "Deployment").collect();
    let one = match all.as_slice() {
        [one] => *one,
        [] => {
            let from: Vec<&str> = manifests.iter().map(|one| one.from.as_str()).collect();
            return Err(format!(
                "there is no Deployment in {}; one must be there, for the image",
                from.join(", ")
            ));
        }
        several => {
            let from: Vec<&str> = several.iter().map(|one| one.from.as_str()).collect();
            return Err(format!(
                "there are several Deployments, in {}; leave all but one out: an environment runs one image",
                from.join(" and ")
            ));
        }
    };
    let names: Vec<&str> = containers(&one.object).iter().filter_map(|one| one["name"].as_str()).collect();
    let listed = || names.join(", ");
    let container = match (container, names.as_slice()) {
        (_, []) => return Err(format!("{}: its pods have no container with a name", one.from)),
        (None, [only]) => *only,
        (None, _) => {
            return Err(format!(
                "{}: its pods have several containers, {}; say which one gets the image: `kubernetes: {{ container: NAME }}`",
                one.from,
                listed()
            ));
        }
        (Some(wanted), names) => match names.iter().find(|name| **name == wanted) {
            Some(name) => *name,
            None => {
                return Err(format!("{}: no container is called {wanted}; there is {}", one.from, listed()));
            }
        },
    };
    Ok(Some(Workload { object: &one.object, container }))
}

fn containers(deployment: &Value) -> &[Value] {
    let found = deployment.pointer("/spec/template/spec/containers").and_then(Value::as_array);
    found.map_or(&[], Vec::as_slice)
}

fn container<'a>(deployment: &'a Value, name: &str) -> Option<&'a Value> {
    containers(deployment).iter().find(|one| one["name"] == name)
}

/// The name by which Services find the port of a container.
pub(in crate::kubernetes) const PORT: &str = "http";

/// Where in the list of ports the one is that gets requests; none, where it has to be added.
pub(super) fn port(container: &Value, port: u16, is_routed: bool) -> Result<Option<usize>, String> {
    let ports = container["ports"].as_array().map_or(&[] as &[Value], Vec::as_slice);
    let named = ports.iter().position(|one| one["name"] == PORT);
    let same = ports.iter().position(|one| one["containerPort"] == port);
    let name = container["name"].as_str().unwrap_or_default();
    match (is_routed, named, same) {
        (false, Some(_), _) => Err(format!(
            "the container {name} has a port called `{PORT}`, and its process type has no `listen`; call the port something else"
        )),
        (false, None, _) | (true, None, None) => Ok(None),
        (true, Some(at), _) if ports[at]["containerPort"] == port => Ok(Some(at)),
        (true, Some(at), _) => Err(format!(
            "the container {name} listens on {} by its port `{PORT}`, and on {port} by the settings; write one of them otherwise",
            ports[at]["containerPort"]
        )),
        (true, None, Some(at)) if ports[at]["name"].is_null() => Ok(Some(at)),
        (true, None, Some(at)) => Err(format!(
            "the container {name} calls its port {port} {}; call it `{PORT}`, so that Services find it",
            ports[at]["name"]
        )),
    }
}
