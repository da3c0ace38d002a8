//! What a PostgreSQL server may ask for, and may lack: TLS with certificates, connections, patience with many at once.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::print_stdout,
    clippy::print_stderr,
    reason = "a test"
)]

mod luck;

use std::net::SocketAddr;
use std::path::PathBuf;

use luck::cluster::Cluster;
use luck::scene::{Ran, free_address};
use luck::{Scene, until};
use rcgen::{BasicConstraints, CertificateParams, DnType, IsCa, Issuer, KeyPair};
use serde_json::{Value, json};
use sqlx::{Connection as _, PgConnection};
use tempfile::TempDir;

/// Somebody who signs certificates.
struct Authority {
    directory: TempDir,
    issuer: Issuer<'static, KeyPair>,
}

impl Authority {
    fn new() -> Self {
        let (directory, key) = (tempfile::tempdir().unwrap(), KeyPair::generate().unwrap());
        let mut params = CertificateParams::new(Vec::new()).unwrap();
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        params.distinguished_name.push(DnType::CommonName, "an authority of a test");
        let certificate = params.self_signed(&key).unwrap();
        std::fs::write(directory.path().join("ca.pem"), certificate.pem()).unwrap();
        Self { directory, issuer: Issuer::new(params, key) }
    }

    fn file(&self) -> PathBuf {
        self.directory.path().join("ca.pem")
    }

    /// A server with a certificate for this name.
    fn server(&self, name: &str) -> Cluster {
        let key = KeyPair::generate().unwrap();
        let certificate =
            CertificateParams::new([name.to_owned()]).unwrap().signed_by(&key, &self.issuer).unwrap();
        Cluster::start_at(&[], &["ssl=on"], |cluster| {
            cluster.put("server.crt", &certificate.pem());
            cluster.put("server.key", &key.serialize_pem());
        })
    }
}

fn status(cluster: &Cluster, parameters: &str) -> Ran {
    let scene = Scene::new();
    let url = cluster.url().replace("orchestrate@", "orchestrate:unspoken-word@");
    let ran = scene.run(&["env", "list", "--database-url", &format!("{url}?{parameters}")]);
    assert!(!ran.stdout.contains("unspoken-word") && !ran.stderr.contains("unspoken-word"), "{ran:?}");
    ran
}

#[test]
fn with_verify_full_everything_goes_over_tls() {
    let authority = Authority::new();
    let cluster = authority.server("127.0.0.1");
    let mut scene = Scene::new();
    let url = format!("{}?sslmode=verify-full&sslrootcert={}", cluster.url(), authority.file().display());
    scene.variable("ORCHESTRATE_DATABASE_URL", &url);
    scene.deploy("1.0.0").ok();
    scene.deploy("1.1.0").ok();
    scene.rollback().ok();
    let count = |what: &str| {
        cluster.sql(&format!(
            "SELECT count(*) FROM pg_stat_activity JOIN pg_stat_ssl USING (pid) \
             WHERE backend_type = 'client backend' AND application_name <> 'psql' AND {what}"
        ))
    };
    assert_ne!(count("ssl"), "0", "the daemon is connected");
    assert_eq!(count("NOT ssl"), "0");
    assert_eq!(scene.records_are_true(), "1.0.0");
}

#[test]
fn a_server_that_is_another_one_is_refused() {
    let (authority, stranger) = (Authority::new(), Authority::new());
    let (ours, theirs) = (authority.file().display().to_string(), stranger.file().display().to_string());
    let cluster = authority.server("127.0.0.1");
    status(&cluster, &format!("sslmode=verify-full&sslrootcert={ours}")).ok();
    for mode in ["verify-full", "verify-ca"] {
        let refused = status(&cluster, &format!("sslmode={mode}&sslrootcert={theirs}")).ends(3);
        refused.says("ORC-0417").says("certificate").says("sslrootcert");
    }
    let refused = status(&cluster, &format!("sslmode=verify-full&sslrootcert={ours}.gone")).ends(2);
    refused.says("ORC-0422").says(&format!("{ours}.gone"));
    status(&cluster, "sslmode=require").ok();

    let misnamed = authority.server("db.example.org");
    let refused = status(&misnamed, &format!("sslmode=verify-full&sslrootcert={ours}")).ends(3);
    refused.says("ORC-0417").says("not valid for name");
    status(&misnamed, &format!("sslmode=verify-ca&sslrootcert={ours}")).ok();

    let plain = Cluster::start();
    let refused = status(&plain, &format!("sslmode=verify-full&sslrootcert={ours}")).ends(3);
    refused.says("ORC-0417").says("does not support TLS");
    status(&plain, "sslmode=disable").ok();
    status(&plain, "").ok();
}

