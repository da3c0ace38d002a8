//! What the Role in `deploy/kubernetes/rbac.yaml` allows, and nothing else: what it does not is answered as a real API server does.

use serde_json::Value;

use super::answer::{Asked, Reply, refused};
use super::world::World;

const ROLE: &str = include_str!("../../../../../deploy/kubernetes/rbac.yaml");

/// The rules of the Role: resources, and what may be done with them.
pub fn rules() -> Vec<(Vec<String>, Vec<String>)> {
    let documents: Vec<Value> = serde_saphyr::from_multiple(ROLE).unwrap();
    let role = documents.into_iter().find(|one| one["kind"] == "Role").unwrap();
    let words = |value: &Value| -> Vec<String> {
        value.as_array().unwrap().iter().map(|word| word.as_str().unwrap().to_owned()).collect()
    };
    let rules = role["rules"].as_array().unwrap().iter();
    rules.map(|rule| (words(&rule["resources"]), words(&rule["verbs"]))).collect()
}

/// The refusal, if who asks has not every right that it takes.
pub fn missing(world: &mut World, asked: &Asked<'_>) -> Option<Reply> {
    let beneath = asked.beneath.split('/').next().filter(|one| !one.is_empty());
    let resource = beneath.map_or_else(|| asked.plural.clone(), |one| format!("{}/{one}", asked.plural));
    let there = world.get(&asked.plural, &asked.name).is_some();
    let verbs: &[&str] = match (asked.method.as_str(), asked.name.is_empty()) {
        ("GET", true) if asked.is_watch() => &["watch"],
        ("GET", true) => &["list"],
        ("GET", false) => &["get"],
        ("POST", _) => &["create"],
        ("PUT", _) => &["update"],
        // What is not there yet is created.
        ("PATCH", _) if !asked.merges && !there => &["patch", "create"],
        ("PATCH", _) => &["patch"],
        _ => &["delete"],
    };
    let lacking = verbs.iter().find(|verb| {
        let allows = |(resources, verbs): &(Vec<String>, Vec<String>)| {
            resources.contains(&resource) && verbs.iter().any(|one| one == *verb)
        };
        !world.rules.iter().any(allows)
    });
    world.used.extend(verbs.iter().map(|verb| (resource.clone(), (*verb).to_owned())));
    lacking.map(|verb| {
        let message = format!(
            "{resource} is forbidden: User \"fake\" cannot {verb} resource \"{resource}\" in API group \"\""
        );
        refused(403, "Forbidden", &message)
    })
}
