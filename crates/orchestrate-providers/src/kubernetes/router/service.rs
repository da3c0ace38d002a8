//! Services: the one that users ask, for each routed process type; and, for an HTTPRoute, one that reaches one track alone.

use std::collections::BTreeMap;

use orchestrate_core::ports::{Placement, PortResult};
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use crate::kubernetes::anchor::not_ours;
use crate::kubernetes::api::{Amended, Kind};
use crate::kubernetes::names::{NOWHERE, Names, PROCESS, SHARED, TRACK, Track};
use crate::kubernetes::object::Object;
use crate::kubernetes::site::Site;

/// What a Service is for.
const ROLE: &str = "orchestrate.dev/role";
/// The release that was switched to last, with its slot: a rolling one is not known by the selector alone.
const LIVE: &str = "orchestrate.dev/live";
/// What we had it select, to be told from what was changed by hand.
const SELECTED: &str = "orchestrate.dev/selected";

/// Who shares the requests of the Service, as JSON.
const SHARES: &str = "orchestrate.dev/shares";

/// What two releases were asked to share, and what that came to.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Shares {
    /// Slot and release of who gets the weight.
    pub target: String,
    /// The same of who gets the rest.
    pub rest: String,
    /// In percent, as it was asked for.
    pub weight: u8,
    pub target_pods: usize,
    pub rest_pods: usize,
    /// Never fewer pods than this have the traffic.
    pub least: usize,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Role {
    /// What users ask.
    Front,
    /// One track alone.
    Beside,
}

impl Role {
    const fn as_str(self) -> &'static str {
        match self {
            Self::Front => "front",
            Self::Beside => "beside",
        }
    }
}

/// A Service of ours.
#[derive(Clone, Debug)]
pub(super) struct Service {
    pub object: Object,
    pub process: String,
}

impl Service {
    pub fn name(&self) -> &str {
        self.object.name()
    }

    fn selector(&self) -> Value {
        self.object.0.pointer("/spec/selector").cloned().unwrap_or(Value::Null)
    }

    /// The track that its selector picks, if it is a selector of ours.
    pub fn track(&self, names: &Names) -> Option<Track> {
        let track = Track::parse(self.selector().get(TRACK)?.as_str()?)?;
        (self.selector() == Value::Object(names.pods(track.as_str(), &self.process))).then_some(track)
    }

    /// Whether this placement is who was switched to last.
    pub fn is_live(&self, placement: &str) -> bool {
        self.object.annotation(LIVE) == Some(placement)
    }

    /// Whether somebody else had it select other pods than we did.
    pub fn is_changed(&self, names: &Names) -> bool {
        let ours = self.object.annotation(SELECTED).unwrap_or(NOWHERE);
        self.selector() != Value::Object(names.selected(ours, &self.process))
    }

    /// Who shares its requests, if two releases do.
    pub fn shares(&self, names: &Names) -> Option<Shares> {
        let is_shared = self.selector() == Value::Object(names.selected(SHARED, &self.process));
        let noted = self.object.annotation(SHARES).filter(|_| is_shared)?;
        serde_json::from_str(noted).ok()
    }

    /// Lets these two share its requests from now on.
    pub fn shared(&self, names: &Names, shares: &Shares) -> Self {
        let mut service = self.clone();
        service.object.0["spec"]["selector"] = Value::Object(names.selected(SHARED, &self.process));
        service.object.annotate(SELECTED, Some(SHARED.to_owned()));
        service.object.annotate(SHARES, Some(json!(shares).to_string()));
        service
    }

    /// What a person types to have it select what we had it select, where somebody changed that.
    pub fn put_back(&self, site: &Site) -> Option<String> {
        let track = self.object.annotation(SELECTED).filter(|_| self.is_changed(&site.names))?;
        let selector = Value::Object(site.names.pods(track, &self.process));
        let patch = json!([{ "op": "replace", "path": "/spec/selector", "value": selector }]);
        let (namespace, name) = (&site.cluster.namespace, self.name());
        Some(format!("kubectl --namespace {namespace} patch service {name} --type=json --patch '{patch}'"))
    }

