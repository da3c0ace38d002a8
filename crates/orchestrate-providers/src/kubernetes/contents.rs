//! ConfigMaps and Secrets of a release: its variables and secrets, and what manifests of the user's have of them. What is in a
//! ConfigMap is in its name. A Secret is named by its release: who may see a pod must not be able to guess at secrets by a
//! digest of them.

use std::collections::BTreeMap;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use orchestrate_core::environment::Manifest;
use orchestrate_core::ports::{PortError, PortResult};
use orchestrate_core::release::Digest;
use serde_json::{Map, Value, json};

use super::manifests::{IN_SECRETS, Renamed};
use super::names::Names;
use super::objects::{CONTENTS, FENCE, Release};

/// A ConfigMap, or a Secret with its values coded in base64.
pub(super) struct Contents {
    pub secret: bool,
    pub name: String,
    /// Without its name and our labels.
    body: Value,
}

impl Release<'_> {
    /// What becomes the environment of the container.
    pub(super) fn sources(&self) -> Vec<Value> {
        let kinds = self.own_contents();
        let sources = kinds.iter().map(|contents| {
            let reference = if contents.secret { "secretRef" } else { "configMapRef" };
            json!({ reference: { "name": contents.name } })
        });
        sources.collect()
    }

    /// All that the release needs before it is started.
    pub fn contents(&self) -> PortResult<Vec<Contents>> {
        let mut all = self.own_contents();
        for one in self.spec.engine.manifests.iter().filter(|one| one.object["kind"] != "Deployment") {
            all.push(self.theirs(one)?);
        }
        Ok(all)
    }

    fn own_contents(&self) -> Vec<Contents> {
        let mut all = Vec::new();
        if !self.spec.variables.is_empty() {
            let data = json!(self.spec.variables);
            let digest = Digest::of(data.to_string().as_bytes());
            let name = self.names.contents(&digest.as_str()[..16]);
            all.push(Contents { secret: false, name, body: json!({ "data": data }) });
        }
        let secrets = self.spec.secrets.iter().filter(|(name, _)| !name.starts_with(IN_SECRETS));
        let coded: BTreeMap<&String, String> =
            secrets.map(|(name, value)| (name, STANDARD.encode(value.expose()))).collect();
        if !coded.is_empty() {
            let name = self.names.contents(&format!("release-{}", self.placement.release.0));
            all.push(Contents { secret: true, name, body: json!({ "data": coded }) });
        }
        all
    }

    /// What the user's ConfigMaps and Secrets are called for this release.
    pub(super) fn renamed(&self) -> Renamed {
        let all = self.spec.engine.manifests.iter().filter(|one| one.object["kind"] != "Deployment");
        all.map(|one| (self.old_name(one), self.new_name(one))).collect()
    }

    fn old_name(&self, one: &Manifest) -> (bool, String) {
        let name = one.object["metadata"]["name"].as_str().unwrap_or_default();
        (one.object["kind"] == "Secret", name.to_owned())
    }

    fn new_name(&self, one: &Manifest) -> String {
        let (secret, name) = self.old_name(one);
        let digest = Digest::of(one.object.to_string().as_bytes());
        let told = match secret {
            true => format!("{name}-release-{}", self.placement.release.0),
            false => format!("{name}-{}", &digest.as_str()[..10]),
        };
        self.names.contents(&told)
    }

    fn theirs(&self, one: &Manifest) -> PortResult<Contents> {
        let mut body = one.object.clone();
        for key in ["name", "namespace"] {
            body["metadata"].as_object_mut().and_then(|metadata| metadata.remove(key));
        }
        if let Some(kept) = &one.secret {
            body["data"] = Value::Object(self.opened(one, kept)?);
        }
        Ok(Contents { secret: one.object["kind"] == "Secret", name: self.new_name(one), body })
    }

    fn opened(&self, one: &Manifest, kept: &str) -> PortResult<Map<String, Value>> {
        let value = self.spec.secrets.get(kept);
        let read = value.and_then(|value| serde_json::from_str::<Value>(value.expose()).ok());
        let read =
            read.ok_or_else(|| PortError::failed(format!("what was in {} cannot be had", one.from)))?;
        let mut data = read["data"].as_object().cloned().unwrap_or_default();
        for (key, value) in read["stringData"].as_object().into_iter().flatten() {
            let coded = value.as_str().map_or_else(|| value.clone(), |text| STANDARD.encode(text).into());
            data.insert(key.clone(), coded);
        }
        Ok(data)
    }
}

impl Contents {
    pub fn object(&self, names: &Names, fence: i64) -> Value {
        let mut object = self.body.clone();
        object["apiVersion"] = "v1".into();
        object["kind"] = if self.secret { "Secret" } else { "ConfigMap" }.into();
        let mut own = names.labels();
        own.insert(CONTENTS.into(), "true".into());
        let theirs = |part: &str| self.body["metadata"][part].as_object().cloned().unwrap_or_default();
        let (mut labels, mut annotations) = (theirs("labels"), theirs("annotations"));
        labels.extend(own);
        annotations.insert(FENCE.into(), fence.to_string().into());
        object["metadata"] = json!({ "name": self.name, "labels": labels, "annotations": annotations });
        object
    }
}
