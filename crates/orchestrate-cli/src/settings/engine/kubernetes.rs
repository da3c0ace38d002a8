//! `kubernetes:` of an environment.

pub mod security;

use std::collections::BTreeMap;

use orchestrate_core::environment::{Amounts, EnvironmentSettings, Kubernetes, PullPolicy, Resources};
use serde_json::{Value, json};

use crate::settings::reader::{Field, Read, Section};
use crate::settings::schema::{any_text, list, mapping, number, text, word};

/// The keys that it knows.
pub const KEYS: &[&str] = &[
    "context",
    "kubeconfig",
    "namespace",
    "image_pull_policy",
    "port",
    "resources",
    "service_account",
    "image_pull_secrets",
    "labels",
    "annotations",
    "route",
    "security",
    "manifests",
    "container",
];
pub const RESOURCES: &[&str] = &["requests", "limits"];
pub const AMOUNTS: &[&str] = &["cpu", "memory"];

const POLICIES: &[(&str, PullPolicy)] = &[
    ("Always", PullPolicy::Always),
    ("IfNotPresent", PullPolicy::IfNotPresent),
    ("Never", PullPolicy::Never),
];
const NAME: &str = "[a-z0-9](?:[a-z0-9.-]{0,251}[a-z0-9])?";
const QUANTITY: &str = r"[0-9]+(?:\.[0-9]+)?(?:m|k|[KMGTP]i?)?";

pub fn read(field: &Field<'_>) -> Read<Kubernetes> {
    let section = field.section(KEYS)?;
    let mut settings = Kubernetes::default();
    section.set("context", &mut settings.context, |field| filled(field).map(Some))?;
    section.set("kubeconfig", &mut settings.kubeconfig, |field| whole_path(field).map(Some))?;
    section.set("namespace", &mut settings.namespace, |field| name(field).map(Some))?;
    section
        .set("image_pull_policy", &mut settings.image_pull_policy, |field| field.word(POLICIES).map(Some))?;
    section.set("port", &mut settings.port, |field| {
        field.whole_number(1..=65535).map(|port| u16::try_from(port).unwrap_or(1))
    })?;
    section.set("resources", &mut settings.resources, resources)?;
    section.set("service_account", &mut settings.service_account, |field| name(field).map(Some))?;
    section.set("image_pull_secrets", &mut settings.image_pull_secrets, |field| {
        field.items("a list of names of secrets")?.iter().map(name).collect()
    })?;
    section.set("labels", &mut settings.labels, |field| texts(field, true))?;
    section.set("annotations", &mut settings.annotations, |field| texts(field, false))?;
    section.set("route", &mut settings.route, |field| name(field).map(Some))?;
    section.set("security", &mut settings.security, |field| security::read(field).map(Some))?;
    section.set("manifests", &mut settings.manifests, |field| {
        field.items("a list of files")?.iter().map(path).collect()
    })?;
    section.set("container", &mut settings.container, |field| name(field).map(Some))?;
    match section.get("container").filter(|_| settings.manifests.is_empty()) {
        Some(field) => Err(field.bad_key("it belongs to `manifests`, and there are none")),
        None => Ok(settings),
    }
}

/// What other keys of the environment ask for and a cluster cannot do.
pub fn refuse(section: &Section<'_>, settings: &EnvironmentSettings, cluster: &Kubernetes) -> Read<()> {
    let strategy = &settings.strategy;
    if let Some(field) = section.get("strategy") {
        if strategy.sticky.is_some() || strategy.force_header.is_some() {
            return Err(field
                .bad_key("a cluster cannot tell users apart by `sticky` or `force_header`; leave them out"));
        }
    }
    if let Some(field) = section.get("health_check").filter(|_| settings.health_check.expected_status >= 400)
    {
        return Err(field.bad_key(
            "a cluster takes a status from 200 to 399 for well, so `expected_status` cannot be above",
        ));
    }
    if let Some(field) = section.get("limits") {
        return Err(field.bad_key("in a cluster, write `kubernetes: { resources: { limits: … } }` instead"));
    }
    if let (Some(field), Some(security)) = (section.get("kubernetes"), &cluster.security) {
        security::refuse(field, settings, security)?;
    }
    let count = settings.processes.len();
    if let Some(field) = section.get("kubernetes").filter(|_| !cluster.manifests.is_empty() && count != 1) {
        return Err(field.bad_key(&format!(
            "`manifests` have one Deployment, for one process type, and there are {count}; give each an environment of its own"
        )));
    }
    let users = settings.processes.values().map(|process| &process.confinement.user);
    let named = |user: &&String| !user.contains(':');
    match (section.get("user"), users.flatten().find(named)) {
        (Some(field), Some(_)) => {
            Err(field.bad_key("a cluster knows no users by name; write numbers: `user: \"1001:1001\"`"))
        }
        _ => Ok(()),
    }
}

fn filled(field: &Field<'_>) -> Read<String> {
    field.parsed("a name", |text| match text.trim().is_empty() || text.chars().any(char::is_control) {
        true => Err("is empty, or more than one line".into()),
        false => Ok(text.to_owned()),
    })
}

fn whole_path(field: &Field<'_>) -> Read<String> {
    field.parsed("a path", |text| match text.starts_with('/') {
        true => Ok(text.to_owned()),
        // The daemon reads it too, and runs somewhere else.
        false => Err("is not a whole path; begin it with `/` or `${HOME}/`".into()),
    })
}

