//! Refusals are in the trail, bounded, and never another error than their own.

use orchestrate_core::Error;
use orchestrate_core::database::Asked;
use orchestrate_core::deployment_rollback::Asking;
use orchestrate_core::time::Timestamp;

use super::scene::{Fresh, Scene, name, v};
use super::time;

async fn refused(scene: &Scene) -> Vec<orchestrate_core::database::AuditRecord> {
    let records = scene.db.list_audit(None, 1000).await.unwrap().into_iter();
    records.filter(|record| record.action == "refused").collect()
}

const NO: (&str, &str) = ("ORC-0102", "there is no target");
const UNKNOWN: (&str, &str) = ("ORC-0101", "there is no such environment");

async fn refuse(scene: &Scene, asked: &Asked<'_>, (code, message): (&'static str, &str), at: Timestamp) {
    scene.db.noted::<()>(asked, Err(Error::refused(code, message)), at).await.unwrap_err();
}

pub async fn who_was_refused_what_is_recorded(fresh: Fresh) {
    let scene = Scene::new(&fresh).await;
    scene.deploy("1.0").await;
    let asking = Asking { reason: Some("prices".into()), ..Asking::by("bob") };
    let error = scene.rollback().rollback_as(&scene.forced(), &asking).await.unwrap_err();
    scene.db.hold(&scene.environment, &v("2.0"), "ada", "leaks", time(0)).await.unwrap();
    scene.executor().deploy(&scene.to_deploy("2.0")).await.unwrap_err();
    scene.executor().pause(&scene.environment, "ada", "by ada").await.unwrap_err();
    let records = refused(&scene).await;
    let told: Vec<_> =
        records.iter().map(|one| (one.actor.as_str(), &one.detail["asked"], &one.detail["code"])).collect();
    assert_eq!(
        serde_json::to_value(&told).unwrap(),
        serde_json::json!([
            ["ada", "pause", "ORC-0150"],
            ["ada", "deploy", "ORC-0114"],
            ["bob", "rollback", error.code()]
        ])
    );
    assert_eq!(
        (records[2].reason.as_deref(), &records[2].environment),
        (Some("prices"), &Some(scene.environment.clone()))
    );
    assert_eq!(records[2].detail["message"], error.message());
    assert!(scene.db.verify_audit(None).await.unwrap().findings.is_empty());
    scene.end(fresh).await;
}

pub async fn a_loop_of_refusals_stays_small(fresh: Fresh) {
    let scene = Scene::new(&fresh).await;
    let asked = Asked {
        environment: &scene.environment,
        actor: "cron",
        what: "rollback",
        version: None,
        reason: None,
    };
    for second in 0..100 {
        refuse(&scene, &asked, NO, time(second)).await;
    }
    assert_eq!(refused(&scene).await.len(), 1, "equal ones are counted");
    for second in 100..300 {
        let version = second.to_string();
        refuse(&scene, &Asked { version: Some(&version), ..asked.clone() }, NO, time(second)).await;
    }
    assert_eq!(refused(&scene).await.len(), 30, "in an hour");
    refuse(&scene, &asked, NO, time(3600)).await;
    let newest = refused(&scene).await.remove(0);
    // 99 equal ones, and 171 of the others, the 29 that were recorded left out.
    assert_eq!(newest.detail["not_recorded_before"], 171, "the 99 before stand in the second record");
    let second = refused(&scene).await.into_iter().rev().nth(1).unwrap();
    assert_eq!(second.detail["not_recorded_before"], 99);
    // Whatever environments are made up, they share one bound.
    for number in 0..100 {
        let place = name(&format!("nowhere-{number}"));
        refuse(&scene, &Asked { environment: &place, ..asked.clone() }, UNKNOWN, time(3601)).await;
    }
    assert_eq!(refused(&scene).await.len(), 31 + 30);
    scene.end(fresh).await;
}
