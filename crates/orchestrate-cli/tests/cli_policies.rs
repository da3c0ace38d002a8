//! Approvals, freezes, broken glass and tokens, as people type them.

#![allow(clippy::unwrap_used, clippy::expect_used, reason = "a test that cannot go on has failed")]

mod support;

use serde_json::{Value, json};
use support::{Scene, until};

fn always() -> Value {
    json!([{ "name": "the sale", "from": "00:00", "to": "24:00" }])
}

/// The same commands, typed by somebody else.
fn as_bob(scene: &mut Scene) {
    scene.variable("ORCHESTRATE_ACTOR", "bob@desk");
}

fn as_alice(scene: &mut Scene) {
    scene.variable("ORCHESTRATE_ACTOR", "alice@desk");
}

#[test]
fn a_deployment_waits_for_somebody_else_and_a_rollback_for_nobody() {
    let mut scene = Scene::new();
    scene.deploy("1.0.0").ok();
    scene.configure(|production| production["requires_approval"] = json!(true));
    scene.deploy("1.1.0").ends(1).says("ORC-0175").says("deploy approve --env production --version 1.1.0");
    assert_eq!(scene.answers(), "1.0.0");
    let approve = "deploy approve --env production --version 1.1.0";
    scene.typed(approve).ends(1).says("ORC-0176").says("somebody else");
    as_bob(&mut scene);
    scene.typed(approve).ok().prints("approved: 1.1.0 may be deployed to production");
    as_alice(&mut scene);
    scene.deploy("1.1.0").ok();
    assert_eq!(scene.answers(), "1.1.0");
    let requests = scene.json("deploy approvals --env production").ok().json();
    assert_eq!(
        (&requests[0]["status"], &requests[0]["votes"][0]["actor"]),
        (&json!("used"), &json!("bob@desk"))
    );
    scene.typed("deploy approvals --env production").ok().prints("1/1 bob@desk");
    scene.rollback().ok();
    assert_eq!(scene.answers(), "1.0.0");
}

#[test]
fn a_blank_reason_is_none() {
    let mut scene = Scene::new();
    scene.deploy("1.0.0").ok();
    scene.configure(|production| production["require_reason"] = json!(true));
    scene.artifact("1.1.0");
    let deploy = ["deploy", "--env", "production", "--version", "1.1.0", "--reason"];
    scene.run(&[&deploy[..], &["  "]].concat()).ends(1).says("reason");
    let glass = ["deploy", "--env", "production", "--version", "1.1.0", "--break-glass", "--reason="];
    scene.run(&glass).ends(2).says("--reason");
    assert_eq!(scene.answers(), "1.0.0");
    scene.run(&[&deploy[..], &["it is ready"]].concat()).ok();
}

#[test]
fn another_artifact_under_an_approved_version_asks_anew() {
    let mut scene = Scene::new();
    scene.deploy("1.0.0").ok();
    scene.configure(|production| production["requires_approval"] = json!(true));
    scene.deploy("1.1.0").ends(1).says("ORC-0175");
    as_bob(&mut scene);
    scene.typed("deploy approve --env production").ok();
    as_alice(&mut scene);
    scene.write("dist/1.1.0/slipped-in", "after the approval");
    let slipped = scene.typed("deploy --env production --version 1.1.0");
    assert_ne!(slipped.status, 0, "{slipped:?}");
    assert_eq!(scene.answers(), "1.0.0");
    as_bob(&mut scene);
    scene.typed("deploy reject --env production --version 1.1.0 --reason smells").ok().prints("rejected");
}

