//! What the API server does for one request, and says.

use hyper::Method;
use serde_json::{Value, json};

use super::kubelet::variables;
use super::world::{Look, World, has_fields, selects};
use super::{NAMESPACE, merge, valid};

/// A status and a body; or a watch, which goes on.
pub enum Reply {
    Json(u16, Value),
    Text(u16, String),
    Watch {
        plural: String,
        selector: String,
        from: u64,
    },
    /// What a pod prints from this line on, for as long as it runs.
    Log {
        pod: String,
        from: usize,
    },
}

/// A request, taken apart.
pub struct Asked<'a> {
    pub method: &'a Method,
    pub plural: String,
    pub name: String,
    /// `log`, or `proxy` with what follows.
    pub beneath: String,
    query: Vec<(String, String)>,
    pub merges: bool,
    pub body: Value,
}

pub fn refused(code: u16, reason: &str, message: &str) -> Reply {
    Reply::Json(
        code,
        json!({ "kind": "Status", "status": "Failure", "code": code, "reason": reason, "message": message }),
    )
}

impl<'a> Asked<'a> {
    pub fn read(
        method: &'a Method,
        path: &str,
        query: &str,
        merges: bool,
        body: &[u8],
    ) -> Result<Self, Reply> {
        let parts: Vec<&str> = path.trim_start_matches('/').split('/').collect();
        let at = parts.iter().position(|part| *part == "namespaces").map(|at| at + 1);
        let unknown =
            || refused(501, "NotImplemented", &format!("this API server does not know {method} {path}"));
        let at = at.filter(|at| parts.len() > at + 1).ok_or_else(unknown)?;
        let known = [
            "deployments",
            "pods",
            "services",
            "configmaps",
            "secrets",
            "endpointslices",
            "jobs",
            "httproutes",
            "events",
        ];
        let plural = parts[at + 1];
        if !known.contains(&plural) {
            return Err(unknown());
        }
        let query = query.split('&').filter_map(|pair| pair.split_once('='));
        let query = query.map(|(key, value)| (key.to_owned(), decoded(value))).collect();
        let body = if body.is_empty() {
            Value::Null
        } else {
            serde_json::from_slice(body).map_err(|_| unknown())?
        };
        let name = parts.get(at + 2).copied().unwrap_or_default().to_owned();
        let beneath = parts.get(at + 3..).unwrap_or_default().join("/");
        let asked = Self { method, plural: plural.to_owned(), name, beneath, query, merges, body };
        match parts[at] {
            NAMESPACE => Ok(asked),
            // As a real one: a list of what is in no namespace is empty, and nothing can be created there.
            _ if *method == Method::GET && asked.name.is_empty() => {
                Err(Reply::Json(200, json!({ "items": [], "metadata": { "resourceVersion": "1" } })))
            }
            _ if *method == Method::GET => Err(refused(404, "NotFound", "not found")),
            other => Err(Reply::Json(
                404,
                json!({
                    "kind": "Status", "code": 404, "reason": "NotFound", "message": format!("namespaces \"{other}\" not found"),
                    "details": { "kind": "namespaces", "name": other },
                }),
            )),
        }
    }

    /// What is to be noted of it, if it is a list or a watch.
    pub fn look(&self, world: &World, is_met: bool) -> Option<Look> {
        if *self.method != Method::GET || !self.name.is_empty() {
            return None;
        }
        let watch = self.is_watch();
        let from = self.query("resourceVersion").and_then(|version| version.parse().ok()).unwrap_or(0);
        let version = if watch { from } else { world.version };
        let refused = is_met || (watch && from < world.oldest);
        Some(Look { plural: self.plural.clone(), watch, version, refused })
    }

    pub fn is_watch(&self) -> bool {
        self.query("watch") == Some("true")
    }

    fn query(&self, key: &str) -> Option<&str> {
        self.query.iter().find(|(one, _)| one == key).map(|(_, value)| value.as_str())
    }
}

fn decoded(text: &str) -> String {
    let mut bytes = Vec::new();
    let mut rest = text.bytes();
    while let Some(byte) = rest.next() {
        if byte == b'%' {
            let digits = [rest.next().unwrap(), rest.next().unwrap()];
            bytes.push(u8::from_str_radix(std::str::from_utf8(&digits).unwrap(), 16).unwrap());
        } else {
            bytes.push(byte);
        }
    }
    String::from_utf8(bytes).unwrap()
}

