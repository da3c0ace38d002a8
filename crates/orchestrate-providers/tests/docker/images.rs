//! What is sealed is an image's ID: what happens to its tag, to the image and to its registry afterwards.

use orchestrate_core::ports::PortErrorKind;
use orchestrate_core::release::{Artifact, Image};
use orchestrate_providers::docker::{Engine as Asked, find, resolve};
use orchestrate_testkit::contract::provider::{ProviderStage, Sample};
use orchestrate_testkit::docker::{Engine, Registry};

use crate::world::World;

async fn resolved(world: &World, reference: &str) -> (orchestrate_core::Result<Artifact>, Vec<String>) {
    let engine = Asked::new(Some(world.engine.host.clone()));
    let told = std::sync::Mutex::new(Vec::new());
    let home = world.home.path().canonicalize().unwrap();
    let tell = |text: &str| told.lock().unwrap().push(text.to_owned());
    let artifact = resolve(&engine, &home, reference, &tell).await;
    (artifact, told.into_inner().unwrap())
}

/// Builds an image, pushes it, and takes it off the engine.
fn push(world: &World, reference: &str) -> String {
    let id = world.engine.build(reference, &format!("LABEL test={}", world.mark()));
    world.engine.docker(&["push", "--quiet", reference]);
    world.engine.docker(&["image", "rm", "--force", &id]);
    id
}

#[tokio::test]
async fn an_image_built_here_is_sealed_by_its_id_and_a_moved_tag_changes_nothing() {
    let mut world = World::on(Engine::shared()).await;
    let placement = world.placement(1);
    let tag = world.tag(&placement);
    let id = world.engine.build(&tag, "LABEL as=sealed");
    let (artifact, told) = resolved(&world, &tag).await;
    let artifact = artifact.unwrap();
    assert_eq!(
        (artifact.digest.as_str(), artifact.origin.as_str(), told.len()),
        (id.as_str(), tag.as_str(), 0)
    );
    assert!(artifact.size > 100_000, "{}", artifact.size);
    let image = artifact.image.as_deref().unwrap();
    assert_eq!(image, &Image { reference: tag.clone(), pinned: None });
    // Somebody else's image gets the tag, and everything without a tag is cleared away.
    let moved = world.engine.build(&tag, "LABEL as=moved\nCMD [\"crash\"]");
    assert_ne!(moved, id);
    world.engine.docker(&["image", "prune", "--force"]);
    let digest = world.seal_image(&placement, &id, artifact.image.map(|image| *image), Sample::web(1));
    world.fetch(&placement, &digest).await.unwrap();
    world.start(&placement).await.unwrap();
    let ready = world.ready(&placement).await.unwrap();
    assert_eq!(world.answer(&ready[0]).await.as_deref(), Some("1.1.0"));
    let runs = world.engine.docker(&["inspect", "--format", "{{.Image}}", &world.containers()[0]]);
    assert_eq!(runs, format!("sha256:{id}"));
    world.stop(&placement).await.unwrap();
    // What is no longer needed is let go of, once.
    let docker = world.provider();
    assert!(docker.discard(&digest).await.unwrap());
    assert!(!docker.discard(&digest).await.unwrap());
    drop(docker);
    let error = world.fetch(&placement, &digest).await.unwrap_err();
    assert_eq!(error.kind, PortErrorKind::Missing);
    assert!(error.detail.unwrap().contains("deploy the version again"));
}

#[tokio::test]
async fn an_image_of_a_registry_comes_back_by_its_digest_there() {
    let mut world = World::on(Engine::shared()).await;
    let mut registry = Registry::start();
    let reference = registry.name("shop:1.1.0");
    let id = push(&world, &reference);
    let engine = Asked::new(Some(world.engine.host.clone()));
    assert!(find(&engine, &reference).await.unwrap().contains("in its registry"));
    let artifact = resolved(&world, &reference).await.0.unwrap();
    assert_eq!(artifact.digest.as_str(), id);
    let image = artifact.image.clone().unwrap();
    let pinned = image.pinned.clone().unwrap();
    assert!(pinned.starts_with(&registry.name("shop@sha256:")), "{pinned}");
    // The tag means another image by now, here and there, and the sealed one is gone from the engine.
    let newer = world.engine.build(&reference, "LABEL as=newer");
    world.engine.docker(&["push", "--quiet", &reference]);
    let _ = world.engine.try_docker(&["image", "rm", "--force", &id]);
    let placement = world.placement(1);
    let digest = world.seal_image(&placement, &id, Some(*image), Sample::web(1));
    registry.end();
    let error = world.fetch(&placement, &digest).await.unwrap_err();
    assert_eq!(error.kind, PortErrorKind::Missing, "{error}");
    assert!(error.detail.unwrap().contains(&format!("docker pull {pinned}")));
    registry.begin();
    world.fetch(&placement, &digest).await.unwrap();
    world.start(&placement).await.unwrap();
    world.ready(&placement).await.unwrap();
    let runs = world.engine.docker(&["inspect", "--format", "{{.Image}}", &world.containers()[0]]);
    assert_eq!(runs, format!("sha256:{id}"));
    world.stop(&placement).await.unwrap();
    for image in [&id, &newer] {
        let _ = world.engine.try_docker(&["image", "rm", "--force", image]);
    }
}

#[tokio::test]
async fn without_its_registry_the_image_that_is_here_is_taken_and_said_so() {
    let world = World::on(Engine::shared()).await;
    let mut registry = Registry::start();
    let reference = registry.name("shop:1.0");
    let id = push(&world, &reference);
    resolved(&world, &reference).await.0.unwrap();
    registry.end();
    let (artifact, told) = resolved(&world, &reference).await;
    assert_eq!(artifact.unwrap().digest.as_str(), id);
    assert!(told.iter().any(|text| text.contains("the image that is here already is used")), "{told:?}");
    // What nobody has is refused.
    let missing = registry.name("shop:2.0");
    let error = resolved(&world, &missing).await.0.unwrap_err();
    assert_eq!(error.code(), "ORC-0341", "{error}");
    registry.begin();
    let error = resolved(&world, &missing).await.0.unwrap_err();
    assert_eq!(error.code(), "ORC-0341", "{error}");
    assert!(error.full_message().contains("manifest unknown"), "{}", error.full_message());
    let engine = Asked::new(Some(world.engine.host.clone()));
    assert_eq!(find(&engine, &missing).await.unwrap_err().code(), "ORC-0341");
    world.engine.docker(&["image", "rm", "--force", &id]);
}

#[tokio::test]
async fn without_an_engine_it_is_said_how_to_start_one() {
    let engine = Asked::new(Some("unix:///nowhere/docker.sock".into()));
    let error = find(&engine, "shop:1.0").await.unwrap_err();
    assert_eq!(error.code(), "ORC-0340");
    assert!(error.hint_text().unwrap().contains("systemctl start docker"), "{error}");
    let engine = Asked::new(Some("ssh://nowhere".into()));
    assert!(find(&engine, "shop:1.0").await.unwrap_err().hint_text().unwrap().contains("unix://"));
}
