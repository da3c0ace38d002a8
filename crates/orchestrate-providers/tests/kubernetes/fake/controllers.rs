//! Deployments, Jobs and Services, as their controllers look after them: each pass does the next small thing.

use serde_json::{Value, json};

use super::admission;
use super::world::{World, matches};

pub fn step(world: &mut World) {
    collect_garbage(world);
    for deployment in world.all("deployments") {
        keep(world, deployment);
    }
    for job in world.all("jobs") {
        run(world, job);
    }
}

/// Pods whose owner is gone are told to go.
fn collect_garbage(world: &mut World) {
    let owners: Vec<Value> = [world.all("deployments"), world.all("jobs")].concat();
    for pod in world.all("pods") {
        let owner = &pod["metadata"]["ownerReferences"][0]["uid"];
        let lives = owners.iter().any(|one| one["metadata"]["uid"] == *owner);
        if !owner.is_null() && !lives {
            world.delete("pods", pod["metadata"]["name"].as_str().unwrap());
        }
    }
}

fn keep(world: &mut World, mut deployment: Value) {
    let uid = deployment["metadata"]["uid"].clone();
    let template = deployment["spec"]["template"].clone();
    let wanted = usize::try_from(deployment["spec"]["replicas"].as_u64().unwrap_or(1)).unwrap();
    let owned = |pod: &Value| pod["metadata"]["ownerReferences"][0]["uid"] == uid;
    let pods: Vec<Value> = world
        .all("pods")
        .into_iter()
        .filter(|pod| owned(pod) && pod["metadata"]["deletionTimestamp"].is_null())
        .collect();
    let hash = hash_of(&template);
    let is_new = |pod: &Value| pod["metadata"]["labels"]["pod-template-hash"] == json!(hash);
    let (new, old): (Vec<Value>, Vec<Value>) = pods.into_iter().partition(is_new);
    let ready = new.iter().filter(|pod| is_ready(pod)).count();
    let surge = if old.is_empty() { 0 } else { wanted.div_ceil(4) };
    let mut failure = None;
    if new.len() < wanted && new.len() + old.len() < wanted + surge {
        match admission::denies(world, &template) {
            Some(message) => failure = Some(message),
            None => create_pod(world, &deployment, &template, &hash),
        }
    } else if new.len() > wanted {
        world.delete("pods", first_to_go(&new));
    } else if !old.is_empty() && ready + old.iter().filter(|pod| is_ready(pod)).count() > wanted {
        world.delete("pods", first_to_go(&old));
    } else if let Some(sick) = old.iter().find(|pod| !is_ready(pod)) {
        world.delete("pods", sick["metadata"]["name"].as_str().unwrap());
    }
    let old_ready = old.iter().filter(|pod| is_ready(pod)).count();
    deployment["status"] = json!({
        "observedGeneration": deployment["metadata"]["generation"],
        "replicas": new.len() + old.len(),
        "updatedReplicas": new.len(),
        "readyReplicas": ready + old_ready,
        "availableReplicas": ready + old_ready,
        "conditions": failure.map(|message| json!([{ "type": "ReplicaFailure", "status": "True", "message": message }])).unwrap_or(json!([])),
    });
    world.put("deployments", deployment);
}

fn hash_of(template: &Value) -> String {
    orchestrate_core::release::Digest::of(template.to_string().as_bytes()).as_str()[..10].to_owned()
}

/// What is not ready, then what is cheap, then what is new.
fn first_to_go(pods: &[Value]) -> &str {
    let cost = |pod: &Value| {
        let annotation = &pod["metadata"]["annotations"]["controller.kubernetes.io/pod-deletion-cost"];
        annotation.as_str().and_then(|cost| cost.parse::<i64>().ok()).unwrap_or(0)
    };
    let age = |pod: &Value| std::cmp::Reverse(pod["metadata"]["creationTimestamp"].to_string());
    let first = pods.iter().min_by_key(|pod| (is_ready(pod), cost(pod), age(pod)));
    first.unwrap()["metadata"]["name"].as_str().unwrap()
}

