//! `--plan`: exactly what was shown, or nothing.

use crate::fakes::{Fault, Kind, When};
use crate::ports::InstanceState;
use crate::rollback_event::{RollbackPath, RollbackStatus};
use crate::stage::{Stage, v};

use super::super::{Asking, Preview, RollbackRequest};

async fn shown(stage: &Stage, request: &RollbackRequest) -> Preview {
    stage.rollback().preview(request, &Asking::by("ada")).await.unwrap()
}

fn exactly(preview: &Preview) -> Asking {
    Asking { plan: Some(preview.plan_token.clone()), ..Asking::by("ada") }
}

async fn two() -> Stage {
    let stage = Stage::new().await;
    stage.deploy_all(&["1.0", "1.1"]).await;
    stage
}

#[tokio::test]
async fn the_plan_that_was_shown_is_run() {
    let stage = two().await;
    // Whether --force was given when it was shown makes no difference to what it does.
    let preview = shown(&stage, &stage.back()).await;
    assert_eq!(preview.plan_token, shown(&stage, &stage.forced()).await.plan_token);
    stage.world.clock.advance(crate::time::Span::from_secs(30));
    assert_eq!(
        preview.plan_token,
        shown(&stage, &stage.back()).await.plan_token,
        "time alone changes nothing"
    );
    let rolled = stage.rollback().rollback_as(&stage.forced(), &exactly(&preview)).await.unwrap();
    assert_eq!(rolled.event.status, RollbackStatus::Completed);
    let again = stage.rollback().rollback_as(&stage.forced(), &exactly(&preview)).await.unwrap_err();
    assert_eq!(again.code(), "ORC-0102");
}

#[tokio::test]
async fn whatever_it_depends_on_must_be_as_it_was() {
    for what in
        ["another deployment", "a hold", "a sick target", "a stopped target", "another target", "an undo"]
    {
        let stage = Stage::new().await;
        stage.deploy_all(&["0.9", "1.0", "1.1"]).await;
        let preview = shown(&stage, &stage.back()).await;
        let (mut request, mut asking) = (stage.forced(), exactly(&preview));
        let now = stage.world.clock.read();
        match what {
            "another deployment" => stage.deploy_all(&["1.1"]).await,
            "a hold" => stage.db.hold(&stage.environment, &v("1.0"), "ada", "leaks", now).await.unwrap(),
            "a sick target" => stage.world.put_instances(&v("1.0"), InstanceState::Unhealthy),
            "a stopped target" => {
                stage.world.clock.advance(crate::time::Span::from_secs(3600));
                crate::slot_tending::tend(&stage.db, &stage.world.ports()).await.unwrap();
            }
            "another target" => request = stage.back_to("0.9"),
            _ => {
                stage.rollback().rollback(&stage.forced()).await.unwrap();
                asking.undo = true;
            }
        }
        let before = stage.dump().await;
        let error = stage.rollback().rollback_as(&request, &asking).await.unwrap_err();
        assert_eq!((error.code(), error.kind()), ("ORC-0141", crate::ErrorKind::Refused), "{what}");
        assert_eq!(stage.dump().await, before, "{what}");
    }
}

#[tokio::test]
async fn a_hold_that_was_set_since_stops_also_who_named_its_version_with_force() {
    let stage = two().await;
    let preview = shown(&stage, &stage.back_to("1.0")).await;
    let now = stage.world.clock.read();
    stage.db.hold(&stage.environment, &v("1.0"), "ada", "leaks", now).await.unwrap();
    let rollback = stage.rollback();
    let error = rollback.rollback_as(&stage.back_to("1.0"), &exactly(&preview)).await.unwrap_err();
    assert_eq!(error.code(), "ORC-0141");
}

#[tokio::test]
async fn a_warm_target_that_turns_sick_is_not_started_anew_against_the_plan() {
    let stage = two().await;
    let preview = shown(&stage, &stage.forced()).await;
    assert_eq!(preview.path, RollbackPath::Warm);
    stage.world.fault(When::Kind(Kind::Switch), 1, Fault::Sicken);
    let rolled = stage.rollback().rollback_as(&stage.forced(), &exactly(&preview)).await.unwrap();
    assert_eq!((rolled.event.status, rolled.event.path), (RollbackStatus::Failed, RollbackPath::Warm));
    assert_eq!(stage.live().await.as_deref(), Some("1.1"));
}
