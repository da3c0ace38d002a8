//! The program dies at every call, before and after its effect, and at every moment in which it waits for anything;
//! then another one finds what it left.

use std::pin::Pin;
use std::task::{Context, Poll};

use crate::fakes::{Fault, When};
use crate::ports::PortErrorKind;

use super::table::{Act, Way};
use super::{Scene, needs_attention, resume};

/// Polls a program so many times, and then drops it.
struct Mortal<F> {
    program: Pin<Box<F>>,
    polls: usize,
}

impl<F: Future> Future for Mortal<F> {
    type Output = Option<F::Output>;

    fn poll(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Self::Output> {
        if self.polls == 0 {
            return Poll::Ready(None);
        }
        self.polls -= 1;
        self.program.as_mut().poll(context).map(Some)
    }
}

async fn die_at_every_call(scene: Scene) {
    let template = scene.stage().await;
    let calls = scene.calls(&template).await;
    for number in 1..=calls {
        for fault in [Fault::CrashBefore, Fault::CrashAfter] {
            let what = format!("{fault:?} of call {number}");
            let stage = template.fork().await;
            scene.arrange(&stage);
            stage.world.fault(When::Call(number), 1, fault);
            let db = stage.another_handle().await;
            let program = scene.play(&stage, db.clone(), stage.world.ports());
            let done = stage.world.until_crash(program).await;
            assert!(done.is_none(), "{what} did not come about");
            db.close().await;
            let ports = stage.world.reborn();
            resume(&stage, stage.db.clone(), ports, &what).await;
            scene.look(&stage, &what).await;
        }
    }
}

async fn die_at_every_wait(scene: Scene) {
    let template = scene.stage().await;
    for polls in 1..1000 {
        let what = format!("dead after {polls} polls");
        let stage = template.fork().await;
        scene.arrange(&stage);
        let db = stage.another_handle().await;
        let program = Box::pin(scene.play(&stage, db.clone(), stage.world.ports()));
        let done = Mortal { program, polls }.await;
        db.close().await;
        let ports = stage.world.reborn();
        resume(&stage, stage.db.clone(), ports, &what).await;
        scene.look(&stage, &what).await;
        if done.is_some() {
            return;
        }
    }
    panic!("{scene:?} never came to its end");
}

/// A crash, and then another one while what the first left is being finished.
async fn die_twice(scene: Scene) {
    let template = scene.stage().await;
    let calls = scene.calls(&template).await;
    for first in 1..=calls {
        for second in [1 + first % 2, 3] {
            let what = format!("dead at call {first}, and again {second} later");
            let stage = template.fork().await;
            scene.arrange(&stage);
            stage.world.fault(When::Call(first), 1, Fault::CrashAfter);
            let db = stage.another_handle().await;
            // In boxes: unoptimised, all of them together are too much for the stack of a test's thread.
            let program = Box::pin(scene.play(&stage, db.clone(), stage.world.ports()));
            assert!(stage.world.until_crash(program).await.is_none());
            db.close().await;
            let ports = stage.world.reborn();
            stage.world.forget_calls();
            stage.world.fault(When::Call(second), 1, Fault::CrashBefore);
            let db = stage.another_handle().await;
            stage.world.until_crash(Box::pin(resume(&stage, db.clone(), ports, &what))).await;
            db.close().await;
            let ports = stage.world.reborn();
            Box::pin(resume(&stage, stage.db.clone(), ports, &what)).await;
            scene.look(&stage, &what).await;
        }
    }
}

/// Something fails, and the program dies while it makes up for that; so does the next one that takes it on. Where there are many
/// calls, at some of them: every call alone has its death above.
async fn die_while_undoing(scene: Scene) {
    let template = scene.stage().await;
    let calls = scene.calls(&template).await;
    let stride = calls.div_ceil(12);
    for failing in (1..=calls).step_by(stride) {
        for death in (failing + 1..).step_by(stride) {
            let fault = if death / stride % 2 == 0 { Fault::CrashBefore } else { Fault::CrashAfter };
            let what = format!("call {failing} fails, {fault:?} of call {death}");
            let stage = template.fork().await;
            scene.arrange(&stage);
            stage.world.fault(When::Call(failing), 1, Fault::Fail(PortErrorKind::Failed));
            stage.world.fault(When::Call(death), 1, fault);
            let db = stage.another_handle().await;
            let program = Box::pin(scene.play(&stage, db.clone(), stage.world.ports()));
            let ended = stage.world.until_crash(program).await;
            db.close().await;
            if ended.is_some() {
                break;
            }
            let ports = stage.world.reborn();
            stage.world.forget_calls();
            stage.world.fault(When::Call(1 + death % 3), 1, Fault::CrashBefore);
            let db = stage.another_handle().await;
            stage.world.until_crash(Box::pin(resume(&stage, db.clone(), ports, &what))).await;
            db.close().await;
            let ports = stage.world.reborn();
            Box::pin(resume(&stage, stage.db.clone(), ports.clone(), &what)).await;
            if needs_attention(&stage).await {
                Box::pin(resume(&stage, stage.db.clone(), ports, &what)).await;
            }
            scene.look(&stage, &what).await;
        }
    }
}

macro_rules! sweep {
    ($($name:ident: $scene:expr),* $(,)?) => {
        /// Everything that dies here.
        pub(super) const SWEPT: &[Scene] = &[$($scene),*];

        $(mod $name {
            use super::*;

            #[tokio::test]
            async fn survives_death_at_every_call() {
                Box::pin(die_at_every_call($scene)).await;
            }

            #[tokio::test]
            async fn survives_death_at_every_wait() {
                Box::pin(die_at_every_wait($scene)).await;
            }

            #[tokio::test]
            async fn survives_two_deaths() {
                Box::pin(die_twice($scene)).await;
            }

            #[tokio::test]
            async fn survives_death_while_it_makes_up_for_a_failure() {
                Box::pin(die_while_undoing($scene)).await;
            }
        })*
    };
}

sweep! {
    a_first_deployment: Scene::FirstDeploy,
    a_deployment: Scene::Deploy,
    a_recreating_deployment: Scene::RecreateDeploy,
    a_warm_rollback: Scene::WarmRollback,
    a_cold_rollback: Scene::ColdRollback,
    a_recreating_rollback: Scene::RecreateRollback,
    a_rollback_whose_target_turns_sick: Scene::SickRollback,
    a_rollback_to_a_sick_live_release: Scene::SickLive,
    a_bad_release_that_goes_back_by_itself: Scene::BadLive,
    an_undo: Scene::Undo,
    a_rolling_deployment: Scene::RollingDeploy,
    a_canarys_first_step: Scene::CanaryDeploy,
    a_staged_deployment: Scene::StagedDeploy,
    a_canarys_next_step: Scene::Promote,
    a_canarys_last_step: Scene::PromoteAll,
    a_rollback_of_a_canary: Scene::CanaryRollback,
    a_canary_that_goes_back_by_itself: Scene::BadCanary,
    a_deployment_with_hooks: Scene::HookedDeploy,
    a_rollback_with_hooks: Scene::HookedRollback,
    a_deployment_that_leaves_nothing_warm: Scene::Plain(Way::Cold, Act::Deploy),
    a_rollback_to_what_was_not_kept_warm: Scene::Plain(Way::Cold, Act::Rollback),
    an_undo_to_what_was_not_kept_warm: Scene::Plain(Way::Cold, Act::Undo),
    a_bad_release_before_which_nothing_is_warm: Scene::Plain(Way::Cold, Act::Automatic),
    a_recreating_undo: Scene::Plain(Way::Recreate, Act::Undo),
    a_recreated_release_that_goes_back_by_itself: Scene::Plain(Way::Recreate, Act::Automatic),
    a_rolling_rollback: Scene::Plain(Way::Rolling, Act::Rollback),
    a_rolling_undo: Scene::Plain(Way::Rolling, Act::Undo),
    a_rolled_out_release_that_goes_back_by_itself: Scene::Plain(Way::Rolling, Act::Automatic),
    a_rollback_of_a_promoted_canary: Scene::Plain(Way::Canary, Act::Rollback),
    an_undo_of_a_canarys_rollback: Scene::Plain(Way::Canary, Act::Undo),
    a_promoted_canary_that_goes_back_by_itself: Scene::Plain(Way::Canary, Act::Automatic),
    a_drill_there_and_back: Scene::Plain(Way::Warm, Act::Drill),
    a_drill_beside_what_is_live: Scene::Plain(Way::Cold, Act::Drill),
    a_drill_beside_what_was_rolled_out: Scene::Plain(Way::Rolling, Act::Drill),
    a_drill_after_a_promoted_canary: Scene::Plain(Way::Canary, Act::Drill),
}
