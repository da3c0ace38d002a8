//! The JSON Schema says what `load` does: the same keys, and the same verdict on files.

use serde_json::Value;

use super::{read, released, routed, sample::CONTRACT, with};
use crate::settings::engine::kubernetes;
use crate::settings::{engine, json_schema, keys, template, yaml};

#[test]
fn the_schema_has_the_keys_that_load_knows() {
    let schema = json_schema();
    let environment = "/properties/environments/additionalProperties";
    let of = |path: &str| format!("{environment}/properties/{path}");
    for (path, keys) in [
        (String::new(), keys::FILE),
        ("/properties/release".into(), keys::RELEASE),
        ("/properties/release/properties/git".into(), keys::GIT),
        ("/properties/release/properties/schema".into(), keys::SCHEMA),
        (environment.into(), keys::ENVIRONMENT),
        (of("release"), keys::RELEASE),
        (of("processes/additionalProperties"), keys::PROCESS),
        ("/properties/signing".into(), keys::SIGNING),
        (of("limits"), keys::LIMITS),
        (of("processes/additionalProperties/properties/limits"), keys::LIMITS),
        (of("strategy"), keys::STRATEGY),
        (of("strategy/properties/sticky"), keys::STICKY),
        (of("health_check"), keys::HEALTH_CHECK),
        (of("verify"), keys::VERIFY),
        (of("verify/properties/version"), keys::VERIFY_VERSION),
        (of("verify/properties/latency"), keys::VERIFY_LATENCY),
        (of("verify/properties/compare"), keys::VERIFY_COMPARE),
        (of("verify/properties/smoke/items"), keys::VERIFY_SMOKE),
        (of("verify/properties/smoke/items/properties/http"), keys::VERIFY_HTTP),
        (of("verify/properties/smoke/items/properties/http/properties/expect"), keys::VERIFY_EXPECT),
        (of("verify/properties/logs/items"), keys::VERIFY_LOG),
        (of("verify/properties/prometheus"), keys::VERIFY_PROMETHEUS),
        (of("verify/properties/prometheus/properties/queries/items"), keys::VERIFY_QUERY),
        (of("rollback"), keys::ROLLBACK),
        (of("checks/items"), keys::CHECK),
        (of("windows/items"), keys::WINDOW),
        (of("drill"), keys::DRILL),
        (of("freezes/items"), keys::FREEZE),
        (of("approval"), keys::APPROVAL),
        (of("hooks"), keys::HOOKS),
        (of("hooks/properties/pre_deploy"), keys::HOOK),
        (of("hooks/properties/post_deploy"), keys::HOOK_POST_DEPLOY),
        (of("retention"), keys::RETENTION),
        (of("router"), engine::router::KEYS),
        (of("custom"), keys::CUSTOM),
        (of("custom/properties/timeouts"), keys::CUSTOM_TIMEOUTS),
        (of("static"), keys::STATIC),
        (of("docker"), engine::docker::KEYS),
        (of("swarm"), engine::swarm::KEYS),
        (of("kubernetes"), kubernetes::KEYS),
        (of("kubernetes/properties/resources"), kubernetes::RESOURCES),
        (of("kubernetes/properties/resources/properties/limits"), kubernetes::AMOUNTS),
        (of("kubernetes/properties/security"), kubernetes::security::KEYS),
        ("/properties/notifications/items/oneOf/0".into(), keys::WEBHOOK),
        ("/properties/notifications/items/oneOf/1".into(), keys::SLACK),
        ("/properties/notifications/items/oneOf/4".into(), keys::EMAIL),
        ("/properties/notifications/items/oneOf/6".into(), keys::COMMAND),
    ] {
        let section_schema = schema.pointer(&path).unwrap();
        let found: Vec<&str> =
            section_schema["properties"].as_object().unwrap().keys().map(String::as_str).collect();
        let mut known: Vec<&str> = keys.to_vec();
        known.sort_unstable();
        assert_eq!(found, known, "{path}");
        assert_eq!(section_schema["additionalProperties"], Value::Bool(false), "{path}");
    }
}

fn on_swarm(settings: &str) -> String {
    on_docker("").replace("docker: {  }", &format!("swarm: {{ {settings} }}")).replace("docker", "swarm")
}

