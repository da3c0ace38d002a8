//! The config file that `orchestrate init` writes.

const TEXT: &str = include_str!("template.yaml");

/// A commented config file for one service on this machine. `service` must be a plain name.
///
/// Its first line names the schema that editors use; `init` writes [`super::json_schema`] to
/// `orchestrate.schema.json` beside it.
pub fn template(service: &str) -> String {
    TEXT.replace("SERVICE", service)
}