#[test]
fn who_waits_in_place_deploys_as_soon_as_somebody_approves() {
    let mut scene = Scene::new();
    scene.deploy("1.0.0").ok();
    scene.configure(|production| production["requires_approval"] = json!(true));
    scene.artifact("1.1.0");
    let waits =
        scene.begin(&["deploy", "--env", "production", "--version", "1.1.0", "--wait-for-approval", "5m"]);
    until("a request waits", || {
        let requests = scene.json("deploy approvals --env production").ok().json();
        (requests[0]["status"] == "waiting").then_some(())
    });
    as_bob(&mut scene);
    scene.typed("deploy approve --env production").ok();
    waits.end().ok();
    assert_eq!(scene.answers(), "1.1.0");
    // Nobody comes: it says so, in its time.
    scene.artifact("1.2.0");
    scene.typed("deploy --env production --version 1.2.0 --wait-for-approval 100ms").ends(1).says("ORC-0175");
}

#[test]
fn a_freeze_that_starts_in_the_middle_lets_what_was_begun_finish() {
    let mut scene = Scene::new();
    scene.configure(|production| {
        production["strategy"] = json!({ "type": "canary", "steps": [50], "wait": "4s", "warm_for": "15m" });
    });
    scene.deploy("1.0.0").ok();
    scene.deploy("1.1.0").ok().prints("under way");
    scene.configure(|production| production["freezes"] = always());
    scene.typed("env apply").ok();
    scene.typed("deploy promote --env production").ends(1).says("ORC-0170").says("the sale");
    let live = || scene.status()["live"]["version"] == "1.1.0";
    until("the canary takes all of the traffic by itself", || live().then_some(()));
    scene.deploy("1.2.0").ends(1).says("ORC-0170").says("production is frozen until");
    // A rollback says why, as its preview told.
    let preview = scene.json("deploy rollback --env production --force --dry-run").ok().json();
    assert_eq!(preview["needs_reason"], true);
    assert!(preview["blockers"][0].as_str().unwrap().contains("the sale"), "{preview}");
    let ready = scene.status()["rollback"].clone();
    assert_eq!(ready["ready"], true, "{ready}");
    scene.rollback().ends(1);
    let back = scene.json("deploy rollback --env production --force --reason slow").ok().json();
    assert_eq!((&back["target_version"], back.get("break_glass")), (&json!("1.0.0"), None));
}

#[test]
fn a_bad_release_goes_back_by_itself_in_a_freeze() {
    let mut scene = Scene::new();
    scene.configure(|production| production["verify"]["bake"] = json!("3s"));
    scene.deploy("1.0.0").ok();
    scene.behaviour("sick_after:300ms");
    scene.configure(|production| production["freezes"] = always());
    scene.artifact("1.1.0");
    let glass = "deploy --env production --version 1.1.0 --break-glass --reason hotfix";
    scene.typed(glass).ends(3).says("1.0.0");
    assert_eq!(scene.answers(), "1.0.0");
    let newest = scene.json("deploy rollbacks --env production").ok().json()[0].clone();
    assert_eq!((&newest["rollback_type"], newest.get("break_glass")), (&json!("automatic"), None));
}

#[test]
fn a_freeze_comes_from_a_calendar() {
    let mut scene = Scene::new();
    scene.deploy("1.0.0").ok();
    scene.configure(|production| {
        production["freezes"] = json!([{ "name": "sales", "calendar": "sales.ics" }])
    });
    scene.deploy("1.1.0").ends(2).says("ORC-0238").says("sales.ics");
    let event = "BEGIN:VEVENT\r\nUID:1\r\nDTSTAMP:20260101T000000Z\r\nDTSTART:20200101T000000Z\r\nDTEND:20990101T000000Z\r\nEND:VEVENT";
    scene.write(
        "sales.ics",
        &format!("BEGIN:VCALENDAR\r\nVERSION:2.0\r\nPRODID:x\r\n{event}\r\nEND:VCALENDAR\r\n"),
    );
    scene.deploy("1.1.0").ends(1).says("ORC-0170").says("frozen until 2099-01-01 00:00 UTC: sales");
    scene.typed("env apply").ok();
    let frozen = scene.status()["frozen"].clone();
    assert_eq!((&frozen["name"], &frozen["until"]), (&json!("sales"), &json!("2099-01-01T00:00:00.000Z")));
    scene.typed("deploy status --env production").ok().prints("frozen until 2099-01-01 00:00 UTC: sales");
}

