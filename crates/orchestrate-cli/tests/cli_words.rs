//! Snapshots of what people read: help, and the main outputs as exit code, stdout and stderr.
//!
//! After a change that is meant: `INSTA_UPDATE=always cargo test -p orchestrate-cli --test cli_words`, then read the diff.

#![allow(clippy::unwrap_used, clippy::expect_used, reason = "a test that cannot go on has failed")]

mod support;

use insta::assert_snapshot;
use serde_json::json;
use support::{Ran, Scene, until};

#[test]
fn help() {
    let scene = Scene::empty();
    for line in [
        "",
        "init",
        "demo",
        "env",
        "env create",
        "deploy",
        "deploy status",
        "deploy rollback",
        "deploy rollbacks",
        "deploy hold",
        "daemon",
        "logs",
        "notify",
        "audit list",
    ] {
        let ran = scene.typed(&format!("{line} --help")).ok();
        assert_eq!(ran.stderr, "");
        assert!(!ran.stdout.contains("sample-service"), "what is hidden stays hidden");
        let text = ran.stdout.replace(scene.home.to_str().unwrap(), "[home]");
        let text: String = text.lines().map(|line| line.trim_end().to_owned() + "\n").collect();
        assert_snapshot!(format!("help {line}").trim().replace(' ', "_"), text);
    }
}

#[test]
fn usage() {
    let scene = Scene::empty();
    for (name, line) in [
        ("no_such_command", "deplyo"),
        ("no_such_option", "deploy rollback --env production --forse"),
        ("no_environment", "deploy rollback"),
        ("bad_version", "deploy --env production --version ../../etc"),
        ("no_such_strategy", "deploy --env production --version 1 --strategy rainbow"),
    ] {
        assert_snapshot!(format!("usage_{name}"), told(&scene, &scene.typed(line)));
    }
}

#[test]
fn the_main_job() {
    let mut scene = Scene::new();
    let say = |scene: &Scene, name: &str, line: &str| {
        let ran = scene.typed(line);
        assert_snapshot!(format!("main_{name}"), format!("$ orchestrate {line}\n{}", told(scene, &ran)));
    };
    say(&scene, "no_environment", "deploy status --env production");
    scene.artifact("1.0.0");
    say(&scene, "validate", "deploy validate --env production --version 1.0.0");
    say(&scene, "deploy", "deploy --env production --version 1.0.0");
    scene.artifact("1.1.0");
    scene.configure(|production| production["variables"]["LOG_LEVEL"] = json!("debug"));
    say(&scene, "diff", "deploy diff --env production --version 1.1.0");
    say(&scene, "deploy_verbose", "deploy --env production --version 1.1.0 --verbose");
    say(&scene, "status", "deploy status --env production");
    say(&scene, "needs_force", "deploy rollback --env production");
    say(&scene, "dry_run", "deploy rollback --env production --force --dry-run");
    say(&scene, "rollback", "deploy rollback --env production --force --reason leaks");
    say(&scene, "held", "deploy --env production --version 1.1.0");
    say(&scene, "audit", "audit list");
    say(&scene, "candidates", "deploy candidates --env production");
    say(&scene, "no_target", "deploy rollback --env production --force");
    say(&scene, "never_live", "deploy rollback --env production --version 7.0");
    scene.configure(|production| production["processes"]["web"]["command"] = json!(["./srve"]));
    scene.artifact("1.2.0");
    say(&scene, "bad_release", "deploy --env production --version 1.2.0 --quiet");
    say(&scene, "nothing_to_switch", "deploy rollback --env production");
    say(&scene, "rollbacks", "deploy rollbacks --env production");
    say(&scene, "rollbacks_show", "deploy rollbacks show 1");
    say(&scene, "history", "deploy history --env production");
    say(&scene, "status_held", "deploy status --env production");
    say(&scene, "doctor", "doctor");
    until("the daemon has looked", || {
        (!scene.json("env list").json()[0]["rollback"].is_null()).then_some(())
    });
    say(&scene, "env_list", "env list");
    say(&scene, "env_check", "env check production");
    say(&scene, "notify_status", "notify status");
    say(&scene, "stop", "env stop production");
    say(&scene, "status_stopped", "deploy status --env production");
}

#[test]
fn a_mistake_in_the_config_file() {
    let scene = Scene::empty();
    scene.write(
        "orchestrate.yaml",
        "service: shop\nrelease: { artifact: dist }\nenvironments:\n  production:\n    helth_check: { path: / }\n",
    );
    assert_snapshot!("config_mistake", told(&scene, &scene.typed("deploy --env production --version 1")));
    let as_json = scene.json("deploy --env production --version 1");
    assert_snapshot!("config_mistake_json", told(&scene, &as_json));
}

/// How a command ended, without what differs from run to run.
fn told(scene: &Scene, ran: &Ran) -> String {
    let text = format!("exit {}\n--- stdout\n{}--- stderr\n{}", ran.status, ran.stdout, ran.stderr);
    let text = text.replace(&scene.address.to_string(), "[address]");
    let text = text.replace(&format!(":{}", scene.address.port()), ":[port]");
    let text = text.replace(scene.home.to_str().unwrap(), "[home]");
    text.lines().map(|line| without_chance(line) + "\n").collect()
}

/// Times, spans of time, digests and free space become words; columns move with them, so that gaps become two spaces.
fn without_chance(line: &str) -> String {
    let mut shown: Vec<String> = Vec::new();
    for word in line.split(' ') {
        let bare = word.trim_matches(|c: char| !c.is_alphanumeric());
        let last = shown.last().map(String::as_str).unwrap_or_default().trim_start_matches('(').to_owned();
        let is_number = |text: &str| !text.is_empty() && text.chars().all(|c| c.is_ascii_digit() || c == '.');
        let replaced = match bare {
            _ if bare.len() == 12 && bare.chars().all(|c| c.is_ascii_hexdigit()) => "[digest]",
            _ if bare.len() == 67 && bare.starts_with("p1-") => "[token]",
            _ if bare.len() >= 20 && bare.contains('T') && bare.contains("Z") && is_number(&bare[..4]) => {
                "[time]"
            }
            _ if bare.len() == 10 && bare.matches('-').count() == 2 && is_number(&bare[..4]) => "[date]",
            _ if bare.len() == 8 && bare.matches(':').count() == 2 => "[time]",
            "ms" | "s" | "MiB" if is_number(&last) => {
                let number = shown.pop().unwrap();
                shown.push(number.replace(&last, "[some]"));
                "[unit]"
            }
            other => other,
        };
        shown.push(if bare.is_empty() { word.to_owned() } else { word.replace(bare, replaced) });
    }
    let indent = line.len() - line.trim_start().len();
    let parts = shown.join(" ");
    let columns = parts.trim_start().split("  ").map(str::trim).filter(|part| !part.is_empty());
    format!("{}{}", " ".repeat(indent.min(4)), columns.collect::<Vec<_>>().join("  "))
}
