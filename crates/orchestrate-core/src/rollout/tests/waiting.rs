//! What is staged is watched while it waits: on record, told once, and not promoted while it is not well.

use super::code;
use crate::evidence::Finding;
use crate::fakes::Kind;
use crate::notification::NoticeKind;
use crate::ports::InstanceState;
use crate::rollout::{Next, watch};
use crate::stage::{Stage, hook, settings, v};
use crate::time::Span;

/// 1.0 is live, 1.1 is staged beside it.
async fn stage() -> Stage {
    let stage = Stage::with(settings(), &[hook("http://all", &[NoticeKind::NeedsAttention])]).await;
    stage.deploy("1.0").await;
    stage.staged("1.1").await;
    stage
}

impl Stage {
    /// Watches until the record of the staged release says this of its instances.
    async fn watched_until(&self, finding: Finding) -> String {
        let (rollout, ports) = (self.rollout().await.unwrap(), self.world.ports());
        let found = async {
            loop {
                let evidence = self.current().await.evidence;
                if let Some(one) = evidence.into_iter().find(|one| one.finding == finding) {
                    return one.text;
                }
                tokio::task::yield_now().await;
            }
        };
        tokio::select! {
            next = watch(&self.db, &ports, &rollout) => panic!("{next:?}"),
            text = found => text,
        }
    }
}

#[tokio::test]
async fn one_that_crash_loops_while_it_waits_is_on_record_told_once_and_not_promoted() {
    let stage = stage().await;
    stage.world.put_instances(&v("1.1"), InstanceState::BackingOff);
    let text = stage.watched_until(Finding::Bad).await;
    assert_eq!(text, "green-web-1 ended while it was staged");
    stage.world.forget_calls();
    let refused = stage.promote(false).await.unwrap_err();
    assert_eq!(refused.code(), "ORC-0156");
    assert!(refused.to_string().ends_with(&text), "{refused}");
    assert!(stage.world.calls().iter().all(|call| matches!(call.kind, Kind::Observe | Kind::Instances)));
    stage.world.put_instances(&v("1.1"), InstanceState::Ready);
    stage.watched_until(Finding::Good).await;
    stage.world.put_instances(&v("1.1"), InstanceState::Unhealthy);
    stage.watched_until(Finding::Bad).await;
    assert_eq!(stage.db.list_notices(99).await.unwrap().len(), 1, "told once, however often it changes");
    assert_eq!(stage.live().await.as_deref(), Some("1.0"), "and never rolled back by itself");
}

#[tokio::test]
async fn once_it_is_well_again_it_is_promoted_and_what_was_found_is_no_evidence_against_what_serves() {
    let stage = stage().await;
    stage.world.put_instances(&v("1.1"), InstanceState::Unhealthy);
    stage.watched_until(Finding::Bad).await;
    assert_eq!(code(stage.promote(false).await), "ORC-0156");
    stage.world.put_instances(&v("1.1"), InstanceState::Ready);
    let promoted = stage.promote(false).await.unwrap();
    assert_eq!(stage.live().await.as_deref(), Some("1.1"));
    assert_eq!(promoted.deployment.evidence, []);
}

#[tokio::test]
async fn the_watch_of_what_waits_ends_with_the_wait() {
    let stage = stage().await;
    let rollout = stage.rollout().await.unwrap();
    stage.promote(false).await.unwrap();
    stage.world.clock.advance(Span::from_secs(1));
    assert_eq!(watch(&stage.db, &stage.world.ports(), &rollout).await.unwrap(), Next::Overtaken);
}
