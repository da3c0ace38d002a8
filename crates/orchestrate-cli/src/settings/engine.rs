//! What only one kind of provider, or of router, has to know; each has a mapping of its own in the environment.

mod custom;
mod docker;
pub(super) mod kubernetes;
mod router;
mod r#static;
mod swarm;

use orchestrate_core::environment::{Engine, EnvironmentSettings, ProviderKind};
use serde_json::Value;

use super::reader::{Field, Read, Section};

/// A mapping, and whose it is.
const PARTS: &[(&str, ProviderKind)] = &[
    ("docker", ProviderKind::Docker),
    ("swarm", ProviderKind::Swarm),
    ("kubernetes", ProviderKind::Kubernetes),
    ("static", ProviderKind::Static),
    ("custom", ProviderKind::Custom),
];

pub(super) fn read(section: &Section<'_>, settings: &EnvironmentSettings) -> Read<Engine> {
    for (key, kind) in PARTS {
        if let Some(field) = section.get(key).filter(|_| *kind != settings.provider) {
            return Err(field.bad_key(&format!(
                "it belongs to `provider: {kind}`, and the provider here is `{}`",
                settings.provider
            )));
        }
    }
    let mut engine = Engine::default();
    section.set("docker", &mut engine.docker, |field| docker::read(field).map(Some))?;
    section.set("swarm", &mut engine.swarm, |field| swarm::read(field).map(Some))?;
    section.set("kubernetes", &mut engine.kubernetes, |field| kubernetes::read(field).map(Some))?;
    if settings.provider == ProviderKind::Kubernetes {
        kubernetes::refuse(section, settings, &engine.kubernetes.clone().unwrap_or_default())?;
    }
    section.set("static", &mut engine.r#static, |field| r#static::read(field).map(Some))?;
    section.set("custom", &mut engine.custom, |field| custom::read(field).map(Some))?;
    section.set("router", &mut engine.router, |field| router(field, settings).map(Some))?;
    Ok(engine)
}

fn router(
    field: &Field<'_>,
    settings: &EnvironmentSettings,
) -> Read<orchestrate_core::environment::RouterSettings> {
    if settings.provider == ProviderKind::Kubernetes {
        return Err(field.bad_key("with `provider: kubernetes` the cluster routes; leave it out"));
    }
    router::read(field)
}

/// The schema of each part, by its key.
pub(super) fn schemas() -> Vec<(&'static str, Value)> {
    vec![
        ("docker", docker::schema()),
        ("swarm", swarm::schema()),
        ("kubernetes", kubernetes::schema()),
        ("static", r#static::schema()),
        ("custom", custom::schema()),
        ("router", router::schema()),
    ]
}
