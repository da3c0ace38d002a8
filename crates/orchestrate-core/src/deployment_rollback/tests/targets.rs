//! What a rollback goes back to, and what it refuses.

use crate::deployment::DeploymentStatus;
use crate::error::ErrorKind;
use crate::execute::Outcome;
use crate::name::EnvironmentName;
use crate::rollback_event::{RollbackPath, RollbackType};
use crate::stage::{Stage, v};

use super::super::RollbackRequest;

#[tokio::test]
async fn after_a_deployment_that_never_got_traffic_the_target_is_what_still_serves() {
    let stage = Stage::new().await;
    stage.deploy_all(&["1.0", "1.1"]).await;
    stage.world.never_healthy(&v("1.2"));
    let failed = stage.deploy("1.2").await;
    assert!(matches!(failed.outcome, Outcome::Undone(_)));
    assert_eq!(failed.deployment.status, DeploymentStatus::TimedOut);
    assert_eq!(stage.live().await.as_deref(), Some("1.1"));
    stage.world.forget_calls();

    let event = stage.rollback().rollback(&stage.back()).await.unwrap();
    assert_eq!((event.path, event.rollback_type), (RollbackPath::None, RollbackType::Previous));
    assert_eq!((event.from_version, event.target_version), (v("1.2"), v("1.1")));
    assert_eq!(event.phases, []);
    assert_eq!(stage.world.calls().len(), 1, "only a look at the router");
    assert_eq!(stage.live().await.as_deref(), Some("1.1"));
    assert!(stage.db.find_hold(&stage.environment, &v("1.2")).await.unwrap().is_some());

    let error = stage.rollback().rollback(&stage.back()).await.unwrap_err();
    assert_eq!(error.to_string(), "deployment 2 of 1.1 is completed; use --force to roll it back");
    let event = stage.rollback().rollback(&stage.forced()).await.unwrap();
    assert_eq!((event.from_version, event.target_version), (v("1.1"), v("1.0")));
    assert_eq!(stage.live().await.as_deref(), Some("1.0"));
}

#[tokio::test]
async fn after_going_far_back_a_failed_deployment_does_not_lead_forward_again() {
    let stage = Stage::new().await;
    stage.deploy_all(&["1.0", "1.1", "1.2"]).await;
    stage.rollback().rollback(&stage.back_to("1.0")).await.unwrap();
    stage.world.never_healthy(&v("2.0"));
    assert!(matches!(stage.deploy("2.0").await.outcome, Outcome::Undone(_)));

    let event = stage.rollback().rollback(&stage.back()).await.unwrap();
    assert_eq!((event.path, event.target_version), (RollbackPath::None, v("1.0")));
    assert_eq!(stage.live().await.as_deref(), Some("1.0"));
}

#[tokio::test]
async fn a_version_that_was_rolled_back_is_held() {
    let stage = Stage::new().await;
    stage.deploy_all(&["1.0", "1.1"]).await;
    stage.rollback().rollback(&stage.forced()).await.unwrap();
    let before = stage.dump().await;
    let error = stage.executor().deploy(&stage.to_deploy("1.1")).await.unwrap_err();
    assert_eq!((error.code(), error.kind()), ("ORC-0114", ErrorKind::Refused));
    let request = RollbackRequest { force: false, ..stage.back_to("1.1") };
    assert_eq!(stage.rollback().rollback(&request).await.unwrap_err().code(), "ORC-0105");
    assert_eq!(stage.dump().await, before);

    let event = stage.rollback().rollback(&stage.back_to("1.1")).await.unwrap();
    assert_eq!(event.rollback_type, RollbackType::Specific);
    assert_eq!(stage.live().await.as_deref(), Some("1.1"));
}

