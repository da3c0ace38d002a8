//! Who gets a request: the release with the traffic, at once after a switch, and an instance that is well.
#![allow(clippy::unwrap_used, reason = "tests, and what they share")]

mod rig;

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};

use http::Request;
use orchestrate_core::name::Fence;
use orchestrate_core::ports::{PortErrorKind, Router, Switch};
use orchestrate_core::slot::Slot;
use orchestrate_core::time::Span;
use rig::client::{Client, get};
use rig::{Instance, Rig, eventually, placement, shop, switch, within};
use rustix::process::{Pid, Signal, kill_process};
use socket2::{Domain, Socket, Type};
use tokio::net::TcpListener;

#[tokio::test]
async fn a_registered_release_gets_traffic_only_once_it_is_switched_to() {
    let (rig, one) = (Rig::start().await, Instance::start("1.0").await);
    rig.register(1, &[&one]).await;
    let answer = get(rig.listen, "/version").await;
    assert_eq!((answer.status, answer.headers["retry-after"].to_str().unwrap()), (503, "1"));
    rig.switch(1).await;
    let answer = get(rig.listen, "/version").await;
    assert_eq!((answer.status, &*answer.body), (200, "version 1.0"));
    assert!(!answer.headers.contains_key("orchestrate-release"));
}

#[tokio::test]
async fn a_kept_connection_follows_the_switch_with_its_next_request() {
    let rig = Rig::start().await;
    let (one, two) = (Instance::start("1.0").await, Instance::start("2.0").await);
    rig.serve(1, &[&one]).await;
    rig.register(2, &[&two]).await;
    let mut client = Client::connect(rig.listen).await;
    for _ in 0..3 {
        rig.switch(1).await;
        assert_eq!(client.get("/version").await.unwrap().body, "version 1.0");
        rig.switch(2).await;
        assert_eq!(client.get("/version").await.unwrap().body, "version 2.0");
    }
}

#[tokio::test]
async fn a_thousand_switches_under_load_fail_no_request() {
    let rig = Rig::start().await;
    let (one, two) = (Instance::start("1.0").await, Instance::start("2.0").await);
    rig.serve(1, &[&one]).await;
    rig.register(2, &[&two]).await;
    let (stop, answered) = (Arc::new(AtomicBool::new(false)), Arc::new(AtomicUsize::new(0)));
    let clients: Vec<_> = (0..8)
        .map(|_| {
            let (stop, answered, listen) = (Arc::clone(&stop), Arc::clone(&answered), rig.listen);
            tokio::spawn(async move {
                let mut client = Client::connect(listen).await;
                while !stop.load(Ordering::Relaxed) {
                    let answer = client.get("/version").await.unwrap();
                    assert_eq!(answer.status, 200);
                    answered.fetch_add(1, Ordering::Relaxed);
                }
            })
        })
        .collect();
    for round in 0..500 {
        rig.switch(2).await;
        rig.switch(1).await;
        if round % 100 == 0 {
            let before = answered.load(Ordering::Relaxed);
            eventually("more answers", async || answered.load(Ordering::Relaxed) > before + 8).await;
        }
    }
    stop.store(true, Ordering::Relaxed);
    for client in clients {
        within("the end of the load", client).await.unwrap();
    }
    assert!(one.requests() > 0 && two.requests() > 0);
}

#[tokio::test]
async fn a_switch_is_refused_while_too_few_instances_are_ready() {
    let rig = Rig::start().await;
    let (one, two) = (Instance::start("1.0").await, Instance::start("2.0").await);
    rig.serve(1, &[&one]).await;
    rig.register(2, &[&two]).await;
    let mut wanting = switch(2, 1);
    wanting.needs.insert("web".into(), 2);
    let error = rig.router.switch(&wanting).await.unwrap_err();
    assert_eq!(error.kind, PortErrorKind::NotReady);
    assert!(error.message.contains("1 of 2"), "{error}");
    assert_eq!(rig.router.switch(&switch(3, 1)).await.unwrap_err().kind, PortErrorKind::Missing);
    assert_eq!(get(rig.listen, "/version").await.body, "version 1.0");
}

