//! The only node: what becomes of pods there. A container is told how to behave by its variables, as the test image is.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use orchestrate_core::time::Timestamp;
use serde_json::{Value, json};

use super::world::{World, now};

pub fn step(world: &mut World) {
    for pod in world.all("pods") {
        if !pod["metadata"]["deletionTimestamp"].is_null() {
            end(world, &pod);
        } else if let Some(pod) = go_on(world, pod) {
            world.put("pods", pod);
        }
    }
}

/// After its hook before the stop, a container ends at once, unless it is a stubborn one.
fn end(world: &mut World, pod: &Value) {
    let uid = pod["metadata"]["uid"].as_str().unwrap().to_owned();
    let container = &pod["spec"]["containers"][0];
    let sleep = container["lifecycle"]["preStop"]["sleep"]["seconds"].as_u64().unwrap_or(0);
    let grace = pod["spec"]["terminationGracePeriodSeconds"].as_u64().unwrap_or(30);
    let stubborn = variables(world, pod).is_ok_and(|all| all.contains_key("IGNORE_TERM"));
    let wait = Duration::from_secs(if stubborn { grace } else { sleep.min(grace) });
    let over = *world.ends.entry(uid.clone()).or_insert_with(|| Instant::now() + wait);
    if Instant::now() >= over {
        world.ends.remove(&uid);
        world.remove("pods", pod["metadata"]["name"].as_str().unwrap());
    }
}

/// The pod as it is next, if anything became of it.
fn go_on(world: &mut World, mut pod: Value) -> Option<Value> {
    if world.full && pod["status"]["podIP"].is_null() {
        let before = &pod["status"]["conditions"][0]["lastTransitionTime"];
        let since = if before.is_null() { json!(now()) } else { before.clone() };
        pod["status"] = json!({ "phase": "Pending", "conditions": [
            { "type": "PodScheduled", "status": "False", "reason": "Unschedulable", "message": "0/1 nodes are available", "lastTransitionTime": since },
        ] });
        return Some(pod);
    }
    let before = pod["status"]["containerStatuses"][0].clone();
    let image = pod["spec"]["containers"][0]["image"].as_str().unwrap().to_owned();
    if before["image"] == image.as_str() && before["state"]["waiting"].is_null() {
        // A running container stays as it is.
        return None;
    }
    if !world.images.contains(&image) {
        let never = pod["spec"]["containers"][0]["imagePullPolicy"] == "Never";
        let reason = if never { "ErrImageNeverPull" } else { "ImagePullBackOff" };
        return Some(waiting(pod, &before, &image, reason, "the image is not there"));
    }
    let all = match variables(world, &pod) {
        Ok(all) => all,
        Err(missing) => return Some(waiting(pod, &before, &image, "CreateContainerConfigError", &missing)),
    };
    if world.unsynced > 0 {
        world.unsynced -= 1;
        let why = "failed to sync configmap cache: timed out waiting for the condition";
        return Some(waiting(pod, &before, &image, "CreateContainerConfigError", why));
    }
    let context = &pod["spec"]["containers"][0]["securityContext"];
    if world.run_as_root && context["runAsNonRoot"] == true && context["runAsUser"].is_null() {
        let why = "container has runAsNonRoot and image will run as root";
        return Some(waiting(pod, &before, &image, "CreateContainerConfigError", why));
    }
    if pod["spec"]["restartPolicy"] == "Never" {
        return once(world, pod, &image, &all);
    }
    let restarts = before["restartCount"].as_u64().map_or(0, |count| count + 1);
    let last = match before["state"]["running"].is_null() && before["lastState"].is_null() {
        true => Value::Null,
        false if all.contains_key("CRASH") => json!({ "terminated": { "exitCode": 3, "reason": "Error" } }),
        false => json!({ "terminated": { "exitCode": 137, "reason": "Error" } }),
    };
    if all.contains_key("CRASH") {
        let name = pod["metadata"]["name"].as_str().unwrap().to_owned();
        world.logs.insert(name, "starts\naddress in use\n".to_owned());
        if before["restartCount"].as_u64().unwrap_or(0) >= 2 {
            return None;
        }
        pod["status"] = status(
            &pod,
            "Running",
            false,
            json!({
                "name": "main", "image": image, "restartCount": restarts.max(1),
                "state": { "waiting": { "reason": "CrashLoopBackOff", "message": "back-off restarting failed container" } },
                "lastState": { "terminated": { "exitCode": 3, "reason": "Error" } },
            }),
        );
        return Some(pod);
    }
    let well = all.get("HEALTH").is_none_or(|health| health != "sick");
    pod["status"] = status(
        &pod,
        "Running",
        well,
        json!({
            "name": "main", "image": image, "restartCount": restarts,
            "state": { "running": { "startedAt": now() } }, "lastState": last,
        }),
    );
    let ip = world.number();
    if pod["status"]["podIP"].is_null() {
        pod["status"]["podIP"] = format!("10.0.{}.{}", ip / 200, ip % 200 + 1).into();
    }
    Some(pod)
}

