//! `swarm:` of an environment.

use orchestrate_core::environment::Swarm;
use serde_json::{Value, json};

use super::docker::{MOST_CPUS, SECRETS, cpus, memory, name, port};
use crate::settings::reader::{Field, Read};
use crate::settings::schema::{any_text, boolean, list, mapping, names, number, text, word};

/// The keys that it knows.
pub(in crate::settings) const KEYS: &[&str] =
    &["port", "networks", "constraints", "memory", "cpus", "read_only", "init", "secrets"];

pub fn read(field: &Field<'_>) -> Read<Swarm> {
    let section = field.section(KEYS)?;
    let mut swarm = Swarm::default();
    section.set("port", &mut swarm.port, port)?;
    section.set("networks", &mut swarm.networks, |field| {
        field.items("a list of overlay networks")?.iter().map(overlay).collect()
    })?;
    section.set("constraints", &mut swarm.constraints, |field| {
        field.items("a list of constraints")?.iter().map(constraint).collect()
    })?;
    section.set("memory", &mut swarm.memory, |field| memory(field).map(Some))?;
    section.set("cpus", &mut swarm.millicpus, |field| cpus(field).map(Some))?;
    section.set("read_only", &mut swarm.read_only, Field::boolean)?;
    section.set("init", &mut swarm.init, Field::boolean)?;
    section.set("secrets", &mut swarm.secrets, |field| field.word(SECRETS))?;
    Ok(swarm)
}

fn overlay(field: &Field<'_>) -> Read<String> {
    match name(field)?.as_str() {
        "host" | "bridge" | "none" => Err(field.bad_value("services join overlay networks only")),
        other => Ok(other.to_owned()),
    }
}

/// `node.role == worker`, or with `!=`.
fn constraint(field: &Field<'_>) -> Read<String> {
    let text = field.text()?;
    let sides = text.split_once("==").or_else(|| text.split_once("!="));
    let is_one = sides.is_some_and(|(what, which)| {
        let what = what.trim();
        (what.starts_with("node.") || what.starts_with("engine.labels.")) && !which.trim().is_empty()
    });
    match is_one || field.is_deferred() {
        true => Ok(text),
        false => Err(field
            .bad_value("a constraint is for example `node.role == worker` or `node.labels.disk != slow`")),
    }
}

pub fn schema() -> Value {
    let constraint = r" *(?:node\.|engine\.labels\.).*(?:==|!=).*";
    mapping(
        "What only `provider: swarm` has to know.",
        &[],
        json!({
            "port": number("Where a routed process type listens inside its container.", 1, u32::from(u16::MAX)),
            "networks": list("Overlay networks that services join.", text("A network.", r"[A-Za-z0-9][A-Za-z0-9_.\-]*")),
            "constraints": list("On which nodes instances may run.", text("A constraint.", constraint)),
            "memory": any_text("How much memory one instance may have, e.g. 512MiB."),
            "cpus": {
                "description": "How many processors one instance may use, e.g. 0.5.",
                "type": "number", "minimum": 0.01, "maximum": MOST_CPUS,
            },
            "read_only": boolean("Whether the root file system of an instance can only be read."),
            "init": boolean("Whether the engine puts an init process in front, which reaps children."),
            "secrets": word("Whether secrets are variables, or files below /run/secrets.", &names(SECRETS)),
        }),
    )
}
