//! Advice in errors: the nearest word, a list of words, how a key is written.

/// The known word that was probably meant.
pub(super) fn nearest<'k>(word: &str, known: &[&'k str]) -> Option<&'k str> {
    if word.len() > 64 {
        return None;
    }
    let word = word.to_lowercase().replace('-', "_");
    known
        .iter()
        .map(|name| (strsim::damerau_levenshtein(&word, name), *name))
        .filter(|(distance, name)| *distance <= (name.len() / 3).max(1))
        .min()
        .map(|(_, name)| name)
}

/// `a`, `b` and `c`.
pub(super) fn listed(names: &[&str], last: &str) -> String {
    let quoted: Vec<String> = names.iter().map(|name| format!("`{name}`")).collect();
    match quoted.split_last() {
        Some((end, [])) => end.clone(),
        Some((end, start)) => format!("{} {last} {end}", start.join(", ")),
        None => String::new(),
    }
}

/// How a key is written, for those that people write in another shape.
pub(super) fn example(key: &str) -> Option<&'static str> {
    Some(match key {
        "service" => "service: shop",
        "release" => "release: { artifact: \"dist/shop-{version}.tar.gz\" }",
        "git" => "git: { repository: ., ref: \"v{version}\" }",
        "schema" => "schema: { reads: [3, 5], writes: 5 }",
        "reads" => "reads: [3, 5]",
        "writes" => "writes: 5",
        "irreversible" => "irreversible: drops column email",
        "signing" => "signing: { public_key: \"RW…\" }",
        "public_key" => "public_key: \"RW…\"",
        "user" => "user: shop",
        "limits" => "limits: { memory: 512MiB, files: 4096 }",
        "memory" => "memory: 512MiB",
        "environments" => "environments: { production: { processes: { web: { command: [\"./shop\"] } } } }",
        "processes" => "processes: { web: { command: [\"./shop\", \"serve\"], listen: \"127.0.0.1:8080\" } }",
        "command" => "command: [\"./shop\", \"serve\"]",
        "listen" => "listen: \"127.0.0.1:8080\"",
        "instances" => "instances: 2",
        "strategy" => "strategy: { type: blue_green, warm_for: 15m }",
        "health_check" => "health_check: { path: /healthz }",
        "drain" => "drain: 30s",
        "stop_timeout" => "stop_timeout: 10s",
        "warm_for" => "warm_for: 15m",
        "steps" => "steps: [10, 25, 50, 100]",
        "wait" => "wait: 60s",
        "batch" => "batch: 25%",
        "max_unavailable" => "max_unavailable: 0",
        "max_surge" => "max_surge: 1",
        "sticky" => "sticky: { cookie: canary }",
        "force_header" => "force_header: x-version",
        "timeout" => "timeout: 2s",
        "interval" => "interval: 100ms",
        "deadline" => "deadline: 30s",
        "bake" => "bake: 30s",
        "max_error_rate" => "max_error_rate: 1%",
        "latency" => "latency: { p95: 300ms }",
        "compare" => "compare: { error_rate_worse_by: 0.5% }",
        "error_rate_worse_by" => "error_rate_worse_by: 0.5%",
        "worse_by" => "worse_by: 1.5",
        "smoke" => "smoke: [{ name: checkout, http: { path: /checkout } }]",
        "http" => "http: { path: /checkout, expect: { status: 200 } }",
        "expect" => "expect: { status: 200, contains: \"ok\" }",
        "header" | "headers" => "header: { content-type: \"application/json\" }",
        "within" => "within: 500ms",
        "logs" => "logs: [{ name: panics, pattern: \"panicked at\" }]",
        "pattern" => "pattern: \"panicked at\"",
        "prometheus" => {
            "prometheus: { url: \"http://127.0.0.1:9090\", queries: [{ name: queue, query: \"max(queue_length)\", at_most: 100 }] }"
        }
        "queries" => "queries: [{ name: queue, query: \"max(queue_length)\", at_most: 100 }]",
        "query" => "query: \"max(queue_length)\"",
        "cool_down" => "cool_down: 5m",
        "kubernetes" => "kubernetes: { namespace: shop, port: 8080 }",
        "image" => "image: \"registry.internal/shop:{version}\"",
        "kubeconfig" => "kubeconfig: /etc/orchestrate/kubeconfig",
        "namespace" => "namespace: shop",
        "image_pull_policy" => "image_pull_policy: IfNotPresent",
        "port" => "port: 8080",
        "resources" => "resources: { requests: { cpu: 250m, memory: 128Mi } }",
        "image_pull_secrets" => "image_pull_secrets: [registry]",
        "labels" => "labels: { team: checkout }",
        "annotations" => "annotations: { example.com/owner: checkout }",
        "route" => "route: shop",
        "manifests" => "manifests: [k8s/shop.yaml]",
        "container" => "container: shop",
        "security" => "security: { run_as_user: 1001 }",
        "drop_capabilities" => "drop_capabilities: [ALL]",
        "add_capabilities" => "add_capabilities: [NET_BIND_SERVICE]",
        "variables" => "variables: { LOG_LEVEL: info }",
        "secrets" => "secrets: { DB_PASSWORD: \"${DB_PASSWORD}\" }",
        "verify" => "verify: { bake: 30s }",
        "rollback" => "rollback: { automatic: true }",
        "checks" => "checks: [{ name: tests, command: [\"make\", \"test\"] }]",
        "custom" => {
            "custom: { start: [\"./ops\", \"start\"], stop: [\"./ops\", \"stop\"], status: [\"./ops\", \"status\"] }"
        }
        "deploy" => "deploy: [\"./ops\", \"deploy\"]",
        "start" => "start: [\"./ops\", \"start\"]",
        "health" => "health: [\"./ops\", \"health\"]",
        "switch" => "switch: [\"./ops\", \"switch\"]",
        "stop" => "stop: [\"./ops\", \"stop\"]",
        "timeouts" => "timeouts: { start: 5m }",
        "static" => "static: { immutable: [\"assets/**\"], not_found: 404.html }",
        "immutable" => "immutable: [\"assets/**\"]",
        "hooks" => "hooks: { pre_deploy: { command: [\"./migrate\"], timeout: 5m } }",
        "retention" => "retention: { keep: 10, max_age: 90d }",
        "keep" => "keep: 10",
        "max_age" => "max_age: 90d",
        "router" => "router: { haproxy: /run/haproxy/admin.sock, backends: { web: shop } }",
        "haproxy" => "haproxy: /run/haproxy/admin.sock",
        "backends" => "backends: { web: shop }",
        "state_file" => "state_file: /var/lib/orchestrate/haproxy.state",
        "approval" => "approval: { count: 1, by: [ada, ben] }",
        "freezes" => "freezes: [{ name: year end, from: \"2026-12-19 18:00\", to: \"2027-01-04 08:00\" }]",
        "group" => "group: shop",
        "depends_on" => "depends_on: { api-production: \"1.4\" }",
        "calendar" => "calendar: holidays.ics",
        "dates" => "dates: [\"2026-12-24\", \"2026-12-25\"]",
        "time_zone" => "time_zone: Europe/Berlin",
        "by" => "by: [ada, ben]",
        "drill" => "drill: { schedule: \"0 4 * * SUN\", time_zone: Europe/Berlin }",
        "schedule" => "schedule: \"0 4 * * SUN\"",
        "windows" => "windows: [{ days: [mon, tue], from: \"09:00\", to: \"16:00\" }]",
        "from" => "from: \"09:00\"",
        "to" => "to: \"16:00\"",
        "days" => "days: [mon, tue]",
        "notifications" => "notifications: [{ type: webhook, url: \"https://hooks.example/x\" }]",
        "on" => "on: [rollback, deployment_failed]",
        "outcome" => "outcome: [failure, attention]",
        "swarm" => "swarm: { port: 8080 }",
        "constraints" => "constraints: [\"node.role == worker\"]",
        "docker" => "docker: { port: 8080 }",
        "networks" => "networks: [back]",
        "volumes" => "volumes: [\"data:/var/lib/shop\"]",
        "cpus" => "cpus: 0.5",
        _ => return None,
    })
}