#[test]
fn broken_glass_needs_a_reason_and_is_seen_by_everybody() {
    let mut scene = Scene::new();
    scene.deploy("1.0.0").ok();
    scene.configure(|production| {
        production["freezes"] = always();
        production["requires_approval"] = json!(true);
    });
    scene.artifact("1.1.0");
    let deploy = "deploy --env production --version 1.1.0";
    scene.typed(deploy).ends(1).says("ORC-0170");
    scene.typed(&format!("{deploy} --break-glass")).ends(2).says("--reason");
    let deployed = scene.json(&format!("{deploy} --break-glass --reason fire")).ok().json();
    let overrode = deployed["break_glass"].as_str().unwrap();
    assert!(overrode.contains("the sale") && overrode.contains("not approved"), "{overrode}");
    assert_eq!(scene.answers(), "1.1.0");
    let audit = scene.json("audit list --env production").ok().json();
    let found = audit.as_array().unwrap().iter().find(|record| record["action"] == "glass_broken").unwrap();
    assert_eq!((&found["actor"], &found["reason"]), (&json!("alice@desk"), &json!("fire")));
    let back = scene.json("deploy rollback --env production --break-glass --reason worse").ok().json();
    assert_eq!((&back["target_version"], &back["status"]), (&json!("1.0.0"), &json!("completed")));
    scene.typed("deploy rollbacks show 1").ok().prints("broken glass");
}

#[test]
fn a_deployment_does_not_loosen_a_policy_by_the_way() {
    let mut scene = Scene::new();
    scene.deploy("1.0.0").ok();
    scene.configure(|production| production["requires_approval"] = json!(true));
    scene.typed("env apply").ok();
    scene.configure(|production| production["requires_approval"] = json!(false));
    scene.deploy("1.1.0").ends(1).says("ORC-0179").says("`requires_approval`").says("env apply");
    scene.typed("env apply").ok().prints("looser now: `requires_approval`");
    scene.deploy("1.1.0").ok();
}

/// Makes a token and gives what it reads.
#[track_caller]
fn token(scene: &Scene, line: &str) -> String {
    scene.json(&format!("token create {line}")).ok().json()["token"].as_str().unwrap().to_owned()
}

#[test]
fn with_tokens_everybody_does_what_they_may_and_is_named() {
    let mut scene = Scene::new();
    scene.deploy("1.0.0").ok();
    scene.typed("token list").ok().prints("who reaches this database may do everything");
    scene.typed("token create ci --role deployer").ends(1).says("ORC-0184");
    let admin = token(&scene, "ada --role admin");
    scene.deploy("1.1.0").ends(1).says("ORC-0180").says("ORCHESTRATE_TOKEN");
    scene.typed("token create eve --role admin").ends(1).says("ORC-0180");
    scene.typed("daemon stop --all").ends(1).says("ORC-0180");
    scene.typed("deploy status --env production").ok();
    scene.variable("ORCHESTRATE_TOKEN", &admin);
    let ci = token(&scene, "ci --role deployer --env production");
    scene.typed("token create ci --role viewer").ends(1).says("ORC-0183");
    scene.typed("token create --role viewer a/b").ends(2).says("ORC-0217");
    scene.typed("token create dot --role viewer --env nowhere").ends(1).says("ORC-0101");
    scene.variable("ORCHESTRATE_TOKEN", &ci);
    scene.deploy("1.1.0").ok();
    // All of the database is more than production.
    scene.typed("daemon stop --all").ends(1).says("ORC-0182");
    scene.typed("token list").ok().prints("ci");
    scene.variable("ORCHESTRATE_TOKEN", &admin);
}