fn on_docker(settings: &str) -> String {
    with(&format!("provider: docker\ndocker: {{ {settings} }}")).replace("artifact: dist", "image: shop")
}

#[test]
fn the_schema_and_load_judge_alike() {
    let schema = json_schema();
    let takes = |text: &str| conforms(&schema, &json(text));
    for text in [
        CONTRACT.to_owned(),
        template("shop"),
        with(""),
        with("variables: { A: 1, B: true, C: x }"),
        with(
            "provider: custom\ncustom: { start: [./o], stop: [./o], status: [./o], timeouts: { start: 1m } }",
        ),
        with(
            "provider: custom\nurl: http://s\ncustom: { start: [./o], stop: [./o], status: [./o], switch: [./o, x] }",
        ),
        with("provider: static").replace("web: { command: [./shop] }", "web: {}"),
        with(
            "provider: static\nstatic: { root: public, spa: true, immutable: [\"assets/**\"], max_age: 1h }",
        ),
        released("schema: { reads: [3, 5], writes: 5 }, irreversible: drops a column"),
        with("strategy: { type: rolling, batch: 25%, max_unavailable: 1, max_surge: 0, wait: 1s }"),
        on_swarm(
            "port: 80, networks: [back], constraints: [\"node.role == worker\"], memory: 1GiB, cpus: 2, read_only: true",
        ),
        with("requires_approval: true\napproval: { count: 2, by: [ada, ben, eve], valid_for: 8h }\nrequire_reason: true"),
        with("freezes: [{ name: a, from: 2026-12-19 18:00, to: 2027-01-04, time_zone: Europe/Berlin }, { name: b, days: [sat] }, { name: c, from: \"09:00\", to: \"10:00\" }, { name: d, dates: [2026-12-24] }, { name: e, calendar: holidays.ics, time_zone: Europe/Berlin }]"),
        with("group: shop\ndepends_on: [api-production, db]"),
        with("depends_on: { api-production: \"1.4\" }"),
        with("rollback: { max_back: 5, max_age: 30d, manual_at_most_per_hour: 10, in_freeze: refused }"),
        with("windows: [{ from: \"09:00\", to: \"10:00\", time_zone: Europe/Berlin }]"),
        on_docker(""),
        on_docker(
            "port: 3000, networks: [back, front], volumes: [\"data:/var/lib/shop\", \"/etc/shop:/etc/shop:ro\"], memory: 512MiB",
        ),
        on_docker("cpus: 0.5, read_only: true, init: true, health: image, networks: [host]"),
        with(
            "strategy: { type: canary, steps: [1, 50], wait: 5s, sticky: { cookie: c }, force_header: x-v, warm_for: 1m }",
        ),
        routed(""),
        routed("router: { haproxy: /run/haproxy/admin.sock, backends: { web: shop } }"),
        routed(
            "router: { haproxy: \"127.0.0.1:9999\", backends: { web: shop }, state_file: /var/lib/o/state }",
        ),
        with("provider: kubernetes\nkubernetes: { namespace: shop, port: 80, resources: { limits: { cpu: 2, memory: 1Gi } } }")
            .replace("artifact: dist", "image: x"),
        with("provider: kubernetes\nkubernetes: { image_pull_policy: Never, labels: { a: b }, image_pull_secrets: [r] }")
            .replace("artifact: dist", "image: x").replace("command: [./shop]", "listen: \"0.0.0.0:80\""),
        on_kubernetes("security: {}"),
        on_kubernetes("manifests: [k8s/shop.yaml, k8s/more], container: shop"),
        on_kubernetes("security: { run_as_user: 1001, run_as_group: 0, seccomp_profile: Unconfined }"),
        on_kubernetes("security: { run_as_user: 0, run_as_non_root: false, drop_capabilities: [] }"),
        on_kubernetes("security: { add_capabilities: [NET_BIND_SERVICE], read_only_root_filesystem: true }"),
    ] {
        assert_eq!((read(&text).map(|_| ()), takes(&text)), (Ok(()), Ok(())), "{text}");
    }
    for text in [
        with("helth_check: {}"),
        with("strategy: recreate"),
        with("strategy: { type: rolling, batch: 0 }"),
        with("strategy: { type: rolling, batch: [1] }"),
        with("strategy: { type: canary, steps: [0] }"),
        with("strategy: { type: canary, steps: [50, 101] }"),
        with("strategy: { type: canary, sticky: {} }"),
        with("strategy: { type: canary, sticky: { cookie: a, header: b } }"),
        with("provider: custom\ncustom: { start: [./o], stop: [./o] }"),
        with("provider: custom\ncustom: { start: ./o, stop: [./o], status: [./o] }"),
        with(
            "provider: custom\ncustom: { start: [./o], stop: [./o], status: [./o], timeouts: { start: 5 } }",
        ),
        with("provider: static\nstatic: { immutable: assets }"),
        with("provider: static\nstatic: { spa: 1 }"),
        on_swarm("volumes: [\"data:/var\"]"),
        on_docker("port: 0"),
        on_docker("cpus: 0"),
        on_docker("cpus: none"),
        on_docker("read_only: 1"),
        on_docker("health: tcp"),
        on_docker("ports: 1"),
        with("requires_approval: ada"),
        with("requires_approval: true\napproval: { count: 0 }"),
        with("freezes: [{ from: 2026-12-19, to: 2027-01-04 }]"),
        with("freezes: [{ name: x, days: [friday] }]"),
        with("rollback: { in_freeze: maybe }"),
        with("group: [shop]"),
        with("depends_on: api"),
        with("depends_on: { api: 1.4 }"),
        with("rollback: { max_back: 0 }"),
        with("provider: kubernetes\nkubernetes: { port: 0 }"),
        with("provider: kubernetes\nkubernetes: { image_pull_policy: never }"),
        on_kubernetes("security: restricted"),
        on_kubernetes("manifests: k8s"),
        on_kubernetes("security: { run_as_user: shop }"),
        on_kubernetes("security: { seccomp_profile: runtime/default }"),
        on_kubernetes("security: { drop_capabilities: all }"),
        with("verify: { bake: 1s, max_error_rate: 1 }"),
        with("verify: { bake: 1s, latency: {} }"),
        with("verify: { bake: 1s, on_bad: ignore }"),
        with("verify: { version: { path: /x } }"),
        with("drain: 5"),
        with("variables: [A]"),
        with("variables:"),
        with("windows: [{ from: \"10:00\" }]"),
        with("windows: [{ days: [monday], from: \"10:00\", to: \"11:00\" }]"),
        with("checks: [{ name: x, command: [] }]"),
        with("health_check: { expected_status: 99 }"),
        with("retention: { keep: 0 }"),
        with("retention: 10"),
        with("hooks: { pre_deploy: [./migrate] }"),
        with("hooks: { pre_deploy: { command: [./migrate], on_failure: ignore } }"),
        with("hooks: { before: { command: [./migrate] } }"),
        with("rollback: { automatic: yes }"),
        routed("router: haproxy"),
        routed("router: { haproxy: /run/haproxy/admin.sock }"),
        routed("router: { backends: { web: shop } }"),
        routed("router: { haproxy: /run/haproxy/admin.sock, backends: {} }"),
        routed("router: { haproxy: /run/haproxy/admin.sock, backends: { web: 1 } }"),
        routed("router: { haproxy: /run/haproxy/admin.sock, backends: { web: shop }, sticky: true }"),
        with("").replace("[./shop]", "./shop"),
        with("").replace("[./shop]", "[./shop], instances: 0"),
        with("").replace("[./shop]", "[./shop, 1]"),
        with("").replace("command: [./shop]", "instances: 2"),
        with("").replace("artifact: dist", "artifact: x, git: { repository: ., ref: x }"),
        with("").replace("artifact: dist", ""),
        with("").replace("shop\nrel", "12\nrel"),
        released("schema: 5"),
        released("schema: { reads: 5, writes: 5 }"),
        released("schema: { reads: [5], writes: 5 }"),
        released("schema: { reads: [5, 6] }"),
        released("irreversible: true"),
        with("") + "notifications: [{ type: pager }]\n",
        with("") + "notifications: [{ type: teams, url: http://x, channel: x }]\n",
        with("") + "notifications: [{ type: email, server: smtp://x, from: a@x, to: a@x }]\n",
        with("") + "notifications: [{ type: webhook }]\n",
        with("") + "notifications: [{ type: teams, url: \"http://x\", outcome: [bad] }]\n",
        "service: x\n".into(),
    ] {
        assert!(read(&text).is_err(), "load takes\n{text}");
        assert!(takes(&text).is_err(), "the schema takes\n{text}");
    }
}