    /// Selects this track from now on: never nothing, and never everything.
    pub fn pointed(
        &self,
        names: &Names,
        track: Option<Track>,
        live: Option<String>,
        port: Option<u16>,
    ) -> Self {
        let mut service = self.clone();
        let track = track.map_or(NOWHERE, Track::as_str);
        service.object.0["spec"]["selector"] = Value::Object(names.selected(track, &self.process));
        service.object.annotate(SELECTED, Some(track.to_owned()));
        service.object.annotate(LIVE, live);
        service.object.annotate(SHARES, None);
        if let Some(wanted) = port {
            let kept: Vec<Value> = service
                .object
                .items("/spec/ports")
                .map(|one| one.0)
                .filter(|one| one["port"] == wanted)
                .collect();
            service.object.0["spec"]["ports"] =
                if kept.is_empty() { json!([port_of(wanted)]) } else { kept.into() };
        }
        service
    }
}

/// As the annotation of a Service names it.
pub(super) fn key(placement: &Placement) -> String {
    format!("{}/{}", placement.slot, placement.release.0)
}

/// All Services of ours with this role, by process type.
pub(super) async fn all(site: &Site, role: Role) -> PortResult<BTreeMap<String, Service>> {
    let selector = format!("{},{ROLE}={}", site.names.selector(), role.as_str());
    let (items, _) = site.cluster.list(Kind::Service, &selector).await?;
    let named = items.into_iter().filter(|object| !object.is_leaving()).filter_map(|object| {
        let process = object.annotation(PROCESS)?.to_owned();
        let key = match role {
            Role::Front => process.clone(),
            Role::Beside => object.name().to_owned(),
        };
        Some((key, Service { object, process }))
    });
    Ok(named.collect())
}

/// Makes sure that users can ask for the process type at the port; whom it selects is left as it is.
pub(super) async fn ensure_front(site: &Site, process: &str, port: u16) -> PortResult<()> {
    let (names, name) = (&site.names, site.names.front(process));
    ensure(site, &name, Role::Front, process, port, || new(names, &name, Role::Front, process, NOWHERE, port))
        .await
}

/// The same for what reaches one track alone.
pub(super) async fn ensure_beside(site: &Site, track: Track, process: &str, port: u16) -> PortResult<()> {
    let (names, name) = (&site.names, site.names.beside(track, process));
    ensure(site, &name, Role::Beside, process, port, || {
        new(names, &name, Role::Beside, process, track.as_str(), port)
    })
    .await
}

async fn ensure(
    site: &Site,
    name: &str,
    role: Role,
    process: &str,
    port: u16,
    new: impl Fn() -> Value,
) -> PortResult<()> {
    let ensured = site.cluster.amend(Kind::Service, name, |there| {
        let Some(there) = there else { return Ok(Some(Amended::New(new()))) };
        let ours = site.names.is_ours(there)
            && there.label(ROLE) == Some(role.as_str())
            && there.annotation(PROCESS) == Some(process);
        if !ours {
            return Err(not_ours("Service", name));
        }
        if there.items("/spec/ports").any(|one| one.number("/port") == Some(i64::from(port))) {
            return Ok(None);
        }
        // What is live may be asked at another one until the switch.
        let mut object = there.clone();
        if let Some(ports) = object.0.pointer_mut("/spec/ports").and_then(Value::as_array_mut) {
            ports.push(port_of(port));
        }
        Ok(Some(Amended::Changed(object)))
    });
    ensured.await?;
    Ok(())
}

fn new(names: &Names, name: &str, role: Role, process: &str, track: &str, port: u16) -> Value {
    let mut labels = names.labels();
    labels.insert(ROLE.into(), role.as_str().into());
    json!({
        "apiVersion": "v1",
        "kind": "Service",
        "metadata": {
            "name": name,
            "labels": labels,
            "annotations": { PROCESS: process, SELECTED: track },
        },
        "spec": {
            "type": "ClusterIP",
            "selector": names.selected(track, process),
            "ports": [port_of(port)],
        },
    })
}

/// The container's port goes by its name, so that each release has its own.
fn port_of(port: u16) -> Value {
    json!({ "name": format!("http-{port}"), "port": port, "targetPort": "http", "protocol": "TCP" })
}

/// What somebody changed of whom users are sent to, in words for people.
pub(in crate::kubernetes) async fn selected_otherwise(
    site: &Site,
    process: &str,
) -> PortResult<Option<String>> {
    let name = site.names.front(process);
    Ok(match all(site, Role::Front).await?.get(process) {
        None => Some(format!("the Service {name} is not there")),
        Some(service) if service.is_changed(&site.names) => {
            Some(format!("the selector of the Service {name} was changed: it is {}", service.selector()))
        }
        Some(_) => None,
    })
}
