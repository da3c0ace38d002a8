//! How patches change an object.

use serde_json::{Map, Value};

/// Server-side apply: what was applied before and is not any more goes; what others set stays. Lists are ours as a whole.
pub fn apply(live: &mut Value, before: Option<&Value>, wanted: &Value) {
    let (Value::Object(live), Value::Object(wanted)) = (&mut *live, wanted) else {
        *live = wanted.clone();
        return;
    };
    if let Some(Value::Object(before)) = before {
        for key in before.keys().filter(|key| !wanted.contains_key(*key)) {
            live.remove(key);
        }
    }
    for (key, value) in wanted {
        let before = before.and_then(|before| before.get(key));
        if value.is_object() && live.get(key).is_some_and(Value::is_object) {
            apply(&mut live[key], before, value);
        } else {
            live.insert(key.clone(), value.clone());
        }
    }
}

/// RFC 7396.
pub fn merge(live: &mut Value, patch: &Value) {
    let Value::Object(patch) = patch else {
        *live = patch.clone();
        return;
    };
    if !live.is_object() {
        *live = Value::Object(Map::new());
    }
    for (key, value) in patch {
        if value.is_null() {
            live.as_object_mut().unwrap().remove(key);
        } else {
            merge(&mut live[key], value);
        }
    }
}
