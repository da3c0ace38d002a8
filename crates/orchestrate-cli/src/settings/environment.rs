//! One environment of the config file.

use std::collections::{BTreeMap, BTreeSet};
use std::net::SocketAddr;

use orchestrate_core::confinement::Confinement;
use orchestrate_core::environment::{
    Check, DependsOn, EnvironmentSettings, EnvironmentType, HealthCheck, ProcessType, ProviderKind,
    Retention, RollbackPolicy,
};
use orchestrate_core::name::{EnvironmentName, Version, is_plain_name};
use orchestrate_core::policy::Weekday;
use orchestrate_core::secrets::SecretText;

use super::error::{ConfigError, code, shown};
use super::reader::{Field, Read, Section};
use super::values::{command, listen, path, span, span_above_zero, variables, web_address};
use super::{
    ConfiguredEnvironment, confinement, drill, engine, hooks, keys, policy, release, strategy, verify,
};

pub(super) const TYPES: &[(&str, EnvironmentType)] = &[
    ("development", EnvironmentType::Development),
    ("staging", EnvironmentType::Staging),
    ("production", EnvironmentType::Production),
];
pub(super) const PROVIDERS: &[(&str, ProviderKind)] = &[
    ("process", ProviderKind::Process),
    ("docker", ProviderKind::Docker),
    ("swarm", ProviderKind::Swarm),
    ("kubernetes", ProviderKind::Kubernetes),
    ("static", ProviderKind::Static),
    ("custom", ProviderKind::Custom),
];
pub(super) const DAYS: &[(&str, Weekday)] = &[
    ("mon", Weekday::Mon),
    ("tue", Weekday::Tue),
    ("wed", Weekday::Wed),
    ("thu", Weekday::Thu),
    ("fri", Weekday::Fri),
    ("sat", Weekday::Sat),
    ("sun", Weekday::Sun),
];
pub(super) const MOST_KEPT: u32 = 100_000;
pub(super) const MOST_INSTANCES: u32 = 1000;
pub(super) const MOST_ROLLBACKS: u32 = 100;

/// The addresses that the file's process types listen on so far, by port.
pub(super) type Listeners<'a> = BTreeMap<u16, Vec<(SocketAddr, Field<'a>)>>;

pub(super) fn read<'a>(field: &Field<'a>, listeners: &mut Listeners<'a>) -> Read<ConfiguredEnvironment> {
    let section = field.section(keys::ENVIRONMENT)?;
    let mut settings = defaults(field)?;
    section.set("type", &mut settings.kind, |field| field.word(TYPES))?;
    section.set("provider", &mut settings.provider, |field| field.word(PROVIDERS))?;
    section.set("url", &mut settings.url, |field| web_address(field).map(Some))?;
    settings.confinement = Box::new(confinement::read(&section, None)?);
    let needs_command = !brings_its_own_command(settings.provider);
    let general = Types { confinement: &settings.confinement, needs_command };
    // In a cluster each environment has addresses of its own.
    let (mut own, in_cluster) = (Listeners::new(), settings.provider == ProviderKind::Kubernetes);
    let listeners = if in_cluster { &mut own } else { listeners };
    settings.processes = processes(section.required("processes")?, general, listeners)?;
    section.set("strategy", &mut settings.strategy, strategy::read)?;
    section.set("health_check", &mut settings.health_check, health_check)?;
    section.set("drain", &mut settings.drain, span)?;
    section.set("stop_timeout", &mut settings.stop_timeout, span)?;
    section.set("variables", &mut settings.variables, |field| {
        variables(field)?.into_iter().map(|(name, field)| Ok((name, field.loose_text()?))).collect()
    })?;
    section.set("verify", &mut settings.verify, |field| verify::read(field, &settings.processes))?;
    if let Some(field) = section.get("verify") {
        verify::refuse_long_bake(field, &settings)?;
    }
    section.set("rollback", &mut settings.rollback, |field| {
        let section = field.section(keys::ROLLBACK)?;
        settings.policy.rollback = policy::limits(&section)?;
        rollback(&section)
    })?;
    let calendars = policy::read(&section, &mut settings)?;
    section.set("checks", &mut settings.checks, checks)?;
    section.set("windows", &mut settings.windows, |field| {
        field.items("a list of windows")?.iter().map(policy::deploy_window).collect()
    })?;
    let kind = settings.kind;
    section.set("drill", &mut settings.drill, |field| drill::read(field, kind).map(Box::new))?;
    section.set("hooks", &mut settings.hooks, hooks::hooks)?;
    section.set("group", &mut settings.group, |field| group(field).map(Some))?;
    section.set("depends_on", &mut settings.depends_on, depends_on)?;
    section.set("retention", &mut settings.retention, |field| retention(field).map(Some))?;
    *settings.engine = engine::read(&section, &settings)?;
    engine::route_elsewhere(&mut settings);
    let mut secrets = BTreeMap::new();
    section.set("secrets", &mut secrets, |field| secrets_apart_from(&settings.variables, field))?;
    let mut release = None;
    section.set("release", &mut release, |field| release::read(field).map(Some))?;
    Ok(ConfiguredEnvironment { settings, secrets, release, calendars })
}

