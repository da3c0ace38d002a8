//! Every call fails once or twice, or does what it should and does not say so.

use crate::fakes::{Fault, When};
use crate::ports::PortErrorKind;

use super::{End, Scene, needs_attention, resume};

const ALL: [Scene; 9] = [
    Scene::FirstDeploy,
    Scene::Deploy,
    Scene::RecreateDeploy,
    Scene::WarmRollback,
    Scene::ColdRollback,
    Scene::RecreateRollback,
    Scene::SickRollback,
    Scene::SickLive,
    Scene::Undo,
];

/// Plays the scene with `times` faults from call `number` on, and lets a person finish it if it asks for one. `None` where
/// it was refused.
async fn play(
    scene: Scene,
    template: &crate::stage::Stage,
    number: usize,
    times: usize,
    fault: &Fault,
) -> Option<End> {
    let what = format!("{fault:?} of {times} calls from {number} on");
    let stage = template.fork().await;
    scene.arrange(&stage);
    for offset in 0..times {
        stage.world.fault(When::Call(number + offset), 1, fault.clone());
    }
    if let Err(error) = scene.play(&stage, stage.db.clone(), stage.world.ports()).await {
        assert_eq!(error.code(), "ORC-0117", "{scene:?}, {what}: {error:?}");
        assert_eq!(scene.look(&stage, &what).await, End::Before);
        return None;
    }
    stage.world.forget_faults();
    if needs_attention(&stage).await {
        resume(&stage, stage.db.clone(), stage.world.ports(), &what).await;
    }
    Some(scene.look(&stage, &what).await)
}

#[tokio::test]
async fn a_lost_answer_changes_nothing_about_the_end() {
    // What turns sick after a switch whose answer was lost is sick and live: no program can mend that.
    for scene in ALL.into_iter().filter(|scene| *scene != Scene::SickRollback) {
        let template = scene.stage().await;
        for number in 1..=scene.calls(&template).await {
            let end = play(scene, &template, number, 1, &Fault::LoseAnswer).await;
            assert_ne!(end, Some(End::Before), "{scene:?}: the answer to call {number} was lost");
        }
    }
}

#[tokio::test]
async fn a_call_that_fails_once_or_twice_ends_the_operation_cleanly() {
    for scene in ALL {
        let template = scene.stage().await;
        let calls = scene.calls(&template).await;
        for kind in [PortErrorKind::Failed, PortErrorKind::TimedOut, PortErrorKind::NotReady] {
            for number in 1..=calls {
                for times in [1, 2] {
                    play(scene, &template, number, times, &Fault::Fail(kind)).await;
                }
            }
        }
    }
}

#[tokio::test]
async fn a_call_that_cannot_be_made_once_or_twice_is_made_again() {
    for scene in ALL {
        let template = scene.stage().await;
        let calls = scene.calls(&template).await;
        for number in 1..=calls {
            for times in [1, 2] {
                play(scene, &template, number, times, &Fault::Fail(PortErrorKind::Unreachable)).await;
            }
        }
    }
}
