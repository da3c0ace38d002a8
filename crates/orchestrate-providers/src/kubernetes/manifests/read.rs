//! From files to what is sealed. What is in a Secret goes the way of secrets, and is in no settings.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use orchestrate_core::environment::{Kubernetes, Manifest};
use orchestrate_core::secrets::SecretText;
use orchestrate_core::{Error, Result};
use serde_json::{Value, json};

use super::{IN_SECRETS, check};

const ENDINGS: [&str; 3] = ["yaml", "yml", "json"];
/// More than an object of a cluster may have is not read.
const LARGEST: u64 = 3 << 20;

/// What was in the files of `kubernetes.manifests`.
#[derive(Debug, Default)]
pub struct Found {
    pub manifests: Vec<Manifest>,
    pub secrets: BTreeMap<String, SecretText>,
}

/// Reads the files, which are relative to `directory`; of a directory all that end in `.yaml`, `.yml` or `.json`.
///
/// Errors: `ORC-0362` with what cannot be used, and where it is.
pub fn read(directory: &Path, settings: &Kubernetes, is_routed: bool) -> Result<Found> {
    let mut found = Found::default();
    for named in &settings.manifests {
        for (shown, path) in files(directory, named)? {
            let documents = documents(&shown, &text(&shown, &path)?)?;
            let several = documents.len() > 1;
            for (at, object) in documents.into_iter().enumerate() {
                let from = if several { format!("{shown} (document {})", at + 1) } else { shown.clone() };
                found.take(from, object)?;
            }
        }
    }
    check(&found.manifests, settings, settings.namespace.as_deref(), is_routed).map_err(unusable)?;
    Ok(found)
}

impl Found {
    fn take(&mut self, from: String, mut object: Value) -> Result<()> {
        if object["kind"] == "List" {
            let items = object["items"].as_array().cloned().unwrap_or_default();
            return items
                .into_iter()
                .enumerate()
                .try_for_each(|(at, item)| self.take(format!("{from}, item {}", at + 1), item));
        }
        let mut secret = None;
        if object["kind"] == "Secret"
            && let Some(fields) = object.as_object_mut()
        {
            let parts = ["data", "stringData"].map(|key| (key, fields.remove(key).unwrap_or(Value::Null)));
            let name = object["metadata"]["name"].as_str().unwrap_or_default();
            let kept = format!("{IN_SECRETS}{name}");
            let contents: Value = json!(BTreeMap::from(parts));
            self.secrets.insert(kept.clone(), SecretText::new(contents.to_string()));
            secret = Some(kept);
        }
        self.manifests.push(Manifest { from, object, secret });
        Ok(())
    }
}

/// By the name that people know, and by the path.
fn files(directory: &Path, named: &str) -> Result<Vec<(String, PathBuf)>> {
    let path = directory.join(named);
    if !path.is_dir() {
        return Ok(vec![(named.to_owned(), path)]);
    }
    let unreadable = |cause| unusable(format!("the directory {named} cannot be read: {cause}"));
    let mut files = Vec::new();
    for entry in std::fs::read_dir(&path).map_err(unreadable)? {
        let file = entry.map_err(unreadable)?.path();
        let ending = file.extension().and_then(|ending| ending.to_str()).unwrap_or_default();
        let name = file.file_name().and_then(|name| name.to_str()).unwrap_or_default();
        if ENDINGS.contains(&ending) && !name.starts_with('.') && file.is_file() {
            files.push((format!("{}/{name}", named.trim_end_matches('/')), file.clone()));
        }
    }
    files.sort();
    match files.is_empty() {
        true => Err(unusable(format!("the directory {named} has no file that ends in .yaml, .yml or .json"))),
        false => Ok(files),
    }
}

fn text(shown: &str, path: &Path) -> Result<String> {
    let unreadable = |cause: std::io::Error| unusable(format!("{shown} cannot be read: {cause}"));
    let size = std::fs::metadata(path).map_err(unreadable)?.len();
    if size > LARGEST {
        return Err(unusable(format!("{shown} has {size} bytes, and no cluster takes so many")));
    }
    std::fs::read_to_string(path).map_err(unreadable)
}

/// As `kubectl` reads it: `0644` is a number to the base of eight.
fn documents(shown: &str, text: &str) -> Result<Vec<Value>> {
    let options = serde_saphyr::options! {
        legacy_octal_numbers: true,
        // A snippet of the parser's would show secrets.
        with_snippet: false,
    };
    serde_saphyr::from_multiple_with_options::<Value>(text, options)
        .map_err(|cause| unusable(format!("{shown} is no YAML: {}", cause.without_snippet())))
}

fn unusable(message: String) -> Error {
    Error::usage("ORC-0362", format!("kubernetes.manifests: {message}"))
        .hint("what manifests may have in them: docs/kubernetes.md")
}
