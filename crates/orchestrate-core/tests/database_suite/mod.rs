//! What the state does, the same on every backend: functions over a fresh database, run by `sqlite.rs` and `postgres.rs`.

mod audit_chain;
mod drills;
mod history;
mod outbox;
mod policies;
mod readiness;
mod refusals;
mod report;
mod rollbacks;
mod rollouts;
mod routers;
mod scene;
mod schema;
mod secrets;
mod sites;
mod together;
mod tokens;
mod traces;
mod upgrade;

pub use scene::Fresh;

use orchestrate_core::name::{EnvironmentName, Fence};
use orchestrate_core::notification::{Channel, NoticeKind};
use orchestrate_core::time::Timestamp;
use scene::{Scene, contents, name, settings, v};

pub use audit_chain::{
    a_break_is_told_once_and_at_its_place, a_slip_of_the_hand_is_refused,
    any_tampering_with_the_trail_is_found, many_that_write_at_once_make_one_chain,
    what_is_older_than_the_chain_comes_into_it,
};
pub use drills::{a_drill_is_on_record_and_moves_nothing, a_scheduled_drill_is_one_daemons_turn};
pub use history::{a_whole_life, deployments_and_releases, operations_and_journals, slots};
pub use outbox::{
    a_late_word_changes_nothing, a_thread_is_known_by_what_its_first_notice_is_called,
    notices_are_delivered_in_order, notices_of_a_lane_wait_for_one_another, notices_wait_for_their_time,
    one_notice_is_sent_again,
};
pub use policies::{
    a_deployment_waits_until_somebody_else_approves_it, a_rollback_goes_as_far_and_as_often_as_was_agreed,
    in_a_freeze_nothing_new_comes_and_a_rollback_says_why, two_approvals_in_the_same_instant_are_two,
    what_was_rejected_stays_so_and_what_expired_is_asked_anew,
};
pub use readiness::what_is_seen_again_is_not_written_again;
pub use refusals::{a_loop_of_refusals_stays_small, who_was_refused_what_is_recorded};
pub use report::a_report_reads_what_happened_in_its_time;
pub use rollbacks::{a_deployment_takes_its_rollbacks_along, rollback_events, rollbacks_that_stand};
pub use rollouts::a_canary_is_kept_paused_and_promoted;
pub use routers::the_router_of_what_runs_stays;
pub use schema::{a_newer_schema_is_refused, opening_twice_finds_the_work_done, rollback_event_schema};
pub use secrets::secrets_keep_their_versions;
pub use sites::{
    a_duty_is_one_sites_at_a_time, an_environment_runs_where_it_was_deployed_to_first,
    each_daemon_looks_after_its_own, one_daemon_speaks_for_a_home,
    what_an_older_program_deployed_gets_an_owner, who_is_alive_is_not_taken_over_from,
};
pub use together::{of_many_only_one_takes_the_lease, two_programs_open_an_empty_database};
pub use tokens::a_token_is_kept_as_a_digest_and_ends;
pub use traces::an_operation_that_ended_waits_until_it_is_told;
pub use upgrade::{every_earlier_schema_is_brought_up_to_date, it_is_brought_up_to_date_under_load};

