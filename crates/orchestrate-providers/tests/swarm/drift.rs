//! Somebody changes services by hand.

use orchestrate_core::name::Fence;
use orchestrate_core::ports::{AwaitHealthy, Fetch, Processes, StartRequest, StopRequest};
use orchestrate_core::time::Span;
use orchestrate_testkit::contract::provider::{ProviderStage, Sample};

use crate::world::World;

#[tokio::test]
async fn what_is_changed_by_hand_is_told_and_gone_once_it_is_taken_back() {
    let mut world = World::new().await;
    let placement = world.placement(1);
    let digest = world.seal(&placement, Sample::web(1)).await;
    let provider = world.provider();
    provider.fetch(&Fetch { release: placement.release, artifact: digest, size: 0 }).await.unwrap();
    let (processes, fence) = (Processes::All, Fence(1));
    let start = StartRequest { placement: placement.clone(), processes, counts: None, fence };
    provider.start(&start).await.unwrap();
    let deadline = Span::from_secs(60);
    let wait = AwaitHealthy { placement: placement.clone(), processes, counts: None, deadline };
    provider.await_healthy(&wait).await.unwrap();
    assert_eq!(provider.drift(&placement, Processes::All).await.unwrap(), [""; 0]);

    let service = world.services().remove(0);
    world.engine.docker(&[
        "service",
        "update",
        "--detach",
        "--env-add",
        "GREETING=bye",
        "--args",
        "work",
        &service,
    ]);
    let seen = provider.drift(&placement, Processes::All).await.unwrap().join("; ");
    assert!(seen.contains("variables of blue-web-1 were changed: GREETING"), "{seen}");
    assert!(seen.contains("the command of blue-web-1 was changed") && !seen.contains("bye"), "{seen}");

    // As somebody would who knows only docker.
    world.engine.docker(&["service", "rollback", "--detach", &service]);
    assert_eq!(provider.drift(&placement, Processes::All).await.unwrap(), [""; 0]);

    world.engine.docker(&["service", "rm", &service]);
    let seen = provider.drift(&placement, Processes::All).await.unwrap().join("; ");
    assert!(seen.contains("the service of blue-web-1") && seen.contains("is gone"), "{seen}");
    provider.stop(&StopRequest { placement, processes, counts: None, fence }).await.unwrap();
}
