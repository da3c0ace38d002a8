//! What goes well.

use super::{Actor, COUNT, RouterStage};
use orchestrate_core::name::Fence;

pub async fn what_is_registered_has_no_traffic(stage: impl RouterStage) {
    let mut actor = Actor { stage };
    actor.place(1, 1).await;
    assert_eq!(actor.shares().await, [(1, 0)]);
    assert_eq!(actor.stage.ask().await, None);
}

pub async fn a_switch_moves_all_traffic(stage: impl RouterStage) {
    let mut actor = Actor { stage };
    let (first, second) = actor.one_serves().await;
    assert_eq!(actor.shares().await, [(1, 100), (2, 0)]);
    assert_eq!(actor.stage.ask().await.as_deref(), Some("1.1.0"));
    for (placement, other) in [(&second, &first), (&first, &second), (&second, &first)] {
        actor.switch(placement, 2).await.unwrap();
        let mut wanted = [(placement.release.0, 100), (other.release.0, 0)];
        wanted.sort_unstable();
        assert_eq!(actor.shares().await, wanted);
        assert_eq!(actor.stage.ask().await.as_deref(), Some(placement.version.as_str()));
    }
}

pub async fn telling_it_again_changes_nothing(stage: impl RouterStage) {
    let mut actor = Actor { stage };
    let (first, instances) = actor.place(1, 1).await;
    actor.switch(&first, 1).await.unwrap();
    let before = actor.view().await;
    actor.register(&first, &instances, 1).await.unwrap();
    actor.switch(&first, 1).await.unwrap();
    assert_eq!(actor.view().await, before);
    let unknown = actor.placement(2);
    actor.deregister(&unknown, 1).await.unwrap();
    assert_eq!(actor.view().await, before);
}

pub async fn two_slots_share_as_they_are_told(stage: impl RouterStage) {
    let mut actor = Actor { stage };
    let (first, second) = actor.one_serves().await;
    for weight in [1, 30, 99, 100, 0] {
        actor.shift(&second, weight, &first, 2).await.unwrap();
        assert_eq!(actor.shares().await, [(1, 100 - weight), (2, weight)]);
    }
    actor.shift(&second, 30, &first, 2).await.unwrap();
    actor.switch(&second, 3).await.unwrap();
    assert_eq!(actor.shares().await, [(1, 0), (2, 100)], "a switch ends the sharing");
}

pub async fn the_view_tells_what_is_where(stage: impl RouterStage) {
    let mut actor = Actor { stage };
    assert!(actor.view().await.slots.is_empty());
    let (first, _) = actor.one_serves().await;
    let view = actor.view().await;
    assert_eq!(view.fence, Some(Fence(1)));
    let live = view.live().unwrap();
    assert_eq!((live.slot, live.release, &live.version), (first.slot, first.release, &first.version));
    for slot in &view.slots {
        let backend = &slot.backends[0];
        assert_eq!((backend.process.as_str(), backend.listen), ("web", actor.stage.listen()));
        assert_eq!((backend.instances, backend.healthy), (COUNT, COUNT));
    }
}

pub async fn a_proof_names_who_answers(stage: impl RouterStage) {
    let mut actor = Actor { stage };
    let (first, second) = actor.one_serves().await;
    let proof = actor.prove(&first, false).await.unwrap();
    assert_eq!((proof.release, &proof.version, proof.status), (first.release, &first.version, 200));
    let error = actor.prove(&second, false).await.unwrap_err();
    assert!(error.message.contains("1.1.0"), "who did answer? {error}");
    actor.shift(&second, 10, &first, 2).await.unwrap();
    for placement in [&first, &second] {
        let proof = actor.prove(placement, true).await.unwrap();
        assert_eq!(proof.release, placement.release, "a proof that is directed reaches it");
    }
}

pub async fn what_was_switched_outlives_the_router(stage: impl RouterStage) {
    let mut actor = Actor { stage };
    let (first, second) = actor.one_serves().await;
    actor.switch(&second, 2).await.unwrap();
    actor.stage.router().persisted().await.unwrap();
    actor.stage.restart().await;
    assert_eq!(actor.shares().await, [(1, 0), (2, 100)]);
    assert_eq!(actor.stage.ask().await.as_deref(), Some("1.2.0"));
    actor.switch(&first, 3).await.unwrap();
    actor.shift(&second, 20, &first, 3).await.unwrap();
    actor.stage.router().persisted().await.unwrap();
    actor.stage.restart().await;
    assert_eq!(actor.shares().await, [(1, 80), (2, 20)]);
}

pub async fn a_closed_environment_is_forgotten(stage: impl RouterStage) {
    let mut actor = Actor { stage };
    let (first, second) = actor.one_serves().await;
    actor.deregister(&second, 2).await.unwrap();
    assert_eq!(actor.shares().await, [(first.release.0, 100)]);
    actor.close(2).await.unwrap();
    assert_eq!(actor.shares().await, []);
    assert_eq!(actor.stage.ask().await, None);
    actor.close(2).await.unwrap();
}
