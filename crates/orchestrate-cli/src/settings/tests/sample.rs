//! The file of the public contract, and the template.

use std::collections::BTreeMap;

use orchestrate_core::deployment_strategy::StrategyKind;
use orchestrate_core::environment::{EnvironmentType, HealthCheck};
use orchestrate_core::name::{EnvironmentName, Version};
use orchestrate_core::notification::NoticeKind;
use orchestrate_core::time::Span;

use super::{lookup, read, with};
use crate::settings::{ReleaseSource, from_str, template};

pub(super) const CONTRACT: &str = include_str!("contract.yaml");

fn production() -> EnvironmentName {
    EnvironmentName::new("production").unwrap()
}

#[test]
fn the_file_of_the_contract_is_read_as_it_says() {
    let file = read(CONTRACT).unwrap();
    assert_eq!(file.service, "shop");
    assert_eq!(file.directory, std::path::Path::new("."));
    let release = file.release.for_version(&Version::new("1.2.3").unwrap());
    assert_eq!(release, ReleaseSource::Artifact("dist/shop-1.2.3.tar.gz".into()));
    let found = &file.environments[&production()];
    let settings = &found.settings;
    assert_eq!(settings.kind, EnvironmentType::Production);
    assert_eq!(settings.processes["web"].command, ["./shop", "serve"]);
    assert_eq!(settings.processes["web"].instances, 2);
    assert_eq!(settings.processes["web"].listen, Some("127.0.0.1:8080".parse().unwrap()));
    assert_eq!((settings.processes["worker"].instances, settings.processes["worker"].listen), (1, None));
    assert_eq!(settings.strategy.kind, StrategyKind::BlueGreen);
    assert_eq!(settings.strategy.warm_for, Span::from_secs(900));
    assert_eq!(settings.health_check.path, "/healthz");
    assert_eq!(settings.verify.version.as_ref().unwrap().contains, "{version}");
    assert_eq!(settings.verify.max_error_rate.unwrap().to_string(), "1%");
    assert_eq!(settings.variables, BTreeMap::from([("LOG_LEVEL".into(), "info".into())]));
    assert_eq!(found.secrets["DB_PASSWORD"].expose(), "correct horse: #battery");
    let channel = &file.notifications[0];
    assert_eq!(channel.secret.as_ref().unwrap().expose(), "whsec_c2VjcmV0");
    assert_eq!(channel.on, [NoticeKind::Rollback, NoticeKind::DeploymentFailed]);
}

#[test]
fn what_is_left_out_has_cores_defaults() {
    let file = read(&with("")).unwrap();
    let settings = &file.environments[&production()].settings;
    assert_eq!(settings.drain, Span::from_secs(30));
    assert_eq!(settings.stop_timeout, Span::from_secs(10));
    assert_eq!(settings.health_check, HealthCheck::default());
    assert!(settings.rollback.automatic && !settings.requires_approval);
}

#[test]
fn the_template_loads_as_it_is_and_with_everything_in_it_switched_on() {
    let text = template("shop");
    assert!(text.starts_with("# yaml-language-server: $schema=./orchestrate.schema.json\n"));
    let file = from_str(std::path::Path::new("x"), &text, &|_| None, None).unwrap();
    assert_eq!(file.environments[&production()].settings.processes["web"].command, ["./shop"]);
    let settings = &file.environments[&production()].settings;
    assert_eq!(settings.strategy.kind, StrategyKind::BlueGreen);
    assert_eq!(settings.verify.bake, Span::from_secs(30));
    let all = [StrategyKind::Recreate, StrategyKind::Rolling, StrategyKind::BlueGreen, StrategyKind::Canary];
    for strategy in all {
        assert!(text.contains(&format!("#   {strategy} ")), "{strategy}");
    }
    // Two that exclude each other.
    let signed = switched_on(&text).replace("  git:", "  # git:");
    let file = from_str(std::path::Path::new("x"), &signed, &|_| Some("x".into()), None).unwrap();
    assert!(file.signing.is_some_and(|key| key.starts_with("RW")));
    let on = switched_on(&text).replace("  artifact:", "  # artifact:").replace("\nsigning:", "\n# signing:");
    let file = from_str(std::path::Path::new("x"), &on, &|_| Some("x".into()), None).unwrap();
    let found = &file.environments[&production()];
    assert_eq!((found.settings.checks.len(), found.settings.windows.len(), found.secrets.len()), (1, 1, 1));
    let verify = &found.settings.verify;
    assert!(verify.version.is_some() && verify.prometheus.is_some() && verify.latency.is_some());
    assert_eq!((verify.smoke.len(), verify.logs.len()), (1, 1));
    assert_eq!(file.notifications.len(), 1);
    assert!(matches!(file.release, ReleaseSource::Git { .. }));
    assert!(template("true").contains("service: \"true\""));
}

