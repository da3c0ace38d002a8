//! What the checks say while a release is watched is on record, and a watch after a restart goes on from there.

use super::BAKE;
use crate::deployment::Deployment;
use crate::environment::{Expected, HttpTest, SmokeTest, Verify};
use crate::evidence::{Evidence, Finding};
use crate::ports::Ended;
use crate::post_deploy_verification::{Verdict, watch};
use crate::stage::{Stage, settings, v};
use crate::time::Span;

fn tests() -> Verify {
    let page = HttpTest {
        process: None,
        path: "/page".into(),
        method: "GET".into(),
        headers: Default::default(),
        body: None,
        expect: Expected::default(),
    };
    let test = |name: &str, http: Option<HttpTest>, command: Option<Vec<String>>| SmokeTest {
        name: name.into(),
        command,
        http,
        timeout: Span::from_secs(10),
        on_bad: Some(crate::environment::OnBad::Notify),
    };
    let smoke = vec![test("page", Some(page), None), test("tool", None, Some(vec!["./check".into()]))];
    Verify { bake: BAKE, smoke, max_error_rate: Some("1%".parse().unwrap()), ..Verify::default() }
}

/// 1.1 is live and baking: its page is good, its tool is not.
async fn stage() -> (Stage, Deployment) {
    let mut settings = settings();
    settings.verify = tests();
    let stage = Stage::with(settings, &[]).await;
    let first = stage.deploy("1.0").await.deployment;
    stage.executor().finish_bake(first.id, Ok(())).await.unwrap();
    let second = stage.deploy("1.1").await.deployment;
    stage.world.answers_at("/page", 200, "shop");
    tool_says(&stage, 2);
    (stage, second)
}

fn tool_says(stage: &Stage, status: i32) {
    let (success, how) = (status == 0, format!("exited with status {status}"));
    stage
        .world
        .command_ends("./check", Ok(Ended { success, how, code: Some(status), output: String::new() }));
}

impl Stage {
    /// Watches until both smoke tests have their verdict on record; then the daemon dies.
    async fn watched_for_a_while(&self, deployment: &Deployment) -> Vec<Evidence> {
        let ports = self.world.ports();
        let decided = async {
            loop {
                let checks = self.db.checks_of_deployment(deployment.id).await.unwrap();
                if checks.iter().filter(|one| one.check.starts_with("smoke")).count() == 2 {
                    return checks;
                }
                tokio::task::yield_now().await;
            }
        };
        tokio::select! {
            judged = watch(&self.db, &ports, deployment) => panic!("{judged:?}"),
            checks = decided => checks,
        }
    }
}

#[tokio::test]
async fn what_the_checks_say_so_far_is_on_record_while_a_good_bake_runs() {
    let (stage, deployment) = stage().await;
    let checks = stage.watched_for_a_while(&deployment).await;
    let said: Vec<_> = checks.iter().map(|one| (one.check.as_str(), one.finding)).collect();
    let expected = [
        ("instances", Finding::Good),
        ("error_rate", Finding::NoData),
        ("smoke page", Finding::Good),
        ("smoke tool", Finding::Bad),
    ];
    assert_eq!(said, expected);
    stage.deploy("1.2").await;
    let newer = stage.current().await.id;
    assert_eq!(stage.db.checks_of_deployment(newer).await.unwrap(), []);
}

#[tokio::test]
async fn smoke_tests_with_a_verdict_on_record_are_not_run_again_by_the_next_watch() {
    let (stage, deployment) = stage().await;
    let checks = stage.watched_for_a_while(&deployment).await;
    let known = checks.iter().find(|one| one.check == "smoke tool").unwrap();
    // Run again, each would say the opposite.
    stage.world.answers_at("/page", 500, "no");
    tool_says(&stage, 0);
    let fresh = stage.db.deployment(deployment.id).await.unwrap().unwrap();
    let judged = watch(&stage.db, &stage.world.ports(), &fresh).await.unwrap();
    assert_eq!(judged.verdict, Verdict::Bad(known.text.clone()));
    assert_eq!(known.text, "the smoke test tool failed: `./check` exited with status 2");
}

#[tokio::test]
async fn what_was_seen_before_an_undo_says_nothing_about_the_bake_that_begins_again() {
    let (stage, deployment) = stage().await;
    stage.watched_for_a_while(&deployment).await;
    stage.rollback().rollback(&stage.back()).await.unwrap();
    assert_eq!(stage.live().await.as_deref(), Some("1.0"));
    stage.undo().await.unwrap();
    assert_eq!(stage.current().await.version, v("1.1"));
    assert_eq!(stage.db.checks_of_deployment(deployment.id).await.unwrap(), []);
}