macro_rules! run_suite {
    ($fresh:path) => {
        run_suite!(@ $fresh: environments, the_router_of_what_runs_stays, holds, leases, audit, deployments_and_releases, slots,
            operations_and_journals, a_whole_life, notices_are_delivered_in_order, notices_wait_for_their_time,
            a_canary_is_kept_paused_and_promoted, rollback_events, rollbacks_that_stand, a_deployment_takes_its_rollbacks_along, rollback_event_schema,
            a_newer_schema_is_refused, opening_twice_finds_the_work_done, secrets_keep_their_versions,
            of_many_only_one_takes_the_lease, two_programs_open_an_empty_database,
            any_tampering_with_the_trail_is_found, a_break_is_told_once_and_at_its_place,
            a_slip_of_the_hand_is_refused, what_is_older_than_the_chain_comes_into_it,
            many_that_write_at_once_make_one_chain, who_was_refused_what_is_recorded, a_loop_of_refusals_stays_small,
            an_environment_runs_where_it_was_deployed_to_first, who_is_alive_is_not_taken_over_from,
            one_daemon_speaks_for_a_home, each_daemon_looks_after_its_own, what_an_older_program_deployed_gets_an_owner,
            a_duty_is_one_sites_at_a_time, a_late_word_changes_nothing, notices_of_a_lane_wait_for_one_another,
            one_notice_is_sent_again, a_thread_is_known_by_what_its_first_notice_is_called, a_report_reads_what_happened_in_its_time, what_is_seen_again_is_not_written_again,
            a_deployment_waits_until_somebody_else_approves_it, what_was_rejected_stays_so_and_what_expired_is_asked_anew,
            two_approvals_in_the_same_instant_are_two, in_a_freeze_nothing_new_comes_and_a_rollback_says_why,
            a_rollback_goes_as_far_and_as_often_as_was_agreed, a_token_is_kept_as_a_digest_and_ends,
            a_drill_is_on_record_and_moves_nothing, a_scheduled_drill_is_one_daemons_turn,
            an_operation_that_ended_waits_until_it_is_told);
    };
    (@ $fresh:path: $($test:ident),*) => {$(
        #[tokio::test]
        async fn $test() {
            database_suite::$test($fresh().await).await;
        }
    )*};
}
pub(crate) use run_suite;

fn time(seconds: i64) -> Timestamp {
    Timestamp::from_millis(1_700_000_000_000 + seconds * 1000)
}

fn hook(url: &str, on: &[NoticeKind]) -> Channel {
    Channel::webhook(url, on)
}

pub async fn environments(fresh: Fresh) {
    let db = fresh.open().await;
    assert!(db.list_environments().await.unwrap().is_empty());
    let (staging, production) = (name("staging"), name("production"));
    let now = time(0);
    assert!(db.apply_environment(&staging, "shop", &settings(), &[], "ada", now).await.unwrap());
    assert!(db.apply_environment(&production, "shop", &settings(), &[], "ada", now).await.unwrap());
    assert!(!db.apply_environment(&staging, "shop", &settings(), &[], "bob", now).await.unwrap());

    let mut other = settings();
    other.variables.insert("LOG".into(), "ü 'quoted' \"and\" $1".into());
    let channels = [hook("http://x", &[])];
    let later = time(60);
    assert!(db.apply_environment(&staging, "shop", &other, &channels, "bob", later).await.unwrap());
    let record = db.environment(&staging).await.unwrap();
    assert_eq!((record.environment.settings, record.channels.as_slice()), (other, &channels[..]));
    assert_eq!((record.environment.created_at, record.environment.updated_at), (now, later));
    assert_eq!(record.live, None);
    let names = db.list_environments().await.unwrap();
    let names: Vec<_> = names.iter().map(|record| record.environment.name.as_str()).collect();
    assert_eq!(names, ["production", "staging"]);

    let error = db.apply_environment(&staging, "blog", &settings(), &[], "ada", now).await.unwrap_err();
    assert_eq!(error.code(), "ORC-0108");
    assert!(db.find_environment(&name("nowhere")).await.unwrap().is_none());
    assert_eq!(db.environment(&name("stagin")).await.unwrap_err().code(), "ORC-0101");

    db.delete_environment(&staging, "ada", later).await.unwrap();
    assert!(db.find_environment(&staging).await.unwrap().is_none());
    assert_eq!(db.delete_environment(&staging, "ada", later).await.unwrap_err().code(), "ORC-0101");
    assert!(db.apply_environment(&staging, "shop", &settings(), &[], "ada", later).await.unwrap());
    assert!(db.find_environment(&staging).await.unwrap().is_some());
    fresh.clear_up(db).await;
}

