//! `docker:` of an environment.

use orchestrate_core::environment::{Docker, DockerHealth, SecretsAs};
use serde_json::{Value, json};

use crate::settings::reader::{Field, Read};
use crate::settings::schema::{any_text, boolean, list, mapping, names, number, text, word};
use crate::settings::size;

/// The keys that it knows.
pub(in crate::settings) const KEYS: &[&str] =
    &["port", "networks", "volumes", "memory", "cpus", "read_only", "init", "health", "secrets"];
const HEALTH: &[(&str, DockerHealth)] = &[("http", DockerHealth::Http), ("image", DockerHealth::Image)];
pub(super) const SECRETS: &[(&str, SecretsAs)] =
    &[("variables", SecretsAs::Variables), ("files", SecretsAs::Files)];
/// What a container may not have less of, by the engine's own rule.
const LEAST_MEMORY: u64 = 6 << 20;
pub(super) const MOST_CPUS: f64 = 1024.0;

pub fn read(field: &Field<'_>) -> Read<Docker> {
    let section = field.section(KEYS)?;
    let mut docker = Docker::default();
    section.set("port", &mut docker.port, port)?;
    section.set("networks", &mut docker.networks, networks)?;
    section.set("volumes", &mut docker.volumes, |field| {
        field.items("a list of volumes")?.iter().map(volume).collect()
    })?;
    section.set("memory", &mut docker.memory, |field| memory(field).map(Some))?;
    section.set("cpus", &mut docker.millicpus, |field| cpus(field).map(Some))?;
    section.set("read_only", &mut docker.read_only, Field::boolean)?;
    section.set("init", &mut docker.init, Field::boolean)?;
    section.set("health", &mut docker.health, |field| field.word(HEALTH))?;
    section.set("secrets", &mut docker.secrets, |field| field.word(SECRETS))?;
    Ok(docker)
}

pub(super) fn port(field: &Field<'_>) -> Read<u16> {
    let port = field.whole_number(1..=u32::from(u16::MAX))?;
    u16::try_from(port).map_err(|_| field.bad_value("it is no port"))
}

pub(super) fn memory(field: &Field<'_>) -> Read<u64> {
    let bytes = field.parsed("a size", size)?;
    if bytes < LEAST_MEMORY && !field.is_deferred() {
        return Err(field.bad_value("no container runs with less than 6 MiB"));
    }
    Ok(bytes)
}

fn networks(field: &Field<'_>) -> Read<Vec<String>> {
    let items = field.items("a list of networks of the engine")?;
    let names: Vec<String> = items.iter().map(name).collect::<Read<_>>()?;
    if names.len() > 1
        && let Some(item) = items.iter().zip(&names).find(|(_, name)| *name == "host").map(|(item, _)| item)
    {
        return Err(item.bad_value("what is on the network of the machine itself is on no other"));
    }
    Ok(names)
}

pub(super) fn name(field: &Field<'_>) -> Read<String> {
    let text = field.text()?;
    let plain = |c: char| c.is_ascii_alphanumeric() || matches!(c, '_' | '.' | '-');
    let is_name = text.starts_with(|c: char| c.is_ascii_alphanumeric()) && text.chars().all(plain);
    match is_name || field.is_deferred() {
        true => Ok(text),
        false => Err(field.bad_value("it is not the name of a network; see them: docker network ls")),
    }
}

/// `NAME:/path` or `/here:/path`, and `:ro` or `:rw` after it.
fn volume(field: &Field<'_>) -> Read<String> {
    let text = field.text()?;
    let plain = |c: char| c.is_ascii_alphanumeric() || matches!(c, '_' | '.' | '-');
    let parts: Vec<&str> = text.split(':').collect();
    let is_volume = match parts[..] {
        [from, to] | [from, to, "ro" | "rw"] => {
            let named = from.starts_with(|c: char| c.is_ascii_alphanumeric()) && from.chars().all(plain);
            to.starts_with('/') && (from.starts_with('/') || named)
        }
        _ => false,
    };
    match is_volume || field.is_deferred() {
        true => Ok(text),
        false => {
            Err(field.bad_value("a volume is `NAME:/path` or `/here:/path`, with `:ro` at the end or not"))
        }
    }
}

pub(super) fn cpus(field: &Field<'_>) -> Read<u32> {
    let thousandths = (field.number()?.get() * 1000.0).round();
    if !(10.0..=MOST_CPUS * 1000.0).contains(&thousandths) {
        return Err(field.bad_value("write a number of processors from 0.01 to 1024, such as `0.5`"));
    }
    #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "it is within its bounds")]
    Ok(thousandths as u32)
}

pub fn schema() -> Value {
    let volume = r"(?:/[^:]*|[A-Za-z0-9][A-Za-z0-9_.\-]*):/[^:]*(?::r[ow])?";
    mapping(
        "What only `provider: docker` has to know.",
        &[],
        json!({
            "port": number("Where a routed process type listens inside its container.", 1, u32::from(u16::MAX)),
            "networks": list(
                "Networks of the engine that containers join; `host`: that of the machine itself.",
                text("A network.", r"[A-Za-z0-9][A-Za-z0-9_.\-]*"),
            ),
            "volumes": list("As `docker run --volume` takes them.", text("A volume.", volume)),
            "memory": any_text("How much memory one container may have, e.g. 512MiB."),
            "cpus": {
                "description": "How many processors one container may use, e.g. 0.5.",
                "type": "number", "minimum": 0.01, "maximum": MOST_CPUS,
            },
            "read_only": boolean("Whether the root file system of a container can only be read."),
            "init": boolean("Whether the engine puts an init process in front, which reaps children."),
            "health": word("Who says whether an instance is ready.", &names(HEALTH)),
            "secrets": word("Whether secrets are variables, or files below /run/secrets.", &names(SECRETS)),
        }),
    )
}
