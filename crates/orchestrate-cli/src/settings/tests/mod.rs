//! What the config file takes, what it refuses, and in which words.

mod bad_luck;
mod docs;
mod fuzzed;
mod refused;
mod sample;
mod schema;
mod secrets;

use std::path::Path;

use super::{ConfigError, ConfigFile, from_str};

/// Reads a text as `orchestrate.yaml`, with the environment that most tests need.
fn read(text: &str) -> Result<ConfigFile, ConfigError> {
    from_str(Path::new("orchestrate.yaml"), text, &lookup, None)
}

fn lookup(name: &str) -> Option<String> {
    match name {
        "PROD_DB_PASSWORD" => Some("correct horse: #battery".into()),
        "HOOK_SECRET" => Some("whsec_c2VjcmV0".into()),
        "LEVEL" => Some("debug".into()),
        _ => None,
    }
}

/// A file with one environment, to which `lines` are added.
fn with(lines: &str) -> String {
    let mut text = String::from(
        "service: shop\nrelease: { artifact: dist }\nenvironments:\n  production:\n    processes: { web: { command: [./shop] } }\n",
    );
    for line in lines.lines() {
        text.push_str(&format!("    {line}\n"));
    }
    text
}

/// A file whose release says more than where it comes from.
fn released(more: &str) -> String {
    with("").replace("artifact: dist", &format!("artifact: dist, {more}"))
}

/// The same, with an address for users.
fn routed(lines: &str) -> String {
    with(lines).replace("[./shop]", "[./shop], listen: \"127.0.0.1:8080\"")
}

/// The error of a file that must be refused, as a person sees it without colour.
fn error_of(text: &str) -> String {
    read(text).unwrap_err().render(false)
}
