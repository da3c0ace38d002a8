//! What an image's name means now, asked of its registry as far as that lets anybody ask: its credentials are the cluster's.

use std::time::Duration;

use orchestrate_core::environment::{Kubernetes, PullPolicy};
use orchestrate_core::release::{Artifact, Digest, Image};
use orchestrate_core::{Error, Result};
use reqwest::{Client, Response, StatusCode};
use serde_json::Value;

const PATIENCE: Duration = Duration::from_secs(10);
/// What a manifest may be; without these a registry may convert it, and name the digest of something else.
const MANIFESTS: &str = "application/vnd.oci.image.index.v1+json, application/vnd.oci.image.manifest.v1+json, \
     application/vnd.docker.distribution.manifest.list.v2+json, application/vnd.docker.distribution.manifest.v2+json";

/// Seals the image by its digest where that is written or the registry tells it, else by its name. Nothing is asked of a
/// registry that no node asks.
///
/// Errors: `ORC-0360` the registry has no such image, `ORC-0361` it is no name of an image.
pub async fn resolve(settings: &Kubernetes, reference: &str) -> Result<Artifact> {
    let name = Name::parse(reference)?;
    if let Some(digest) = &name.digest {
        return Ok(artifact(reference, Some((reference.to_owned(), digest.clone()))));
    }
    if settings.image_pull_policy == Some(PullPolicy::Never) {
        return Ok(artifact(reference, None));
    }
    let pinned = ask(&name, reference).await?;
    Ok(artifact(reference, pinned.map(|digest| (format!("{}@sha256:{digest}", name.written), digest))))
}

fn artifact(reference: &str, pinned: Option<(String, Digest)>) -> Artifact {
    let (pinned, digest) = match pinned {
        Some((pinned, digest)) => (Some(pinned), digest),
        None => (None, Digest::of(reference.as_bytes())),
    };
    Artifact {
        digest,
        origin: reference.to_owned(),
        size: 0,
        commit: None,
        committed_at: None,
        signed_by: None,
        image: Some(Box::new(Image { reference: reference.to_owned(), pinned })),
    }
}

/// `registry.internal:5000/shop/web:1.4.0`, taken apart.
#[derive(Debug, PartialEq, Eq)]
struct Name {
    /// Without tag and digest, as it was written.
    written: String,
    registry: String,
    repository: String,
    tag: String,
    digest: Option<Digest>,
}

impl Name {
    fn parse(reference: &str) -> Result<Self> {
        let wrong = || {
            Error::refused("ORC-0361", format!("`{reference}` is not the name of an image"))
                .hint("write it like registry.internal/shop:1.4.0; capital letters are for tags only")
        };
        let (rest, digest) = match reference.split_once('@') {
            Some((rest, digest)) => {
                let digits = digest.strip_prefix("sha256:").ok_or_else(wrong)?;
                (rest, Some(Digest::try_from(digits.to_owned()).map_err(|_| wrong())?))
            }
            None => (reference, None),
        };
        let (written, tag) = match rest.rsplit_once(':') {
            Some((name, tag)) if !tag.contains('/') => (name, tag),
            _ => (rest, "latest"),
        };
        let is_host = |part: &str| part.contains(['.', ':']) || part == "localhost";
        let (registry, repository) = match written.split_once('/') {
            Some((host, repository)) if is_host(host) => (host.to_owned(), repository.to_owned()),
            Some(_) => ("docker.io".to_owned(), written.to_owned()),
            None => ("docker.io".to_owned(), format!("library/{written}")),
        };
        let fits = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || "._-/".contains(c);
        let tag_fits = |c: char| c.is_ascii_alphanumeric() || "._-".contains(c);
        let well =
            !written.is_empty() && repository.chars().all(fits) && !repository.split('/').any(str::is_empty);
        if !well || tag.is_empty() || tag.len() > 128 || !tag.chars().all(tag_fits) {
            return Err(wrong());
        }
        Ok(Self { written: written.to_owned(), registry, repository, tag: tag.to_owned(), digest })
    }

    fn url(&self) -> String {
        let host = if self.registry == "docker.io" { "registry-1.docker.io" } else { &self.registry };
        let name = host.rsplit_once(':').map_or(host, |(name, _)| name);
        // As every engine has it: a registry of this machine needs no certificate.
        let scheme = if name == "localhost" || name.starts_with("127.") { "http" } else { "https" };
        format!("{scheme}://{host}/v2/{}/manifests/{}", self.repository, self.tag)
    }
}

