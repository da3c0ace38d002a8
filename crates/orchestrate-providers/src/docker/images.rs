//! Images: resolved once, when a release is sealed, and known by their ID from then on. A tag may move; an ID cannot.
//!
//! What was sealed is kept from the engine's clearing up by a tag of ours.

use std::collections::BTreeMap;
use std::path::Path;
use std::time::{Duration, Instant};

use bollard::models::{CreateImageInfo, ImageInspect};
use bollard::query_parameters::{
    CreateImageOptionsBuilder, RemoveImageOptionsBuilder, TagImageOptionsBuilder,
};
use futures_util::StreamExt as _;
use orchestrate_core::ports::{PortError, PortErrorKind, PortResult};
use orchestrate_core::release::{Artifact, Digest, Image};
use orchestrate_core::{Error, Result};

use super::credentials;
use super::engine::{Engine, is_status, told};
use super::reference::{registry, repository, with_tag};
use super::shared::home_mark;
use crate::spec::RunSpec;

/// How often a person who waits for a pull is told how far it is.
const TELL_EVERY: Duration = Duration::from_secs(1);

/// Told to a person who waits.
type Tell<'a> = &'a (dyn Fn(&str) + Sync);

/// Pulls an image where a registry has it, and seals what it is now. `tell` gets what a person should know.
///
/// Errors: `ORC-0340` no engine, `ORC-0341` no such image, `ORC-0342` it is of no use.
pub async fn resolve(engine: &Engine, home: &Path, reference: &str, tell: Tell<'_>) -> Result<Artifact> {
    let client = engine.client().await.map_err(no_engine)?;
    let reference = with_tag(reference);
    let here = inspect(&client, &reference).await.map_err(no_engine)?;
    let image = match here {
        // Nobody gave it to this machine: a registry that has this name has it by chance.
        Some(image) if is_local(&reference, &image) => image,
        here => {
            let pulled = pull(&client, &reference, tell).await;
            match (pulled, inspect(&client, &reference).await.map_err(no_engine)?, here) {
                (Ok(()), Some(image), _) => image,
                (Err(error), _, Some(image)) => {
                    tell(&format!("{}; the image that is here already is used", error.message));
                    image
                }
                (Err(error), _, None) if error.kind == PortErrorKind::Unreachable => {
                    return Err(no_engine(error));
                }
                (Err(error), _, None) => return Err(no_image(&reference, error)),
                (Ok(()), None, _) => {
                    return Err(Error::refused(
                        "ORC-0341",
                        format!("{reference} was pulled and is not here"),
                    ));
                }
            }
        }
    };
    let digest = id(&image).ok_or_else(|| {
        Error::refused("ORC-0342", format!("the engine gives {reference} no ID that can be sealed"))
    })?;
    keep(&client, home, &digest).await.map_err(no_engine)?;
    Ok(sealed(reference, digest, &image))
}

/// Whether an image is here, or its registry would give it; nothing is pulled.
///
/// Errors: `ORC-0340` no engine, `ORC-0341` no such image.
pub async fn find(engine: &Engine, reference: &str) -> Result<String> {
    let client = engine.client().await.map_err(no_engine)?;
    let reference = with_tag(reference);
    if inspect(&client, &reference).await.map_err(no_engine)?.is_some() {
        return Ok(format!("{reference} is on the engine"));
    }
    let login = credentials::of_registry(registry(&reference)).await.map_err(PortError::failed);
    let asked = match login {
        Ok(login) => client
            .inspect_registry_image(&reference, login)
            .await
            .map_err(|error| told(&format!("its registry does not give {reference}"), &error)),
        Err(error) => Err(error),
    };
    asked.map(|_| format!("{reference} is in its registry")).map_err(|error| no_image(&reference, error))
}

fn no_engine(error: PortError) -> Error {
    let hint = error.detail.clone().unwrap_or_else(|| "see what it says: docker info".into());
    Error::refused("ORC-0340", error.message).hint(hint)
}

fn no_image(reference: &str, cause: PortError) -> Error {
    Error::refused("ORC-0341", format!("there is no image {reference} to deploy"))
        .source(cause)
        .hint("push or build it, check `release.image`, or log in: docker login REGISTRY")
}

fn sealed(reference: String, digest: Digest, image: &ImageInspect) -> Artifact {
    let repository = repository(&reference);
    let digests = image.repo_digests.as_deref().unwrap_or_default();
    let named = digests.iter().rfind(|pinned| pinned.split('@').next() == Some(repository));
    // The engine writes some names in another way; what comes back is held against the ID anyway.
    let pinned = named.or_else(|| digests.last()).cloned();
    Artifact {
        digest,
        origin: reference.clone(),
        size: image.size.and_then(|size| u64::try_from(size).ok()).unwrap_or(0),
        commit: None,
        committed_at: None,
        signed_by: None,
        image: Some(Box::new(Image { reference, pinned })),
    }
}

/// Makes sure that a sealed image is here; by its digest in its registry it comes back as what it was.
pub(super) async fn fetch(engine: &Engine, home: &Path, spec: &RunSpec) -> PortResult<()> {
    let client = engine.client().await?;
    let wanted = &spec.digest;
    if inspect(&client, &by_id(wanted)).await?.is_none() {
        bring_back(&client, spec).await?;
    }
    keep(&client, home, wanted).await
}

