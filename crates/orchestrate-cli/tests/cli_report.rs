//! `orchestrate report` on what really happened.

mod support;

use support::Scene;

#[test]
fn a_report_tells_what_deployments_and_rollbacks_came_to() {
    let scene = Scene::new();
    let report = |words: &[&str]| scene.run(&[&["report", "--env", "production"], words].concat());
    report(&[]).ends(1).says("ORC-0101");
    scene.deploy("1.0.0").ok();
    scene.deploy("1.1.0").ok();
    scene.rollback().ok();
    let json = report(&["--format", "json"]).ok().json();
    let part = &json["environments"][0];
    assert_eq!(part["environment"], "production");
    assert_eq!(part["rollbacks"]["by_path"]["warm"]["count"], 1);
    assert_eq!(part["rollbacks"]["success_rate"], 1.0);
    assert_eq!(part["dora"]["change_failure_rate"], 0.5);
    assert_eq!(json["total"]["deployments"]["rolled_back"], 1);
    assert_eq!(part["days"].as_array().unwrap().len(), 31, "thirty days, the first of which is cut short");

    let table = report(&[]).ok();
    assert!(table.stdout.contains("change failure rate") && table.stdout.contains("50.0 %"), "{table:?}");
    assert!(report(&["--format", "csv"]).ok().stdout.starts_with("environment,type,since"));
    assert!(report(&["--format", "markdown"]).ok().stdout.starts_with("# Deployments and rollbacks"));
    let page = report(&["--format", "html"]).ok().stdout;
    assert!(page.starts_with("<!doctype html>") && page.contains("blue_green_switch"));
    scene.run(&["report", "--all"]).ok();
}

#[test]
fn a_report_of_no_time_says_what_to_type() {
    let scene = Scene::new();
    scene.run(&["report", "--all"]).ok();
    scene.run(&["report"]).ends(2).says("--env");
    scene.run(&["report", "--all", "--since", "yesterday"]).ends(2).says("90d");
    scene
        .run(&["report", "--all", "--since", "2020-01-01", "--until", "2019-01-01"])
        .ends(2)
        .says("ORC-0216");
    scene.run(&["report", "--all", "--since", "4000d"]).ends(2).says("ORC-0216");
    scene.run(&["report", "--env", "nowhere"]).ends(1).says("nowhere");
    let told = scene.run(&["report", "--all", "--since", "0s", "--format", "json"]).ends(2);
    assert!(told.stdout.is_empty() && told.stderr.contains(r#"{"error":{"code":"ORC-0216""#), "{told:?}");
}
