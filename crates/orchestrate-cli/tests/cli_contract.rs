//! INTERFACE.md word for word: exit codes, the fields of every result, and what goes to stdout and to stderr.

#![allow(clippy::unwrap_used, clippy::expect_used, reason = "a test that cannot go on has failed")]

mod support;

use serde_json::{Value, json};
use support::shape::{has_shape, is_time};
use support::{Ran, Scene};

const ROLLBACK: &[(&str, &str)] = &[
    ("id", "number"),
    ("deployment_id", "number"),
    ("environment", "production"),
    ("from_version", "string"),
    ("target_version", "string"),
    ("rollback_type", "previous|specific|blue_green_switch|automatic"),
    ("status", "completed"),
    ("error_message", "null"),
    ("started_at", "time"),
    ("completed_at", "time"),
    ("duration_ms", "number"),
    ("notification_sent", "boolean"),
    ("actor", "alice@desk"),
    ("reason", "string?"),
    ("trigger", "manual|verification|watch|api"),
    ("path", "warm|cold|none"),
    ("phases", "array"),
];

const DEPLOYMENT: &[(&str, &str)] = &[
    ("id", "number"),
    ("environment", "production"),
    ("version", "string"),
    ("provider", "process"),
    ("strategy", "blue_green"),
    ("status", "completed"),
    ("error_message", "null"),
    ("started_at", "time"),
    ("completed_at", "time"),
    ("duration_ms", "number"),
    ("actor", "alice@desk"),
    ("reason", "string?"),
    ("rollback", "null"),
];

#[test]
fn a_deployment_and_a_rollback_print_the_promised_fields() {
    let scene = Scene::new();
    scene.artifact("1.0.0");
    let deployed = scene.run(&[
        "deploy",
        "-e",
        "production",
        "--version",
        "1.0.0",
        "--reason",
        "the first one",
        "--format",
        "json",
    ]);
    let deployed = deployed.ok();
    assert_eq!(deployed.stderr, "", "with --format json there is no progress");
    has_shape(&deployed.json(), DEPLOYMENT);
    assert_eq!(deployed.json()["reason"], "the first one");
    scene.deploy("1.1.0").ok();

    let rolled = scene.rollback().ok();
    assert_eq!(rolled.stderr, "");
    let rolled = rolled.json();
    has_shape(&rolled, ROLLBACK);
    assert_eq!(rolled["deployment_id"], 2);
    assert_eq!((&rolled["from_version"], &rolled["target_version"]), (&json!("1.1.0"), &json!("1.0.0")));
    assert_eq!((&rolled["rollback_type"], &rolled["path"]), (&json!("blue_green_switch"), &json!("warm")));
    let phases = rolled["phases"].as_array().unwrap();
    assert!(!phases.is_empty());
    phases.iter().for_each(|phase| has_shape(phase, &[("name", "string"), ("ms", "number")]));

    let shown = scene.json("deploy rollbacks show 1").ok().json();
    assert_eq!(shown, rolled, "the record says what the command said");
    let all = scene.json("deploy rollbacks --env production").ok().json();
    assert_eq!(all, json!([rolled]));
}

