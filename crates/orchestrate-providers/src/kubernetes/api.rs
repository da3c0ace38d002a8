//! What one namespace of one cluster can be asked.

use std::sync::Arc;
use std::time::Duration;

use http::{Method, Response};
use kube::client::Body;
use orchestrate_core::environment::Kubernetes;
use orchestrate_core::ports::PortResult;
use orchestrate_core::uri;
use serde_json::Value;
use tokio::time::timeout;

use super::access::{Access, Way};
use super::fault::{Fault, Refusal};
use super::names::US;
use super::object::Object;
use super::send::{Ask, collect, in_time, wished_pause};

pub(super) type ApiResult<T> = Result<T, Fault>;

/// How often a change is made anew on top of what somebody else changed meanwhile.
const ROUNDS: u32 = 10;

/// What we have to do with.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Kind {
    Deployment,
    Pod,
    Service,
    ConfigMap,
    Secret,
    EndpointSlice,
    Job,
    HttpRoute,
    Event,
}

impl Kind {
    pub const fn plural(self) -> &'static str {
        match self {
            Self::Deployment => "deployments",
            Self::Pod => "pods",
            Self::Service => "services",
            Self::ConfigMap => "configmaps",
            Self::Secret => "secrets",
            Self::EndpointSlice => "endpointslices",
            Self::Job => "jobs",
            Self::HttpRoute => "httproutes",
            Self::Event => "events",
        }
    }

    const fn group(self) -> &'static str {
        match self {
            Self::Deployment => "/apis/apps/v1",
            Self::Pod | Self::Service | Self::ConfigMap | Self::Secret | Self::Event => "/api/v1",
            Self::EndpointSlice => "/apis/discovery.k8s.io/v1",
            Self::Job => "/apis/batch/v1",
            Self::HttpRoute => "/apis/gateway.networking.k8s.io/v1",
        }
    }

    /// By what a selector picks them. Events have no labels.
    const fn selected_by(self) -> &'static str {
        if matches!(self, Self::Event) { "fieldSelector" } else { "labelSelector" }
    }
}

/// One namespace of one cluster.
#[derive(Clone)]
pub(super) struct Cluster {
    pub(super) access: Arc<Access>,
    pub(super) way: Way,
    pub namespace: String,
}

impl Cluster {
    pub async fn of(access: &Arc<Access>, settings: &Kubernetes) -> PortResult<Self> {
        let way = Way::of(settings);
        let namespace = match &settings.namespace {
            Some(namespace) => namespace.clone(),
            None => access.client(&way).await?.default_namespace().to_owned(),
        };
        Ok(Self { access: Arc::clone(access), way, namespace })
    }

    pub async fn get(&self, kind: Kind, name: &str) -> ApiResult<Option<Object>> {
        let asked = self.asked("get", kind, name);
        match self.json(Method::GET, &self.path(kind, name), None, &asked).await {
            Err(Fault::Refused(refusal)) if refusal.is_missing() => Ok(None),
            result => result.map(Some),
        }
    }

    /// What has these labels, and the version of the list, from which a watch goes on.
    pub async fn list(&self, kind: Kind, selector: &str) -> ApiResult<(Vec<Object>, String)> {
        let path = format!("{}?{}={}", self.path(kind, ""), kind.selected_by(), uri::component(selector));
        let list = self.json(Method::GET, &path, None, &self.asked("list", kind, "")).await?;
        let version = list.text("/metadata/resourceVersion").unwrap_or_default().to_owned();
        Ok((list.items("/items").collect(), version))
    }

    /// Makes sure that what we say of the object is so; what others say of it stays. With a `resourceVersion` in it, only on
    /// top of that.
    pub async fn apply(&self, kind: Kind, object: &Value) -> ApiResult<Object> {
        let name = object.pointer("/metadata/name").and_then(Value::as_str).unwrap_or_default();
        let path = format!("{}?fieldManager={US}&force=true", self.path(kind, name));
        let asked = self.asked("patch", kind, name);
        self.json(Method::PATCH, &path, Some(object), &asked).await
    }

