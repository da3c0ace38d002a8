//! Two releases share the traffic: how much each gets, who stays with which, and who may choose.
#![allow(clippy::unwrap_used, reason = "tests, and what they share")]

mod rig;

use std::collections::BTreeMap;

use orchestrate_core::name::Fence;
use orchestrate_core::ports::{PortErrorKind, Router};
use orchestrate_core::traffic::{Shift, Sticky, TrafficRules};
use rig::client::{Answer, Client, get, request};
use rig::{Instance, Rig, placement, shift, shop};

/// Release 1 serves; release 2 gets `weight` percent of it.
async fn shared(weight: u8, rules: TrafficRules) -> (Rig, Instance, Instance) {
    let rig = Rig::start().await;
    let (one, two) = (Instance::start("1.0").await, Instance::start("2.0").await);
    rig.serve(1, &[&one]).await;
    rig.register(2, &[&two]).await;
    rig.router.shift(&shift(2, weight, 1, rules)).await.unwrap();
    (rig, one, two)
}

fn sticky(by: Sticky) -> TrafficRules {
    TrafficRules { sticky: Some(by), force_header: None }
}

async fn ask(client: &mut Client, name: &str, value: &str) -> Answer {
    let mut request = request("/version");
    request.headers_mut().insert(http::HeaderName::try_from(name).unwrap(), value.parse().unwrap());
    client.send(request).await.unwrap()
}

#[tokio::test]
async fn weights_hold_to_a_percent_over_ten_thousand_requests() {
    for (weight, requests) in [(10_u8, 10_000_usize), (1, 1_000), (50, 1_000)] {
        let (rig, one, two) = shared(weight, TrafficRules::default()).await;
        let clients = (0..4).map(|_| {
            let listen = rig.listen;
            tokio::spawn(async move {
                let mut client = Client::connect(listen).await;
                for _ in 0..requests / 4 {
                    assert_eq!(client.get("/version").await.unwrap().status, 200);
                }
            })
        });
        for client in clients.collect::<Vec<_>>() {
            client.await.unwrap();
        }
        assert_eq!(one.requests() + two.requests(), requests);
        assert_eq!(two.requests(), usize::from(weight) * requests / 100, "{weight} % of {requests}");
        let stats = rig.router.stats().await.unwrap();
        let counted: BTreeMap<_, _> = stats.iter().map(|row| (row.release.0, row.requests)).collect();
        assert_eq!(counted, BTreeMap::from([(1, one.requests() as u64), (2, two.requests() as u64)]));
    }
}

#[tokio::test]
async fn a_share_is_refused_where_nobody_could_serve_it() {
    let (rig, _one, two) = shared(0, TrafficRules::default()).await;
    let kind = async |request: &Shift| rig.router.shift(request).await.unwrap_err().kind;
    assert_eq!(kind(&shift(2, 101, 1, TrafficRules::default())).await, PortErrorKind::Failed);
    assert_eq!(kind(&shift(2, 10, 2, TrafficRules::default())).await, PortErrorKind::Failed);
    assert_eq!(kind(&shift(4, 10, 1, TrafficRules::default())).await, PortErrorKind::Missing);
    assert_eq!(kind(&shift(2, 10, 3, TrafficRules::default())).await, PortErrorKind::Missing);
    let mut wanting = shift(2, 10, 1, TrafficRules::default());
    wanting.needs.insert("web".into(), 2);
    assert_eq!(kind(&wanting).await, PortErrorKind::NotReady);
    let old = Shift { fence: Fence(0), ..shift(2, 10, 1, TrafficRules::default()) };
    assert_eq!(kind(&old).await, PortErrorKind::Fenced);
    assert_eq!(get(rig.listen, "/version").await.body, "version 1.0");
    assert_eq!(two.requests(), 0);
}

