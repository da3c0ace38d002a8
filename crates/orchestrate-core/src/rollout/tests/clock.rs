//! A clock that jumps while a canary is watched.

use super::stage;
use crate::rollout::{Next, watch};
use crate::time::Timestamp;

#[tokio::test]
async fn a_clock_that_jumps_neither_shortens_nor_lengthens_a_step() {
    for jump in [-86_400_000_i64, 86_400_000] {
        let (stage, _) = stage().await;
        let (rollout, ports) = (stage.rollout().await.unwrap(), stage.world.ports());
        let wait = rollout.course.wait.as_millis();
        let began = ports.clock.running_for();
        let next = stage.with_a_jump(jump, watch(&stage.db, &ports, &rollout)).await.unwrap();
        assert_eq!(next, Next::Promote);
        let lasted = ports.clock.running_for().as_millis() - began.as_millis();
        assert!((wait - 5_000..wait + 10_000).contains(&lasted), "{lasted} ms of {wait} after {jump} ms");
    }
}

#[tokio::test]
async fn a_step_that_was_due_before_the_clock_went_back_lasts_no_longer_than_its_wait() {
    let (stage, _) = stage().await;
    let (rollout, ports) = (stage.rollout().await.unwrap(), stage.world.ports());
    stage.world.clock.set(Timestamp::from_millis(rollout.since.as_millis() - 7 * 86_400_000));
    let began = ports.clock.running_for();
    assert_eq!(watch(&stage.db, &ports, &rollout).await.unwrap(), Next::Promote);
    let lasted = ports.clock.running_for().as_millis() - began.as_millis();
    assert!(lasted < rollout.course.wait.as_millis() + 10_000, "{lasted} ms");
}