/// The template with its commented-out keys.
fn switched_on(text: &str) -> String {
    let line = |line: &str| match line.split_once("# ") {
        Some((indent, key)) if indent.trim().is_empty() && is_a_key(key) => format!("{indent}{key}\n"),
        _ => format!("{line}\n"),
    };
    text.lines().map(line).collect()
}

fn is_a_key(text: &str) -> bool {
    text.split_once(": ").is_some_and(|(key, rest)| {
        key.chars().all(|c| c.is_ascii_lowercase()) && rest.starts_with(['{', '['])
    })
}

#[test]
fn values_come_from_the_environment_and_are_never_read_as_yaml() {
    let text = with(
        "variables: { A: \"${PROD_DB_PASSWORD}\", B: \"$${LEVEL} $5 x${LEVEL}\", C: 1.10, D: true, E: 010 }",
    );
    let file = read(&text).unwrap();
    let variables = &file.environments[&production()].settings.variables;
    assert_eq!(variables["A"], "correct horse: #battery");
    assert_eq!(variables["B"], "${LEVEL} $5 xdebug");
    assert_eq!((&*variables["C"], &*variables["D"], &*variables["E"]), ("1.10", "true", "010"));
}

#[test]
fn another_environments_variables_need_not_be_set() {
    let staging = "  staging:\n    processes: { web: { command: [\"${NOT_SET}\"], listen: \"${NOT_SET}\" } }\n    drain: \"${NOT_SET}\"\n    windows: [{ from: \"${NOT_SET}\", to: \"${NOT_SET}\" }]\n    health_check: { path: \"${NOT_SET}\", timeout: \"${NOT_SET}\" }\n    release: { artifact: \"${NOT_SET}\" }\n    secrets: { A: \"${NOT_SET}\" }\n";
    let text = with("") + staging;
    let only = |name: &str| {
        let name = EnvironmentName::new(name).unwrap();
        from_str(std::path::Path::new("x"), &text, &lookup, Some(&name))
    };
    let file = only("production").unwrap();
    assert_eq!(file.environments.keys().map(EnvironmentName::as_str).collect::<Vec<_>>(), ["production"]);
    assert_eq!(file.environment_names.len(), 2);
    assert!(only("staging").unwrap_err().message().contains("`NOT_SET` is not set"));
    assert!(read(&text).is_err());
    assert!(only("unknown").unwrap().environments.is_empty());
}

#[test]
fn an_environment_may_have_its_own_release_and_share_settings_by_an_alias() {
    let text = with("drain: &long 45s")
        + "  staging: &base\n    release: { git: { repository: ., ref: \"v{version}\" } }\n    drain: *long\n    processes: { web: { command: [./shop] } }\n  testing:\n    <<: *base\n    stop_timeout: 1s\n";
    let file = read(&text).unwrap();
    let name = |name: &str| EnvironmentName::new(name).unwrap();
    let version = Version::new("2").unwrap();
    let git = ReleaseSource::Git { repository: ".".into(), r#ref: "v2".into() };
    assert_eq!(file.release_of(&name("staging")).for_version(&version), git);
    assert_eq!(file.release_of(&name("production")), &ReleaseSource::Artifact("dist".into()));
    let testing = &file.environments[&name("testing")].settings;
    assert_eq!((testing.drain, testing.stop_timeout), (Span::from_secs(45), Span::from_secs(1)));
}
