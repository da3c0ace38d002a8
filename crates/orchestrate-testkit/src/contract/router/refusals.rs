//! What is refused, and changes nothing.

use orchestrate_core::ports::{PortErrorKind, PortResult};
use orchestrate_core::time::Span;

use super::{Actor, RouterStage};
use crate::contract::until;

#[track_caller]
fn refused<T: std::fmt::Debug>(kind: PortErrorKind, what: &str, result: PortResult<T>) {
    let error = result.expect_err(what);
    assert_eq!(error.kind, kind, "{what}: {error}");
}

pub async fn nothing_is_switched_to_that_is_not_ready_or_not_there(stage: impl RouterStage) {
    let mut actor = Actor { stage };
    let (first, second) = actor.one_serves().await;
    let third = actor.placement(3);
    refused(PortErrorKind::Missing, "another release of its slot", actor.switch(&third, 2).await);
    actor.stage.be_well(&second, false).await;
    until("it is seen to be sick", async || {
        let view = actor.view().await;
        let seen = view.placed(second.slot, second.release)?;
        (seen.healthy("web") == 0).then_some(())
    })
    .await;
    refused(PortErrorKind::NotReady, "a switch", actor.switch(&second, 2).await);
    refused(PortErrorKind::NotReady, "a share", actor.shift(&second, 10, &first, 2).await);
    assert_eq!(actor.shares().await, [(1, 100), (2, 0)]);
    assert_eq!(actor.stage.ask().await.as_deref(), Some("1.1.0"));
    actor.stage.be_well(&second, true).await;
    until("it may be switched to again", async || actor.switch(&second, 2).await.ok()).await;
    assert_eq!(actor.stage.ask().await.as_deref(), Some("1.2.0"));
}

pub async fn an_older_fence_is_refused_and_changes_nothing(stage: impl RouterStage) {
    let mut actor = Actor { stage };
    let (first, instances) = actor.place(1, 5).await;
    let (second, _) = actor.place(2, 5).await;
    actor.switch(&first, 7).await.unwrap();
    actor.stage.router().persisted().await.unwrap();
    for when in ["before", "after"] {
        let view = actor.view().await;
        let what = |call: &str| format!("{call} {when} the restart");
        refused(PortErrorKind::Fenced, &what("register"), actor.register(&first, &instances, 6).await);
        refused(PortErrorKind::Fenced, &what("switch"), actor.switch(&second, 6).await);
        refused(PortErrorKind::Fenced, &what("shift"), actor.shift(&second, 10, &first, 6).await);
        refused(PortErrorKind::Fenced, &what("drain"), actor.drain(&second, Span::from_secs(1), 6).await);
        refused(PortErrorKind::Fenced, &what("deregister"), actor.deregister(&second, 6).await);
        refused(PortErrorKind::Fenced, &what("close"), actor.close(6).await);
        assert_eq!(actor.view().await, view);
        actor.stage.restart().await;
    }
    actor.switch(&second, 7).await.unwrap();
}

pub async fn what_has_traffic_is_neither_replaced_nor_forgotten(stage: impl RouterStage) {
    let mut actor = Actor { stage };
    let (first, second) = actor.one_serves().await;
    let third = actor.placement(3);
    let instances = actor.stage.run(&third, 2).await;
    refused(
        PortErrorKind::Failed,
        "another release in its slot",
        actor.register(&third, &instances, 2).await,
    );
    refused(PortErrorKind::Failed, "a farewell", actor.deregister(&first, 2).await);
    refused(PortErrorKind::Failed, "a drain", actor.drain(&first, Span::from_secs(1), 2).await);
    actor.shift(&second, 1, &first, 2).await.unwrap();
    refused(PortErrorKind::Failed, "a farewell with 1 %", actor.deregister(&second, 2).await);
    assert_eq!(actor.shares().await, [(1, 99), (2, 1)]);
    actor.switch(&second, 2).await.unwrap();
    actor.drain(&first, Span::from_secs(5), 2).await.unwrap();
    actor.register(&third, &instances, 2).await.unwrap();
    assert_eq!(actor.shares().await, [(2, 100), (3, 0)]);
}