#[tokio::test]
async fn a_user_with_the_cookie_stays_with_one_release_while_its_share_grows() {
    let rules = sticky(Sticky::Cookie("canary".into()));
    let (rig, _one, _two) = shared(10, rules.clone()).await;
    let mut client = Client::connect(rig.listen).await;
    let mut users = Vec::new();
    for _ in 0..200 {
        let answer = client.get("/version").await.unwrap();
        let cookie = answer.headers["set-cookie"].to_str().unwrap().to_owned();
        assert!(cookie.ends_with("; Path=/; HttpOnly; SameSite=Lax"), "{cookie}");
        users.push((cookie.split(';').next().unwrap().to_owned(), answer.body));
    }
    assert_eq!(users.iter().filter(|(_, body)| body == "version 2.0").count(), 20);
    let mut before = users;
    for weight in [10, 25, 50] {
        rig.router.shift(&shift(2, weight, 1, rules.clone())).await.unwrap();
        let mut now = Vec::new();
        for (cookie, was) in &before {
            let answer = ask(&mut client, "cookie", cookie).await;
            assert!(!answer.headers.contains_key("set-cookie"), "a known user gets no other cookie");
            assert!(was != "version 2.0" || answer.body == *was, "{cookie} was moved back at {weight} %");
            now.push((cookie.clone(), answer.body));
        }
        let moved = now.iter().filter(|(_, body)| body == "version 2.0").count();
        assert_eq!(moved, usize::from(weight) * 2, "at {weight} %");
        before = now;
    }
    rig.switch(2).await;
    let answer = client.get("/version").await.unwrap();
    assert_eq!(answer.body, "version 2.0");
    assert!(!answer.headers.contains_key("set-cookie"), "nothing is shared any more");
}

#[tokio::test]
async fn a_user_with_the_same_header_is_always_answered_by_the_same_release() {
    let (rig, _one, _two) = shared(30, sticky(Sticky::Header("x-user".into()))).await;
    let (mut first, mut second) = (Client::connect(rig.listen).await, Client::connect(rig.listen).await);
    let mut new = 0;
    for user in 0..1_000 {
        let answer = ask(&mut first, "x-user", &user.to_string()).await;
        assert_eq!(ask(&mut second, "x-user", &user.to_string()).await.body, answer.body);
        new += u32::from(answer.body == "version 2.0");
    }
    assert!((250..350).contains(&new), "{new} of 1,000 users at 30 %");
}

#[tokio::test]
async fn a_tester_chooses_the_version_by_a_header_also_one_without_traffic() {
    let rules = TrafficRules { sticky: None, force_header: Some("X-Version".into()) };
    let (rig, _one, two) = shared(0, rules).await;
    let mut client = Client::connect(rig.listen).await;
    assert_eq!(ask(&mut client, "x-version", "2.0").await.body, "version 2.0");
    assert_eq!(ask(&mut client, "x-version", "1.0").await.body, "version 1.0");
    assert_eq!(client.get("/version").await.unwrap().body, "version 1.0");
    let unknown = ask(&mut client, "x-version", "3.0").await;
    assert_eq!((unknown.status, unknown.body.contains("does not run here")), (421, true));
    assert_eq!(two.requests(), 1);
    rig.switch(2).await;
    assert_eq!(ask(&mut client, "x-version", "1.0").await.body, "version 2.0", "all traffic means all of it");
}

#[tokio::test]
async fn a_release_proves_itself_at_the_live_address_whatever_its_share() {
    let (rig, _one, two) = shared(0, TrafficRules::default()).await;
    let mut prove = rig.prove(2);
    rig.router.prove(&prove).await.unwrap_err();
    prove.directed = true;
    for _ in 0..3 {
        assert_eq!(rig.router.prove(&prove).await.unwrap().release, placement(2).release);
    }
    assert_eq!(two.requests(), 3);
    let mut client = Client::connect(rig.listen).await;
    let answer = ask(&mut client, "orchestrate-prove", "guessed green").await;
    assert_eq!(answer.body, "version 1.0", "only the token directs");
}

#[tokio::test]
async fn the_share_and_its_rules_survive_the_death_of_the_proxy() {
    let rules = TrafficRules {
        sticky: Some(Sticky::Cookie("canary".into())),
        force_header: Some("x-version".into()),
    };
    let (mut rig, _one, _two) = shared(25, rules).await;
    rig.router.persisted().await.unwrap();
    rig.kill();
    rig.restart().await;
    let weights = rig.router.observe(&shop()).await.unwrap().slots.into_iter().map(|slot| slot.weight);
    assert_eq!(weights.collect::<Vec<_>>(), [75, 25]);
    let mut client = Client::connect(rig.listen).await;
    assert_eq!(ask(&mut client, "x-version", "2.0").await.body, "version 2.0");
    assert_eq!(ask(&mut client, "cookie", "canary=99").await.body, "version 2.0");
    assert_eq!(ask(&mut client, "cookie", "canary=0").await.body, "version 1.0");
    assert!(client.get("/version").await.unwrap().headers.contains_key("set-cookie"));
}
