//! Services that go back together: in order, all or none, and also if the command is killed.

#![allow(clippy::unwrap_used, clippy::expect_used, reason = "a test that cannot go on has failed")]

mod support;

use rustix::process::Signal;
use serde_json::{Value, json};
use support::load::Load;
use support::scene::free_address;
use support::{Scene, until};

/// `production` needs `api`; both are of the group `shop`.
struct Shop {
    scene: Scene,
    api: std::net::SocketAddr,
}

impl Shop {
    fn new() -> Self {
        let mut scene = Scene::new();
        let api = free_address();
        scene.config["service"] = json!("sample");
        let mut of_api = scene.config["environments"]["production"].clone();
        of_api["url"] = json!(format!("http://{api}"));
        of_api["processes"]["web"]["listen"] = json!(api);
        of_api["group"] = json!("shop");
        scene.config["environments"]["api"] = of_api;
        scene.configure(|production| production["group"] = json!("shop"));
        let mut shop = Self { scene, api };
        shop.deploy("api", "1.0.0");
        shop.needs("1.0.0").deploy("production", "1.0.0");
        shop.deploy("api", "2.0.0");
        shop.needs("2.0.0").deploy("production", "2.0.0");
        shop
    }

    fn needs(&mut self, version: &str) -> &Self {
        self.scene.configure(|production| production["depends_on"] = json!({ "api": version }));
        self
    }

    #[track_caller]
    fn deploy(&self, environment: &str, version: &str) {
        let broken = self.scene.work.join("broken");
        let body = format!(
            "# {version}\n[ -e '{}' ] && exit 1\nexec '{}' sample-service",
            broken.display(),
            support::scene::PROGRAM
        );
        self.scene.script(&format!("dist/{version}/serve"), &body);
        self.scene.typed(&format!("deploy --env {environment} --version {version}")).ok();
    }

    /// What users of both get.
    #[track_caller]
    fn answers(&self) -> [String; 2] {
        let (status, api) = support::scene::get(self.api, "/version").unwrap();
        assert_eq!(status, 200);
        [self.scene.answers(), api.trim().to_owned()]
    }

    fn newest(&self) -> Value {
        self.scene.json("deploy rollbacks --group shop").ok().json()[0].clone()
    }
}

#[test]
fn both_go_back_and_no_request_is_lost() {
    let shop = Shop::new();
    let loads = [shop.scene.address, shop.api].map(|address| Load::start(address, "/version", 3));
    let plan = shop.scene.typed("deploy rollback --group shop --dry-run").ok();
    let (web, api) = (plan.stdout.find("production from 2.0.0"), plan.stdout.find("api from 2.0.0"));
    assert!(web.unwrap() < api.unwrap(), "{}", plan.stdout);
    shop.scene.typed("deploy rollback --group shop").ends(1).says("ORC-0187").says("--force");
    assert_eq!(shop.answers(), ["2.0.0", "2.0.0"]);
    let group = shop.scene.json("deploy rollback --group shop --force --reason slow").ok().json();
    assert_eq!(group["status"], "completed", "{group}");
    let parts = group["parts"].as_array().unwrap();
    let order: Vec<&str> = parts.iter().map(|part| part["environment"].as_str().unwrap()).collect();
    assert_eq!(order, ["production", "api"]);
    for part in parts {
        assert_eq!(part["rollback"]["reason"], "slow", "{part}");
        assert_eq!(part["rollback"]["path"], "warm", "{part}");
    }
    assert_eq!(shop.answers(), ["1.0.0", "1.0.0"]);
    for load in loads {
        load.await_more(20);
        let report = load.end();
        assert_eq!(report.failed, Vec::<String>::new());
    }
    assert_eq!(shop.newest()["id"], group["id"]);
    shop.scene.typed("deploy rollbacks --group shop").ok().prints("production 1.0.0, api 1.0.0");
}

#[test]
fn what_another_needs_is_refused_to_be_taken_away() {
    let shop = Shop::new();
    let back = "deploy rollback --env api --force";
    shop.scene
        .typed(back)
        .ends(1)
        .says("ORC-0185")
        .says("2.0.0 in production would not work with 1.0.0 in api");
    let status = shop.scene.json("deploy status --env api").ok().json();
    assert_eq!(status["rollback"]["ready"], false, "{}", status["rollback"]);
    shop.scene
        .typed("deploy rollback --group nobody --force")
        .ends(1)
        .says("ORC-0189")
        .says("there are: shop");
    assert_eq!(shop.answers(), ["2.0.0", "2.0.0"]);
}

#[test]
fn a_member_that_is_down_and_does_not_come_up_leaves_all_as_they_were() {
    let shop = Shop::new();
    shop.scene.typed("env stop api --yes").ok();
    shop.scene.write("broken", "nothing starts any more");
    let failed = shop.scene.typed("deploy rollback --group shop --force").ends(3);
    failed.says("group rollback 1 of shop failed and was put back").says("api: ");
    assert_eq!(shop.scene.answers(), "2.0.0", "what went back came forward again");
    let group = shop.newest();
    assert_eq!(group["status"], "failed", "{group}");
    assert_eq!(group["parts"][0]["undo"]["status"], "completed", "{group}");
    let status = shop.scene.status();
    assert_eq!((&status["holds"], &status["operation"]), (&json!([]), &Value::Null));
}

#[test]
fn a_killed_command_leaves_all_back_or_none() {
    // The instant is another one each time; whatever it is, it ends well.
    for pause in [0, 3, 6, 9, 12, 16, 20, 26] {
        let shop = Shop::new();
        let command = shop.scene.begin(&["deploy", "rollback", "--group", "shop", "--force"]);
        support::pause(std::time::Duration::from_millis(pause));
        command.signal_if_it_runs(Signal::KILL);
        command.end();
        let begun = || shop.scene.json("deploy rollbacks --group shop").ok().json();
        let ended = until("it comes to an end", || {
            let groups = begun();
            let open = groups.as_array().unwrap().iter().any(|group| group["status"] == "in_progress");
            (!open).then_some(groups)
        });
        let expected = match ended[0]["status"].as_str() {
            Some("completed") => ["1.0.0", "1.0.0"],
            Some("failed") | None => ["2.0.0", "2.0.0"],
            other => panic!("{other:?}: {ended}"),
        };
        assert_eq!(shop.answers(), expected, "killed after {pause} ms: {ended}");
    }
}
