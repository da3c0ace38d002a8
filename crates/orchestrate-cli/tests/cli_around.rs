//! What is around a deployment: logs, the audit trail, the daemon, the doctor, completions and the manual.

#![allow(clippy::unwrap_used, clippy::expect_used, reason = "a test that cannot go on has failed")]

mod support;

use std::fs::File;
use std::io::Write as _;

use support::scene::PROGRAM;
use support::{Scene, until};

#[test]
fn logs_show_who_said_what_and_follow() {
    let scene = Scene::new();
    scene.deploy("1.0.0").ok();
    let lines = |line: &str| scene.typed(line).ok().stdout.lines().map(str::to_owned).collect::<Vec<_>>();
    until("both instances said it", || (lines("logs --env production").len() == 2).then_some(()));
    let said = lines("logs --env production");
    assert!(said.iter().all(|line| line.ends_with("| this is 1.0.0")), "{said:?}");
    assert_ne!(said[0], said[1], "it says which instance spoke");
    assert_eq!(lines("logs --env production -n 0").len(), 0);
    scene.deploy("1.1.0").ok();
    until("the new one is the default", || {
        lines("logs -e production").iter().any(|line| line.contains("this is 1.1.0")).then_some(())
    });
    assert_eq!(lines("logs --env production --version 1.0.0"), said);
    scene.typed("logs --env production --version 3.0.0").ends(1).says("no output of 3.0.0");

    let (seen, mut follow) =
        (scene.work.join("followed"), scene.command(&["logs", "-e", "production", "-f", "-n1"]));
    let mut follow = follow.stdout(File::create(&seen).unwrap()).spawn().unwrap();
    let files = std::fs::read_dir(scene.home.join("logs/production/1.1.0")).unwrap();
    let file = files.flatten().map(|entry| entry.path()).find(|path| path.extension().is_some()).unwrap();
    let has = |text: &str| std::fs::read_to_string(&seen).unwrap().contains(text).then_some(());
    until("it begins with the last line", || has("| this is 1.1.0"));
    writeln!(File::options().append(true).open(file).unwrap(), "and more").unwrap();
    until("it goes on with what is written", || has("| and more"));
    let pid = rustix::process::Pid::from_child(&follow);
    rustix::process::kill_process(pid, rustix::process::Signal::INT).unwrap();
    assert!(follow.wait().unwrap().success());
}

/// The program that people run has no failpoints, whatever the variable says.
#[cfg(not(feature = "failpoints"))]
#[test]
fn what_is_asked_of_failpoints_is_not_heard() {
    let mut scene = Scene::new();
    let points = scene.work.join("points");
    std::fs::create_dir(&points).unwrap();
    std::fs::write(points.join("rules"), "database/commit=kill\nrouter/switch=error\n").unwrap();
    std::fs::write(points.join("trace"), "").unwrap();
    scene.variable("ORCHESTRATE_FAILPOINTS", points.to_str().unwrap());
    scene.deploy("1.0.0").ok();
    assert_eq!(scene.answers(), "1.0.0");
    assert_eq!(std::fs::read_to_string(points.join("trace")).unwrap(), "");
    assert_eq!(std::fs::read_dir(points).unwrap().count(), 2);
}

#[test]
fn the_audit_trail_tells_who_did_what_and_why() {
    let scene = Scene::new();
    scene.deploy("1.0.0").ok();
    scene.deploy("1.1.0").ok();
    scene.typed("deploy rollback -e production --force --reason leaks").ok();
    scene.typed("deploy unhold 1.1.0 -e production --reason mended").ok();
    let records = scene.json("audit list --env production").ok().json();
    let actions: Vec<&str> =
        records.as_array().unwrap().iter().map(|record| record["action"].as_str().unwrap()).collect();
    for action in ["environment_created", "deployment_completed", "rollback_completed"] {
        assert!(actions.contains(&action), "{action}: {actions:?}");
    }
    assert!(records.as_array().unwrap().iter().all(|record| record["actor"] == "alice@desk"), "{records}");
    assert_eq!(records[0]["reason"], "mended");
    scene.typed("audit list").ok().prints("rollback_completed").prints("leaks");
}

/// What a hand types at the database.
fn sql(scene: &Scene, statement: &'static str) {
    use sqlx::Connection as _;
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    runtime.block_on(async {
        let options = sqlx::sqlite::SqliteConnectOptions::new().filename(scene.home.join("orchestrate.db"));
        let mut connection = sqlx::SqliteConnection::connect_with(&options).await.unwrap();
        sqlx::query(statement).execute(&mut connection).await.unwrap();
        connection.close().await.unwrap();
    });
}