pub async fn holds(fresh: Fresh) {
    let db = fresh.open().await;
    let place = name("production");
    db.apply_environment(&place, "shop", &settings(), &[], "ada", time(0)).await.unwrap();
    db.hold(&place, &v("1.0"), "ada", "leaks", time(1)).await.unwrap();
    db.hold(&place, &v("1.1"), "bob", "slow", time(2)).await.unwrap();
    let error = db.hold(&place, &v("1.0"), "bob", "again", time(3)).await.unwrap_err();
    assert_eq!(error.code(), "ORC-0111");
    let kept = db.find_hold(&place, &v("1.0")).await.unwrap().unwrap();
    assert_eq!((kept.reason.as_str(), kept.actor.as_str(), kept.since), ("leaks", "ada", time(1)));
    let versions: Vec<_> =
        db.list_holds(&place).await.unwrap().into_iter().map(|hold| hold.version).collect();
    assert_eq!(versions, [v("1.1"), v("1.0")]);
    db.unhold(&place, &v("1.0"), "ada", None, time(4)).await.unwrap();
    let error = db.unhold(&place, &v("1.0"), "ada", None, time(5)).await.unwrap_err();
    assert_eq!(error.code(), "ORC-0112");
    assert!(db.find_hold(&place, &v("1.0")).await.unwrap().is_none());
    fresh.clear_up(db).await;
}

pub async fn leases(fresh: Fresh) {
    let scene = Scene::new(&fresh).await;
    let db = &scene.db;
    assert!(db.lease(&name("nowhere")).await.unwrap().is_none());
    let lease = db.lease(&scene.environment).await.unwrap().unwrap();
    assert_eq!((lease.fence, lease.operation, lease.holder), (Fence(0), None, None));
    scene.deploy("1.0").await;
    let lease = db.lease(&scene.environment).await.unwrap().unwrap();
    assert_eq!((lease.fence, lease.operation, lease.expires_at), (Fence(1), None, None));
    let ttl = orchestrate_core::time::Span::from_secs(30);
    db.renew_lease(&scene.environment, Fence(1), time(0), ttl).await.unwrap();
    let lease = db.lease(&scene.environment).await.unwrap().unwrap();
    assert_eq!(lease.expires_at, Some(time(30)));
    let error = db.renew_lease(&scene.environment, Fence(0), time(0), ttl).await.unwrap_err();
    assert_eq!(error.code(), "ORC-0107");
    scene.end(fresh).await;
}

pub async fn audit(fresh: Fresh) {
    let db = fresh.open().await;
    for place in ["staging", "production"] {
        db.apply_environment(&name(place), "shop", &settings(), &[], "ada", time(0)).await.unwrap();
    }
    db.hold(&name("staging"), &v("1.0"), "bob", "leaks", time(1)).await.unwrap();
    let all = db.list_audit(None, 10).await.unwrap();
    let actions: Vec<_> = all.iter().map(|record| (record.action.as_str(), record.actor.as_str())).collect();
    assert_eq!(
        actions,
        [("hold_set", "bob"), ("environment_created", "ada"), ("environment_created", "ada")]
    );
    assert_eq!(all[0].detail, serde_json::json!({ "version": "1.0" }));
    assert_eq!((all[0].reason.as_deref(), all[0].at), (Some("leaks"), time(1)));
    assert_eq!(db.list_audit(Some(&name("production")), 10).await.unwrap().len(), 1);
    assert_eq!(db.list_audit(None, 1).await.unwrap().len(), 1);
    let nowhere: EnvironmentName = name("nowhere");
    assert!(db.list_audit(Some(&nowhere), 10).await.unwrap().is_empty());
    assert_eq!(contents("1.0").digest(), contents("1.0").digest());
    db.check_integrity().await.unwrap();
    fresh.clear_up(db).await;
}