fn path(field: &Field<'_>) -> Read<String> {
    field.parsed("a path", |text| match text.trim().is_empty() || text.chars().any(char::is_control) {
        true => Err("is no path".into()),
        false => Ok(text.to_owned()),
    })
}

fn name(field: &Field<'_>) -> Read<String> {
    field.parsed("a name", |text| {
        let fits = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '-' || c == '.';
        let ends = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit();
        match text.len() <= 253 && text.chars().all(fits) && text.starts_with(ends) && text.ends_with(ends) {
            true => Ok(text.to_owned()),
            false => Err("is not a name in a cluster: letters from a to z, digits, `-` and `.`".into()),
        }
    })
}

fn resources(field: &Field<'_>) -> Read<Resources> {
    let section = field.section(RESOURCES)?;
    let mut resources = Resources::default();
    section.set("requests", &mut resources.requests, amounts)?;
    section.set("limits", &mut resources.limits, amounts)?;
    Ok(resources)
}

fn amounts(field: &Field<'_>) -> Read<Amounts> {
    let section = field.section(AMOUNTS)?;
    let mut amounts = Amounts::default();
    section.set("cpu", &mut amounts.cpu, |field| quantity(field).map(Some))?;
    section.set("memory", &mut amounts.memory, |field| quantity(field).map(Some))?;
    Ok(amounts)
}

fn quantity(field: &Field<'_>) -> Read<String> {
    let text = field.loose_text()?;
    let digits = text.trim_end_matches(|c: char| c.is_ascii_alphabetic());
    let unit = &text[digits.len()..];
    let units = ["", "m", "k", "K", "Ki", "M", "Mi", "G", "Gi", "T", "Ti", "P", "Pi"];
    let number = digits.starts_with(|c: char| c.is_ascii_digit())
        && digits.ends_with(|c: char| c.is_ascii_digit())
        && digits.chars().all(|c| c.is_ascii_digit() || c == '.')
        && digits.matches('.').count() <= 1;
    match field.is_deferred() || (number && units.contains(&unit)) {
        true => Ok(text),
        false => Err(field.bad_value("an amount is written like `250m`, `2` or `512Mi`")),
    }
}

/// Labels or annotations; ours cannot be set by hand.
fn texts(field: &Field<'_>, labels: bool) -> Read<BTreeMap<String, String>> {
    let mut all = BTreeMap::new();
    for (key, field) in field.entries()? {
        if key.contains("orchestrate.dev/") || key == "app.kubernetes.io/managed-by" {
            return Err(field.bad_key("orchestrate sets it itself; leave it out"));
        }
        let text = field.loose_text()?;
        let fits = |c: char| c.is_ascii_alphanumeric() || "-_.".contains(c);
        if labels && !field.is_deferred() && (text.len() > 63 || !text.chars().all(fits)) {
            return Err(field.bad_value("a label has at most 63 letters, digits, `-`, `_` and `.`"));
        }
        all.insert(key.to_owned(), text);
    }
    Ok(all)
}

pub fn schema() -> Value {
    let amounts = |description: &str| {
        let amount = |description: &str| {
            let mut amount = text(description, QUANTITY);
            amount["type"] = json!(["string", "number"]);
            amount
        };
        mapping(
            description,
            &[],
            json!({
                "cpu": amount("Cores, e.g. 250m or 2."),
                "memory": amount("Memory, e.g. 512Mi."),
            }),
        )
    };
    let texts = |description: &str| {
        json!({
            "description": description,
            "type": "object",
            "propertyNames": { "not": { "pattern": "orchestrate\\.dev/|^app\\.kubernetes\\.io/managed-by$" } },
            "additionalProperties": { "type": ["string", "number", "boolean"] },
        })
    };
    let policies: Vec<&str> = POLICIES.iter().map(|(policy, _)| *policy).collect();
    mapping(
        "What only `provider: kubernetes` has to know.",
        &[],
        json!({
            "context": any_text("The context of the kubeconfig; its current one, if there is none."),
            "kubeconfig": text("A kubeconfig by its whole path; KUBECONFIG, ~/.kube/config or the pod's identity, if there is none.", "/.*"),
            "namespace": text("Where everything is; the context's, if there is none.", NAME),
            "image_pull_policy": word("When a node pulls the image.", &policies),
            "port": number("What every routed container listens on, told by PORT.", 1, 65535),
            "resources": mapping("What a container asks for, and gets at most.", &[], json!({
                "requests": amounts("What it asks for."),
                "limits": amounts("What it gets at most."),
            })),
            "service_account": text("As whom pods ask the cluster.", NAME),
            "image_pull_secrets": list("Secrets with the credentials of registries.", text("Its name.", NAME)),
            "labels": texts("More labels of Deployments and pods."),
            "annotations": texts("More annotations of Deployments and pods."),
            "route": text("An HTTPRoute whose weights share the traffic of a canary.", NAME),
            "security": security::schema(),
            "manifests": list("Files with a Deployment of yours, and its ConfigMaps and Secrets; sealed at each deployment.", any_text("A file or a directory, beside the config file.")),
            "container": text("Which container of the Deployment gets the image.", NAME),
        }),
    )
}
