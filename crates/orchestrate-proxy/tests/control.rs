//! Orders and reports: fences, drains, proofs, counts, and who may give orders.
#![allow(clippy::unwrap_used, reason = "tests, and what they share")]

mod rig;

use std::os::unix::fs::PermissionsExt;
use std::time::{Duration, Instant};

use orchestrate_core::name::Fence;
use orchestrate_core::ports::{Deregister, Drain, PortErrorKind, Register, Router};
use orchestrate_core::slot::Slot;
use orchestrate_core::time::Span;
use orchestrate_proxy::BuiltinRouter;
use rig::client::{Client, get};
use rig::{Instance, Rig, drain, eventually, placement, shop, switch, within};
use tokio::io::{AsyncBufReadExt, AsyncReadExt, AsyncWriteExt, BufReader};
use tokio::net::{TcpStream, UnixStream};

fn deregister(release: i64, fence: i64) -> Deregister {
    let placement = placement(release);
    Deregister {
        environment: placement.environment,
        slot: placement.slot,
        release: placement.release,
        fence: Fence(fence),
    }
}

#[tokio::test]
async fn an_older_fence_is_refused_and_changes_nothing() {
    let rig = Rig::start().await;
    let (one, two) = (Instance::start("1.0").await, Instance::start("2.0").await);
    rig.router.register(&rig.registration(1, &[&one], 5)).await.unwrap();
    rig.router.switch(&switch(1, 5)).await.unwrap();
    rig.router.register(&rig.registration(2, &[&two], 7)).await.unwrap();
    let refusals = [
        rig.router.register(&rig.registration(2, &[&two], 6)).await.err(),
        rig.router.switch(&switch(2, 6)).await.err(),
        rig.router.drain(&drain(1, Span::from_millis(1))).await.err(),
        rig.router.deregister(&deregister(2, 6)).await.err(),
    ];
    for refusal in refusals {
        assert_eq!(refusal.unwrap().kind, PortErrorKind::Fenced);
    }
    let view = rig.router.observe(&shop()).await.unwrap();
    assert_eq!((view.fence, view.live().unwrap().release), (Some(Fence(7)), placement(1).release));
    rig.router.switch(&switch(2, 7)).await.unwrap();
}

#[tokio::test]
async fn a_slot_with_traffic_is_neither_replaced_nor_forgotten() {
    let rig = Rig::start().await;
    let one = Instance::start("1.0").await;
    rig.serve(1, &[&one]).await;
    let error = rig.router.register(&rig.registration(3, &[&one], 1)).await.unwrap_err();
    assert!(error.kind == PortErrorKind::Failed && error.message.contains("100 %"), "{error}");
    let error = rig.router.deregister(&deregister(1, 1)).await.unwrap_err();
    assert_eq!(error.kind, PortErrorKind::Failed);
    rig.register(1, &[&one]).await;
    assert_eq!(get(rig.listen, "/version").await.status, 200);
}

#[tokio::test]
async fn the_last_release_to_leave_closes_the_address() {
    let rig = Rig::start().await;
    let (one, two) = (Instance::start("1.0").await, Instance::start("2.0").await);
    rig.serve(1, &[&one]).await;
    rig.register(2, &[&two]).await;
    rig.switch(2).await;
    rig.router.deregister(&deregister(1, 1)).await.unwrap();
    rig.router.deregister(&deregister(1, 1)).await.unwrap();
    assert_eq!(get(rig.listen, "/version").await.body, "version 2.0");
    let other = Rig::start().await;
    other.register(1, &[&one]).await;
    assert_eq!(get(other.listen, "/").await.status, 503);
    other.router.deregister(&deregister(1, 1)).await.unwrap();
    eventually("it is closed", async || TcpStream::connect(other.listen).await.is_err()).await;
}

#[tokio::test]
async fn an_address_in_use_is_named_and_nothing_is_registered() {
    let (rig, one) = (Rig::start().await, Instance::start("1.0").await);
    let _holder = std::net::TcpListener::bind(rig.listen).unwrap();
    let error = rig.router.register(&rig.registration(1, &[&one], 1)).await.unwrap_err();
    assert_eq!(error.kind, PortErrorKind::Failed);
    assert!(error.message.contains(&rig.listen.to_string()), "{error}");
    assert!(error.detail.unwrap().contains(&rig.listen.port().to_string()));
    assert!(rig.router.observe(&shop()).await.unwrap().slots.is_empty());
}