#[test]
fn status_prints_the_promised_fields() {
    let scene = Scene::new();
    scene.typed("env apply").ok();
    let empty = scene.status();
    let shape = [
        ("environment", "production"),
        ("live", "object?"),
        ("latest", "object?"),
        ("traffic", "array"),
        ("rollback", "object"),
        ("holds", "array"),
        ("operation", "object?"),
    ];
    has_shape(&empty, &shape);
    assert!(empty["live"].is_null() && empty["latest"].is_null(), "{empty}");
    assert_eq!(empty["rollback"]["ready"], false);
    assert_eq!(empty["rollback"]["blockers"].as_array().unwrap().len(), 1, "{empty}");

    scene.deploy("1.0.0").ok();
    scene.deploy("1.1.0").ok();
    scene.run(&["deploy", "hold", "0.9.0", "-e", "production", "--reason", "leaks"]).ok();
    let status = scene.status();
    has_shape(&status, &shape);
    has_shape(
        &status["live"],
        &[
            ("version", "1.1.0"),
            ("deployment_id", "number"),
            ("slot", "green"),
            ("since", "time"),
            ("proven", "boolean"),
        ],
    );
    has_shape(
        &status["latest"],
        &[
            ("deployment_id", "number"),
            ("version", "1.1.0"),
            ("status", "completed"),
            ("error_message", "null"),
            ("bake_until", "null"),
            ("proven", "boolean"),
            ("point_of_no_return", "time"),
        ],
    );
    let [live, warm] = status["traffic"].as_array().unwrap().as_slice() else { panic!("{status}") };
    traffic(live, "1.1.0", "live", 100, "null");
    traffic(warm, "1.0.0", "warm", 0, "time");
    has_shape(
        &status["rollback"],
        &[
            ("ready", "boolean"),
            ("target_version", "1.0.0"),
            ("rollback_type", "blue_green_switch"),
            ("path", "warm"),
            ("estimated_ms", "number?"),
            ("blockers", "array"),
        ],
    );
    assert_eq!((&status["rollback"]["ready"], &status["rollback"]["blockers"]), (&json!(true), &json!([])));
    has_shape(
        &status["holds"][0],
        &[("version", "0.9.0"), ("reason", "leaks"), ("since", "time"), ("actor", "alice@desk")],
    );
    assert!(status["operation"].is_null());
}

#[track_caller]
fn traffic(row: &Value, version: &str, state: &str, weight: u8, warm_until: &str) {
    has_shape(
        row,
        &[
            ("version", version),
            ("slot", "blue|green"),
            ("state", state),
            ("weight", "number"),
            ("instances", "number"),
            ("healthy", "number"),
            ("in_flight", "number"),
            ("warm_until", warm_until),
            ("proven", "boolean"),
            ("addresses", "array"),
        ],
    );
    assert_eq!((&row["weight"], &row["instances"], &row["healthy"]), (&json!(weight), &json!(2), &json!(2)));
}

#[test]
fn history_is_newest_first_and_says_what_each_row_is() {
    let scene = Scene::new();
    scene.deploy("1.0.0").ok();
    scene.deploy("1.1.0").ok();
    scene.rollback().ok();
    let history = scene.json("deploy history --env production").ok().json();
    let rows = history.as_array().unwrap();
    let kinds: Vec<&str> = rows.iter().map(|row| row["kind"].as_str().unwrap()).collect();
    assert_eq!(kinds, ["rollback", "deploy", "deploy"]);
    assert_eq!(rows[1]["version"], "1.1.0");
    assert_eq!(rows[1]["status"], "rolled_back");
    assert_eq!(rows[2]["version"], "1.0.0");
    for row in rows {
        assert!(is_time(row["started_at"].as_str().unwrap()), "{row}");
    }
    for (key, _) in ROLLBACK {
        assert!(rows[0].get(key).is_some(), "{key}: {}", rows[0]);
    }
    let one = scene.json("deploy history --env production --limit 1").ok().json();
    assert_eq!(one, json!([rows[0]]));
}

