//! What only one kind of provider, or of router, has to know; each has a mapping of its own in the environment.

mod custom;
pub(super) mod docker;
pub(super) mod kubernetes;
pub(super) mod router;
mod r#static;
pub(super) mod swarm;

use std::net::Ipv4Addr;

use orchestrate_core::environment::{Engine, EnvironmentSettings, ProviderKind, RouterKind};
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
    section.set("static", &mut engine.r#static, |field| r#static::read(field, settings).map(Some))?;
    if settings.provider == ProviderKind::Custom {
        engine.custom = Some(custom::read(section.required("custom")?, settings)?);
    }
    section.set("router", &mut engine.router, |field| router(field, settings).map(Some))?;
    Ok(engine)
}

/// Where something else than a proxy of ours takes the requests, its address is none that anybody of ours listens on. What
/// it routes to still has to be known: `web`, or the only process type there is.
pub(super) fn route_elsewhere(settings: &mut EnvironmentSettings) {
    let elsewhere = match settings.router() {
        RouterKind::Custom | RouterKind::Symlink => true,
        RouterKind::Builtin | RouterKind::Haproxy | RouterKind::Kubernetes => false,
    };
    if !elsewhere || settings.processes.values().any(|process| process.listen.is_some()) {
        return;
    }
    let is_alone = settings.processes.len() == 1;
    let main = settings.processes.iter_mut().find(|(name, _)| is_alone || *name == "web");
    let is_tls = settings.url.as_ref().is_some_and(|url| url.starts_with("https:"));
    if let Some((_, process)) = main {
        process.listen = Some((Ipv4Addr::UNSPECIFIED, if is_tls { 443 } else { 80 }).into());
    }
}

fn router(
    field: &Field<'_>,
    settings: &EnvironmentSettings,
) -> Read<orchestrate_core::environment::RouterSettings> {
    if settings.provider == ProviderKind::Kubernetes {
        return Err(field.bad_key("with `provider: kubernetes` the cluster routes; leave it out"));
    }
    router::read(field, settings)
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
