//! Every call fails once or twice, or does what it should and does not say so.

use tokio::task::JoinSet;

use crate::fakes::{Fault, When};
use crate::ports::PortErrorKind;

use crate::slot::SlotState;
use crate::stage::Stage;

use super::table::{Act, Way};
use super::{End, Scene, needs_attention, resume};

const ALL: [Scene; 26] = [
    Scene::FirstDeploy,
    Scene::Deploy,
    Scene::RecreateDeploy,
    Scene::WarmRollback,
    Scene::ColdRollback,
    Scene::RecreateRollback,
    Scene::SickRollback,
    Scene::SickLive,
    Scene::Undo,
    Scene::HookedDeploy,
    Scene::HookedRollback,
    Scene::RollingDeploy,
    Scene::Plain(Way::Cold, Act::Deploy),
    Scene::Plain(Way::Cold, Act::Rollback),
    Scene::Plain(Way::Cold, Act::Undo),
    Scene::Plain(Way::Cold, Act::Automatic),
    Scene::Plain(Way::Recreate, Act::Undo),
    Scene::Plain(Way::Recreate, Act::Automatic),
    Scene::Plain(Way::Rolling, Act::Rollback),
    Scene::Plain(Way::Rolling, Act::Undo),
    Scene::Plain(Way::Rolling, Act::Automatic),
    Scene::Plain(Way::Canary, Act::Rollback),
    Scene::Plain(Way::Canary, Act::Undo),
    Scene::Plain(Way::Warm, Act::Drill),
    Scene::Plain(Way::Cold, Act::Drill),
    Scene::Plain(Way::Rolling, Act::Drill),
];

/// Plays the scene once for each of its calls, all at the same time in worlds of their own: `times` faults from that call
/// on. A person finishes it if it asks for one. The ends by call; `None` where it was refused.
async fn play(scene: Scene, template: &Stage, times: usize, fault: Fault) -> Vec<Option<End>> {
    let mut plays = JoinSet::new();
    for number in 1..=scene.calls(template).await {
        let (stage, fault) = (template.fork().await, fault.clone());
        plays.spawn(async move { (number, play_once(scene, &stage, number, times, fault).await) });
    }
    let mut ends = plays.join_all().await;
    ends.sort_by_key(|(number, _)| *number);
    ends.into_iter().map(|(_, end)| end).collect()
}

async fn play_once(scene: Scene, stage: &Stage, number: usize, times: usize, fault: Fault) -> Option<End> {
    let what = format!("{fault:?} of {times} calls from {number} on");
    scene.arrange(stage);
    for offset in 0..times {
        stage.world.fault(When::Call(number + offset), 1, fault.clone());
    }
    if let Err(error) = scene.play(stage, stage.db.clone(), stage.world.ports()).await {
        assert!(["ORC-0117", "ORC-0133", "ORC-0196"].contains(&error.code()), "{scene:?}, {what}: {error:?}");
        assert_eq!(scene.look(stage, &what).await, End::Before);
        return None;
    }
    stage.world.forget_faults();
    if needs_attention(stage).await {
        resume(stage, stage.db.clone(), stage.world.ports(), &what).await;
    }
    Some(scene.look(stage, &what).await)
}

#[tokio::test]
async fn a_lost_answer_changes_nothing_about_the_end() {
    // What turns sick after a switch whose answer was lost is sick and live: no program can mend that.
    for scene in ALL.into_iter().filter(|scene| *scene != Scene::SickRollback) {
        let ends = play(scene, &scene.stage().await, 1, Fault::LoseAnswer).await;
        assert!(!ends.contains(&Some(End::Before)), "{scene:?}: {ends:?}");
    }
}

#[tokio::test]
async fn a_call_that_fails_once_or_twice_ends_the_operation_cleanly() {
    for scene in ALL {
        let template = scene.stage().await;
        for (kind, times) in [
            (PortErrorKind::Failed, 1),
            (PortErrorKind::Failed, 2),
            (PortErrorKind::TimedOut, 1),
            (PortErrorKind::NotReady, 1),
        ] {
            play(scene, &template, times, Fault::Fail(kind)).await;
        }
    }
}

#[tokio::test]
async fn a_call_that_cannot_be_made_once_or_twice_is_made_again() {
    for scene in ALL {
        let template = scene.stage().await;
        for times in [1, 2] {
            let ends = play(scene, &template, times, Fault::Fail(PortErrorKind::Unreachable)).await;
            // Only a look before anything began may change the way, and with it the end of a target that turns sick.
            let same = ends.iter().all(|end| *end != Some(End::Before));
            assert!(same || scene == Scene::SickRollback, "{scene:?}: {ends:?}");
        }
    }
}

#[tokio::test]
async fn a_warm_release_whose_redeployment_fails_before_its_start_is_not_forgotten() {
    let stage = Stage::new().await;
    stage.deploy_all(&["1.0", "1.1"]).await;
    let warm = stage.contents("1.0").artifact.digest;
    let before = stage.world.running(&stage.environment);
    stage.world.lose_artifact(&warm);
    stage.deploy("1.0").await;
    assert_eq!(stage.live().await.as_deref(), Some("1.1"));
    assert_eq!(stage.world.running(&stage.environment), before);
    let left = stage.slots().await.into_iter().find(|slot| slot.version.as_str() == "1.0").unwrap();
    assert_eq!(left.state, SlotState::Retiring, "what runs has a record, so that it is stopped");
}