#[test]
fn who_may_not_in_is_told_so() {
    let cluster = Cluster::start();
    let scene = Scene::new();
    let url = cluster.url().replace("orchestrate@", "nobody:unspoken-word@");
    let refused = scene.run(&["env", "list", "--database-url", &url]).ends(3).says("ORC-0421");
    assert!(!refused.stderr.contains("unspoken-word"), "{refused:?}");
    let url = cluster.url().replace("/postgres", "/nothing");
    scene.run(&["env", "list", "--database-url", &url]).ends(3).says("ORC-0421").says("nothing");
}

/// Takes every connection that the server gives.
async fn take_all(url: &str) -> Vec<PgConnection> {
    let mut taken = Vec::new();
    while let Ok(connection) = PgConnection::connect(url).await {
        taken.push(connection);
    }
    taken
}

#[test]
fn a_server_without_a_connection_left_is_waited_for_and_then_told_of() {
    let cluster = Cluster::start_with(&["max_connections=12"]);
    let mut scene = Scene::new();
    scene.variable("ORCHESTRATE_DATABASE_URL", &cluster.url());
    scene.deploy("1.0.0").ok();
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    let mut taken = runtime.block_on(take_all(&cluster.url()));
    assert!(!taken.is_empty());
    let refused = scene.run(&["env", "list"]).ends(3);
    refused.says("ORC-0418").says("no connection left").says("max_connections");
    let waits = scene.begin(&["env", "list"]);
    luck::pause(std::time::Duration::from_millis(300));
    runtime.block_on(async { taken.pop().unwrap().close().await.unwrap() });
    assert_eq!(waits.end().code, 0, "one is enough");
    runtime.block_on(async {
        for connection in taken {
            connection.close().await.unwrap();
        }
    });
    scene.deploy("1.1.0").ok();
    assert_eq!(scene.records_are_true(), "1.1.0");
}

const MANY: usize = 10;

/// Environments of one service, each with an address of its own.
fn many(scene: &Scene) -> Vec<(String, SocketAddr)> {
    let all: Vec<_> = (0..MANY).map(|number| (format!("shop-{number}"), free_address())).collect();
    let environments: serde_json::Map<String, Value> = all
        .iter()
        .map(|(name, address)| {
            let mut settings = scene.settings.clone();
            settings["url"] = json!(format!("http://{address}"));
            settings["processes"]["web"]["listen"] = json!(address);
            settings["processes"]["web"]["instances"] = json!(1);
            (name.clone(), settings)
        })
        .collect();
    let config = json!({
        "service": "sample", "release": { "artifact": scene.path("dist/{version}") }, "environments": environments,
    });
    std::fs::write(scene.path("orchestrate.yaml"), config.to_string()).unwrap();
    all
}

#[test]
fn many_environments_at_once_get_in_nobodys_way() {
    let cluster = Cluster::start_with(&["max_connections=40", "log_connections=on"]);
    let mut scene = Scene::new();
    scene.variable("ORCHESTRATE_DATABASE_URL", &cluster.url());
    let all = many(&scene);
    for version in ["1.0.0", "1.1.0"] {
        // Only makes the artifact.
        scene.deploy_args(version);
    }
    // The daemon is there before many ask for it.
    scene.run(&["env", "apply"]).ok();
    scene.run(&["daemon", "start"]).ok();
    let before = cluster.log().len();
    let at_once = |words: &[&str]| {
        let commands: Vec<_> = all
            .iter()
            .map(|(name, _)| {
                let mut args = words.to_vec();
                args.extend(["--env", name.as_str()]);
                scene.begin(&args)
            })
            .collect();
        for command in commands {
            let ran = luck::within(std::time::Duration::from_secs(120), "it ends", {
                let mut command = Some(command);
                move || match command.as_mut().is_some_and(|command| !command.is_running()) {
                    true => command.take().map(luck::Running::end),
                    false => None,
                }
            });
            assert_eq!(ran.code, 0, "{ran:?}");
        }
    };
    at_once(&["deploy", "--version", "1.0.0"]);
    at_once(&["deploy", "--version", "1.1.0"]);
    at_once(&["deploy", "rollback", "--force"]);
    for (name, address) in &all {
        let status = scene.run(&["deploy", "status", "--env", name, "--format", "json"]).ok().json();
        assert_eq!(
            (&status["live"]["version"], &status["operation"]),
            (&json!("1.0.0"), &Value::Null),
            "{name}"
        );
        assert_eq!(luck::streams::get(*address, "/version").unwrap().trim(), "1.0.0", "{name}");
        let rollbacks = scene.run(&["deploy", "rollbacks", "--env", name, "--format", "json"]).ok().json();
        assert_eq!((&rollbacks[0]["status"], &rollbacks[0]["path"]), (&json!("completed"), &json!("warm")));
    }
    until("nothing is wrong", || (scene.run(&["db", "check"]).code == 0).then_some(()));
    let said = cluster.log().split_off(before);
    for trouble in ["deadlock", "too many", "FATAL", "ERROR"] {
        assert!(!said.contains(trouble), "{trouble}: {said}");
    }
}
