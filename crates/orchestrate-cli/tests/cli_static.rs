//! Static sites with the real program: deployed, rolled back, served throughout.

#![allow(clippy::unwrap_used, clippy::expect_used, reason = "a test that cannot go on has failed")]

mod support;

use std::fs;
use std::path::Path;
use std::process::{Child, Command, Stdio};

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
        production["drill"] = json!({ "production": true });
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
    let drill = scene.json("deploy drill --env production").ok().json();
    assert_eq!((&drill["path"], &drill["target_version"]), (&json!("warm"), &json!("1.0.0")));
    assert_eq!(scene.get("/").unwrap().1, "<h1>1.1.0</h1>");
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

/// Serves what a link leads to, looked up at every request.
struct WebServer(Child);

impl WebServer {
    fn start(scene: &Scene, link: &Path) -> Self {
        let (host, port) = (scene.address.ip().to_string(), scene.address.port().to_string());
        let mut command = Command::new("python3");
        command.args(["-m", "http.server", &port, "--bind", &host, "--directory", link.to_str().unwrap()]);
        let child = command.stdout(Stdio::null()).stderr(Stdio::null()).spawn().unwrap();
        let server = Self(child);
        support::until("it listens", || std::net::TcpStream::connect(scene.address).ok());
        server
    }
}

impl Drop for WebServer {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

#[test]
fn a_site_behind_a_link_is_deployed_and_rolled_back() {
    let mut scene = scene();
    let place = scene.home.with_file_name("srv");
    fs::create_dir(&place).unwrap();
    let link = place.join("current");
    scene.configure(|production| {
        production["static"] = json!({ "root": "public", "symlink": link.to_str().unwrap() });
        production["processes"] = json!({ "web": {} });
        production["verify"] = json!({ "version": { "path": "/", "contains": "{version}" } });
    });
    let _server = WebServer::start(&scene, &link);
    let home = || scene.get("/").map(|(_, body)| body).unwrap();
    deploy(&scene, "1.0.0").ok();
    assert_eq!(home(), "<h1>1.0.0</h1>");
    deploy(&scene, "1.1.0").ok();
    assert_eq!(home(), "<h1>1.1.0</h1>");
    assert_eq!(scene.json("deploy drill --env production").ok().json()["path"], "warm");
    assert_eq!(home(), "<h1>1.1.0</h1>");
    let event = scene.rollback().ok().json();
    assert_eq!((&event["target_version"], &event["path"]), (&json!("1.0.0"), &json!("warm")));
    assert_eq!(home(), "<h1>1.0.0</h1>");
    assert!(fs::read_link(&link).unwrap().starts_with(place.join("releases")));
    let status = scene.status();
    assert_eq!(
        (&status["live"]["version"], &status["traffic"][0]["healthy"]),
        (&json!("1.0.0"), &json!(1)),
        "{status}"
    );
    scene.typed("env check production").ok();
    scene.typed("env stop production --yes").ok();
    assert!(fs::symlink_metadata(&link).is_err());
    assert_eq!(fs::read_dir(place.join("releases")).unwrap().count(), 0);
}

#[test]
fn recreate_replaces_a_site_behind_a_link_and_a_canary_of_it_is_put_back() {
    let mut scene = scene();
    let place = scene.home.with_file_name("srv");
    fs::create_dir(&place).unwrap();
    let link = place.join("current");
    scene.configure(|production| {
        production["static"] = json!({ "root": "public", "symlink": link.to_str().unwrap() });
        production["processes"] = json!({ "web": {} });
        production["strategy"] = json!({ "type": "recreate" });
        production["verify"] = json!({ "bake": "500ms" });
    });
    let _server = WebServer::start(&scene, &link);
    for version in ["1.0.0", "1.1.0"] {
        deploy(&scene, version).ok();
        assert_eq!(scene.get("/").unwrap().1, format!("<h1>{version}</h1>"));
    }
    assert_eq!(scene.rollback().ok().json()["path"], json!("cold"));
    assert_eq!(scene.get("/").unwrap().1, "<h1>1.0.0</h1>");
    scene.configure(|production| {
        production["strategy"] = json!({ "type": "canary", "steps": [50], "wait": "1s" })
    });
    deploy(&scene, "1.2.0").ends(3).says("cannot give 50 % of the traffic to 1.2.0");
    assert_eq!(scene.get("/").unwrap().1, "<h1>1.0.0</h1>");
}