#[test]
fn a_trail_that_was_changed_by_hand_is_not_intact() {
    let scene = Scene::new();
    scene.deploy("1.0.0").ok();
    scene.typed("deploy rollback -e production --force").ends(1);
    let refused = scene.json("audit list --limit 1").ok().json();
    assert_eq!(
        (&refused[0]["action"], &refused[0]["detail"]["asked"]),
        (&"refused".into(), &"rollback".into())
    );
    let head = scene.json("audit head --sign").ok().stdout;
    std::fs::write(scene.work.join("head.json"), &head).unwrap();
    scene.deploy("1.1.0").ok();
    let whole = scene.json("audit verify --head head.json").ok().json();
    assert_eq!((&whole["intact"], &whole["kept"]), (&true.into(), &refused[0]["id"]));
    assert!(whole["signed_by"].is_string());
    std::fs::write(scene.work.join("forged.json"), head.replace("\"id\":", "\"id\":1")).unwrap();
    scene.typed("audit verify --head forged.json").ends(4).says("ORC-0411");
    scene.typed("audit verify --head nothing.json").ends(2).says("ORC-0412");
    scene.typed("audit verify").ok().prints("intact: ");
    scene.typed("daemon stop").ok();
    sql(&scene, "DROP TRIGGER audit_stays");
    sql(&scene, "UPDATE audit SET actor = 'mallory@desk' WHERE id = 2");
    scene.typed("audit verify").ends(4).says("ORC-0410").says("record 2 does not follow");
    sql(&scene, "UPDATE audit SET actor = 'alice@desk' WHERE id = 2");
    scene.typed("audit verify").ok();
}

#[test]
fn the_daemon_can_be_stopped_and_the_service_goes_on() {
    let scene = Scene::new();
    scene.typed("daemon status").ok().prints("the daemon does not run");
    scene.deploy("1.0.0").ok();
    let pid = scene.json("daemon status").ok().json()["daemon"]["pid"].as_u64().unwrap();
    scene.typed("daemon start").ok().prints("runs already");
    scene.typed("daemon stop").ok().prints("services and proxy go on");
    assert_eq!(scene.answers(), "1.0.0");
    scene.typed("daemon start").ok().prints("started");
    assert_ne!(scene.json("daemon status").ok().json()["daemon"]["pid"].as_u64().unwrap(), pid);
    scene.typed("env check production").ok().prints("2 of 2 ready");
    scene.typed("daemon stop --all").ok().prints("services and proxy are stopped");
    assert!(scene.get("/").is_err());
    // What ran before runs again: to stop everything on this host is not to take the environment down.
    scene.typed("daemon start").ok();
    until("it serves again", || scene.get("/version").ok().filter(|(status, _)| *status == 200));
}

#[test]
fn doctor_finds_nothing_wrong_where_nothing_is() {
    let scene = Scene::new();
    scene.deploy("1.0.0").ok();
    let findings = scene.json("doctor").ok().json();
    let names: Vec<&str> =
        findings.as_array().unwrap().iter().map(|finding| finding["name"].as_str().unwrap()).collect();
    for name in ["home", "key", "database", "config file", "daemon", "proxy", "operations"] {
        assert!(names.contains(&name), "{name}: {names:?}");
    }
    assert!(findings.as_array().unwrap().iter().all(|finding| finding["passed"] == true), "{findings}");
    scene.write("orchestrate.yaml", "service: sample\nenviroments: {}\n");
    scene.typed("doctor").ends(1).prints("failed  config file");
}

#[test]
fn every_shell_gets_completions_and_there_is_a_manual() {
    let scene = Scene::empty();
    for shell in ["bash", "zsh", "fish", "elvish", "powershell"] {
        let completions = scene.run(&["completions", shell]).ok();
        assert!(completions.stdout.contains("rollback") && completions.stdout.contains("undo"), "{shell}");
        assert!(!completions.stdout.contains("sample-service"), "{shell} offers what is hidden");
    }
    scene.typed("completions tcsh").ends(2);
    let mut bash = std::process::Command::new("bash");
    let script = format!("source <('{PROGRAM}' completions bash) && complete -p orchestrate");
    assert!(bash.args(["-c", &script]).status().unwrap().success(), "bash accepts its completions");
    let page = scene.typed("man").ok();
    page.prints(".TH").prints("rollback");
    assert!(!scene.home.exists(), "looking something up makes no home");
}