pub fn answer(world: &mut World, asked: &Asked<'_>) -> Reply {
    let verb = format!("{} {}", asked.method, asked.plural);
    *world.asked.entry(verb).or_default() += 1;
    let whole = !asked.merges && !asked.body.is_null() && *asked.method != Method::DELETE;
    if let Some(why) = valid::invalid(&asked.plural, &asked.body).filter(|_| whole) {
        return refused(422, "Invalid", &why);
    }
    match (asked.method.as_str(), asked.name.as_str(), asked.beneath.as_str()) {
        ("GET", "", _) => list(world, asked),
        ("POST", "", _) => create(world, asked),
        ("GET", name, "") => {
            world.get(&asked.plural, name).map_or_else(|| missing(asked), |one| Reply::Json(200, one.clone()))
        }
        ("GET", name, "log") => log(world, asked, name),
        ("GET", name, beneath) if beneath.starts_with("proxy") => proxy(world, asked, name),
        ("PUT", name, "") => replace(world, asked, name),
        ("PATCH", name, "") => patch(world, asked, name),
        ("DELETE", name, "") => delete(world, asked, name),
        _ => refused(501, "NotImplemented", "this API server does not do that"),
    }
}

fn missing(asked: &Asked<'_>) -> Reply {
    refused(404, "NotFound", &format!("{} \"{}\" not found", asked.plural, asked.name))
}

fn conflict(asked: &Asked<'_>) -> Reply {
    let message = format!(
        "Operation cannot be fulfilled on {} \"{}\": the object has been modified",
        asked.plural, asked.name
    );
    refused(409, "Conflict", &message)
}

fn list(world: &World, asked: &Asked<'_>) -> Reply {
    let of_events = asked.plural == "events";
    let key = if of_events { "fieldSelector" } else { "labelSelector" };
    let selector = asked.query(key).unwrap_or_default().to_owned();
    if asked.query("watch") == Some("true") {
        let from = asked.query("resourceVersion").and_then(|version| version.parse().ok()).unwrap_or(0);
        if from < world.oldest {
            return refused(410, "Expired", "too old resource version");
        }
        return Reply::Watch { plural: asked.plural.clone(), selector, from };
    }
    let items: Vec<Value> =
        world.all(&asked.plural).into_iter().filter(|one| is_meant(&asked.plural, &selector, one)).collect();
    Reply::Json(
        200,
        json!({ "kind": "List", "metadata": { "resourceVersion": world.version.to_string() }, "items": items }),
    )
}

/// Events are picked by their fields, everything else by labels.
pub fn is_meant(plural: &str, selector: &str, object: &Value) -> bool {
    if plural == "events" { has_fields(selector, object) } else { selects(selector, object) }
}

fn create(world: &mut World, asked: &Asked<'_>) -> Reply {
    let name = asked.body["metadata"]["name"].as_str().unwrap_or_default();
    if world.get(&asked.plural, name).is_some() {
        return refused(409, "AlreadyExists", &format!("{} \"{name}\" already exists", asked.plural));
    }
    Reply::Json(201, world.put(&asked.plural, asked.body.clone()))
}

fn replace(world: &mut World, asked: &Asked<'_>, name: &str) -> Reply {
    let Some(there) = world.get(&asked.plural, name) else { return missing(asked) };
    if there["metadata"]["resourceVersion"] != asked.body["metadata"]["resourceVersion"] {
        return conflict(asked);
    }
    Reply::Json(200, world.put(&asked.plural, asked.body.clone()))
}

fn patch(world: &mut World, asked: &Asked<'_>, name: &str) -> Reply {
    let there = world.get(&asked.plural, name).cloned();
    if asked.merges {
        return merged(world, asked, there);
    }
    let key = (asked.plural.clone(), name.to_owned());
    let on_top = &asked.body["metadata"]["resourceVersion"];
    match &there {
        Some(there) if !on_top.is_null() && *on_top != there["metadata"]["resourceVersion"] => {
            return conflict(asked);
        }
        None if !on_top.is_null() => return conflict(asked),
        _ => {}
    }
    if let Some(there) = &there
        && asked.plural == "deployments"
        && there["spec"]["selector"] != asked.body["spec"]["selector"]
    {
        return refused(422, "Invalid", "spec.selector: Invalid value: field is immutable");
    }
    let mut object = there.unwrap_or_else(|| json!({}));
    merge::apply(&mut object, world.applied.get(&key), &asked.body);
    if asked.query("dryRun") == Some("All") {
        return Reply::Json(200, object);
    }
    world.applied.insert(key, asked.body.clone());
    owned(&mut object);
    Reply::Json(200, world.put(&asked.plural, object))
}