async fn bring_back(client: &bollard::Docker, spec: &RunSpec) -> PortResult<()> {
    let (wanted, version) = (&spec.digest, &spec.version);
    let missing = |why: String| {
        let message =
            format!("the image {} of {version} is not on this engine any more{why}", wanted.short());
        PortError::new(PortErrorKind::Missing, message)
    };
    let image = spec.image.as_ref();
    let Some(pinned) = image.and_then(|image| image.pinned.as_deref()) else {
        return Err(
            missing(String::new()).detail("no registry had it when it was sealed; deploy the version again")
        );
    };
    if let Err(error) = pull(client, pinned, &|text| tracing::info!("{text}")).await {
        return Err(missing(format!(", and does not come back: {}", error.message))
            .detail(format!("pull it yourself: docker pull {pinned}")));
    }
    match inspect(client, pinned).await?.as_ref().and_then(id) {
        Some(found) if found == *wanted => Ok(()),
        Some(found) => Err(missing(format!(": {pinned} is {} by now", found.short()))),
        None => Err(missing(format!(", and {pinned} has no ID here"))),
    }
}

/// Takes our tag off; the image goes with it if nobody else has a name for it.
pub(super) async fn discard(engine: &Engine, home: &Path, digest: &Digest) -> PortResult<bool> {
    let client = engine.client().await?;
    let (repository, tag) = keep_tag(home, digest);
    let name = format!("{repository}:{tag}");
    let options = RemoveImageOptionsBuilder::new().force(false).noprune(false).build();
    match client.remove_image(&name, Some(options), None).await {
        Ok(_) => Ok(true),
        // 409: a container still has it.
        Err(error) if is_status(&error, 404) || is_status(&error, 409) => Ok(false),
        Err(error) => Err(told(&format!("{name} cannot be removed"), &error)),
    }
}

async fn keep(client: &bollard::Docker, home: &Path, digest: &Digest) -> PortResult<()> {
    let (repository, tag) = keep_tag(home, digest);
    let options = TagImageOptionsBuilder::new().repo(&repository).tag(&tag).build();
    let kept = client.tag_image(&by_id(digest), Some(options)).await;
    kept.map_err(|error| told(&format!("the image {} cannot be kept", digest.short()), &error))
}

/// Of this home alone, so that another home's clearing up does not take it.
pub(crate) fn keep_tag(home: &Path, digest: &Digest) -> (String, String) {
    (format!("orchestrate/{}", home_mark(home)), digest.as_str()[..32].to_owned())
}

/// Which image a tag of some home keeps.
pub(crate) fn kept_as(reference: &str) -> Option<&str> {
    let (_, tag) = reference.strip_prefix("orchestrate/")?.split_once(':')?;
    tag.split('@').next()
}

fn by_id(digest: &Digest) -> String {
    format!("sha256:{digest}")
}

fn id(image: &ImageInspect) -> Option<Digest> {
    Digest::try_from(image.id.as_deref()?.strip_prefix("sha256:")?.to_owned()).ok()
}

async fn inspect(client: &bollard::Docker, name: &str) -> PortResult<Option<ImageInspect>> {
    match client.inspect_image(name).await {
        Ok(image) => Ok(Some(image)),
        Err(error) if is_status(&error, 404) => Ok(None),
        Err(error) => Err(told(&format!("the image {name} cannot be looked at"), &error)),
    }
}

/// Built or loaded here, with a name that no registry is a part of.
fn is_local(reference: &str, image: &ImageInspect) -> bool {
    registry(reference).is_none() && image.repo_digests.as_ref().is_none_or(Vec::is_empty)
}

async fn pull(client: &bollard::Docker, reference: &str, tell: Tell<'_>) -> PortResult<()> {
    let failed =
        |why: &dyn std::fmt::Display| PortError::failed(format!("{reference} cannot be pulled: {why}"));
    let login = credentials::of_registry(registry(reference)).await.map_err(|why| failed(&why))?;
    let options = CreateImageOptionsBuilder::new().from_image(reference).build();
    let mut pulled = std::pin::pin!(client.create_image(Some(options), None, login));
    let mut far = Far::new();
    while let Some(info) = pulled.next().await {
        let info = info.map_err(|error| told(&format!("{reference} cannot be pulled"), &error))?;
        if let Some(error) = info.error_detail {
            return Err(failed(&error.message.unwrap_or_default()));
        }
        if let Some(text) = far.note(info) {
            tell(&format!("pulling {reference}: {text}"));
        }
    }
    Ok(())
}

/// How far a pull is: bytes by layer.
struct Far {
    layers: BTreeMap<String, (i64, i64)>,
    told: Instant,
}

impl Far {
    fn new() -> Self {
        Self { layers: BTreeMap::new(), told: Instant::now() }
    }

    /// What to tell a person now, if anything.
    fn note(&mut self, info: CreateImageInfo) -> Option<String> {
        let progress = info.progress_detail?;
        if info.status.as_deref() == Some("Downloading") {
            self.layers.insert(info.id?, (progress.current?, progress.total?));
        }
        if self.layers.is_empty() || self.told.elapsed() < TELL_EVERY {
            return None;
        }
        self.told = Instant::now();
        let (done, all) = self.layers.values().fold((0, 0), |sum, layer| (sum.0 + layer.0, sum.1 + layer.1));
        Some(format!("{} of {} MB", done / 1_000_000, all / 1_000_000))
    }
}

#[cfg(test)]
mod tests {
    use bollard::models::ProgressDetail;

    use super::*;

    #[test]
    fn a_person_is_told_how_far_a_pull_is_now_and_then() {
        let info = |id: &str, current, total| CreateImageInfo {
            id: Some(id.into()),
            status: Some("Downloading".into()),
            progress_detail: Some(ProgressDetail { current: Some(current), total: Some(total) }),
            ..CreateImageInfo::default()
        };
        let mut far = Far::new();
        assert_eq!(far.note(info("a", 1_000_000, 4_000_000)), None, "not at every piece");
        far.told -= TELL_EVERY;
        assert_eq!(far.note(info("b", 2_000_000, 8_000_000)).as_deref(), Some("3 of 12 MB"));
    }
}