#[tokio::test]
async fn what_hangs_gets_no_traffic_however_well_it_was_at_its_last_check() {
    let rig = Rig::start().await;
    let one = Instance::start("1.0").await;
    // Connections are taken by the system, and nobody ever answers.
    let hanging = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    rig.serve(1, &[&one]).await;
    let mut registration = rig.registration(2, &[&one], 1);
    let address = hanging.local_addr().unwrap();
    registration.backends[0].instances = [("hangs".to_owned(), address)].into();
    rig.router.register(&registration).await.unwrap();
    let error = rig.router.switch(&switch(2, 1)).await.unwrap_err();
    assert_eq!(error.kind, PortErrorKind::NotReady, "{error}");
    assert_eq!(get(rig.listen, "/version").await.body, "version 1.0");
}

#[tokio::test]
async fn requests_go_to_the_instance_with_the_least_in_flight() {
    let rig = Rig::start().await;
    let (one, two) = (Instance::start("1.0").await, Instance::start("1.0").await);
    rig.serve(1, &[&one, &two]).await;
    let (listen, mut waiting) = (rig.listen, Vec::new());
    for count in 1..=6 {
        waiting.push(tokio::spawn(async move { get(listen, "/wait").await }));
        eventually("the request", async || one.waiting() + two.waiting() == count).await;
        assert!(one.waiting().abs_diff(two.waiting()) <= 1);
    }
    for instance in [&one, &two] {
        (0..3).for_each(|_| instance.seen.release.notify_one());
        eventually("the answers", async || instance.waiting() == 0).await;
    }
    for one in waiting {
        assert_eq!(one.await.unwrap().status, 200);
    }
}

#[tokio::test]
async fn an_instance_that_refuses_connections_is_passed_over_without_an_error() {
    let rig = Rig::start().await;
    let (one, gone) = (Instance::start("1.0").await, Instance::start("1.0").await);
    rig.serve(1, &[&one, &gone]).await;
    drop(gone);
    for _ in 0..20 {
        assert_eq!(get(rig.listen, "/version").await.status, 200);
    }
    let healthy = async || rig.router.observe(&shop()).await.unwrap().slots[0].healthy("web");
    eventually("the instance is out", async || healthy().await == 1).await;
    drop(one);
    eventually("no instance is left", async || get(rig.listen, "/version").await.status == 502).await;
}

/// Returns once a request is under way in the first slot.
async fn until_one_waits(rig: &Rig) {
    let in_flight = async || rig.router.observe(&shop()).await.unwrap().slots[0].in_flight;
    eventually("a request waits", async || in_flight().await == 1).await;
}

#[tokio::test]
async fn a_request_waits_for_an_instance_that_is_being_started_again() {
    let rig = Rig::with_limits(&["unreachable=20000"]).await;
    let only = Instance::start("1.0").await;
    rig.serve(1, &[&only]).await;
    assert_eq!(get(rig.listen, "/version").await.status, 200);
    let (address, listen) = (only.address, rig.listen);
    drop(only);
    let waiting = tokio::spawn(async move { get(listen, "/version").await });
    until_one_waits(&rig).await;
    let back = Instance::on(TcpListener::bind(address).await.unwrap(), "1.0");
    assert_eq!(waiting.await.unwrap().status, 200);
    assert_eq!(back.requests(), 1);
}

#[tokio::test]
async fn a_request_that_waits_is_answered_by_who_gets_the_traffic() {
    let rig = Rig::with_limits(&["unreachable=20000"]).await;
    let (crashed, good) = (Instance::start("1.0").await, Instance::start("2.0").await);
    rig.serve(1, &[&crashed]).await;
    rig.register(2, &[&good]).await;
    drop(crashed);
    let listen = rig.listen;
    let waiting = tokio::spawn(async move { get(listen, "/version").await });
    until_one_waits(&rig).await;
    rig.switch(2).await;
    let answer = waiting.await.unwrap();
    assert_eq!((answer.status, &*answer.body), (200, "version 2.0"));
}

