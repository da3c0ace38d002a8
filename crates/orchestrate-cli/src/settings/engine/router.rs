//! `router:` of an environment.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::path::PathBuf;

use orchestrate_core::environment::{EnvironmentSettings, RouterSettings};
use serde_json::{Value, json};

use crate::settings::reader::{Field, Read};
use crate::settings::schema::{any_text, mapping, text};

/// The keys that it knows.
pub const KEYS: &[&str] = &["haproxy", "backends", "state_file"];

/// What a backend may be called; HAProxy's commands have their parts between spaces, `/` and `;`.
const NAME: &str = "[A-Za-z0-9_.:-]+";

pub fn read(field: &Field<'_>, settings: &EnvironmentSettings) -> Read<RouterSettings> {
    let section = field.section(KEYS)?;
    let mut router =
        RouterSettings { haproxy: socket(section.required("haproxy")?)?, ..RouterSettings::default() };
    router.backends = backends(section.required("backends")?, settings)?;
    section.set("state_file", &mut router.state_file, |field| absolute(field).map(Some))?;
    if settings.strategy.sticky.is_some() || settings.strategy.force_header.is_some() {
        return Err(field.bad_key(
            "HAProxy cannot be told while it runs which user goes where; leave `sticky` and `force_header` out of \
             `strategy`, or leave out `router`",
        ));
    }
    Ok(router)
}

/// A path or an address.
fn socket(field: &Field<'_>) -> Read<String> {
    field.parsed("a string", |text| {
        let tcp = text.parse::<SocketAddr>().is_ok_and(|address| address.port() != 0);
        match tcp || (text.starts_with('/') && !text.contains(|c: char| c.is_control())) {
            true => Ok(text.to_owned()),
            false => Err("is neither the path of a socket nor an address; write what `stats socket` of haproxy.cfg has, for \
                          example `/run/haproxy/admin.sock` or `127.0.0.1:9999`"
                .into()),
        }
    })
}

/// One for each process type that is routed, and each of its own.
fn backends(field: &Field<'_>, settings: &EnvironmentSettings) -> Read<BTreeMap<String, String>> {
    // Where no value is looked up, an address may be one that is not.
    let known = field.reader.lookup.is_some();
    let mut backends: BTreeMap<String, String> = BTreeMap::new();
    for (process, field) in field.entries()? {
        let routed = settings.processes.get(process).is_some_and(|process| process.listen.is_some());
        if !routed && known {
            return Err(field.bad_key("there is no process type of this name with a `listen` address"));
        }
        let backend = field.parsed("a string", |text| {
            let plain = |c: char| c.is_ascii_alphanumeric() || "_.:-".contains(c);
            match !text.is_empty() && text.chars().all(plain) {
                true => Ok(text.to_owned()),
                false => Err("is not the name of a backend: letters, digits, `_`, `.`, `:` and `-`".into()),
            }
        })?;
        if !backend.is_empty() && backends.values().any(|other| *other == backend) {
            return Err(
                field.bad_value(&format!("the backend `{backend}` is another process type's already"))
            );
        }
        backends.insert(process.to_owned(), backend);
    }
    let mut routed = settings.processes.iter().filter(|(_, process)| process.listen.is_some());
    match routed.find(|(process, _)| known && !backends.contains_key(*process)) {
        Some((process, _)) => Err(field.bad_key(&format!(
            "it names no backend for `{process}`; write for example `backends: {{ {process}: {process} }}`"
        ))),
        None => Ok(backends),
    }
}

fn absolute(field: &Field<'_>) -> Read<PathBuf> {
    field.parsed("a string", |text| match text.starts_with('/') {
        true => Ok(PathBuf::from(text)),
        false => Err("is not a whole path; write what `server-state-file` of haproxy.cfg has".into()),
    })
}

pub fn schema() -> Value {
    let backends = json!({
        "description": "The backend in haproxy.cfg of each process type with a `listen` address.",
        "type": "object",
        "additionalProperties": text("The name of a backend.", NAME),
        "minProperties": 1,
    });
    mapping(
        "An HAProxy that is there already routes, instead of the proxy that is built in.",
        &["haproxy", "backends"],
        json!({
            "haproxy": any_text("Its stats socket: a path, or an address such as 127.0.0.1:9999."),
            "backends": backends,
            "state_file": any_text("Its server-state-file, written so that a reload loses nothing."),
        }),
    )
}