    /// What would become of the object, and whether it is allowed; nothing is changed.
    pub async fn try_apply(&self, kind: Kind, object: &Value) -> ApiResult<Object> {
        let name = object.pointer("/metadata/name").and_then(Value::as_str).unwrap_or_default();
        let path = format!("{}?fieldManager={US}&force=true&dryRun=All", self.path(kind, name));
        self.json(Method::PATCH, &path, Some(object), &self.asked("patch", kind, name)).await
    }

    pub async fn create(&self, kind: Kind, object: &Value) -> ApiResult<Object> {
        let name = object.pointer("/metadata/name").and_then(Value::as_str).unwrap_or_default();
        let path = format!("{}?fieldManager={US}", self.path(kind, ""));
        let asked = self.asked("create", kind, name);
        self.json(Method::POST, &path, Some(object), &asked).await
    }

    /// Writes the object back, if nobody changed it since it was read.
    pub async fn replace(&self, kind: Kind, object: &Object) -> ApiResult<Object> {
        let path = format!("{}?fieldManager={US}", self.path(kind, object.name()));
        let asked = self.asked("update", kind, object.name());
        self.json(Method::PUT, &path, Some(&object.0), &asked).await
    }

    /// Changes these fields and no others, whatever the object is by now.
    pub async fn merge(&self, kind: Kind, name: &str, patch: &Value) -> ApiResult<Object> {
        let path = format!("{}?fieldManager={US}", self.path(kind, name));
        let asked = self.asked("patch", kind, name);
        let request = Ask { method: Method::PATCH, path: &path, body: Some(patch), merge: true };
        parse(&self.retried(&request, &asked).await?)
    }

    /// Deletes this very object, with what it owns; true if it was there.
    pub async fn delete(&self, kind: Kind, object: &Object) -> ApiResult<bool> {
        self.delete_if(kind, object, serde_json::json!({ "uid": object.text("/metadata/uid") })).await
    }

    /// The same, if nobody changed it since it was read.
    pub async fn delete_unchanged(&self, kind: Kind, object: &Object) -> ApiResult<bool> {
        let (uid, version) = (object.text("/metadata/uid"), object.version());
        self.delete_if(kind, object, serde_json::json!({ "uid": uid, "resourceVersion": version })).await
    }

    async fn delete_if(&self, kind: Kind, object: &Object, preconditions: Value) -> ApiResult<bool> {
        let options = serde_json::json!({
            "kind": "DeleteOptions",
            "apiVersion": "v1",
            "propagationPolicy": "Background",
            "preconditions": preconditions,
        });
        let (path, asked) = (self.path(kind, object.name()), self.asked("delete", kind, object.name()));
        let deleted = self.json(Method::DELETE, &path, Some(&options), &asked).await;
        match deleted {
            Ok(_) => Ok(true),
            // Another one of its name is there by now: that one is not meant.
            Err(Fault::Refused(refusal)) if refusal.is_missing() || refusal.is_conflict() => Ok(false),
            Err(fault) => Err(fault),
        }
    }

    /// Reads an object, has it changed, and writes it back; anew where somebody else was faster. `None` from `change` leaves it.
    pub async fn amend(
        &self,
        kind: Kind,
        name: &str,
        mut change: impl FnMut(Option<&Object>) -> PortResult<Option<Amended>>,
    ) -> ApiResult<Option<Object>> {
        let mut round = 0;
        loop {
            let there = self.get(kind, name).await?;
            let written = match change(there.as_ref()).map_err(Fault::Unasked)? {
                None => return Ok(there),
                Some(Amended::New(object)) => self.create(kind, &object).await,
                Some(Amended::Changed(object)) => self.replace(kind, &object).await,
            };
            round += 1;
            match written {
                Err(Fault::Refused(refusal)) if refusal.is_conflict() && round < ROUNDS => {}
                result => return result.map(Some),
            }
        }
    }

