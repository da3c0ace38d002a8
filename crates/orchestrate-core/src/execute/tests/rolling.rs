//! A rolling deployment that is put back, batch by batch.

use crate::execute::Outcome;
use crate::fakes::{Call, Fault, Kind, When};
use crate::ports::PortErrorKind;
use crate::stage::{Stage, rolling, v};

/// 1.0 is live with four instances; the last batch of 1.1 will not come up. Returns the number of the call that says so.
async fn stage() -> (Stage, usize) {
    let stage = Stage::with(rolling(), &[]).await;
    stage.deploy("1.0").await;
    let rehearsal = stage.fork().await;
    rehearsal.world.forget_calls();
    rehearsal.deploy("1.1").await;
    let is_wait = |call: &Call| call.kind == Kind::AwaitHealthy && call.version == Some(v("1.1"));
    let last = rehearsal.world.calls().iter().rposition(is_wait).unwrap() + 1;
    assert_eq!(rehearsal.world.most_running("web"), 5, "one too many at a time");
    stage.world.forget_calls();
    (stage, last)
}

#[tokio::test]
async fn what_is_put_back_never_has_more_than_max_surge_too_many() {
    let (stage, last) = stage().await;
    let before = stage.world.running(&stage.environment);
    stage.world.fault(When::Call(last), 1, Fault::Fail(PortErrorKind::TimedOut));
    assert!(matches!(stage.deploy("1.1").await.outcome, Outcome::Undone(_)));
    assert_eq!(stage.world.most_running("web"), 5);
    assert_eq!(stage.world.running(&stage.environment), before);
    assert_eq!(stage.live().await.as_deref(), Some("1.0"));
}

#[tokio::test]
async fn where_the_batches_before_are_not_ready_what_serves_comes_before_max_surge() {
    let (stage, last) = stage().await;
    let before = stage.world.running(&stage.environment);
    stage.world.fault(When::Call(last), 1, Fault::Sicken);
    let deployed = stage.deploy("1.1").await;
    assert!(matches!(deployed.outcome, Outcome::Undone(_)), "{:?}", deployed.outcome);
    assert!(stage.world.most_running("web") > 5);
    assert_eq!(stage.world.running(&stage.environment), before);
    assert_eq!(stage.live().await.as_deref(), Some("1.0"));
}