fn create_pod(world: &mut World, owner: &Value, template: &Value, hash: &str) {
    let mut pod = template.clone();
    // Names that are in no order, as a cluster gives them.
    let number = world.number();
    let mixed = number.wrapping_mul(2_654_435_761) % 100_000;
    let name = owner["metadata"]["name"].as_str().unwrap();
    pod["metadata"]["name"] = format!("{name}-{hash}-{mixed:05}").into();
    pod["metadata"]["labels"]["pod-template-hash"] = hash.into();
    pod["metadata"]["ownerReferences"] = json!([{ "uid": owner["metadata"]["uid"] }]);
    pod["status"] = json!({ "phase": "Pending" });
    world.put("pods", pod);
}

pub fn is_ready(pod: &Value) -> bool {
    let conditions = pod["status"]["conditions"].as_array().cloned().unwrap_or_default();
    conditions.iter().any(|one| one["type"] == "Ready" && one["status"] == "True")
}

fn run(world: &mut World, mut job: Value) {
    let (uid, name) = (job["metadata"]["uid"].clone(), job["metadata"]["name"].clone());
    let pods = world.all("pods");
    let Some(pod) = pods.iter().find(|pod| pod["metadata"]["ownerReferences"][0]["uid"] == uid) else {
        let mut template = job["spec"]["template"].clone();
        template["metadata"]["labels"]["batch.kubernetes.io/job-name"] = name.clone();
        if let Some(message) = admission::denies(world, &template) {
            admission::note(world, &job, &message);
            return late(world, job);
        }
        create_pod(world, &job, &template, "job");
        return;
    };
    let code = &pod["status"]["containerStatuses"][0]["state"]["terminated"]["exitCode"];
    let condition = if *code == 0 {
        json!({ "type": "Complete", "status": "True" })
    } else if !code.is_null() {
        json!({ "type": "Failed", "status": "True", "reason": "BackoffLimitExceeded", "message": "Job has reached the specified backoff limit" })
    } else {
        return late(world, job);
    };
    job["status"] = json!({ "conditions": [condition] });
    world.put("jobs", job);
}

/// A Job whose time is over has failed.
fn late(world: &mut World, mut job: Value) {
    let most = job["spec"]["activeDeadlineSeconds"].as_u64().unwrap_or(u64::MAX);
    if super::kubelet::older_than(&job, most) {
        let condition = json!({ "type": "Failed", "status": "True", "reason": "DeadlineExceeded", "message": "Job was active longer than specified deadline" });
        job["status"] = json!({ "conditions": [condition] });
        world.put("jobs", job);
    }
}

/// One slice for each Service that selects something.
pub fn endpoints(world: &mut World) {
    let services = world.all("services");
    for slice in world.all("endpointslices") {
        let of = &slice["metadata"]["labels"]["kubernetes.io/service-name"];
        if !services.iter().any(|one| one["metadata"]["name"] == *of) {
            world.remove("endpointslices", slice["metadata"]["name"].as_str().unwrap());
        }
    }
    let pods = world.all("pods");
    for service in services {
        assert!(
            service["spec"]["selector"].as_object().is_some_and(|selector| !selector.is_empty()),
            "a Service selects nothing at all: {service}"
        );
        let name = service["metadata"]["name"].as_str().unwrap();
        let behind = pods
            .iter()
            .filter(|pod| matches(&service["spec"]["selector"], pod) && !pod["status"]["podIP"].is_null());
        let endpoints: Vec<Value> = behind
            .map(|pod| {
                let leaving = !pod["metadata"]["deletionTimestamp"].is_null();
                json!({
                    "addresses": [pod["status"]["podIP"]],
                    "conditions": { "ready": is_ready(pod) && !leaving, "terminating": leaving },
                    "targetRef": { "kind": "Pod", "name": pod["metadata"]["name"] },
                })
            })
            .collect();
        world.put(
            "endpointslices",
            json!({
                "apiVersion": "discovery.k8s.io/v1",
                "kind": "EndpointSlice",
                "metadata": { "name": format!("{name}-slice"), "labels": { "kubernetes.io/service-name": name } },
                "endpoints": endpoints,
            }),
        );
    }
}
