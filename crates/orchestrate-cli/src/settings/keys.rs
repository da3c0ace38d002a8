//! The keys that the config file knows, one list a mapping. The reader and the JSON Schema both go by these.

pub(super) const FILE: &[&str] =
    &["service", "release", "max_artifact_size", "signing", "environments", "notifications"];
pub(super) const SIGNING: &[&str] = &["public_key"];
pub(super) const RELEASE: &[&str] = &["artifact", "image", "git", "schema", "irreversible"];
/// Of `orchestrate-release.yaml` in an artifact.
pub(super) const IN_ARTIFACT: &[&str] = &["schema", "irreversible"];
pub(super) const SCHEMA: &[&str] = &["reads", "writes"];
pub(super) const GIT: &[&str] = &["repository", "ref"];
pub(super) const ENVIRONMENT: &[&str] = &[
    "type",
    "provider",
    "url",
    "release",
    "processes",
    "strategy",
    "health_check",
    "drain",
    "stop_timeout",
    "variables",
    "secrets",
    "verify",
    "rollback",
    "requires_approval",
    "group",
    "depends_on",
    "approval",
    "require_reason",
    "freezes",
    "checks",
    "windows",
    "drill",
    "hooks",
    "retention",
    "user",
    "limits",
    "no_new_privs",
    "docker",
    "swarm",
    "kubernetes",
    "static",
    "custom",
    "router",
];
pub(super) const PROCESS: &[&str] = &["command", "instances", "listen", "user", "limits", "no_new_privs"];
pub(super) const LIMITS: &[&str] = &["memory", "files", "processes"];
pub(super) const STRATEGY: &[&str] =
    &["type", "warm_for", "steps", "wait", "batch", "max_unavailable", "max_surge", "sticky", "force_header"];
pub(super) const STICKY: &[&str] = &["cookie", "header"];
pub(super) const HEALTH_CHECK: &[&str] = &["path", "expected_status", "timeout", "interval", "deadline"];
pub(super) const VERIFY: &[&str] = &[
    "version",
    "bake",
    "max_error_rate",
    "latency",
    "compare",
    "minimum_requests",
    "smoke",
    "logs",
    "prometheus",
    "on_bad",
    "on_no_data",
];
pub(super) const VERIFY_LATENCY: &[&str] = &["p50", "p90", "p95", "p99", "worse_by"];
pub(super) const VERIFY_COMPARE: &[&str] = &["error_rate_worse_by"];
pub(super) const VERIFY_SMOKE: &[&str] = &["name", "command", "http", "timeout", "on_bad"];
pub(super) const VERIFY_HTTP: &[&str] = &["process", "path", "method", "headers", "body", "expect"];
pub(super) const VERIFY_EXPECT: &[&str] = &["status", "contains", "header", "within"];
pub(super) const VERIFY_LOG: &[&str] = &["name", "process", "pattern", "at_most", "on_bad"];
pub(super) const VERIFY_PROMETHEUS: &[&str] = &["url", "interval", "queries"];
pub(super) const VERIFY_QUERY: &[&str] = &["name", "query", "at_most", "at_least", "on_bad", "on_no_data"];
pub(super) const VERIFY_VERSION: &[&str] = &["path", "contains"];
pub(super) const ROLLBACK: &[&str] = &[
    "automatic",
    "at_most_per_hour",
    "cool_down",
    "max_back",
    "max_age",
    "manual_at_most_per_hour",
    "in_freeze",
];
pub(super) const APPROVAL: &[&str] = &["count", "by", "valid_for"];
pub(super) const FREEZE: &[&str] = &["name", "from", "to", "days", "dates", "calendar", "time_zone"];
pub(super) const CHECK: &[&str] = &["name", "command", "timeout"];
pub(super) const HOOKS: &[&str] =
    &["pre_deploy", "post_deploy", "pre_rollback", "post_rollback", "on_failure"];
pub(super) const HOOK: &[&str] = &["command", "timeout"];
pub(super) const HOOK_POST_DEPLOY: &[&str] = &["command", "timeout", "on_failure"];
pub(super) const RETENTION: &[&str] = &["keep", "max_age"];
pub(super) const DRILL: &[&str] = &["production", "schedule", "time_zone"];
pub(super) const WINDOW: &[&str] = &["days", "from", "to", "time_zone"];
pub(super) const WEBHOOK: &[&str] = &["type", "url", "secret", "on", "outcome", "environments", "template"];
pub(super) const SLACK: &[&str] =
    &["type", "url", "token", "channel", "on", "outcome", "environments", "template"];
pub(super) const TEAMS: &[&str] = &["type", "url", "on", "outcome", "environments", "template"];
pub(super) const PAGERDUTY: &[&str] =
    &["type", "routing_key", "url", "on", "outcome", "environments", "template"];
pub(super) const EMAIL: &[&str] =
    &["type", "server", "from", "to", "on", "outcome", "environments", "template"];
pub(super) const CDEVENTS: &[&str] = &["type", "url", "on", "outcome", "environments"];
pub(super) const COMMAND: &[&str] =
    &["type", "command", "timeout", "on", "outcome", "environments", "template"];
pub(super) const CUSTOM: &[&str] = &["deploy", "start", "health", "switch", "stop", "status", "timeouts"];
pub(super) const CUSTOM_TIMEOUTS: &[&str] = &["deploy", "start", "health", "switch", "stop", "status"];
pub(super) const STATIC: &[&str] =
    &["root", "index", "not_found", "spa", "immutable", "max_age", "symlink", "releases"];
