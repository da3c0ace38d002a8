//! Any bytes as a config file. The fuzz target in `fuzz/` takes this file and `settings` as they are, because a program has no
//! library whose function it could call.

use std::path::Path;

use crate::settings::{data_change_in_artifact, from_str};

/// What is refused says so with a code, and with words that a terminal can be trusted with.
pub fn config(input: &[u8]) {
    let text = String::from_utf8_lossy(input);
    let lookup = |name: &str| (name != "UNSET").then(|| format!("\u{1b}[31m{name}: *x"));
    match from_str(Path::new("orchestrate.yaml"), &text, &lookup, None) {
        Ok(file) => assert!(!file.environments.is_empty()),
        Err(error) => {
            let (told, code) = (error.render(false), error.code());
            assert!(code.starts_with("ORC-02") && code.len() == 8, "{code}");
            assert!(told.contains(code) && !error.message().is_empty());
            assert!(told.len() < 10_000, "an error of {} bytes", told.len());
            assert!(!told.contains(|c: char| c.is_control() && c != '\n'), "{told:?}");
            assert_eq!(orchestrate_core::Error::from(error).code(), code);
        }
    }
    let _ = data_change_in_artifact("dist", &text);
}

#[test]
fn every_config_is_taken_or_refused_with_a_code() {
    orchestrate_testkit::replay("config", config);
}