#[tokio::test]
async fn a_sick_instance_gets_no_traffic_until_it_is_well_again() {
    let rig = Rig::start().await;
    let (one, two) = (Instance::start("1.0").await, Instance::start("1.0").await);
    rig.serve(1, &[&one, &two]).await;
    let healthy = async || rig.router.observe(&shop()).await.unwrap().slots[0].healthy("web");
    two.seen.unhealthy.store(true, Ordering::SeqCst);
    eventually("two is out", async || healthy().await == 1).await;
    let before = two.requests();
    for _ in 0..10 {
        assert_eq!(get(rig.listen, "/version").await.status, 200);
    }
    assert_eq!(two.requests(), before);
    two.seen.unhealthy.store(false, Ordering::SeqCst);
    eventually("two is back", async || healthy().await == 2).await;
    one.seen.unhealthy.store(true, Ordering::SeqCst);
    two.seen.unhealthy.store(true, Ordering::SeqCst);
    eventually("both are out", async || healthy().await == 0).await;
    assert_eq!(get(rig.listen, "/version").await.status, 200, "the least bad one is tried");
}

#[tokio::test]
async fn the_view_tells_what_is_placed_where() {
    let (rig, one) = (Rig::start().await, Instance::start("1.0").await);
    assert!(rig.router.observe(&shop()).await.unwrap().slots.is_empty());
    rig.serve(1, &[&one]).await;
    let view = rig.router.observe(&shop()).await.unwrap();
    let live = view.live().unwrap();
    assert_eq!((live.slot, live.release, live.weight), (Slot::Blue, placement(1).release, 100));
    assert_eq!((live.healthy("web"), live.backends[0].listen), (1, rig.listen));
    assert_eq!(view.fence, Some(Fence(1)));
}

/// Whether somebody is on the way to the address and not let in yet, as the kernel tells it.
fn knocks(address: SocketAddr) -> bool {
    let wanted = format!(":{:04X}", address.port());
    let table = std::fs::read_to_string("/proc/net/tcp").unwrap();
    table.lines().map(|line| line.split_whitespace().collect::<Vec<_>>()).any(|line| {
        // The state 02 is that of a connection that was asked for.
        line.get(2).is_some_and(|remote| remote.ends_with(&wanted)) && line[3] == "02"
    })
}

#[tokio::test]
async fn an_instance_that_closes_a_new_connection_at_once_costs_no_request() {
    let rig = Rig::with_limits(&["connect=20000"]).await;
    let well = Instance::start("1.0").await;
    // It has no room for a second connection before it has taken the first.
    let socket = Socket::new(Domain::IPV4, Type::STREAM, None).unwrap();
    socket.bind(&"127.0.0.1:0".parse::<SocketAddr>().unwrap().into()).unwrap();
    socket.listen(0).unwrap();
    let closing = std::net::TcpListener::from(socket);
    let address = closing.local_addr().unwrap();
    let _first = std::net::TcpStream::connect(address).unwrap();
    let mut registration = rig.registration(1, &[&well], 1);
    registration.backends[0].instances.insert("closing".into(), address);
    registration.backends[0].health_check.interval = Span::from_secs(60);
    rig.router.register(&registration).await.unwrap();
    rig.router.switch(&Switch { needs: [].into(), ..switch(1, 1) }).await.unwrap();
    let listen = rig.listen;
    let asked: Vec<_> = (0..2)
        .map(|_| {
            tokio::spawn(async move {
                // Nothing that could be asked twice.
                let request = Request::post("/echo").header("host", "shop.test").body("word".into()).unwrap();
                Client::connect(listen).await.send(request).await.unwrap()
            })
        })
        .collect();
    eventually("one of them is sent there", async || knocks(address)).await;
    // The proxy learns of the connection and of its end at the same time.
    let proxy = Pid::from_child(&rig.child);
    kill_process(proxy, Signal::STOP).unwrap();
    let taken = tokio::task::spawn_blocking(move || {
        for _ in 0..2 {
            drop(closing.accept().unwrap());
        }
        closing
    });
    let _closing = within("it lets the proxy in", taken).await.unwrap();
    kill_process(proxy, Signal::CONT).unwrap();
    for answer in asked {
        let answer = within("the answer", answer).await.unwrap();
        assert_eq!((answer.status, &*answer.body), (200, "word"));
    }
}
