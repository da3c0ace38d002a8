//! What goes wrong.

use orchestrate_core::ports::{InstanceState, PortErrorKind};
use orchestrate_core::time::Span;

use super::{Actor, Manner, ProviderStage, SOON, Sample, all_ready};

pub async fn what_is_sick_is_not_called_ready(stage: impl ProviderStage) {
    let mut actor = Actor { stage };
    let placement = actor.run(1, Sample::web(1).that_is(Manner::Sick)).await;
    let error = actor.ready(&placement, Span::from_secs(2)).await.unwrap_err();
    assert_eq!(error.kind, PortErrorKind::TimedOut, "{error}");
    assert!(error.message.contains("blue-web-1"), "who is it? {error}");
    assert!(actor.instances().await.iter().all(|one| one.state != InstanceState::Ready));
    actor.end(&[&placement]).await;
}

pub async fn a_crash_loop_is_told_before_the_deadline(stage: impl ProviderStage) {
    let mut actor = Actor { stage };
    let placement = actor.run(1, Sample::web(1).that_is(Manner::Crashing)).await;
    // The suite's own patience is shorter than this.
    let error = actor.ready(&placement, Span::from_secs(600)).await.unwrap_err();
    let told = format!("{error} {}", error.detail.as_deref().unwrap_or_default());
    assert!(told.contains("blue-web-1") && told.contains("address in use"), "why is it? {told}");
    actor.end(&[&placement]).await;
}

pub async fn an_older_fence_is_refused_also_after_a_restart(stage: impl ProviderStage) {
    let mut actor = Actor { stage };
    let placement = actor.run(1, Sample::web(1)).await;
    actor.start(&placement, 5).await.unwrap();
    for round in ["before", "after"] {
        let names = actor.names().await;
        let (start, stop) = (actor.start(&placement, 4).await.map(drop), actor.stop(&placement, 4).await);
        for refused in [start, stop] {
            assert_eq!(refused.unwrap_err().kind, PortErrorKind::Fenced, "{round} the restart");
        }
        assert_eq!(actor.names().await, names);
        actor.stage.restart().await;
    }
    actor.start(&placement, 5).await.unwrap();
    actor.end(&[&placement]).await;
}

pub async fn what_died_while_nobody_looked_is_started_again(stage: impl ProviderStage) {
    let mut actor = Actor { stage };
    let placement = actor.run(1, Sample::web(2)).await;
    let ready = actor.ready(&placement, SOON).await.unwrap();
    // It dies in the hands of the one that lets go, or of the one that comes: both make it good.
    actor.stage.kill(&ready[1]).await;
    actor.stage.restart().await;
    actor.until("both are ready again", |all| all.len() == 2 && all_ready(all)).await;
    let after = actor.ready(&placement, SOON).await.unwrap();
    assert_eq!((&after[0].pid, &after[0].address), (&ready[0].pid, &ready[0].address));
    assert_eq!(actor.stage.answer(&after[1]).await.as_deref(), Some("1.1.0"));
    actor.end(&[&placement]).await;
}

pub async fn what_is_killed_by_hand_comes_back(stage: impl ProviderStage) {
    let mut actor = Actor { stage };
    let placement = actor.run(1, Sample::web(1)).await;
    let ready = actor.ready(&placement, SOON).await.unwrap();
    actor.stage.kill(&ready[0]).await;
    let is_back = |all: &[super::Instance]| all.iter().any(|one| one.restarts > 0) && all_ready(all);
    let back = actor.until("it is back", is_back).await;
    assert_eq!(back.len(), 1);
    assert!(back[0].last_exit.is_some(), "how did it end? {back:?}");
    assert_eq!(actor.stage.answer(&back[0]).await.as_deref(), Some("1.1.0"));
    actor.end(&[&placement]).await;
}

pub async fn what_cannot_be_restored_is_refused_before_anything_is_touched(stage: impl ProviderStage) {
    let mut actor = Actor { stage };
    let live = actor.run(1, Sample::web(1)).await;
    actor.ready(&live, SOON).await.unwrap();
    let (lost, digest) = actor.seal(2, Sample::web(1)).await;
    actor.fetch(&lost, &digest).await.unwrap();
    actor.stage.lose(&digest).await;
    let before = actor.instances().await;
    assert_eq!(actor.fetch(&lost, &digest).await.unwrap_err().kind, PortErrorKind::Missing);
    assert_eq!(actor.instances().await, before);
    actor.end(&[&live]).await;
}