#[tokio::test]
async fn a_hold_is_lifted_by_hand() {
    let stage = Stage::new().await;
    stage.deploy_all(&["1.0", "1.1"]).await;
    stage.rollback().rollback(&stage.forced()).await.unwrap();
    let now = stage.world.clock.read();
    stage.db.unhold(&stage.environment, &v("1.1"), "ada", Some("mended"), now).await.unwrap();
    stage.deploy("1.1").await;
    assert_eq!(stage.live().await.as_deref(), Some("1.1"));
}

#[tokio::test]
async fn a_held_release_is_passed_over() {
    let stage = Stage::new().await;
    stage.deploy_all(&["1.0", "1.1", "1.2"]).await;
    let now = stage.world.clock.read();
    stage.db.hold(&stage.environment, &v("1.1"), "ada", "leaks", now).await.unwrap();
    let event = stage.rollback().rollback(&stage.forced()).await.unwrap();
    assert_eq!(event.target_version, v("1.0"));
}

#[tokio::test]
async fn a_release_with_the_same_content_is_passed_over() {
    let stage = Stage::new().await;
    stage.deploy_all(&["0.9", "1.0"]).await;
    let mut same = stage.to_deploy("1.1");
    same.contents = stage.contents("1.0");
    stage.executor().deploy(&same).await.unwrap();
    let event = stage.rollback().rollback(&stage.forced()).await.unwrap();
    assert_eq!(event.target_version, v("0.9"));
}

#[tokio::test]
async fn the_same_version_with_other_settings_is_another_release_and_is_not_held() {
    let mut stage = Stage::new().await;
    stage.deploy("1.0").await;
    stage.settings.drain = crate::time::Span::from_secs(1);
    stage.deploy("1.0").await;
    let event = stage.rollback().rollback(&stage.forced()).await.unwrap();
    assert_eq!((event.from_version, event.target_version), (v("1.0"), v("1.0")));
    assert_ne!(event.from_release, event.target_release);
    assert!(stage.db.list_holds(&stage.environment).await.unwrap().is_empty());
    let live = stage.db.environment(&stage.environment).await.unwrap().live.unwrap();
    let release = stage.db.release(live.release).await.unwrap().unwrap();
    assert_eq!(release.contents.settings.drain, crate::time::Span::from_secs(30));
}

#[tokio::test]
async fn a_version_that_was_never_live_is_refused_with_the_candidates() {
    let stage = Stage::new().await;
    stage.deploy_all(&["1.0", "1.1"]).await;
    stage.world.never_healthy(&v("1.2"));
    stage.deploy("1.2").await;
    let before = stage.dump().await;
    for version in ["1.2", "9.9"] {
        let error = stage.rollback().rollback(&stage.back_to(version)).await.unwrap_err();
        assert_eq!(error.code(), "ORC-0103");
        assert_eq!(error.to_string(), format!("{version} was never live in production"));
        assert_eq!(error.hint_text(), Some("candidates: 1.1, 1.0"));
    }
    assert_eq!(stage.dump().await, before);
}

#[tokio::test]
async fn an_unknown_environment_is_refused_with_the_nearest_name() {
    let stage = Stage::new().await;
    let request = RollbackRequest { environment: EnvironmentName::new("prodution").unwrap(), ..stage.back() };
    let error = stage.rollback().rollback(&request).await.unwrap_err();
    assert_eq!((error.code(), error.to_string().as_str()), ("ORC-0101", "there is no environment prodution"));
    assert_eq!(error.hint_text(), Some("did you mean production? known: production"));
}

#[tokio::test]
async fn a_release_that_never_ended_its_bake_is_not_proven_and_passed_over() {
    let mut stage = Stage::new().await;
    stage.deploy("1.0").await;
    stage.settings.verify.bake = crate::time::Span::from_secs(60);
    stage.deploy_all(&["1.1", "1.2"]).await;
    let event = stage.rollback().rollback(&stage.back()).await.unwrap();
    assert_eq!(event.target_version, v("1.0"), "1.1 was overtaken within its bake");
    assert_eq!(stage.live().await.as_deref(), Some("1.0"));
}