fn json(text: &str) -> Value {
    value(&yaml::parse(text).unwrap_or_else(|error| panic!("{}", error.message)))
}

fn value(node: &yaml::Node) -> Value {
    match &node.kind {
        yaml::Kind::Nothing => Value::Null,
        yaml::Kind::Boolean(value, _) => Value::Bool(*value),
        yaml::Kind::Number(text) => serde_json::from_str(text).unwrap(),
        yaml::Kind::Text(text) => Value::String(text.clone()),
        yaml::Kind::List(items) => items.iter().map(value).collect(),
        yaml::Kind::Map(entries) => Value::Object(
            entries
                .iter()
                .map(|(key, entry)| (value(key).as_str().unwrap().to_owned(), value(entry)))
                .collect(),
        ),
    }
}

/// As much of JSON Schema as ours uses, without `pattern`; an unknown word of it fails the test.
fn conforms(schema: &Value, found: &Value) -> Result<(), String> {
    let wrong = |word: &str| Err(format!("{word}: {found}"));
    for (word, rule) in schema.as_object().unwrap() {
        match word.as_str() {
            "$schema" | "title" | "description" | "pattern" | "propertyNames" => {}
            "type" if !has_type(rule, found) => return wrong(word),
            "enum" if !rule.as_array().unwrap().contains(found) => return wrong(word),
            "minimum" if found.as_f64() < rule.as_f64() => return wrong(word),
            "maximum" if found.as_f64() > rule.as_f64() => return wrong(word),
            "minLength" if found.as_str().map(str::len) < rule.as_u64().map(|least| least as usize) => {
                return wrong(word);
            }
            "minItems" | "minProperties" if size(found) < rule.as_u64() => return wrong(word),
            "maxItems" | "maxProperties" if size(found) > rule.as_u64() => return wrong(word),
            "oneOf" => {
                let rules = rule.as_array().unwrap();
                if rules.iter().filter(|rule| conforms(rule, found).is_ok()).count() != 1 {
                    return wrong(word);
                }
            }
            "type" | "enum" | "minimum" | "maximum" | "minLength" | "minItems" | "minProperties"
            | "maxItems" | "maxProperties" => {}
            "required" => {
                if rule.as_array().unwrap().iter().any(|key| found.get(key.as_str().unwrap()).is_none()) {
                    return wrong(word);
                }
            }
            "items" => found.as_array().into_iter().flatten().try_for_each(|item| conforms(rule, item))?,
            "properties" | "additionalProperties" => members(schema, found)?,
            // Only one way of the two is ever asked for more.
            "if" => {
                if conforms(rule, found).is_err() {
                    conforms(&schema["else"], found)?;
                }
            }
            "else" => {}
            other => panic!("the test does not know `{other}`"),
        }
    }
    Ok(())
}

