//! The keys that the config file knows, one list a mapping. The reader and the JSON Schema both go by these.

pub(super) const FILE: &[&str] =
    &["service", "release", "max_artifact_size", "environments", "notifications"];
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
    "checks",
    "windows",
];
pub(super) const PROCESS: &[&str] = &["command", "instances", "listen"];
pub(super) const STRATEGY: &[&str] = &["type", "warm_for"];
pub(super) const HEALTH_CHECK: &[&str] = &["path", "expected_status", "timeout", "interval", "deadline"];
pub(super) const VERIFY: &[&str] = &["version", "bake", "max_error_rate"];
pub(super) const VERIFY_VERSION: &[&str] = &["path", "contains"];
pub(super) const ROLLBACK: &[&str] = &["automatic"];
pub(super) const CHECK: &[&str] = &["name", "command", "timeout"];
pub(super) const WINDOW: &[&str] = &["days", "from", "to"];
pub(super) const NOTIFICATION: &[&str] = &["type", "url", "secret", "on"];