#[test]
fn a_completed_deployment_is_rolled_back_only_with_force() {
    let scene = Scene::new();
    scene.deploy("1.0.0").ok();
    scene.deploy("1.1.0").ok();
    let message = "deployment 2 of 1.1.0 is completed; use --force to roll it back";
    let refused = scene.typed("deploy rollback --env production").ends(1);
    assert_eq!(refused.stdout, "");
    refused.says(message);
    let refused = scene.json("deploy rollback --env production").ends(1);
    assert!(
        refused
            .stderr
            .starts_with(&format!(r#"{{"error":{{"code":"ORC-0104","message":"{message}","hint":""#)),
        "in this order: {}",
        refused.stderr
    );
    has_shape(&refused.error(), &[("code", "ORC-0104"), ("message", message), ("hint", "string")]);
    assert_eq!(scene.answers(), "1.1.0");
    assert_eq!(scene.json("deploy rollbacks -e production").ok().json(), json!([]));
}

#[test]
fn exit_codes_say_what_happened() {
    let mut scene = Scene::new();
    let code = |ran: Ran| ran.status;
    assert_eq!(code(scene.deploy("1.0.0")), 0);
    assert_eq!(code(scene.typed("deploy rollback --env production --force")), 1, "no target");
    assert_eq!(code(scene.typed("deploy rollback --env production --version 9.9.9")), 1, "never live");
    assert_eq!(code(scene.typed("deploy status --env nowhere")), 1, "no such environment");
    assert_eq!(code(scene.typed("deploy --env production")), 2, "no version");
    assert_eq!(code(scene.typed("deplyo")), 2);
    assert_eq!(code(scene.typed("deploy status --env production --format yaml")), 2);
    scene.behaviour("crash_at_start");
    assert_eq!(code(scene.deploy("1.1.0")), 3, "failed and put back");
    scene.write("orchestrate.yaml", "service: [");
    assert_eq!(code(scene.deploy("1.2.0")), 2, "a config file that cannot be used");
    assert_eq!(scene.answers(), "1.0.0");
}

#[test]
fn wrong_usage_is_told_in_the_format_that_was_asked_for() {
    let scene = Scene::new();
    for line in [
        "deploy rollback",
        "deploy --env production",
        "deploy status --env ../../etc",
        "deploy candidates -e a --no",
    ] {
        let error = scene.json(line).ends(2).error();
        has_shape(&error, &[("code", "ORC-0200"), ("message", "string"), ("hint", "string")]);
        let ran = scene.typed(line).ends(2);
        assert_eq!(ran.stdout, "");
        assert!(ran.stderr.starts_with("error: "), "{}", ran.stderr);
    }
}

#[test]
fn the_version_of_the_service_is_not_ours() {
    let scene = Scene::new();
    for line in ["--version", "-V"] {
        assert_eq!(scene.typed(line).ok().stdout, format!("orchestrate {}\n", env!("CARGO_PKG_VERSION")));
    }
    scene.artifact("7.7");
    assert_eq!(scene.json("deploy -e production --version 7.7").ok().json()["version"], "7.7");
}

#[test]
fn results_go_to_stdout_and_progress_to_stderr() {
    let scene = Scene::new();
    let deployed = scene.deploy("1.0.0").ok();
    assert_eq!(deployed.stdout.lines().count(), 1, "{}", deployed.stdout);
    let deployed = deployed.prints("deployed 1.0.0 to production in ");
    let deployed = deployed.says("deploying 1.0.0 to production").says("wait until 1.0.0 is ready");
    assert!(!deployed.stdout.contains("wait until"));
    scene.artifact("1.1.0");
    let quiet = scene.typed("deploy -e production --version 1.1.0 --quiet").ok();
    assert_eq!(quiet.stderr, "");
    quiet.prints("deployed 1.1.0");
}

#[test]
fn there_is_colour_only_where_it_is_wanted() {
    let mut scene = Scene::new();
    scene.deploy("1.0.0").ok();
    let status = "deploy status --env production";
    let escapes = |ran: Ran| (ran.stdout.contains('\u{1b}'), ran.stderr.contains('\u{1b}'));
    assert_eq!(escapes(scene.typed(status).ok()), (false, false), "a pipe gets none");
    assert_eq!(escapes(scene.typed(&format!("{status} --color never")).ok()), (false, false));
    assert_eq!(escapes(scene.typed(&format!("{status} --color always")).ok()), (true, false));
    assert_eq!(escapes(scene.typed("deploy status --env nowhere --color always").ends(1)), (false, true));
    scene.artifact("1.1.0");
    let deployed = scene.typed("deploy --env production --version 1.1.0");
    assert_eq!(escapes(deployed.ok()), (false, false), "progress in a pipe is plain");
    scene.variable("NO_COLOR", "1");
    assert_eq!(escapes(scene.typed(status).ok()), (false, false));
    assert_eq!(escapes(scene.json("deploy status -e production --color always").ok()), (false, false));
    assert_eq!(escapes(scene.typed("deploy --help")), (false, false));
}
