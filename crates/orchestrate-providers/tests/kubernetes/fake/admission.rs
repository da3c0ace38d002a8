//! Which pods are let in: by a quota, and by a pod security standard, in the words of a real API server.

use serde_json::{Value, json};

use super::world::World;

/// Why no pod is made of the template.
pub fn denies(world: &World, template: &Value) -> Option<String> {
    if world.quota.is_some_and(|most| world.all("pods").len() >= most) {
        return Some(
            "pods \"x\" is forbidden: exceeded quota: pods, requested: pods=1, used: pods=1, limited: pods=1"
                .into(),
        );
    }
    if !world.restricted {
        return None;
    }
    let violations = violations(&template["spec"]);
    (!violations.is_empty()).then(|| {
        format!(
            "pods \"x\" is forbidden: violates PodSecurity \"restricted:latest\": {}",
            violations.join(", ")
        )
    })
}

/// What `restricted` asks of every container, beside what it asks of volumes, which are none here.
fn violations(pod: &Value) -> Vec<&'static str> {
    let mut found = Vec::new();
    for container in pod["containers"].as_array().unwrap() {
        let own = &container["securityContext"];
        let either = |key: &str| if own[key].is_null() { &pod["securityContext"][key] } else { &own[key] };
        let names = |key: &str| own["capabilities"][key].as_array().cloned().unwrap_or_default();
        if own["allowPrivilegeEscalation"] != false {
            found.push("allowPrivilegeEscalation != false");
        }
        if !names("drop").contains(&json!("ALL"))
            || names("add").iter().any(|name| *name != "NET_BIND_SERVICE")
        {
            found.push("unrestricted capabilities");
        }
        if *either("runAsNonRoot") != true {
            found.push("runAsNonRoot != true");
        }
        if *either("runAsUser") == 0 {
            found.push("runAsUser=0");
        }
        if either("seccompProfile")["type"] != "RuntimeDefault" {
            found.push("seccompProfile");
        }
    }
    found
}

/// A Job that gets no pod has no condition of that; there is an event.
pub fn note(world: &mut World, job: &Value, message: &str) {
    let name = job["metadata"]["name"].as_str().unwrap();
    world.put(
        "events",
        json!({
            "apiVersion": "v1",
            "kind": "Event",
            "metadata": { "name": format!("{name}.1") },
            "involvedObject": { "kind": "Job", "name": name, "uid": job["metadata"]["uid"] },
            "type": "Warning",
            "reason": "FailedCreate",
            "message": format!("Error creating: {message}"),
        }),
    );
}
