//! A pause is a person's word: an attempt does not lift it, the daemon does not change it, and none is claimed that is not there.

use super::{code, stage};
use crate::deployment_executor::Promotion;
use crate::error::Result;
use crate::execute::{FailureKind, Limits, Outcome};
use crate::fakes::{Fault, Gate, Kind, When};
use crate::rollout::Rollout;
use crate::stage::{Stage, canary, v, with_worker};
use crate::time::Span;

impl Stage {
    async fn pause(&self, why: &str) -> Result<Rollout> {
        self.executor().pause(&self.environment, "ada", why).await
    }

    /// The reasons of the pauses in the audit trail, the newest first.
    async fn pauses(&self) -> Vec<String> {
        let trail = self.db.list_audit(Some(&self.environment), 1000).await.unwrap().into_iter();
        trail.filter(|entry| entry.action == "rollout_paused").filter_map(|entry| entry.reason).collect()
    }
}

#[tokio::test]
async fn a_promotion_that_fails_leaves_a_pause_as_it_was_and_one_that_comes_about_lifts_it() {
    let (stage, _) = stage().await;
    let paused = stage.pause("lunch").await.unwrap();
    stage.world.answers_wrongly(&v("1.1"));
    let promoted = stage.promote(false).await.unwrap();
    assert!(matches!(promoted.outcome, Outcome::Undone(_)), "{:?}", promoted.outcome);
    assert_eq!(stage.rollout().await, Some(paused));
    stage.world.answers_rightly(&v("1.1"));
    stage.promote(false).await.unwrap();
    let rollout = stage.rollout().await.unwrap();
    assert_eq!((rollout.weight, rollout.paused, rollout.next_at.is_some()), (25, None, true));
}

#[tokio::test]
async fn the_daemon_changes_nothing_about_what_a_person_said_nor_pauses_another_step() {
    let (stage, _) = stage().await;
    let first = stage.rollout().await.unwrap();
    stage.pause("lunch").await.unwrap();
    stage.executor().pause_by_itself(&first, "web-1 ended at 10 % of the traffic").await.unwrap();
    assert_eq!(stage.rollout().await.unwrap().paused.as_deref(), Some("lunch"));
    stage.promote(false).await.unwrap();
    stage.executor().pause_by_itself(&first, "too late").await.unwrap();
    let second = stage.rollout().await.unwrap();
    assert_eq!((second.weight, &second.paused), (25, &None));
    stage.executor().pause_by_itself(&second, "web-1 ended").await.unwrap();
    assert_eq!(stage.rollout().await.unwrap().paused.as_deref(), Some("web-1 ended"));
    stage.pause("mine from now on").await.unwrap();
    assert_eq!(stage.pauses().await, ["mine from now on", "web-1 ended", "lunch"]);
}

#[tokio::test]
async fn a_pause_that_changes_nothing_is_not_in_the_audit_trail() {
    let (stage, _) = stage().await;
    let paused = stage.pause("lunch").await.unwrap();
    assert_eq!(stage.pause("lunch").await.unwrap(), paused);
    assert_eq!(stage.pauses().await, ["lunch"]);
}

#[tokio::test]
async fn while_it_is_taken_on_a_pause_is_refused_and_leaves_no_trace() {
    for all in [false, true] {
        let (stage, _) = stage().await;
        let (gate, kind) = (Gate::default(), if all { Kind::Switch } else { Kind::Shift });
        stage.world.fault(When::Kind(kind), 1, Fault::Hold(gate.clone()));
        let refused = async {
            gate.reached().await;
            let refused = stage.pause("lunch").await.unwrap_err();
            gate.open();
            refused
        };
        let (promoted, refused) = tokio::join!(stage.promote(all), refused);
        assert_eq!(promoted.unwrap().outcome, Outcome::Completed);
        assert_eq!(refused.code(), "ORC-0110");
        assert!(refused.to_string().contains("a promote to 1.1 by ada"), "{refused}");
        assert!(stage.rollout().await.is_none_or(|rollout| rollout.paused.is_none()));
        assert_eq!(stage.pauses().await, Vec::<String>::new());
    }
}

#[tokio::test]
async fn a_promotion_that_takes_too_long_leaves_everything_as_it_was() {
    let settings = crate::environment::EnvironmentSettings { strategy: canary().strategy, ..with_worker() };
    let stage = Stage::with(settings, &[]).await;
    stage.deploy_all(&["1.0", "1.1"]).await;
    let before = (stage.rollout().await, stage.world.running(&stage.environment));
    // The workers do not come up, and nobody says so.
    stage.world.fault(When::Kind(Kind::AwaitHealthy), 1, Fault::Hold(Gate::default()));
    let limits = Limits { timeout: Some(Span::from_millis(50)), interrupt: None, unwanted: None };
    let promotion = Promotion { limits, ..stage.to_promote(true) };
    let promoted = stage.executor().promote(&promotion).await.unwrap();
    let Outcome::Undone(failure) = &promoted.outcome else { panic!("{:?}", promoted.outcome) };
    assert_eq!((failure.kind, failure.message.as_str()), (FailureKind::TimedOut, "it took longer than 50ms"));
    assert_eq!((stage.rollout().await, stage.world.running(&stage.environment)), before);
    assert_eq!(stage.live().await.as_deref(), Some("1.0"));
}

#[tokio::test]
async fn of_a_pause_and_the_daemons_last_step_in_the_same_instant_one_comes_about() {
    let (template, deployment) = stage().await;
    template.promote(false).await.unwrap();
    template.promote(false).await.unwrap();
    let (mut yields, mut too_late) = (0, false);
    // On a busy machine the step begins after more turns than on an idle one.
    while yields < 60 || !too_late {
        assert!(yields < 100_000, "a pause that came too late is refused");
        yields += 1 + yields / 20;
        let stage = template.fork().await;
        let by_itself = Promotion { by_itself: Some(deployment), ..stage.to_promote(false) };
        let pause = async {
            for _ in 0..yields {
                tokio::task::yield_now().await;
            }
            stage.pause("lunch").await
        };
        let executor = stage.executor();
        let (promoted, paused) = tokio::join!(executor.promote(&by_itself), pause);
        match &paused {
            Ok(paused) => {
                assert_eq!(code(promoted), "ORC-0155");
                assert_eq!(stage.rollout().await.as_ref(), Some(paused));
                assert_eq!(stage.pauses().await, ["lunch"]);
            }
            Err(error) => {
                assert!(["ORC-0110", "ORC-0150"].contains(&error.code()), "{error:?}");
                assert_eq!(stage.live().await.as_deref(), Some("1.1"));
                assert_eq!((stage.rollout().await, stage.pauses().await), (None, Vec::new()));
            }
        }
        too_late |= paused.is_err();
    }
}
