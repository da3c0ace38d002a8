//! What becomes of requests.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use async_trait::async_trait;
use orchestrate_core::ports::Placement;
use orchestrate_core::time::Span;
use tokio::task::JoinHandle;

use super::{Actor, RouterStage};
use crate::contract::{in_time, until};
use crate::user::User;

/// A stage whose instances are [samples](crate::sample::SampleInstance).
#[async_trait(?Send)]
pub trait TrafficStage: RouterStage {
    /// How many requests wait in the instances of a release.
    fn waiting(&self, placement: &Placement) -> usize;
    /// Answers them.
    fn let_go(&self, placement: &Placement);
}

impl<S: TrafficStage> Actor<S> {
    /// A user's request that waits in the release.
    async fn request_in_flight(&self, placement: &Placement) -> JoinHandle<Result<(u16, String), String>> {
        let mut user = User::new(self.stage.listen());
        let request = tokio::spawn(async move { user.get("/wait").await });
        until("it waits", async || (self.stage.waiting(placement) == 1).then_some(())).await;
        request
    }
}

pub async fn no_request_is_lost_by_switches(stage: impl TrafficStage) {
    let mut actor = Actor { stage };
    let (first, second) = actor.one_serves().await;
    let over = Arc::new(AtomicBool::new(false));
    let users: Vec<_> = (0..8)
        .map(|_| {
            let (over, mut user) = (Arc::clone(&over), User::new(actor.stage.listen()));
            tokio::spawn(async move {
                let (mut answers, mut failures) = (0_u32, Vec::new());
                while !over.load(Ordering::SeqCst) {
                    match user.get("/version").await {
                        Ok((200, _)) => answers += 1,
                        other => failures.push(format!("{other:?}")),
                    }
                }
                (answers, failures)
            })
        })
        .collect();
    for _ in 0..100 {
        for placement in [&second, &first] {
            actor.switch(placement, 2).await.unwrap();
            actor
                .drain(if placement == &first { &second } else { &first }, Span::from_secs(5), 2)
                .await
                .unwrap();
        }
    }
    over.store(true, Ordering::SeqCst);
    for user in users {
        let (answers, failures) = in_time("the end of a user", user).await.unwrap();
        assert!(failures.is_empty(), "{} of {answers} failed: {:?}", failures.len(), failures.first());
        assert!(answers > 0, "a user got no answer at all");
    }
}

pub async fn shares_are_exact(stage: impl TrafficStage) {
    let mut actor = Actor { stage };
    let (first, second) = actor.one_serves().await;
    for weight in [1, 20, 50] {
        actor.shift(&second, weight, &first, 2).await.unwrap();
        let mut user = User::new(actor.stage.listen());
        let mut seen: BTreeMap<String, u32> = BTreeMap::new();
        for _ in 0..1000 {
            *seen.entry(user.version().await.unwrap()).or_default() += 1;
        }
        let got = seen.get("1.2.0").copied().unwrap_or(0);
        let wanted = u32::from(weight) * 10;
        assert!(got.abs_diff(wanted) <= 10, "{got} of 1000 requests for a share of {weight} %");
    }
}

pub async fn a_drain_ends_with_the_last_request(stage: impl TrafficStage) {
    let mut actor = Actor { stage };
    let (first, second) = actor.one_serves().await;
    let request = actor.request_in_flight(&first).await;
    actor.switch(&second, 2).await.unwrap();
    {
        let drain = actor.drain(&first, Span::from_secs(50), 2);
        tokio::pin!(drain);
        // As long as users are answered by the other one, this one had its time to end too early.
        let mut others = User::new(actor.stage.listen());
        for _ in 0..20 {
            tokio::select! {
                ended = &mut drain => panic!("it ended with a request in flight: {ended:?}"),
                version = others.version() => assert_eq!(version.as_deref(), Some("1.2.0")),
            }
        }
        actor.stage.let_go(&first);
        assert_eq!(drain.await.unwrap().cut, 0);
    }
    let answer = in_time("the answer", request).await.unwrap();
    assert_eq!(answer, Ok((200, "version 1.1.0".to_owned())));
}

pub async fn a_drain_cuts_at_its_deadline(stage: impl TrafficStage) {
    let mut actor = Actor { stage };
    let (first, second) = actor.one_serves().await;
    let request = actor.request_in_flight(&first).await;
    actor.switch(&second, 2).await.unwrap();
    assert_eq!(actor.drain(&first, Span::from_millis(300), 2).await.unwrap().cut, 1);
    let answer = in_time("the end of the request", request).await.unwrap();
    assert!(!matches!(answer, Ok((200, _))), "it was cut, and got {answer:?}");
    actor.stage.let_go(&first);
}

pub async fn answers_are_counted_by_release(stage: impl TrafficStage) {
    let mut actor = Actor { stage };
    let (first, second) = actor.one_serves().await;
    let mut user = User::new(actor.stage.listen());
    for (placement, requests) in [(&first, 30), (&second, 20)] {
        actor.switch(placement, 2).await.unwrap();
        for _ in 0..requests {
            assert_eq!(user.version().await.as_deref(), Some(placement.version.as_str()));
        }
    }
    let counts = until("all are counted", async || {
        let counts = actor.stage.router().counts(&actor.stage.environment()).await.unwrap();
        let total: u64 = counts.iter().map(|one| one.tally.requests).sum();
        (total >= 50).then_some(counts)
    })
    .await;
    let mut told: Vec<_> = counts.iter().map(|one| (one.release.0, one.tally.requests)).collect();
    told.sort_unstable();
    assert_eq!(told, [(1, 30), (2, 20)]);
}