#[tokio::test]
async fn a_missing_artifact_is_refused_before_anything_is_touched() {
    let stage = Stage::new().await;
    stage.deploy_all(&["1.0", "1.1", "1.2"]).await;
    stage.world.lose_artifact(&stage.contents("1.0").artifact.digest);
    let before = stage.dump().await;
    let error = stage.rollback().rollback(&stage.back_to("1.0")).await.unwrap_err();
    assert_eq!((error.code(), error.kind()), ("ORC-0117", ErrorKind::Refused));
    assert_eq!(stage.dump().await, before);

    let careless = RollbackRequest { skip_validation: true, ..stage.back_to("1.0") };
    let error = stage.rollback().rollback(&careless).await.unwrap_err();
    assert_eq!((error.code(), error.kind()), ("ORC-0118", ErrorKind::Failed));
    assert_eq!(stage.live().await.as_deref(), Some("1.2"));
    assert_eq!(stage.current().await.version, v("1.2"));
}

#[tokio::test]
async fn a_preview_touches_nothing_and_says_what_stands_in_the_way() {
    let stage = Stage::new().await;
    stage.deploy_all(&["1.0", "1.1"]).await;
    let (before, asking) = (stage.dump().await, super::super::Asking::by("ada"));
    let preview = stage.rollback().preview(&stage.back(), &asking).await.unwrap();
    assert_eq!((preview.from_version, preview.target_version), (v("1.1"), v("1.0")));
    assert_eq!((preview.rollback_type, preview.path), (RollbackType::BlueGreenSwitch, RollbackPath::Warm));
    assert_eq!(preview.steps, ["switch all traffic to 1.0 in blue", "see the live address answered by 1.0"]);
    assert_eq!(preview.blockers, ["deployment 2 of 1.1 is completed; use --force to roll it back"]);
    let differing: Vec<_> = preview.differences.iter().map(|difference| difference.what.as_str()).collect();
    assert_eq!(differing, ["artifact"]);
    let ready = stage.rollback().readiness(&stage.environment).await.unwrap();
    assert!(ready.ready && ready.target_version == Some(v("1.0")), "{ready:?}");
    assert_eq!(stage.dump().await, before);
}

#[tokio::test]
async fn candidates_say_why_not() {
    let stage = Stage::new().await;
    stage.deploy_all(&["0.9", "1.0", "1.1", "1.2"]).await;
    stage.world.lose_artifact(&stage.contents("0.9").artifact.digest);
    let now = stage.world.clock.read();
    stage.db.hold(&stage.environment, &v("1.1"), "ada", "leaks", now).await.unwrap();
    let candidates = stage.rollback().candidates(&stage.environment, 10).await.unwrap();
    let told: Vec<_> = candidates
        .iter()
        .map(|c| (c.version.as_str(), c.ready, c.default, c.live, c.why_not.as_deref().unwrap_or("")))
        .collect();
    assert_eq!(
        told,
        [
            ("1.2", true, false, true, "is not older than the current 1.2"),
            ("1.1", false, false, false, "is held: leaks"),
            ("1.0", true, true, false, ""),
            (
                "0.9",
                false,
                false,
                false,
                "cannot be restored as it was sealed: the artifact 8139b3395240 is not here"
            ),
        ]
    );
}