/// What holds for every process type of an environment.
#[derive(Clone, Copy)]
struct Types<'a> {
    confinement: &'a Confinement,
    needs_command: bool,
}

/// An image has a command, a site needs none, and commands of the user's are written elsewhere.
pub(super) const fn brings_its_own_command(provider: ProviderKind) -> bool {
    match provider {
        ProviderKind::Process => false,
        ProviderKind::Docker
        | ProviderKind::Swarm
        | ProviderKind::Kubernetes
        | ProviderKind::Static
        | ProviderKind::Custom => true,
    }
}

/// Core's own defaults, so that they are written down only once.
fn defaults(field: &Field<'_>) -> Read<EnvironmentSettings> {
    serde_json::from_value(serde_json::json!({ "processes": {} }))
        .map_err(|error| field.bad_key(&error.to_string()))
}

fn processes<'a>(
    field: &Field<'a>,
    general: Types<'_>,
    listeners: &mut Listeners<'a>,
) -> Read<BTreeMap<String, ProcessType>> {
    let entries = field.entries()?;
    if entries.is_empty() {
        return Err(field.bad_key("at least one process type is needed"));
    }
    let mut processes = BTreeMap::new();
    for (name, field) in entries {
        if !is_plain_name(name) {
            return Err(field.bad_key(
                "the name of a process type starts with a letter or a digit, then has up to 62 of A-Z a-z 0-9 . _ -",
            ));
        }
        processes.insert(name.to_owned(), process(&field, general, listeners)?);
    }
    Ok(processes)
}

fn process<'a>(field: &Field<'a>, general: Types<'_>, listeners: &mut Listeners<'a>) -> Read<ProcessType> {
    let section = field.section(keys::PROCESS)?;
    let mut process = ProcessType {
        command: match section.get("command") {
            None if !general.needs_command => Vec::new(),
            _ => command(section.required("command")?)?,
        },
        instances: 1,
        listen: None,
        confinement: confinement::read(&section, Some(general.confinement))?,
    };
    section.set("instances", &mut process.instances, |field| field.whole_number(1..=MOST_INSTANCES))?;
    if let Some(field) = section.get("listen") {
        process.listen = listen(field)?;
        refuse_clash(listeners, process.listen, field)?;
    }
    Ok(process)
}

/// Refuses two process types of the file that want the same port of the same address.
fn refuse_clash<'a>(
    listeners: &mut Listeners<'a>,
    address: Option<SocketAddr>,
    field: &Field<'a>,
) -> Read<()> {
    let Some(address) = address else { return Ok(()) };
    let taken = listeners.entry(address.port()).or_default();
    if let Some((_, first)) = taken.iter().find(|(other, _)| clash(address, *other)) {
        return Err(clash_error(field, first));
    }
    taken.push((address, field.clone()));
    Ok(())
}

fn health_check(field: &Field<'_>) -> Read<HealthCheck> {
    let section = field.section(keys::HEALTH_CHECK)?;
    let mut check = HealthCheck::default();
    section.set("path", &mut check.path, path)?;
    section.set("expected_status", &mut check.expected_status, |field| {
        field.whole_number(200..=599).map(|status| u16::try_from(status).unwrap_or(200))
    })?;
    section.set("timeout", &mut check.timeout, span_above_zero)?;
    section.set("interval", &mut check.interval, span_above_zero)?;
    section.set("deadline", &mut check.deadline, span_above_zero)?;
    Ok(check)
}

