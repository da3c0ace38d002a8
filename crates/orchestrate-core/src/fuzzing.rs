//! What the fuzz targets in `fuzz/` call, and the tests that replay their corpora. Not an interface: it may change at any time.
#![allow(clippy::unwrap_used, reason = "a target that panics has found something")]

use std::fmt::Display;
use std::path::{Component, Path};
use std::str::FromStr;

use serde::Serialize;
use serde::de::DeserializeOwned;

use crate::measure::Percent;
use crate::name::{EnvironmentName, Version};
use crate::plan::token::PlanToken;
use crate::plan::{Plan, Step};
use crate::ports::{
    AwaitHealthy, Fetch, HookRequest, Instance, PortError, RouterView, StartRequest, StopRequest,
};
use crate::release::{Contents, Digest};
use crate::time::{Span, Timestamp};

/// Names, versions, spans, times and plan tokens, as a person types them.
///
/// What is taken reads back as the same, stays in its directory if it is a name, and drives no terminal; what is refused says so
/// with a code.
pub fn words(input: &[u8]) {
    let Ok(text) = std::str::from_utf8(input) else { return };
    for name in [named(Version::new(text)), named(EnvironmentName::new(text))].into_iter().flatten() {
        assert_eq!(name, text);
        let parts: Vec<_> = Path::new(text).components().collect();
        assert!(matches!(parts[..], [Component::Normal(part)] if part == text), "{text:?} is a path");
        assert!(!text.starts_with(['-', '.']) && !text.contains(char::is_control), "{text:?}");
    }
    if let Some(token) = named(text.parse::<PlanToken>()) {
        assert_eq!(token, text);
    }
    same_again::<Span>(text);
    same_again::<Percent>(text);
    same_again::<Timestamp>(text);
    let _ = Digest::try_from(text.to_owned()).map(|digest| assert_eq!(digest.as_str(), text));
}

/// The text of what was taken; else the refusal must have a code.
fn named<T: Display>(parsed: Result<T, crate::Error>) -> Option<String> {
    let refused = |error: &crate::Error| assert!(error.code().starts_with("ORC-02"), "{error:?}");
    parsed.inspect_err(refused).ok().map(|it| it.to_string())
}

fn same_again<T: FromStr + Display + PartialEq + std::fmt::Debug>(text: &str) {
    if let Ok(once) = text.parse::<T>() {
        let written = once.to_string();
        assert_eq!(written.parse::<T>().ok(), Some(once), "{text:?} is written as {written:?}");
    }
}

/// What commands and the daemon tell each other, and what is kept in the database: JSON of every kind at once.
///
/// What is understood is written as something that is understood as the same.
pub fn messages(input: &[u8]) {
    understood::<Fetch>(input);
    understood::<StartRequest>(input);
    understood::<AwaitHealthy>(input);
    understood::<StopRequest>(input);
    understood::<HookRequest>(input);
    understood::<Vec<Instance>>(input);
    understood::<RouterView>(input);
    understood::<PortError>(input);
    understood::<Plan>(input);
    understood::<Vec<Step>>(input);
    understood::<Contents>(input);
    understood::<Digest>(input);
}

fn understood<T: Serialize + DeserializeOwned>(input: &[u8]) {
    if let Ok(once) = serde_json::from_slice::<T>(input) {
        let written = serde_json::to_vec(&once).unwrap();
        let again = serde_json::from_slice::<T>(&written).map(|again| serde_json::to_vec(&again).unwrap());
        assert_eq!(again.ok().as_deref(), Some(written.as_slice()), "{}", written.escape_ascii());
    }
}
