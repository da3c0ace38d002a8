//! Services that take their time: to listen, and to end.

#![allow(clippy::unwrap_used, clippy::expect_used, reason = "a test that cannot go on has failed")]

mod support;

use serde_json::json;
use support::load::Load;
use support::scene::PROGRAM;
use support::{Scene, until};

#[test]
fn one_that_takes_its_port_late_gets_its_traffic_only_then() {
    for strategy in ["blue_green", "rolling"] {
        let mut scene = Scene::new();
        scene.configure(|production| production["strategy"] = json!({ "type": strategy }));
        scene.deploy("1.0.0").ok();
        let load = Load::start(scene.address, "/version", 8);
        let gate = scene.work.join("gate");
        let wait = format!("while ! test -e '{}'; do sleep 0.05; done", gate.display());
        scene.script("dist/1.1.0/serve", &format!("echo waits; {wait}; exec '{PROGRAM}' sample-service"));
        let deploy = scene.begin(&["deploy", "--env", "production", "--version", "1.1.0"]);
        until("it runs", || {
            let logs = scene.typed("logs --env production --version 1.1.0");
            logs.stdout.contains("waits").then_some(())
        });
        load.await_more(50);
        assert_eq!(scene.answers(), "1.0.0", "{strategy}: what does not listen gets no traffic");
        std::fs::write(&gate, "").unwrap();
        deploy.end().ok();
        assert_eq!(scene.answers(), "1.1.0", "{strategy}");
        load.await_more(50);
        let report = load.end();
        assert!(report.failed.is_empty(), "{strategy}: {:?}", report.failed);
    }
}

#[test]
fn one_that_ignores_sigterm_is_killed_and_holds_nothing_up() {
    for strategy in ["recreate", "blue_green", "canary"] {
        let mut scene = Scene::new();
        scene.configure(|production| {
            production["strategy"] = json!({ "type": strategy });
            production["stop_timeout"] = json!("300ms");
        });
        let serve =
            format!("trap '' TERM\n'{PROGRAM}' sample-service & wait $!\nwhile :; do sleep 0.1; done");
        scene.script("dist/1.0.0/serve", &serve);
        scene.typed("deploy --env production --version 1.0.0").ok();
        scene.deploy("1.1.0").ok();
        if strategy == "canary" {
            scene.typed("deploy promote --env production --all").ok();
        }
        assert_eq!(scene.answers(), "1.1.0", "{strategy}");
        let stopped = scene.typed("env stop production --yes").ok();
        stopped.prints("stopped 1.1.0");
        let stays = |pid: &u32| {
            std::fs::read_to_string(format!("/proc/{pid}/environ"))
                .is_ok_and(|environ| environ.contains("ORCHESTRATE_VERSION=1.0.0"))
        };
        until("nothing of it runs", || (!scene.processes().iter().any(stays)).then_some(()));
    }
}