/// Who applied it is one of its owners from then on.
fn owned(object: &mut Value) {
    let owners = object["metadata"]["managedFields"].as_array().cloned().unwrap_or_default();
    let applied = json!({ "manager": "orchestrate", "operation": "Apply", "fieldsV1": { "f:spec": {} } });
    let others = owners.into_iter().filter(|one| one["operation"] != "Apply");
    object["metadata"]["managedFields"] = std::iter::once(applied).chain(others).collect();
}

fn merged(world: &mut World, asked: &Asked<'_>, there: Option<Value>) -> Reply {
    let Some(mut object) = there else { return missing(asked) };
    let on_top = &asked.body["metadata"]["resourceVersion"];
    if !on_top.is_null() && *on_top != object["metadata"]["resourceVersion"] {
        return conflict(asked);
    }
    merge::merge(&mut object, &asked.body);
    let owners = asked.body["metadata"]["managedFields"].as_array();
    if owners.is_some_and(|owners| owners.iter().all(|one| one["manager"] == "orchestrate")) {
        // Whoever applies next says of all of it how it is to be.
        let all = json!({ "spec": object["spec"] });
        world.applied.insert((asked.plural.clone(), asked.name.clone()), all);
    }
    Reply::Json(200, world.put(&asked.plural, object))
}

fn delete(world: &mut World, asked: &Asked<'_>, name: &str) -> Reply {
    let Some(there) = world.get(&asked.plural, name) else { return missing(asked) };
    let wanted = &asked.body["preconditions"];
    for key in ["uid", "resourceVersion"] {
        if !wanted[key].is_null() && wanted[key] != there["metadata"][key] {
            return conflict(asked);
        }
    }
    world.delete(&asked.plural, name);
    Reply::Json(200, json!({ "kind": "Status", "status": "Success" }))
}

fn log(world: &World, asked: &Asked<'_>, name: &str) -> Reply {
    let Some(pod) = world.get("pods", name) else { return missing(asked) };
    let containers = pod["spec"]["containers"].as_array().unwrap();
    let container = asked.query("container").unwrap_or_default();
    if !containers.iter().any(|one| one["name"] == container) {
        return refused(400, "BadRequest", &format!("container {container} is not valid for pod {name}"));
    }
    let text = world.logs.get(name).cloned().unwrap_or_default();
    let count = text.lines().count();
    let most = asked.query("tailLines").and_then(|most| most.parse().ok()).unwrap_or(usize::MAX);
    let since = asked
        .query("sinceTime")
        .map_or(0, |time| (0..count).take_while(|at| stamp(*at).as_str() < time).count());
    let from = count.saturating_sub(most).max(since);
    if asked.query("follow") == Some("true") {
        return Reply::Log { pod: name.to_owned(), from };
    }
    Reply::Text(200, text.lines().skip(from).map(|line| format!("{line}\n")).collect())
}

/// When a line was printed.
pub fn stamp(line: usize) -> String {
    format!("2026-01-01T00:00:00.{line:09}Z")
}

/// The API server asks one of those behind a Service, or a pod, in place of a user.
fn proxy(world: &mut World, asked: &Asked<'_>, name: &str) -> Reply {
    let nobody =
        || refused(503, "ServiceUnavailable", &format!("no endpoints available for service \"{name}\""));
    let (name, port) = name.split_once(':').unwrap_or((name, ""));
    let pod = if asked.plural == "pods" {
        name.to_owned()
    } else {
        let Some(service) = world.get("services", name) else { return missing(asked) };
        let ports = service["spec"]["ports"].as_array().cloned().unwrap_or_default();
        if !ports.iter().any(|one| one["port"].as_u64() == port.parse().ok()) {
            return nobody();
        }
        let slice = world.get("endpointslices", &format!("{name}-slice")).cloned().unwrap_or(Value::Null);
        let endpoints = slice["endpoints"].as_array().cloned().unwrap_or_default();
        let ready: Vec<&Value> = endpoints.iter().filter(|one| one["conditions"]["ready"] == true).collect();
        if ready.is_empty() {
            return nobody();
        }
        world.turns += 1;
        ready[world.turns % ready.len()]["targetRef"]["name"].as_str().unwrap().to_owned()
    };
    let running = world
        .get("pods", &pod)
        .filter(|pod| !pod["status"]["containerStatuses"][0]["state"]["running"].is_null());
    match running.map(|pod| variables(world, pod)) {
        Some(Ok(all)) => Reply::Text(200, format!("{}\n", all["ORCHESTRATE_VERSION"])),
        Some(Err(_)) | None => {
            refused(503, "ServiceUnavailable", "error trying to reach service: connection refused")
        }
    }
}