#[tokio::test]
async fn an_address_of_another_environment_is_refused() {
    let (rig, one) = (Rig::start().await, Instance::start("1.0").await);
    rig.register(1, &[&one]).await;
    let mut request = rig.registration(1, &[&one], 1);
    request.placement.environment = orchestrate_core::name::EnvironmentName::new("other").unwrap();
    let error = rig.router.register(&request).await.unwrap_err();
    assert!(error.message.contains("shop"), "{error}");
}

#[tokio::test]
async fn a_drain_returns_once_the_last_request_has_ended() {
    let rig = Rig::start().await;
    let (one, two) = (Instance::start("1.0").await, Instance::start("2.0").await);
    rig.serve(1, &[&one]).await;
    let listen = rig.listen;
    let waiting = tokio::spawn(async move { get(listen, "/wait").await });
    eventually("the request", async || one.waiting() == 1).await;
    rig.serve(2, &[&two]).await;
    assert_eq!(get(rig.listen, "/version").await.body, "version 2.0");
    let router = BuiltinRouter::new(rig.socket());
    let draining = tokio::spawn(async move { router.drain(&drain(1, Span::from_secs(30))).await });
    // Others are answered meanwhile.
    assert_eq!(rig.in_flight(1).await, 1);
    assert!(!draining.is_finished());
    one.seen.release.notify_one();
    assert_eq!(within("the drain", draining).await.unwrap().unwrap().cut, 0);
    let answer = waiting.await.unwrap();
    assert_eq!((answer.status, &*answer.body), (200, "1.0"));
    assert_eq!(rig.router.drain(&drain(1, Span::from_secs(30))).await.unwrap().cut, 0);
}

#[tokio::test]
async fn a_drain_cuts_what_is_left_at_its_deadline_and_says_how_much() {
    let rig = Rig::start().await;
    let (one, two) = (Instance::start("1.0").await, Instance::start("2.0").await);
    rig.serve(1, &[&one]).await;
    let listen = rig.listen;
    let waiting = tokio::spawn(async move { get(listen, "/wait").await.status });
    let mut tunnel = TcpStream::connect(listen).await.unwrap();
    let head = b"GET /websocket HTTP/1.1\r\nHost: a\r\nConnection: Upgrade\r\nUpgrade: x\r\n\r\n";
    tunnel.write_all(head).await.unwrap();
    let mut stream = TcpStream::connect(listen).await.unwrap();
    stream.write_all(b"GET /ticks HTTP/1.1\r\nHost: a\r\n\r\n").await.unwrap();
    eventually("three in flight", async || rig.in_flight(1).await == 3).await;
    rig.serve(2, &[&two]).await;
    let begun = Instant::now();
    let drained = within("the drain", rig.router.drain(&drain(1, Span::from_millis(300)))).await.unwrap();
    assert!(begun.elapsed() >= Duration::from_millis(300));
    assert_eq!(drained.cut, 3);
    assert_eq!(rig.in_flight(1).await, 0);
    assert_eq!(within("the answer", waiting).await.unwrap(), 503);
    for cut in [&mut tunnel, &mut stream] {
        let _ = within("the end", cut.read_to_end(&mut Vec::new())).await;
    }
    // The release may get traffic again.
    rig.switch(1).await;
    assert_eq!(get(rig.listen, "/version").await.body, "version 1.0");
}

#[tokio::test]
async fn a_proof_names_the_release_that_answers_the_live_address() {
    let rig = Rig::start().await;
    let (one, two) = (Instance::start("1.0").await, Instance::start("2.0").await);
    rig.serve(1, &[&one]).await;
    rig.register(2, &[&two]).await;
    let proof = rig.router.prove(&rig.prove(1)).await.unwrap();
    assert_eq!(
        (proof.release, proof.version, proof.status),
        (placement(1).release, placement(1).version, 200)
    );
    assert!(proof.micros > 0);
    let wrong = rig.router.prove(&rig.prove(2)).await.unwrap_err();
    assert!(wrong.kind == PortErrorKind::Failed && wrong.message.contains("1.0 (release 1)"), "{wrong}");
    rig.switch(2).await;
    rig.router.prove(&rig.prove(2)).await.unwrap();
    let mut request = rig.prove(2);
    request.contains = Some("nothing like it".into());
    assert!(rig.router.prove(&request).await.unwrap_err().message.contains("nothing like it"));
    (request.contains, request.path) = (None, "/broken".into());
    assert!(rig.router.prove(&request).await.unwrap_err().message.contains("500"));
    (request.path, request.timeout) = ("/wait".into(), Span::from_millis(200));
    assert_eq!(rig.router.prove(&request).await.unwrap_err().kind, PortErrorKind::TimedOut);
}