/// None where the registry tells nobody, or not this machine: the cluster may be let in all the same.
async fn ask(name: &Name, reference: &str) -> Result<Option<Digest>> {
    // Who made one before keeps it.
    let _ = rustls::crypto::ring::default_provider().install_default();
    let Ok(client) = Client::builder().timeout(PATIENCE).build() else { return Ok(None) };
    let Ok(first) = client.head(name.url()).header("accept", MANIFESTS).send().await else { return Ok(None) };
    let answer = match first.status() {
        StatusCode::UNAUTHORIZED => match token(&client, &first).await {
            Some(token) => {
                let again = client.head(name.url()).header("accept", MANIFESTS).bearer_auth(token);
                let Ok(answer) = again.send().await else { return Ok(None) };
                answer
            }
            None => return Ok(None),
        },
        _ => first,
    };
    if answer.status() == StatusCode::NOT_FOUND {
        return Err(Error::refused("ORC-0360", format!("the registry {} has no {reference}", name.registry))
            .hint("push it, or write the version that was pushed; an image that only nodes have needs `kubernetes: { image_pull_policy: Never }`"));
    }
    let digest = answer.headers().get("docker-content-digest").and_then(|value| value.to_str().ok());
    let digits =
        digest.filter(|_| answer.status().is_success()).and_then(|text| text.strip_prefix("sha256:"));
    Ok(digits.and_then(|digits| Digest::try_from(digits.to_owned()).ok()))
}

/// What a registry gives to anybody who asks where it says.
async fn token(client: &Client, refused: &Response) -> Option<String> {
    let challenge = refused.headers().get("www-authenticate")?.to_str().ok()?.strip_prefix("Bearer ")?;
    let part = |key: &str| {
        let from = challenge.split(&format!("{key}=\"")).nth(1)?;
        from.split('"').next().map(str::to_owned)
    };
    let mut url = reqwest::Url::parse(&part("realm")?).ok()?;
    for key in ["service", "scope"] {
        if let Some(value) = part(key) {
            url.query_pairs_mut().append_pair(key, &value);
        }
    }
    let told: Value = client.get(url).send().await.ok()?.json().await.ok()?;
    let token = told.get("token").or_else(|| told.get("access_token"))?;
    token.as_str().map(str::to_owned)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn name(reference: &str) -> (String, String, String) {
        let name = Name::parse(reference).unwrap();
        (name.registry, name.repository, name.tag)
    }

    #[test]
    fn a_name_is_taken_apart_as_engines_do() {
        let three = |a: &str, b: &str, c: &str| (a.to_owned(), b.to_owned(), c.to_owned());
        assert_eq!(name("shop"), three("docker.io", "library/shop", "latest"));
        assert_eq!(name("me/shop:1.4"), three("docker.io", "me/shop", "1.4"));
        assert_eq!(name("r.internal/a/b:V1"), three("r.internal", "a/b", "V1"));
        assert_eq!(name("localhost:5000/shop"), three("localhost:5000", "shop", "latest"));
        let digest = "0".repeat(64);
        let pinned = Name::parse(&format!("r.internal/shop:1@sha256:{digest}")).unwrap();
        assert_eq!(pinned.digest.unwrap().as_str(), digest);
        for wrong in ["", "Shop", "shop:", "a//b", "shop@sha256:1", "shop@md5:1", "a b", ":1"] {
            assert_eq!(Name::parse(wrong).unwrap_err().code(), "ORC-0361", "{wrong}");
        }
    }

    #[test]
    fn only_a_registry_of_this_machine_is_asked_in_the_clear() {
        let url = |reference: &str| Name::parse(reference).unwrap().url();
        assert_eq!(url("127.0.0.1:5000/shop:1"), "http://127.0.0.1:5000/v2/shop/manifests/1");
        assert_eq!(url("r.internal:5000/shop:1"), "https://r.internal:5000/v2/shop/manifests/1");
        assert_eq!(url("shop:1"), "https://registry-1.docker.io/v2/library/shop/manifests/1");
    }

    #[tokio::test]
    async fn what_no_node_pulls_is_sealed_by_its_name() {
        let settings = Kubernetes { image_pull_policy: Some(PullPolicy::Never), ..Kubernetes::default() };
        let sealed = resolve(&settings, "shop:1.4.0").await.unwrap();
        assert_eq!(sealed.digest, Digest::of(b"shop:1.4.0"));
        assert_eq!(sealed.image.unwrap().pinned, None);
    }
}
