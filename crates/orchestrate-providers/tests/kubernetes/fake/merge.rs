//! How patches change an object.

use serde_json::{Map, Value};

/// Server-side apply: what was applied before and is not any more goes; what others set stays. A list of what has names is
/// one of them by name; any other list is ours as a whole.
pub fn apply(live: &mut Value, before: Option<&Value>, wanted: &Value) {
    match (&mut *live, wanted) {
        (Value::Object(live), Value::Object(wanted)) => {
            if let Some(Value::Object(before)) = before {
                for key in before.keys().filter(|key| !wanted.contains_key(*key)) {
                    live.remove(key);
                }
            }
            for (key, value) in wanted {
                let before = before.and_then(|before| before.get(key));
                apply(live.entry(key.clone()).or_insert(Value::Null), before, value);
            }
        }
        (Value::Array(live), Value::Array(wanted)) if are_named(live) && are_named(wanted) => {
            by_name(live, before, wanted);
        }
        (live, wanted) => *live = wanted.clone(),
    }
}

fn are_named(list: &[Value]) -> bool {
    !list.is_empty() && list.iter().all(|one| one["name"].is_string())
}

fn by_name(live: &mut Vec<Value>, before: Option<&Value>, wanted: &[Value]) {
    let named = |list: &[Value], name: &Value| list.iter().find(|one| one["name"] == *name).cloned();
    let before = before.and_then(Value::as_array).cloned().unwrap_or_default();
    let mut all: Vec<Value> = Vec::new();
    for one in wanted {
        let mut there = named(live, &one["name"]).unwrap_or_default();
        apply(&mut there, named(&before, &one["name"]).as_ref(), one);
        all.push(there);
    }
    let theirs = |one: &&Value| [wanted, &before].iter().all(|list| named(list, &one["name"]).is_none());
    all.extend(live.iter().filter(theirs).cloned());
    *live = all;
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