#[tokio::test]
async fn one_instance_that_hangs_does_not_speak_for_the_others_in_a_proof() {
    let rig = Rig::start().await;
    let (one, other) = (Instance::start("1.0").await, Instance::start("1.0").await);
    rig.serve(1, &[&one, &other]).await;
    // Whoever is asked first, at least one of the rounds meets the hung one first.
    let rounds = [&one, &one, &other, &other];
    for well in rounds {
        let mut request = rig.prove(1);
        (request.path, request.contains, request.timeout) = ("/wait".into(), None, Span::from_secs(2));
        well.seen.release.notify_one();
        rig.router.prove(&request).await.unwrap();
        for each in [&one, &other] {
            each.seen.release.notify_waiters();
            eventually("nobody waits", async || each.waiting() == 0).await;
        }
    }
    assert!(one.requests() + other.requests() > rounds.len(), "no round met the hung one");
}

#[tokio::test]
async fn only_who_has_the_token_learns_which_release_answered_and_it_goes_no_further() {
    let (rig, one) = (Rig::start().await, Instance::start("1.0").await);
    rig.serve(1, &[&one]).await;
    let token = rig.router.hello().await.unwrap().token;
    for (shown, signed) in [(&*token, true), ("guess", false)] {
        let mut client = Client::connect(rig.listen).await;
        let mut request = rig::client::request("/request");
        request.headers_mut().insert("orchestrate-prove", shown.parse().unwrap());
        let answer = client.send(request).await.unwrap();
        assert_eq!(answer.headers.contains_key("orchestrate-release"), signed);
        assert!(!answer.body.contains("orchestrate-prove"));
    }
}

#[tokio::test]
async fn a_proof_survives_a_restart_of_the_proxy() {
    let (mut rig, one) = (Rig::start().await, Instance::start("1.0").await);
    rig.serve(1, &[&one]).await;
    rig.router.prove(&rig.prove(1)).await.unwrap();
    rig.router.persisted().await.unwrap();
    rig.kill();
    let spare = BuiltinRouter::new(rig.socket());
    assert_eq!(spare.observe(&shop()).await.unwrap_err().kind, PortErrorKind::Unreachable);
    rig.restart().await;
    rig.router.prove(&rig.prove(1)).await.unwrap();
}

#[tokio::test]
async fn counts_are_kept_by_release_over_switches_and_registrations() {
    let rig = Rig::start().await;
    let (one, two) = (Instance::start("1.0").await, Instance::start("2.0").await);
    rig.serve(1, &[&one]).await;
    rig.register(2, &[&two]).await;
    let mut client = Client::connect(rig.listen).await;
    for round in 0..3 {
        rig.switch(1).await;
        client.get("/version").await.unwrap();
        client.get("/broken").await.unwrap();
        rig.switch(2).await;
        client.get(if round == 0 { "/none" } else { "/version" }).await.unwrap();
        rig.register(1, &[&one]).await;
    }
    let stats = rig.router.stats().await.unwrap();
    let of = |slot| stats.iter().find(|row| row.slot == slot).unwrap();
    let (blue, green) = (of(Slot::Blue), of(Slot::Green));
    assert_eq!((blue.requests, blue.class(2), blue.class(5), blue.weight), (6, 3, 3, 0));
    assert_eq!((green.requests, green.statuses[&204], green.statuses[&200], green.weight), (3, 1, 2, 100));
    assert_eq!((blue.version.as_str(), blue.in_flight), ("1.0", 0));
    assert_eq!(blue.latency.buckets.iter().map(|(_, count)| count).sum::<u64>(), 6);
    assert!(blue.latency.quantile(0.5).unwrap() <= blue.latency.quantile(0.99).unwrap());
}

#[tokio::test]
async fn the_control_socket_is_its_owners_alone_and_takes_many_requests_at_once() {
    let rig = Rig::start().await;
    let mode = std::fs::metadata(rig.socket()).unwrap().permissions().mode();
    assert_eq!(mode & 0o777, 0o600);
    let mut stream = BufReader::new(UnixStream::connect(rig.socket()).await.unwrap());
    stream.write_all(b"\"hello\"\nnonsense\n{\"observe\":\"../x\"}\n\"stats\"\n").await.unwrap();
    let mut lines = Vec::new();
    for _ in 0..4 {
        let mut line = String::new();
        within("a reply", stream.read_line(&mut line)).await.unwrap();
        lines.push(line);
    }
    assert!(lines[0].starts_with("{\"hello\"") && lines[3].starts_with("{\"stats\""), "{lines:?}");
    assert!(lines[1].starts_with("{\"refused\"") && lines[2].starts_with("{\"refused\""), "{lines:?}");
}

