//! Static sites with the real program: deployed, rolled back, served throughout.

#![allow(clippy::unwrap_used, clippy::expect_used, reason = "a test that cannot go on has failed")]

mod support;

use serde_json::json;
use support::Scene;
use support::load::Load;

const VERSION: &str = "/.well-known/orchestrate-version";

fn scene() -> Scene {
    let mut scene = Scene::new();
    let address = scene.address;
    scene.configure(|production| {
        production["provider"] = json!("static");
        production["static"] = json!({ "root": "public", "not_found": "404.html" });
        production["processes"] = json!({ "web": { "instances": 2, "listen": address } });
        production["health_check"]["path"] = json!("/");
        production["verify"] = json!({ "version": { "path": VERSION, "contains": "{version}" } });
    });
    scene
}

fn deploy(scene: &Scene, version: &str) -> support::Ran {
    scene.write(&format!("dist/{version}/public/index.html"), &format!("<h1>{version}</h1>"));
    scene.write(&format!("dist/{version}/public/404.html"), "<h1>nowhere</h1>");
    scene.typed(&format!("deploy --env production --version {version}"))
}

#[test]
fn a_site_is_switched_and_rolled_back_and_no_request_is_lost() {
    let scene = scene();
    deploy(&scene, "1.0.0").ok();
    let load = Load::start(scene.address, VERSION, 8);
    load.await_more(50);
    deploy(&scene, "1.1.0").ok();
    load.await_more(50);
    assert_eq!(scene.get("/").unwrap(), (200, "<h1>1.1.0</h1>".to_owned()));
    assert_eq!(scene.get("/nobody").unwrap(), (404, "<h1>nowhere</h1>".to_owned()));
    let event = scene.rollback().ok().json();
    assert_eq!((&event["target_version"], &event["path"]), (&json!("1.0.0"), &json!("warm")));
    load.await_more(50);
    let report = load.end();
    assert!(report.failed.is_empty(), "{:?}", report.failed);
    assert_eq!(report.served.keys().collect::<Vec<_>>(), ["1.0.0", "1.1.0"]);
    assert_eq!(scene.get("/").unwrap().1, "<h1>1.0.0</h1>");
    let status = scene.status();
    assert_eq!(
        (&status["traffic"][0]["instances"], &status["traffic"][0]["healthy"]),
        (&json!(2), &json!(2))
    );
    scene.typed("logs --env production").ok().prints("1.0.0: 2 files on 127.0.0.1:");
    scene.typed("env stop production --yes").ok();
    assert!(scene.get("/").is_err());
}

#[test]
fn a_site_without_a_page_never_gets_traffic() {
    let mut scene = scene();
    scene.configure(|production| production["health_check"]["deadline"] = json!("1s"));
    deploy(&scene, "1.0.0").ok();
    scene.write("dist/1.1.0/public/404.html", "<h1>nowhere</h1>");
    scene.typed("deploy --env production --version 1.1.0").ends(3).says("GET / answered 404 instead of 200");
    assert_eq!(scene.get("/").unwrap().1, "<h1>1.0.0</h1>");
    scene.write("dist/1.2.0/other/index.html", "<h1>elsewhere</h1>");
    scene.typed("deploy --env production --version 1.2.0").ends(3).says("No such file or directory");
}
