//! HAProxy is restarted, reloaded, and changed by hand.

use std::sync::Arc;
use std::time::Duration;

use orchestrate_core::name::Fence;
use orchestrate_core::ports::{PortErrorKind, Router as _, Switch};
use orchestrate_core::time::Span;
use orchestrate_core::traffic::{Shift, TrafficRules};
use orchestrate_testkit::{SampleInstance, User};

use crate::rig::{Rig, placement, samples, shop, until};

/// Release 1 has the traffic, release 2 stands by.
async fn one_serves(rig: &Rig) -> [Vec<SampleInstance>; 2] {
    let both = [samples(&placement(1), 2).await, samples(&placement(2), 2).await];
    rig.register(&placement(1), &both[0], 1).await.unwrap();
    rig.register(&placement(2), &both[1], 1).await.unwrap();
    rig.switch(&placement(1), 2, 1).await.unwrap();
    both
}

async fn shift(rig: &Rig, weight: u8) {
    let (placement, rest) = (placement(2), placement(1));
    let (needs, rules, fence) = (Default::default(), TrafficRules::default(), Fence(2));
    rig.router().shift(&Shift { placement, weight, rest, needs, rules, fence }).await.unwrap();
}

#[tokio::test]
async fn one_that_forgot_everything_is_seen_and_told_again() {
    let mut rig = Rig::start_plain().await;
    let [first, second] = one_serves(&rig).await;
    assert_eq!(rig.seen().await, [(1, 100, 2, 2), (2, 0, 2, 2)]);
    rig.kill();
    rig.run().await;
    assert_eq!(rig.seen().await, [(1, 0, 0, 0), (2, 0, 0, 0)]);
    assert_eq!(User::new(rig.listen).version().await, None);
    // What the daemon does: the registration alone brings back what had the traffic.
    rig.register(&placement(1), &first, 2).await.unwrap();
    assert_eq!(User::new(rig.listen).version().await.as_deref(), Some("1.1.0"));
    rig.register(&placement(2), &second, 2).await.unwrap();
    assert_eq!(rig.seen().await, [(1, 100, 2, 2), (2, 0, 2, 2)]);
    rig.switch(&placement(2), 2, 2).await.unwrap();
    assert_eq!(User::new(rig.listen).version().await.as_deref(), Some("1.2.0"));
}

#[tokio::test]
async fn one_that_forgot_everything_is_told_again_by_whatever_is_next() {
    let mut rig = Rig::start_plain().await;
    let _both = one_serves(&rig).await;
    rig.kill();
    rig.run().await;
    rig.switch(&placement(2), 2, 2).await.unwrap();
    assert_eq!(rig.seen().await, [(1, 0, 2, 2), (2, 100, 2, 2)]);
    rig.kill();
    rig.run().await;
    shift(&rig, 40).await;
    assert_eq!(rig.seen().await, [(1, 60, 2, 2), (2, 40, 2, 2)]);
}

#[tokio::test]
async fn one_with_a_state_file_forgets_nothing_also_when_nobody_waited_for_the_disk() {
    let mut rig = Rig::start().await;
    let _both = one_serves(&rig).await;
    shift(&rig, 30).await;
    rig.kill();
    rig.run().await;
    assert_eq!(rig.seen().await, [(1, 70, 2, 2), (2, 30, 2, 2)]);
    rig.switch(&placement(2), 2, 2).await.unwrap();
    rig.kill();
    rig.run().await;
    assert_eq!(rig.seen().await, [(1, 0, 2, 2), (2, 100, 2, 2)]);
    assert_eq!(User::new(rig.listen).version().await.as_deref(), Some("1.2.0"));
}

#[tokio::test]
async fn a_reload_in_the_middle_of_a_canary_changes_nothing() {
    let mut rig = Rig::start().await;
    let _both = one_serves(&rig).await;
    shift(&rig, 20).await;
    rig.reload().await;
    assert_eq!(rig.seen().await, [(1, 80, 2, 2), (2, 20, 2, 2)]);
    shift(&rig, 50).await;
    rig.reload().await;
    rig.switch(&placement(2), 2, 2).await.unwrap();
    rig.reload().await;
    assert_eq!(rig.seen().await, [(1, 0, 2, 2), (2, 100, 2, 2)]);
}

#[tokio::test]
async fn the_watch_notices_a_restart_and_tells_it_again() {
    let mut rig = Rig::start_plain().await;
    let _both = one_serves(&rig).await;
    let mut changes = rig.router().changes();
    let watching = tokio::spawn(rig.router().keep_watch());
    rig.kill();
    rig.run().await;
    let told = tokio::time::timeout(Duration::from_secs(20), changes.changed()).await;
    told.expect("it was not noticed").unwrap();
    until("it is told again", async || (rig.seen().await == [(1, 100, 2, 2), (2, 0, 2, 2)]).then_some(()))
        .await;
    watching.abort();
}

#[tokio::test]
async fn what_somebody_did_by_hand_is_seen() {
    let rig = Rig::start().await;
    let _both = one_serves(&rig).await;
    rig.type_in("set server shop/blue1 state maint");
    assert_eq!(rig.seen().await, [(1, 100, 2, 1), (2, 0, 2, 2)]);
    rig.type_in("set server shop/green1 weight 100");
    assert_eq!(rig.seen().await, [(1, 50, 2, 1), (2, 50, 2, 2)]);
    rig.type_in("set server shop/green1 weight 0; set server shop/blue2 state drain");
    assert_eq!(rig.seen().await, [(1, 0, 2, 1), (2, 0, 2, 2)], "nobody has any traffic");
    let error = rig.switch(&placement(1), 2, 2).await.unwrap_err();
    assert_eq!(error.kind, PortErrorKind::NotReady);
    assert!(error.detail.unwrap().contains("set server shop/blue1 state ready"));
    // What the daemon does where what is recorded as live has no traffic.
    let (placement, needs) = (placement(1), Default::default());
    rig.router().switch(&Switch { placement, needs, fence: Fence(2) }).await.unwrap();
    assert_eq!(rig.seen().await, [(1, 100, 2, 2), (2, 0, 2, 2)]);
    assert_eq!(User::new(rig.listen).version().await.as_deref(), Some("1.1.0"));
}

