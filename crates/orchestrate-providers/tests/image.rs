//! What an image's name means is asked of a real registry.

#![allow(clippy::unwrap_used, clippy::expect_used, reason = "a test")]

use std::net::{SocketAddr, TcpListener};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use orchestrate_core::environment::{Kubernetes, PullPolicy};
use orchestrate_core::release::Digest;
use orchestrate_providers::kubernetes::resolve;
use reqwest::Client;
use serde_json::json;
use tempfile::TempDir;

/// Debian's `docker-registry`, on loopback, with its images in a directory of its own.
struct Registry {
    process: Child,
    address: SocketAddr,
    client: Client,
    _directory: TempDir,
}

impl Registry {
    async fn start() -> Self {
        let _ = rustls::crypto::ring::default_provider().install_default();
        let directory = TempDir::new().unwrap();
        let address = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
        let config = directory.path().join("config.yml");
        let text = json!({
            "version": "0.1",
            "log": { "level": "error" },
            "storage": { "filesystem": { "rootdirectory": directory.path().join("images") } },
            "http": { "addr": address.to_string() },
        });
        std::fs::write(&config, text.to_string()).unwrap();
        let mut command = Command::new("docker-registry");
        command.arg("serve").arg(&config).stdout(Stdio::null()).stderr(Stdio::null());
        let process = command.spawn().expect("docker-registry is there: scripts/install-test-tools");
        let registry = Self { process, address, client: Client::new(), _directory: directory };
        let deadline = Instant::now() + Duration::from_secs(30);
        while registry.client.get(registry.url("")).send().await.is_err() {
            assert!(Instant::now() < deadline, "the registry does not answer");
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
        registry
    }

    fn url(&self, path: &str) -> String {
        format!("http://{}/v2/{path}", self.address)
    }

    /// An image without layers, told from others by its label; returns the digest of its manifest.
    async fn push(&self, name: &str, label: &str) -> Digest {
        let config =
            json!({ "architecture": "amd64", "os": "linux", "config": { "Labels": { "is": label } } });
        let config = config.to_string();
        let digest = format!("sha256:{}", Digest::of(config.as_bytes()));
        let begun = self.client.post(self.url("shop/blobs/uploads/")).send().await.unwrap();
        let place = begun.headers()["location"].to_str().unwrap().to_owned();
        let place = if place.starts_with('/') { format!("http://{}{place}", self.address) } else { place };
        let sent = self.client.put(format!("{place}&digest={digest}")).body(config.clone()).send().await;
        assert!(sent.unwrap().status().is_success());
        let kind = "application/vnd.docker.distribution.manifest.v2+json";
        let manifest = json!({
            "schemaVersion": 2,
            "mediaType": kind,
            "config": {
                "mediaType": "application/vnd.docker.container.image.v1+json",
                "digest": digest,
                "size": config.len(),
            },
            "layers": [],
        });
        let manifest = manifest.to_string();
        let request = self.client.put(self.url(&format!("shop/manifests/{name}")));
        let sent = request.header("content-type", kind).body(manifest.clone()).send().await.unwrap();
        assert!(sent.status().is_success(), "{}", sent.text().await.unwrap());
        Digest::of(manifest.as_bytes())
    }

    fn image(&self, tag: &str) -> String {
        format!("{}/shop:{tag}", self.address)
    }
}

impl Drop for Registry {
    fn drop(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

#[tokio::test]
async fn a_tag_is_sealed_by_the_digest_that_it_means_now() {
    let registry = Registry::start().await;
    let (settings, image) = (Kubernetes::default(), registry.image("1.0.0"));
    for label in ["first", "moved"] {
        let digest = registry.push("1.0.0", label).await;
        let sealed = resolve(&settings, &image).await.unwrap();
        let pinned = format!("{}/shop@sha256:{digest}", registry.address);
        assert_eq!((sealed.digest, sealed.image.unwrap().pinned), (digest, Some(pinned)), "{label}");
    }
}

#[tokio::test]
async fn what_the_registry_does_not_have_is_refused() {
    let registry = Registry::start().await;
    registry.push("1.0.0", "first").await;
    let error = resolve(&Kubernetes::default(), &registry.image("2.0.0")).await.unwrap_err();
    assert_eq!(error.code(), "ORC-0360");
    // A node has it, maybe; then nobody asks the registry.
    let never = Kubernetes { image_pull_policy: Some(PullPolicy::Never), ..Kubernetes::default() };
    assert_eq!(resolve(&never, &registry.image("2.0.0")).await.unwrap().image.unwrap().pinned, None);
}

#[tokio::test]
async fn a_registry_that_is_away_leaves_the_name() {
    let mut registry = Registry::start().await;
    let digest = registry.push("1.0.0", "first").await;
    registry.process.kill().unwrap();
    registry.process.wait().unwrap();
    let image = registry.image("1.0.0");
    let sealed = resolve(&Kubernetes::default(), &image).await.unwrap();
    assert_eq!((sealed.digest, sealed.image.unwrap().pinned), (Digest::of(image.as_bytes()), None));
    let named = format!("{image}@sha256:{digest}");
    let sealed = resolve(&Kubernetes::default(), &named).await.unwrap();
    assert_eq!((sealed.digest, sealed.image.unwrap().pinned), (digest, Some(named)));
}