#[test]
fn a_token_of_one_role_does_nothing_else() {
    let mut scene = Scene::new();
    scene.deploy("1.0.0").ok();
    let admin = token(&scene, "ada --role admin");
    scene.variable("ORCHESTRATE_TOKEN", &admin);
    let (deployer, approver) = (token(&scene, "ci --role deployer"), token(&scene, "ben --role approver"));
    let viewer = token(&scene, "eve --role viewer --expires-in 1h");
    scene.configure(|production| production["requires_approval"] = json!(true));
    scene.variable("ORCHESTRATE_TOKEN", &viewer);
    scene.deploy("1.1.0").ends(1).says("ORC-0182").says("eve (viewer) may not deploy and roll back");
    scene.rollback().ends(1);
    scene.variable("ORCHESTRATE_TOKEN", &deployer);
    scene.deploy("1.1.0").ends(1).says("ORC-0175");
    scene.typed("deploy approve --env production").ends(1).says("ORC-0182");
    scene.typed("token create me --role admin").ends(1).says("ORC-0182");
    scene.typed("env delete production").ends(1).says("ORC-0182");
    // From a file, as jobs have it.
    let file = scene.write("token", &format!("{approver}\n"));
    scene.variable("ORCHESTRATE_TOKEN", "").variable("ORCHESTRATE_TOKEN_FILE", file.to_str().unwrap());
    scene.typed("deploy approve --env production").ok();
    scene.typed("deploy --env production --version 1.1.0").ends(1).says("ORC-0182");
    scene.variable("ORCHESTRATE_TOKEN", &deployer);
    assert_eq!(scene.deploy("1.1.0").ok().status, 0);
    let newest = &scene.json("deploy history --env production").ok().json()[0];
    assert_eq!(newest["actor"], "ci", "the token's name, not what ORCHESTRATE_ACTOR says");
    // The right of a deployment is the right of a rollback.
    assert_eq!(scene.rollback().ok().json()["actor"], "ci");
    // A deployer cannot loosen what holds for them.
    scene.configure(|production| production["requires_approval"] = json!(false));
    scene.typed("env apply").ends(1).says("ORC-0182");
    scene.variable("ORCHESTRATE_TOKEN", &admin);
    scene.typed("token revoke ci").ok();
    scene.typed("token revoke ada").ends(1).says("ORC-0184");
    scene.typed("env apply").ok();
    scene.variable("ORCHESTRATE_TOKEN", &deployer);
    scene.deploy("1.2.0").ends(1).says("ORC-0181").says("revoked");
    scene.variable("ORCHESTRATE_TOKEN", "orc_guess");
    scene.deploy("1.2.0").ends(1).says("ORC-0181");
    // Refusals are on record, and no token reads anywhere.
    scene.variable("ORCHESTRATE_TOKEN", &admin);
    let audit = scene.json("audit list --limit 200").ok();
    assert!(audit.stdout.contains("ORC-0182") && audit.stdout.contains("token_revoked"), "{audit:?}");
    let listed = scene.json("token list").ok().stdout;
    for text in [&admin, &deployer, &approver, &viewer] {
        assert!(!audit.stdout.contains(text.as_str()) && !listed.contains(text.as_str()));
        let files = ["orchestrate.db", "orchestrate.db-wal"].map(|name| scene.home.join(name));
        for file in files.iter().filter(|file| file.exists()) {
            let bytes = std::fs::read(file).unwrap();
            assert!(!bytes.windows(text.len()).any(|part| part == text.as_bytes()), "{}", file.display());
        }
    }
}

#[test]
fn lost_tokens_are_replaced_by_broken_glass_which_is_on_record() {
    let mut scene = Scene::new();
    scene.deploy("1.0.0").ok();
    let lost = token(&scene, "ada --role admin");
    scene.typed("token create eve --role admin --break-glass").ends(2).says("--reason");
    let made = scene.json("token create eve --role admin --break-glass --reason lost").ok().json();
    assert!(made["token"].as_str().unwrap().starts_with("orc_"));
    scene.variable("ORCHESTRATE_TOKEN", &lost);
    let audit = scene.json("audit list").ok().json();
    let found = audit.as_array().unwrap().iter().find(|record| record["action"] == "token_created").unwrap();
    assert_eq!((&found["detail"]["break_glass"], &found["detail"]["reason"]), (&json!(true), &json!("lost")));
}