#[tokio::test]
async fn without_its_name_in_the_answer_the_release_is_known_by_the_weights() {
    let rig = Rig::start_plain().await;
    let _both = one_serves(&rig).await;
    let proof = rig.router().prove(&rig.prove(&placement(1))).await.unwrap();
    assert_eq!(proof.version.as_str(), "1.1.0");
    let error = rig.router().prove(&rig.prove(&placement(2))).await.unwrap_err();
    assert!(error.message.contains("is answered by 1.1.0"), "{error}");
    shift(&rig, 50).await;
    let error = rig.router().prove(&rig.prove(&placement(2))).await.unwrap_err();
    assert!(
        error.message.contains("not known") && error.detail.as_ref().unwrap().contains("docs/haproxy.md"),
        "{error}"
    );
}

#[tokio::test]
async fn shares_stay_exact_while_instances_come_and_go() {
    let rig = Rig::start().await;
    let [_first, mut second] = one_serves(&rig).await;
    shift(&rig, 10).await;
    second.extend(samples(&placement(2), 3).await);
    rig.register(&placement(2), &second, 2).await.unwrap();
    assert_eq!(rig.seen().await, [(1, 90, 2, 2), (2, 10, 5, 5)]);
    let mut user = User::new(rig.listen);
    let mut new = 0;
    for _ in 0..200 {
        new += u32::from(user.version().await.as_deref() == Some("1.2.0"));
    }
    assert!(new.abs_diff(20) <= 3, "{new} of 200 requests for 10 %");
    rig.register(&placement(2), &second[..1], 2).await.unwrap();
    assert_eq!(rig.seen().await, [(1, 90, 2, 2), (2, 10, 1, 1)]);
}

#[tokio::test]
async fn instances_that_are_left_out_end_their_requests_and_stay_counted() {
    let rig = Rig::start().await;
    let [first, _second] = one_serves(&rig).await;
    let mut user = User::new(rig.listen);
    for _ in 0..10 {
        assert_eq!(user.version().await.as_deref(), Some("1.1.0"));
    }
    let listen = rig.listen;
    let request = tokio::spawn(async move { User::new(listen).get("/wait").await });
    until("it waits", async || first.iter().any(|sample| sample.waiting() == 1).then_some(())).await;
    let (busy, other) = if first[0].waiting() == 1 { (0, 1) } else { (1, 0) };
    let before: usize = first.iter().map(SampleInstance::answered).sum();
    let of_who_stays = first[other].answered();
    let left = async {
        let (placement, stays) = (placement(1), std::slice::from_ref(&first[other]));
        rig.register_draining(&placement, stays, Span::from_secs(20), 1).await.unwrap();
    };
    tokio::pin!(left);
    tokio::select! {
        () = &mut left => panic!("it ended with a request in flight"),
        () = async { for _ in 0..20 { assert_eq!(user.version().await.as_deref(), Some("1.1.0")); } } => {}
    }
    first[busy].let_go();
    left.await;
    assert_eq!(request.await.unwrap().unwrap().0, 200);
    let counts = rig.router().counts(&shop()).await.unwrap();
    let counted = counts.iter().find(|one| one.release.0 == 1).unwrap();
    // Of 31; what an instance ends while it is left out may be missing.
    let requests = usize::try_from(counted.tally.requests).unwrap();
    let least = before + first[other].answered() - of_who_stays;
    assert!((least..=31).contains(&requests), "{requests} of at least {least}");
    assert!(counted.tally.latency.is_empty() && counted.tally.errors == 0);
}

#[tokio::test]
async fn errors_are_counted_its_own_for_a_release_among_them() {
    let rig = Rig::start().await;
    let [first, _second] = one_serves(&rig).await;
    let mut user = User::new(rig.listen);
    assert_eq!(user.get("/version").await.unwrap().0, 200);
    // Nobody listens any more, and HAProxy has not noticed yet, or meets the end of it, or says so.
    drop(first);
    for _ in 0..5 {
        let (status, _) = User::new(rig.listen).get("/version").await.unwrap();
        assert!([502, 503].contains(&status), "{status}");
    }
    let counts = rig.router().counts(&shop()).await.unwrap();
    let tally = &counts.iter().find(|one| one.release.0 == 1).unwrap().tally;
    assert!(tally.requests >= 1 && tally.errors <= tally.requests, "{tally:?}");
}

#[tokio::test]
async fn two_programs_that_tell_it_at_once_leave_it_whole() {
    let rig = Arc::new(Rig::start().await);
    let _both = one_serves(&rig).await;
    let tellers: Vec<_> = [1, 2]
        .into_iter()
        .map(|number| {
            let rig = Arc::clone(&rig);
            tokio::spawn(async move {
                for _ in 0..30 {
                    rig.another_router()
                        .switch(&Switch {
                            placement: placement(number),
                            needs: Default::default(),
                            fence: Fence(1),
                        })
                        .await
                        .unwrap();
                }
            })
        })
        .collect();
    for teller in tellers {
        teller.await.unwrap();
    }
    let mut shares: Vec<u8> = rig.seen().await.iter().map(|seen| seen.1).collect();
    shares.sort_unstable();
    assert_eq!(shares, [0, 100]);
}
