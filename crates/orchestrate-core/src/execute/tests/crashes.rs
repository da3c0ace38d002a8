//! The program dies at every call, before and after its effect, and at every moment in which it waits for anything;
//! then another one finds what it left.

use std::pin::Pin;
use std::task::{Context, Poll};

use crate::fakes::{Fault, When};

use super::{Scene, resume};

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

macro_rules! sweep {
    ($($name:ident: $scene:ident),* $(,)?) => {$(
        mod $name {
            use super::*;

            #[tokio::test]
            async fn survives_death_at_every_call() {
                Box::pin(die_at_every_call(Scene::$scene)).await;
            }

            #[tokio::test]
            async fn survives_death_at_every_wait() {
                Box::pin(die_at_every_wait(Scene::$scene)).await;
            }

            #[tokio::test]
            async fn survives_two_deaths() {
                Box::pin(die_twice(Scene::$scene)).await;
            }
        }
    )*};
}

sweep! {
    a_first_deployment: FirstDeploy,
    a_deployment: Deploy,
    a_recreating_deployment: RecreateDeploy,
    a_warm_rollback: WarmRollback,
    a_cold_rollback: ColdRollback,
    a_recreating_rollback: RecreateRollback,
    a_rollback_whose_target_turns_sick: SickRollback,
    a_rollback_to_a_sick_live_release: SickLive,
    a_bad_release_that_goes_back_by_itself: BadLive,
    an_undo: Undo,
    a_rolling_deployment: RollingDeploy,
    a_canarys_first_step: CanaryDeploy,
    a_staged_deployment: StagedDeploy,
    a_canarys_next_step: Promote,
    a_canarys_last_step: PromoteAll,
    a_rollback_of_a_canary: CanaryRollback,
    a_deployment_with_hooks: HookedDeploy,
    a_rollback_with_hooks: HookedRollback,
}