    /// The end of what a container printed.
    pub async fn log(&self, pod: &str, query: &str) -> ApiResult<String> {
        let path = format!("{}/log?{query}", self.path(Kind::Pod, pod));
        let request = Ask { method: Method::GET, path: &path, body: None, merge: false };
        let bytes = self.retried(&request, &self.asked("get the log of", Kind::Pod, pod)).await?;
        Ok(String::from_utf8_lossy(&bytes).into_owned())
    }

    /// A request of a user's, made by the API server: status and body. An error is about the cluster, never about the answer.
    pub async fn ask(
        &self,
        service: &str,
        port: u16,
        path: &str,
        within: Duration,
    ) -> ApiResult<(u16, String)> {
        let path = format!("{}:{port}/proxy{path}", self.path(Kind::Service, service));
        let asked = self.asked("proxy to", Kind::Service, service);
        let request = Ask { method: Method::GET, path: &path, body: None, merge: false };
        let answer = timeout(within, async {
            let response = self.send(&request).await?;
            let status = response.status().as_u16();
            let body = collect(response).await?;
            if status == 403
                && serde_json::from_slice::<Value>(&body).is_ok_and(|body| body["kind"] == "Status")
            {
                return Err(Fault::Refused(Refusal::read(status, &body, &asked)));
            }
            Ok((status, String::from_utf8_lossy(&body).into_owned()))
        });
        answer.await.unwrap_or_else(|_| Err(Fault::Unreachable(format!("no answer within {within:?}"))))
    }

    /// A watch from this version of a list on: an answer whose body does not end by itself.
    pub async fn watch(&self, kind: Kind, selector: &str, version: &str) -> ApiResult<Response<Body>> {
        // The server ends it by itself after a while, so that a connection that died unseen is not waited at for ever.
        let path = format!(
            "{}?{}={}&watch=true&allowWatchBookmarks=true&timeoutSeconds=290&resourceVersion={version}",
            self.path(kind, ""),
            kind.selected_by(),
            uri::component(selector)
        );
        self.endless(&path, &self.asked("watch", kind, "")).await
    }

    /// What a container prints from now on, as it comes.
    pub async fn follow_log(&self, pod: &str, query: &str) -> ApiResult<Response<Body>> {
        let path = format!("{}/log?{query}", self.path(Kind::Pod, pod));
        self.endless(&path, &self.asked("get the log of", Kind::Pod, pod)).await
    }

    async fn endless(&self, path: &str, asked: &str) -> ApiResult<Response<Body>> {
        let request = Ask { method: Method::GET, path, body: None, merge: false };
        let response = in_time(self.send(&request)).await?;
        if response.status().is_success() {
            return Ok(response);
        }
        let (code, pause) = (response.status().as_u16(), wished_pause(response.headers()));
        Err(Fault::Refused(Refusal::read(code, &in_time(collect(response)).await?, asked).after(pause)))
    }

    async fn json(&self, method: Method, path: &str, body: Option<&Value>, asked: &str) -> ApiResult<Object> {
        let request = Ask { method, path, body, merge: false };
        parse(&self.retried(&request, asked).await?)
    }

    fn path(&self, kind: Kind, name: &str) -> String {
        let collection = format!("{}/namespaces/{}/{}", kind.group(), self.namespace, kind.plural());
        if name.is_empty() { collection } else { format!("{collection}/{name}") }
    }

    fn asked(&self, verb: &str, kind: Kind, name: &str) -> String {
        let name = if name.is_empty() { String::new() } else { format!("/{name}") };
        format!("{verb} {}{name} in namespace {}", kind.plural(), self.namespace)
    }
}

/// What becomes of an object.
pub(super) enum Amended {
    New(Value),
    Changed(Object),
}

fn parse(bytes: &[u8]) -> ApiResult<Object> {
    serde_json::from_slice(bytes)
        .map(Object)
        .map_err(|cause| Fault::Unreachable(format!("an answer of the cluster is no JSON: {cause}")))
}