#[tokio::test]
async fn what_has_traffic_is_neither_drained_nor_cut() {
    let rig = Rig::start().await;
    let one = Instance::start("1.0").await;
    rig.serve(1, &[&one]).await;
    let listen = rig.listen;
    let waiting = tokio::spawn(async move { get(listen, "/wait").await.status });
    eventually("the request", async || one.waiting() == 1).await;
    let refusal = rig.router.drain(&drain(1, Span::from_millis(1))).await.unwrap_err();
    assert_eq!(refusal.kind, PortErrorKind::Failed);
    assert!(refusal.message.contains("switch away from it first"), "{}", refusal.message);
    one.seen.release.notify_one();
    assert_eq!(within("the answer", waiting).await.unwrap(), 200);
}

#[tokio::test]
async fn a_drain_cuts_nothing_of_a_release_that_has_the_traffic_again() {
    // By a newer operation, and by the one that drains.
    for (fence, kind) in [(3, PortErrorKind::Fenced), (2, PortErrorKind::Failed)] {
        let rig = Rig::start().await;
        let (one, two) = (Instance::start("1.0").await, Instance::start("2.0").await);
        rig.serve(1, &[&one]).await;
        let listen = rig.listen;
        let waiting = tokio::spawn(async move { get(listen, "/wait").await.status });
        eventually("the request", async || one.waiting() == 1).await;
        rig.serve(2, &[&two]).await;
        let router = BuiltinRouter::new(rig.socket());
        let request = Drain { fence: Fence(2), ..drain(1, Span::from_secs(2)) };
        let draining = tokio::spawn(async move { router.drain(&request).await });
        let newest = async || rig.router.observe(&shop()).await.unwrap().fence;
        eventually("the drain has begun", async || newest().await == Some(Fence(2))).await;
        rig.router.register(&rig.registration(1, &[&one], fence)).await.unwrap();
        rig.router.switch(&switch(1, fence)).await.unwrap();
        let refusal = within("the drain's end", draining).await.unwrap().unwrap_err();
        assert_eq!(refusal.kind, kind, "{refusal}");
        one.seen.release.notify_one();
        assert_eq!(within("the answer", waiting).await.unwrap(), 200);
    }
}

#[tokio::test]
async fn nobody_waits_behind_a_registration_that_waits_for_instances_to_finish() {
    let rig = Rig::start().await;
    let (old, new) = (Instance::start("1.0").await, Instance::start("1.0").await);
    rig.serve(1, &[&old]).await;
    let listen = rig.listen;
    let waiting = tokio::spawn(async move { get(listen, "/wait").await.status });
    eventually("the request", async || old.waiting() == 1).await;
    let request = Register { drain: Some(Span::from_secs(60)), ..rig.registration(1, &[&new], 1) };
    let register = async { rig.router.register(&request).await.unwrap() };
    let meanwhile = async {
        let other = BuiltinRouter::new(rig.socket());
        eventually("it has begun", async || {
            other.observe(&shop()).await.unwrap().slots[0].backends[0].addresses == [new.address]
        })
        .await;
        within("an answer to somebody else", rig.router.switch(&switch(1, 1))).await.unwrap();
        assert_eq!(old.waiting(), 1);
        old.seen.release.notify_one();
    };
    within("both", async { tokio::join!(register, meanwhile) }).await;
    assert_eq!(waiting.await.unwrap(), 200);
}

#[tokio::test]
async fn an_old_release_that_comes_back_is_counted_however_many_came_after_it() {
    let (rig, one) = (Rig::start().await, Instance::start("1.0").await);
    for release in 1..=40 {
        rig.register(release, &[&one]).await;
    }
    rig.serve(1, &[&one]).await;
    assert_eq!(get(rig.listen, "/version").await.status, 200);
    let requests = async || {
        let stats = rig.router.stats().await.unwrap();
        stats.iter().find(|row| row.release == placement(1).release).map(|row| row.requests)
    };
    assert_eq!(requests().await, Some(1));
    rig.register(1, &[&one]).await;
    assert_eq!(get(rig.listen, "/version").await.status, 200);
    assert_eq!(requests().await, Some(2));
}