fn waiting(mut pod: Value, before: &Value, image: &str, reason: &str, message: &str) -> Value {
    let last = if before["state"]["running"].is_null() {
        before["lastState"].clone()
    } else {
        before["state"].clone()
    };
    let last = if last["running"].is_null() {
        last
    } else {
        json!({ "terminated": { "exitCode": 137, "reason": "Error" } })
    };
    pod["status"] = status(
        &pod,
        "Running",
        false,
        json!({
            "name": "main", "image": image, "restartCount": before["restartCount"].as_u64().unwrap_or(0),
            "state": { "waiting": { "reason": reason, "message": message } }, "lastState": last,
        }),
    );
    pod
}

/// What is beside the first container runs, and is of no account here.
fn status(pod: &Value, phase: &str, ready: bool, mut container: Value) -> Value {
    let named = pod["spec"]["containers"].as_array().unwrap();
    container["name"] = named[0]["name"].clone();
    let beside = named[1..].iter().map(|one| {
        json!({ "name": one["name"], "image": one["image"], "restartCount": 0, "state": { "running": {} } })
    });
    let containers: Vec<Value> = std::iter::once(container).chain(beside).collect();
    let word = if ready { "True" } else { "False" };
    let before = pod["status"]["conditions"].as_array().cloned().unwrap_or_default();
    let same = before.iter().find(|one| one["type"] == "Ready" && one["status"] == word);
    let since = same.map_or_else(|| json!(now()), |one| one["lastTransitionTime"].clone());
    json!({
        "phase": phase,
        "podIP": pod["status"]["podIP"],
        "conditions": [
            { "type": "Ready", "status": word, "lastTransitionTime": since },
            { "type": "PodScheduled", "status": "True" },
        ],
        "containerStatuses": containers,
    })
}

/// A command that runs once: `true`, `false`, or something that takes its time.
fn once(world: &mut World, mut pod: Value, image: &str, all: &BTreeMap<String, String>) -> Option<Value> {
    let words: Vec<&str> = pod["spec"]["containers"][0]["command"]
        .as_array()
        .unwrap()
        .iter()
        .map(|word| word.as_str().unwrap())
        .collect();
    let code = match words[0] {
        "true" => 0,
        "false" => 1,
        "/nothing" => {
            let message = "exec: \"/nothing\": stat /nothing: no such file or directory";
            let ended = json!({ "exitCode": 128, "reason": "StartError", "message": message });
            let container = json!({ "name": "main", "image": image, "restartCount": 0, "state": { "terminated": ended } });
            pod["status"] = status(&pod, "Failed", false, container);
            return Some(pod);
        }
        _ => return None,
    };
    let name = pod["metadata"]["name"].as_str().unwrap().to_owned();
    let hook = all.get("ORCHESTRATE_HOOK").cloned().unwrap_or_default();
    world.logs.insert(name, format!("ran {} {hook} as {}\n", words.join(" "), all["ORCHESTRATE_VERSION"]));
    pod["status"] = status(
        &pod,
        if code == 0 { "Succeeded" } else { "Failed" },
        false,
        json!({
            "name": "main", "image": image, "restartCount": 0,
            "state": { "terminated": { "exitCode": code, "reason": if code == 0 { "Completed" } else { "Error" } } },
        }),
    );
    Some(pod)
}

/// What a container gets to see, or which of its sources is not there.
pub fn variables(world: &World, pod: &Value) -> Result<BTreeMap<String, String>, String> {
    use base64::Engine as _;
    let container = &pod["spec"]["containers"][0];
    let mut all = BTreeMap::new();
    for source in container["envFrom"].as_array().into_iter().flatten() {
        let (plural, name) = match source["configMapRef"]["name"].as_str() {
            Some(name) => ("configmaps", name),
            None => ("secrets", source["secretRef"]["name"].as_str().unwrap()),
        };
        let object = world.get(plural, name).ok_or_else(|| format!("{plural} \"{name}\" not found"))?;
        for (key, value) in object["data"].as_object().into_iter().flatten() {
            let text = value.as_str().unwrap();
            let plain = match plural {
                "secrets" => {
                    let bytes = base64::engine::general_purpose::STANDARD.decode(text).unwrap();
                    String::from_utf8(bytes).unwrap()
                }
                _ => text.to_owned(),
            };
            all.insert(key.clone(), plain);
        }
    }
    for volume in pod["spec"]["volumes"].as_array().into_iter().flatten() {
        for (plural, name) in
            [("configmaps", &volume["configMap"]["name"]), ("secrets", &volume["secret"]["secretName"])]
        {
            let is_optional =
                [&volume["configMap"], &volume["secret"]].iter().any(|one| one["optional"] == true);
            let missing = name.as_str().filter(|name| !is_optional && world.get(plural, name).is_none());
            if let Some(name) = missing {
                return Err(format!("{plural} \"{name}\" not found"));
            }
        }
    }
    for one in container["env"].as_array().into_iter().flatten() {
        let value = one["value"].as_str().unwrap_or_default();
        all.insert(one["name"].as_str().unwrap().to_owned(), value.to_owned());
    }
    Ok(all)
}

pub fn older_than(object: &Value, seconds: u64) -> bool {
    let created: Timestamp = object["metadata"]["creationTimestamp"].as_str().unwrap().parse().unwrap();
    Timestamp::system_now().millis_since(created) > seconds.saturating_mul(1000)
}
