//! Where a pod names a ConfigMap or a Secret.

use std::collections::BTreeMap;

use serde_json::Value;

/// What ConfigMaps (false) and Secrets (true) are called for a release, by the names that the user gave them.
pub(in crate::kubernetes) type Renamed = BTreeMap<(bool, String), String>;

impl super::Ours<'_> {
    /// Has the pod name ConfigMaps and Secrets as they are called for the release; others stay.
    pub(super) fn rename(&self, pod: &mut Value) {
        each(pod, &mut |secret, name| {
            if let Some(new) = self.renamed.get(&(secret, name.clone())) {
                *name = new.clone();
            }
        });
    }
}

/// Whether the pod, or a template of one, has to do with this ConfigMap or Secret.
pub(in crate::kubernetes) fn refers(pod: &Value, secret: bool, name: &str) -> bool {
    let mut found = false;
    each(&mut pod.clone(), &mut |kind, named| found |= kind == secret && named == name);
    found
}

/// Calls with whether it is a Secret, and with its name.
fn each(value: &mut Value, found: &mut impl FnMut(bool, &mut String)) {
    match value {
        Value::Array(items) => items.iter_mut().for_each(|item| each(item, found)),
        Value::Object(fields) => {
            for (key, value) in fields {
                match key.as_str() {
                    "configMap" | "configMapRef" | "configMapKeyRef" => named(value, "name", false, found),
                    // A volume has another word for it than everything else.
                    "secret" => {
                        named(value, "secretName", true, found);
                        named(value, "name", true, found);
                    }
                    "imagePullSecrets" => {
                        let items = value.as_array_mut().into_iter().flatten();
                        items.for_each(|item| named(item, "name", true, found));
                    }
                    key if key.ends_with("ecretRef") || key == "secretKeyRef" => {
                        named(value, "name", true, found);
                    }
                    _ => {}
                }
                each(value, found);
            }
        }
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => {}
    }
}

fn named(value: &mut Value, key: &str, secret: bool, found: &mut impl FnMut(bool, &mut String)) {
    if let Some(Value::String(name)) = value.get_mut(key) {
        found(secret, name);
    }
}