fn members(schema: &Value, found: &Value) -> Result<(), String> {
    let Some(members) = found.as_object() else { return Ok(()) };
    for (key, member) in members {
        match (schema["properties"].get(key), &schema["additionalProperties"]) {
            (Some(rule), _) => conforms(rule, member)?,
            (None, Value::Bool(false)) => return Err(format!("unknown key {key}")),
            (None, Value::Null) => {}
            (None, rule) => conforms(rule, member)?,
        }
    }
    Ok(())
}

fn size(found: &Value) -> Option<u64> {
    found
        .as_array()
        .map(Vec::len)
        .or_else(|| found.as_object().map(serde_json::Map::len))
        .map(|size| size as u64)
}

fn has_type(rule: &Value, found: &Value) -> bool {
    match rule {
        Value::Array(types) => types.iter().any(|rule| has_type(rule, found)),
        _ => match rule.as_str().unwrap() {
            "object" => found.is_object(),
            "array" => found.is_array(),
            "string" => found.is_string(),
            "boolean" => found.is_boolean(),
            "integer" => found.is_u64(),
            "number" => found.is_number(),
            other => panic!("the test does not know the type `{other}`"),
        },
    }
}

fn on_kubernetes(settings: &str) -> String {
    with(&format!("provider: kubernetes\nkubernetes: {{ {settings} }}")).replace("artifact: dist", "image: x")
}
