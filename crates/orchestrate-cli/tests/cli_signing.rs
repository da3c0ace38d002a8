//! Artifacts that must be signed: what is not, is refused before anything is touched. Signatures by the real `minisign`.

#![allow(clippy::unwrap_used, clippy::expect_used, reason = "a test that cannot go on has failed")]

mod support;

use std::fs;
use std::path::PathBuf;
use std::process::{Command, Stdio};

use serde_json::json;
use support::{Ran, Scene};

struct Signed {
    scene: Scene,
    public_key: String,
}

impl Signed {
    /// Versions are archives, and nothing is asked of them yet.
    fn new() -> Self {
        let mut scene = Scene::new();
        scene.config["release"] = json!({ "artifact": "dist/sample-{version}.tar.gz" });
        scene.configure(|production| production["strategy"] = json!({ "type": "recreate" }));
        let public_key = key(&scene, "ours");
        Self { scene, public_key }
    }

    fn ask_for_signatures(&mut self) {
        self.scene.config["signing"] = json!({ "public_key": self.public_key });
        self.scene.write_config();
    }

    fn pack(&self, version: &str) -> PathBuf {
        let tree = self.scene.artifact(version);
        let archive = self.scene.work.join(format!("dist/sample-{version}.tar.gz"));
        let packed = Command::new("tar").arg("-czf").arg(&archive).arg("-C").arg(&tree).arg(".").status();
        assert!(packed.unwrap().success());
        archive
    }

    fn sign(&self, version: &str, key: &str, more: &[&str]) {
        let archive = format!("dist/sample-{version}.tar.gz");
        let secret = format!("{key}.sec");
        minisign(&self.scene, &[&["-S", "-W", "-s", &secret, "-m", &archive], more].concat());
    }

    fn deploy(&self, version: &str) -> Ran {
        self.scene.typed(&format!("deploy --env production --version {version}"))
    }
}

/// What `deploy validate` says of the signature.
fn signature(signed: &Signed, version: &str, code: i32) -> serde_json::Value {
    let checks =
        signed.scene.json(&format!("deploy validate --env production --version {version}")).ends(code).json();
    let found = checks.as_array().unwrap().iter().find(|check| check["name"] == "signature");
    found.cloned().unwrap_or_default()
}

fn key(scene: &Scene, name: &str) -> String {
    let (public, secret) = (format!("{name}.pub"), format!("{name}.sec"));
    minisign(scene, &["-G", "-W", "-p", &public, "-s", &secret]);
    let text = fs::read_to_string(scene.work.join(public)).unwrap();
    text.lines().nth(1).unwrap().to_owned()
}

fn minisign(scene: &Scene, arguments: &[&str]) {
    let mut command = Command::new("minisign");
    command.args(arguments).current_dir(&scene.work).stdin(Stdio::null()).stdout(Stdio::null());
    let status = command.status().expect("minisign is installed; run scripts/install-test-tools");
    assert!(status.success(), "{arguments:?}");
}

#[test]
fn what_is_signed_is_deployed_and_a_rollback_to_what_was_sealed_before_says_that_it_is_not() {
    let mut signed = Signed::new();
    signed.pack("1.0.0");
    signed.deploy("1.0.0").ok();
    assert_eq!(signature(&signed, "1.0.0", 0), json!(null), "nobody asks for one");
    signed.ask_for_signatures();
    signed.pack("1.1.0");
    signed.sign("1.1.0", "ours", &[]);
    assert_eq!(signature(&signed, "1.1.0", 0)["passed"], true);
    signed.deploy("1.1.0").ok();

    let candidates = signed.scene.json("deploy candidates --env production").ok().json();
    let by: Vec<_> = candidates.as_array().unwrap().iter().map(|one| one["signed_by"].clone()).collect();
    assert_eq!(by, [json!(signed.public_key), json!(null)]);
    let table = signed.scene.typed("deploy candidates --env production").ok();
    assert!(table.stdout.contains("SIGNED") && table.stdout.contains("not signed"), "{table:?}");
    let plan = signed.scene.typed("deploy rollback --env production --force --dry-run").ok();
    assert!(plan.stdout.contains("signed by"), "{plan:?}");
    signed.scene.rollback().ok();
    assert_eq!(signed.scene.answers(), "1.0.0");
}

