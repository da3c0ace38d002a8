//! An object of the cluster, as it came: what we do not know of it is written back as it was.

use std::collections::BTreeMap;

use serde_json::{Value, json};

#[derive(Clone, Debug, PartialEq)]
pub(super) struct Object(pub Value);

/// All that a list or a watch showed, by name.
pub(super) type Objects = BTreeMap<String, Object>;

impl Object {
    pub fn text(&self, pointer: &str) -> Option<&str> {
        self.0.pointer(pointer).and_then(Value::as_str)
    }

    pub fn number(&self, pointer: &str) -> Option<i64> {
        self.0.pointer(pointer).and_then(Value::as_i64)
    }

    /// A count that is left out where it is zero.
    pub fn count(&self, pointer: &str) -> u32 {
        self.number(pointer).and_then(|number| u32::try_from(number).ok()).unwrap_or(0)
    }

    pub fn truth(&self, pointer: &str) -> Option<bool> {
        self.0.pointer(pointer).and_then(Value::as_bool)
    }

    pub fn items(&self, pointer: &str) -> impl Iterator<Item = Self> + '_ {
        self.0.pointer(pointer).and_then(Value::as_array).into_iter().flatten().cloned().map(Self)
    }

    pub fn name(&self) -> &str {
        self.text("/metadata/name").unwrap_or_default()
    }

    pub fn version(&self) -> &str {
        self.text("/metadata/resourceVersion").unwrap_or_default()
    }

    pub fn label(&self, key: &str) -> Option<&str> {
        self.0.get("metadata")?.get("labels")?.get(key)?.as_str()
    }

    pub fn annotation(&self, key: &str) -> Option<&str> {
        self.0.get("metadata")?.get("annotations")?.get(key)?.as_str()
    }

    /// Sets an annotation, or takes it away.
    pub fn annotate(&mut self, key: &str, value: Option<String>) {
        let Some(metadata) = self.0.get_mut("metadata").and_then(Value::as_object_mut) else { return };
        let annotations = metadata.entry("annotations").or_insert_with(|| json!({}));
        let Some(annotations) = annotations.as_object_mut() else { return };
        match value {
            Some(value) => drop(annotations.insert(key.to_owned(), Value::String(value))),
            None => drop(annotations.remove(key)),
        }
    }

    /// It was told to go and is on its way.
    pub fn is_leaving(&self) -> bool {
        self.text("/metadata/deletionTimestamp").is_some()
    }

    /// The condition of this type: whether it holds, and what is said of it.
    pub fn condition(&self, kind: &str) -> Option<(bool, Self)> {
        let found = self.items("/status/conditions").find(|one| one.text("/type") == Some(kind))?;
        Some((found.text("/status") == Some("True"), found))
    }
}
