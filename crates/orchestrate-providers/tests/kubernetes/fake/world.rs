//! What the API server has: objects, and every change of them in order.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Instant;

use serde_json::{Value, json};

use super::faults::Fault;

pub struct World {
    pub version: u64,
    pub objects: BTreeMap<(String, String), Value>,
    pub events: Vec<Event>,
    /// Watches from before this are refused.
    pub oldest: u64,
    /// What was applied last, by object.
    pub applied: BTreeMap<(String, String), Value>,
    pub faults: Vec<Fault>,
    pub met: usize,
    /// The images that the only node has.
    pub images: BTreeSet<String>,
    /// No more pods than this.
    pub quota: Option<usize>,
    /// The namespace enforces the pod security standard `restricted`.
    pub restricted: bool,
    /// Images do not name a user who is not root.
    pub run_as_root: bool,
    /// So many containers more cannot be started at the first try.
    pub unsynced: u32,
    /// The node takes no pod.
    pub full: bool,
    /// When pods that are told to go are gone, by uid.
    pub ends: BTreeMap<String, Instant>,
    pub logs: BTreeMap<String, String>,
    /// Requests by the service proxy so far, for whose turn it is.
    pub turns: usize,
    /// How often the API server was asked, by verb and plural.
    pub asked: BTreeMap<String, usize>,
    /// What whoever is not a test may do.
    pub rules: Vec<(Vec<String>, Vec<String>)>,
    /// The rights that were needed so far.
    pub used: BTreeSet<(String, String)>,
    /// Every list and every watch that was asked for, in order.
    pub looks: Vec<Look>,
    counter: u64,
}

/// A list with the version that it told, or a watch with the version that it was to begin at.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Look {
    pub plural: String,
    pub watch: bool,
    pub version: u64,
    /// A fault was its answer, or the server did not have the version any more.
    pub refused: bool,
}

pub struct Event {
    pub version: u64,
    pub plural: String,
    pub kind: &'static str,
    pub object: Value,
}

impl World {
    pub fn new() -> Self {
        Self {
            version: 1,
            objects: BTreeMap::new(),
            events: Vec::new(),
            oldest: 0,
            applied: BTreeMap::new(),
            faults: Vec::new(),
            met: 0,
            images: BTreeSet::new(),
            quota: None,
            restricted: false,
            run_as_root: false,
            unsynced: 0,
            full: false,
            ends: BTreeMap::new(),
            logs: BTreeMap::new(),
            turns: 0,
            asked: BTreeMap::new(),
            rules: super::rights::rules(),
            used: BTreeSet::new(),
            looks: Vec::new(),
            counter: 0,
        }
    }

    pub fn get(&self, plural: &str, name: &str) -> Option<&Value> {
        self.objects.get(&(plural.to_owned(), name.to_owned()))
    }

    pub fn all(&self, plural: &str) -> Vec<Value> {
        self.objects
            .iter()
            .filter(|((kind, _), _)| kind == plural)
            .map(|(_, object)| object.clone())
            .collect()
    }

    pub fn number(&mut self) -> u64 {
        self.counter += 1;
        self.counter
    }

    /// Stores an object with what the server itself says of it, if it is another one than before.
    pub fn put(&mut self, plural: &str, mut object: Value) -> Value {
        let name = object["metadata"]["name"].as_str().unwrap().to_owned();
        let before = self.get(plural, &name).cloned();
        let number = self.number();
        let metadata = &mut object["metadata"];
        match &before {
            None => {
                metadata["uid"] = format!("uid-{number}").into();
                metadata["creationTimestamp"] = now().into();
                metadata["generation"] = 1.into();
                metadata["namespace"] = super::NAMESPACE.into();
            }
            Some(before) => {
                for key in ["uid", "creationTimestamp", "generation", "namespace", "deletionTimestamp"] {
                    if !before["metadata"][key].is_null()
                        && (key != "deletionTimestamp" || metadata[key].is_null())
                    {
                        metadata[key] = before["metadata"][key].clone();
                    }
                }
                if object["spec"] != before["spec"] {
                    let generation = before["metadata"]["generation"].as_u64().unwrap() + 1;
                    object["metadata"]["generation"] = generation.into();
                }
                let mut same = object.clone();
                same["metadata"]["resourceVersion"] = before["metadata"]["resourceVersion"].clone();
                if same == *before {
                    return before.clone();
                }
            }
        }
        self.version += 1;
        object["metadata"]["resourceVersion"] = self.version.to_string().into();
        let kind = if before.is_some() { "MODIFIED" } else { "ADDED" };
        self.event(plural, kind, &object);
        self.objects.insert((plural.to_owned(), name), object.clone());
        object
    }

    pub fn remove(&mut self, plural: &str, name: &str) {
        let key = (plural.to_owned(), name.to_owned());
        self.applied.remove(&key);
        if let Some(mut object) = self.objects.remove(&key) {
            self.version += 1;
            object["metadata"]["resourceVersion"] = self.version.to_string().into();
            self.event(plural, "DELETED", &object);
        }
    }

    fn event(&mut self, plural: &str, kind: &'static str, object: &Value) {
        let (version, plural) = (self.version, plural.to_owned());
        self.events.push(Event { version, plural, kind, object: object.clone() });
    }

    /// Pods are told to go; everything else goes at once.
    pub fn delete(&mut self, plural: &str, name: &str) {
        match self.get(plural, name).cloned() {
            Some(pod) if plural == "pods" => {
                if pod["metadata"]["deletionTimestamp"].is_null() {
                    let mut pod = pod;
                    pod["metadata"]["deletionTimestamp"] = now().into();
                    self.put("pods", pod);
                }
            }
            _ => self.remove(plural, name),
        }
    }
}

pub fn now() -> String {
    orchestrate_core::time::Timestamp::system_now().to_string()
}

/// `a.b=c,d=e`: whether the fields are so.
pub fn has_fields(selector: &str, object: &Value) -> bool {
    selector
        .split(',')
        .filter_map(|one| one.split_once('='))
        .all(|(path, value)| object.pointer(&format!("/{}", path.replace('.', "/"))) == Some(&json!(value)))
}

/// `a=b,c=d,e`: whether the labels are so.
pub fn selects(selector: &str, object: &Value) -> bool {
    selector.split(',').filter(|one| !one.is_empty()).all(|one| match one.split_once('=') {
        Some((key, value)) => object["metadata"]["labels"][key] == json!(value),
        None => !object["metadata"]["labels"][one].is_null(),
    })
}

/// The same by a map of labels. An empty one selects nothing, as for a Service.
pub fn matches(labels: &Value, object: &Value) -> bool {
    let Some(labels) = labels.as_object().filter(|labels| !labels.is_empty()) else { return false };
    labels.iter().all(|(key, value)| object["metadata"]["labels"][key] == *value)
}