#[test]
fn what_is_not_signed_or_was_changed_is_refused_before_anything_is_touched() {
    let mut signed = Signed::new();
    signed.pack("1.0.0");
    signed.deploy("1.0.0").ok();
    signed.ask_for_signatures();
    let before = (signed.scene.processes(), signed.scene.status(), stored(&signed.scene));

    let archive = signed.pack("1.1.0");
    signed.deploy("1.1.0").ends(1).says("[ORC-0308]").says("minisign -Sm");
    let told = signature(&signed, "1.1.0", 1);
    assert!(told["passed"] == false && told["hint"].as_str().unwrap().contains("minisign -Sm"), "{told}");

    key(&signed.scene, "theirs");
    signed.sign("1.1.0", "theirs", &[]);
    signed.deploy("1.1.0").ends(1).says("[ORC-0309]").says("another key");

    signed.sign("1.1.0", "ours", &[]);
    let mut bytes = fs::read(&archive).unwrap();
    bytes.push(0);
    fs::write(&archive, &bytes).unwrap();
    signed.deploy("1.1.0").ends(1).says("[ORC-0309]").says("not of this file");
    let told = signature(&signed, "1.1.0", 1);
    assert!(told["message"].as_str().unwrap().contains("not of this file"), "{told}");

    let signature = archive.with_file_name("sample-1.1.0.tar.gz.minisig");
    fs::write(&signature, "untrusted comment: none\nAAAA\n").unwrap();
    signed.deploy("1.1.0").ends(1).says("[ORC-0309]").says("is no signature");

    fs::remove_file(&archive).unwrap();
    fs::create_dir(&archive).unwrap();
    signed.deploy("1.1.0").ends(1).says("[ORC-0308]").says("a directory cannot be signed");

    assert_eq!(before, (signed.scene.processes(), signed.scene.status(), stored(&signed.scene)));
}

#[test]
fn an_old_artifact_does_not_pass_for_a_new_one() {
    let mut signed = Signed::new();
    signed.ask_for_signatures();
    signed.pack("1.0.0");
    signed.sign("1.0.0", "ours", &[]);
    signed.deploy("1.0.0").ok();
    // As somebody would who has the archive and its signature, and not the key.
    let at = |version: &str| signed.scene.work.join(format!("dist/sample-{version}.tar.gz"));
    let signature = |version: &str| signed.scene.work.join(format!("dist/sample-{version}.tar.gz.minisig"));
    fs::copy(at("1.0.0"), at("1.1.0")).unwrap();
    fs::copy(signature("1.0.0"), signature("1.1.0")).unwrap();
    signed.deploy("1.1.0").ends(1).says("[ORC-0310]").says("for the file `sample-1.0.0.tar.gz`");

    signed.pack("1.2.0");
    signed.sign("1.2.0", "ours", &["-t", "version:1.1.0"]);
    signed.deploy("1.2.0").ends(1).says("[ORC-0310]").says("for the version `1.1.0`");
    signed.sign("1.2.0", "ours", &["-t", "built by CI version:1.2.0"]);
    signed.deploy("1.2.0").ok();
    assert_eq!(signed.scene.answers(), "1.2.0");
}

#[test]
fn a_key_that_is_none_and_a_source_without_a_file_are_refused_by_the_config_file() {
    let mut signed = Signed::new();
    signed.scene.config["signing"] = json!({ "public_key": "RWnonsense" });
    signed.scene.write_config();
    signed.deploy("1.0.0").ends(2).says("is not a public key of minisign");
    signed.ask_for_signatures();
    signed.scene.config["release"] = json!({ "git": { "repository": ".", "ref": "v{version}" } });
    signed.scene.write_config();
    signed.deploy("1.0.0").ends(2).says("it verifies files, and a release comes from `git`");
}

/// What lies in the store of artifacts, leftovers too.
fn stored(scene: &Scene) -> Vec<std::ffi::OsString> {
    let entries = fs::read_dir(scene.home.join("artifacts")).unwrap().flatten();
    let mut names: Vec<_> = entries.map(|entry| entry.file_name()).collect();
    names.sort();
    names
}
