//! What a real API server would not take: fields that its types do not have, names and labels that cannot be.

use k8s_openapi::api::{apps, batch, core};
use serde::Serialize;
use serde::de::DeserializeOwned;
use serde_json::Value;

/// Why the object is not taken.
pub fn invalid(plural: &str, object: &Value) -> Option<String> {
    names(plural, object).or_else(|| match plural {
        "deployments" => unknown::<apps::v1::Deployment>(object),
        "jobs" => unknown::<batch::v1::Job>(object),
        "services" => unknown::<core::v1::Service>(object),
        "configmaps" => unknown::<core::v1::ConfigMap>(object),
        "secrets" => unknown::<core::v1::Secret>(object),
        "pods" => unknown::<core::v1::Pod>(object),
        _ => None,
    })
}

fn names(plural: &str, object: &Value) -> Option<String> {
    let name = object["metadata"]["name"].as_str().unwrap_or_default();
    let ends = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit();
    let plain = name.chars().all(|c| ends(c) || c == '-') && name.starts_with(ends) && name.ends_with(ends);
    let first = plural != "services" || name.starts_with(|c: char| c.is_ascii_lowercase());
    if !plain || !first || name.len() > 63 {
        return Some(format!("{plural} \"{name}\" is invalid: metadata.name"));
    }
    let labels = [&object["metadata"]["labels"], &object["spec"]["template"]["metadata"]["labels"]];
    for (key, value) in labels.iter().filter_map(|labels| labels.as_object()).flatten() {
        let value = value.as_str().unwrap_or("?");
        let ends = |c: char| c.is_ascii_alphanumeric();
        let fits = value.chars().all(|c| ends(c) || "-_.".contains(c));
        let bounded = value.is_empty() || (value.starts_with(ends) && value.ends_with(ends));
        if !fits || !bounded || value.len() > 63 {
            return Some(format!("{plural} \"{name}\" is invalid: metadata.labels: {key}={value}"));
        }
    }
    None
}

/// A field that is lost on the way through the type is one that it does not have.
fn unknown<T: Serialize + DeserializeOwned>(object: &Value) -> Option<String> {
    let typed: T = match serde_json::from_value(object.clone()) {
        Ok(typed) => typed,
        Err(cause) => return Some(format!("it is not of its type: {cause}")),
    };
    let back = serde_json::to_value(typed).unwrap();
    ["/spec", "/data", "/metadata/labels", "/metadata/annotations"]
        .into_iter()
        .find_map(|part| lost(part, object.pointer(part)?, back.pointer(part).unwrap_or(&Value::Null)))
}

fn lost(path: &str, written: &Value, back: &Value) -> Option<String> {
    match (written, back) {
        (Value::Object(written), back) => {
            written.iter().find_map(|(key, value)| lost(&format!("{path}/{key}"), value, &back[key]))
        }
        (Value::Array(written), Value::Array(back)) if written.len() == back.len() => {
            let pairs = written.iter().zip(back).enumerate();
            pairs.into_iter().find_map(|(index, (one, back))| lost(&format!("{path}/{index}"), one, back))
        }
        // An empty list is left out.
        (Value::Array(written), Value::Null) if written.is_empty() => None,
        (written, back) if written == back => None,
        (written, _) => Some(format!("unknown field {path}: {written}")),
    }
}