fn rollback(section: &Section<'_>) -> Read<RollbackPolicy> {
    let mut policy = RollbackPolicy::default();
    section.set("automatic", &mut policy.automatic, Field::boolean)?;
    section.set("at_most_per_hour", &mut policy.at_most_per_hour, |field| {
        field.whole_number(1..=MOST_ROLLBACKS)
    })?;
    section.set("cool_down", &mut policy.cool_down, span)?;
    Ok(policy)
}

fn group(field: &Field<'_>) -> Read<String> {
    field.parsed("a name", |text| match is_plain_name(text) {
        true => Ok(text.to_owned()),
        false => Err("is not the name of a group; it starts with a letter or a digit, then has up to 62 of A-Z a-z 0-9 . _ -".into()),
    })
}

/// Names of environments; with the version that must be live there at least, or without.
fn depends_on(field: &Field<'_>) -> Read<DependsOn> {
    let named = |name: &str, field: &Field<'_>| {
        EnvironmentName::new(name).map_err(|error| field.bad_key(&error.to_string()))
    };
    if let Ok(items) = field.items("a list of environments") {
        return items.iter().map(|field| Ok((named(&field.text()?, field)?, None))).collect();
    }
    let entries = field.entries()?.into_iter();
    entries
        .map(|(name, field)| {
            let least = field.parsed("a string", |text| {
                Version::new(text).map(Some).map_err(|_| "is not a version".to_owned())
            })?;
            Ok((named(name, &field)?, least))
        })
        .collect()
}

fn retention(field: &Field<'_>) -> Read<Retention> {
    let section = field.section(keys::RETENTION)?;
    let mut retention = Retention::default();
    section.set("keep", &mut retention.keep, |field| field.whole_number(1..=MOST_KEPT))?;
    section.set("max_age", &mut retention.max_age, |field| span_above_zero(field).map(Some))?;
    Ok(retention)
}

fn secrets_apart_from(
    plain: &BTreeMap<String, String>,
    field: &Field<'_>,
) -> Read<BTreeMap<String, SecretText>> {
    let mut secrets = BTreeMap::new();
    for (name, field) in variables(field)? {
        if plain.contains_key(&name) {
            return Err(field.bad_key("it is among the `variables` already; keep it in one of the two"));
        }
        secrets.insert(name, SecretText::new(field.loose_text()?));
    }
    Ok(secrets)
}

fn checks(field: &Field<'_>) -> Read<Vec<Check>> {
    let mut names = BTreeSet::new();
    let mut checks = Vec::new();
    for field in field.items("a list of checks")? {
        let section = field.section(keys::CHECK)?;
        let name_field = section.required("name")?;
        let name = name_field.text()?;
        if name.trim().is_empty() || name.chars().any(char::is_control) {
            return Err(name_field.bad_value("the name of a check is one line of text"));
        }
        if !names.insert(name.clone()) {
            return Err(name_field.bad_value("another check has this name"));
        }
        let command = command(section.required("command")?)?;
        // Through serde, for core's own default of the timeout.
        let written = serde_json::json!({ "name": name, "command": command });
        let mut check: Check =
            serde_json::from_value(written).map_err(|error| field.bad_value(&error.to_string()))?;
        section.set("timeout", &mut check.timeout, span_above_zero)?;
        checks.push(check);
    }
    Ok(checks)
}

/// Whether the kernel would refuse the second of two listeners. `[::]` takes IPv4 as well.
fn clash(a: SocketAddr, b: SocketAddr) -> bool {
    let any = |x: SocketAddr, y: SocketAddr| x.ip().is_unspecified() && (x.is_ipv6() || y.is_ipv4());
    a.port() == b.port() && (a.ip() == b.ip() || any(a, b) || any(b, a))
}

fn clash_error(field: &Field<'_>, first: &Field<'_>) -> ConfigError {
    let source = field.reader.source;
    let (line, _) = source.position(first.node.place.start);
    let message = format!(
        "{}: the address is taken by {} on line {line}; give each process type a port of its own",
        shown(&field.path),
        shown(&first.path)
    );
    let error = source.noted(code::ADDRESS_CLASH, field.node.place, message, "taken already");
    error.snippet(source.snippet(first.node.place, "taken here"))
}