#[tokio::test]
async fn what_is_unusual_about_a_target_is_said_beforehand() {
    let mut stage = Stage::new().await;
    stage.deploy("1.0").await;
    stage.settings.verify.bake = crate::time::Span::from_secs(60);
    stage.deploy_all(&["1.1", "1.2"]).await;
    let asking = super::super::Asking::by("ada");
    let preview = stage.rollback().preview(&stage.back_to("1.1"), &asking).await.unwrap();
    assert_eq!(preview.remarks, ["1.1 was never proven good here"]);
    stage.rollback().rollback(&stage.forced()).await.unwrap();
    let preview = stage.rollback().preview(&stage.back_to("1.2"), &asking).await.unwrap();
    assert_eq!(preview.remarks[0], "1.2 is held, and stays held: rollback 1: rolled back to 1.0");
    let undo = super::super::Asking { undo: true, ..asking };
    let preview = stage.rollback().preview(&stage.back(), &undo).await.unwrap();
    assert_eq!(preview.remarks, ["takes rollback 1 back, and lifts the hold that it set on 1.2"]);
    assert!(!preview.needs_force);
    let ready = stage.rollback().readiness(&stage.environment).await.unwrap();
    assert_eq!((ready.ready, ready.command), (false, None), "nothing is older than 1.0");
}

#[tokio::test]
async fn an_automatic_rollback_does_not_go_where_a_person_went_past() {
    let stage = Stage::new().await;
    stage.deploy_all(&["1.0", "1.1", "1.2"]).await;
    stage.rollback().rollback(&stage.back_to("1.0")).await.unwrap();
    stage.world.answers_wrongly(&v("2.0"));
    stage.deploy("2.0").await;
    let preview = stage.rollback().preview(&stage.back(), &super::super::Asking::by("ada")).await.unwrap();
    assert_eq!(preview.target_version, v("1.1"), "the contract: the newest proven one before it");
    assert_eq!(preview.remarks, ["1.1 was passed over by an earlier rollback to before it"]);
    let asking = super::super::Asking {
        trigger: crate::rollback_event::Trigger::Verification,
        ..super::super::Asking::by("orchestrate")
    };
    let rolled = stage.rollback().rollback_as(&stage.back(), &asking).await.unwrap();
    assert_eq!(rolled.event.target_version, v("1.0"));
}

#[tokio::test]
async fn where_only_newer_ones_are_good_the_refusal_names_the_newest() {
    let stage = Stage::new().await;
    stage.deploy_all(&["1.0", "1.1", "1.0"]).await;
    let error = stage.rollback().rollback(&stage.forced()).await.unwrap_err();
    assert_eq!(error.to_string(), "there is no good release before 1.0 in production");
    let hint = error.hint_text().unwrap();
    assert!(hint.ends_with("orchestrate deploy rollback --env production --version 1.1 --force"), "{hint}");
}

#[tokio::test]
async fn a_rollback_to_what_is_live_changes_nothing_but_its_own_record() {
    let stage = Stage::new().await;
    stage.deploy_all(&["1.0", "1.1"]).await;
    let before = stage.current().await;
    let event = stage.rollback().rollback(&stage.back_to("1.1")).await.unwrap();
    assert_eq!((event.path, event.rollback_type), (RollbackPath::None, RollbackType::Specific));
    assert_eq!(stage.current().await, before);
    assert!(stage.db.list_holds(&stage.environment).await.unwrap().is_empty());
    assert_eq!(stage.live().await.as_deref(), Some("1.1"));
}

#[tokio::test]
async fn a_version_that_was_rolled_back_and_is_gone_to_by_name_is_current_again() {
    let stage = Stage::new().await;
    stage.deploy_all(&["1.0", "1.1"]).await;
    let newest = stage.current().await;
    stage.rollback().rollback(&stage.forced()).await.unwrap();
    stage.rollback().rollback(&stage.back_to("1.1")).await.unwrap();
    let current = stage.current().await;
    assert_eq!((current.id, current.status), (newest.id, DeploymentStatus::Completed));
    let left = stage.db.deployment(crate::name::DeploymentId(1)).await.unwrap().unwrap();
    assert_eq!(left.status, DeploymentStatus::RolledBack);
    // And taken back, everything is as before.
    stage.undo().await.unwrap();
    assert_eq!(stage.current().await.version, v("1.0"));
    assert_eq!(stage.live().await.as_deref(), Some("1.0"));
}
