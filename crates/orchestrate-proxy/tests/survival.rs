//! Bad luck: the proxy dies, its parent dies, its state is torn, it is told to stop. Nobody is refused.
#![allow(clippy::unwrap_used, reason = "tests, and what they share")]

mod rig;

use std::net::SocketAddr;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use orchestrate_core::ports::Router;
use orchestrate_proxy::{BuiltinRouter, ListenerHold, spawn_proxy};
use rig::client::{Client, get, raw, status};
use rig::{Instance, Rig, eventually, placement, proxy_command, shop, within};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

#[tokio::test]
async fn what_was_persisted_is_there_after_a_kill() {
    let mut rig = Rig::start().await;
    let (one, two) = (Instance::start("1.0").await, Instance::start("2.0").await);
    rig.serve(1, &[&one]).await;
    rig.register(2, &[&two]).await;
    rig.switch(2).await;
    rig.router.persisted().await.unwrap();
    let before = rig.router.observe(&shop()).await.unwrap();
    rig.kill();
    rig.restart().await;
    assert_eq!(rig.router.observe(&shop()).await.unwrap(), before);
    assert_eq!(get(rig.listen, "/version").await.body, "version 2.0");
}

#[tokio::test]
async fn a_torn_state_is_set_aside_and_the_proxy_starts_empty() {
    let (mut rig, one) = (Rig::start().await, Instance::start("1.0").await);
    rig.serve(1, &[&one]).await;
    rig.router.persisted().await.unwrap();
    let whole = std::fs::read(rig.state()).unwrap();
    let lengths = [0, 1, whole.len() / 4, whole.len() / 2, whole.len() - 1];
    for (number, length) in lengths.into_iter().enumerate() {
        rig.kill();
        std::fs::write(rig.state(), &whole[..length]).unwrap();
        rig.restart().await;
        let aside = rig.router.hello().await.unwrap().set_aside.unwrap();
        assert!(aside.ends_with(&format!(".corrupt-{}", number + 1)), "{aside}");
        assert_eq!(std::fs::read(&aside).unwrap(), &whole[..length]);
        assert!(rig.router.observe(&shop()).await.unwrap().slots.is_empty());
        rig.serve(1, &[&one]).await;
        assert_eq!(get(rig.listen, "/version").await.status, 200);
    }
}

#[tokio::test]
async fn where_the_state_is_torn_whoever_waits_is_answered() {
    let (mut rig, one) = (Rig::start().await, Instance::start("1.0").await);
    rig.serve(1, &[&one]).await;
    let hold = within("the sockets", ListenerHold::take(&rig.socket())).await.unwrap();
    rig.kill();
    std::fs::write(rig.state(), "{").unwrap();
    let mut early = TcpStream::connect(rig.listen).await.unwrap();
    early.write_all(b"GET /version HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n").await.unwrap();
    let mut command = proxy_command(&rig.home, &[]);
    command.arg("--inherit-stdin");
    rig.child = spawn_proxy(command, &hold.held().unwrap()).unwrap();
    rig.ready().await;
    // From here on only the proxy itself keeps the client's connection.
    drop(hold);
    rig.serve(1, &[&one]).await;
    let mut answer = String::new();
    within("the answer", early.read_to_string(&mut answer)).await.unwrap();
    // Between the registration and the switch, that nothing serves.
    assert!([200, 503].contains(&status(&answer)), "{answer}");
}

#[tokio::test]
async fn a_state_that_cannot_be_written_is_reported_and_tried_again() {
    let (rig, one) = (Rig::start().await, Instance::start("1.0").await);
    let in_the_way = rig.home.path().join("proxy.json.new");
    std::fs::create_dir(&in_the_way).unwrap();
    let error =
        within("the refusal", rig.router.register(&rig.registration(1, &[&one], 1))).await.unwrap_err();
    assert!(error.message.contains("state"), "{error}");
    std::fs::remove_dir(&in_the_way).unwrap();
    within("the write", rig.router.persisted()).await.unwrap();
    assert!(std::fs::read_to_string(rig.state()).unwrap().contains("shop"));
}

#[tokio::test]
async fn two_proxies_never_work_on_one_state() {
    let rig = Rig::start().await;
    rig.refuses_a_second().await;
    rig.router.hello().await.unwrap();
}

#[tokio::test]
async fn no_connection_is_refused_while_a_killed_proxy_is_replaced() {
    let (mut rig, one) = (Rig::start().await, Instance::start("1.0").await);
    let mut hold = within("the sockets", ListenerHold::take(&rig.socket())).await.unwrap();
    assert!(hold.held().unwrap().is_empty());
    rig.serve(1, &[&one]).await;
    rig.router.persisted().await.unwrap();
    for _ in 0..5 {
        let pid = rustix::process::Pid::from_child(&rig.child);
        rustix::process::kill_process(pid, rustix::process::Signal::KILL).unwrap();
        within("the loss", hold.until_lost()).await;
        rig.child.wait().unwrap();
        let held = hold.held().unwrap();
        assert_eq!(held.iter().map(|(address, _)| *address).collect::<Vec<_>>(), [rig.listen]);
        // A client comes while there is no proxy, and waits in the backlog.
        let mut early = TcpStream::connect(rig.listen).await.unwrap();
        early.write_all(b"GET /version HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n").await.unwrap();
        let mut command = proxy_command(&rig.home, &[]);
        command.arg("--inherit-stdin");
        let begun = Instant::now();
        rig.child = spawn_proxy(command, &held).unwrap();
        let mut answer = String::new();
        within("the answer", early.read_to_string(&mut answer)).await.unwrap();
        let taken = begun.elapsed();
        assert_eq!(status(&answer), 200, "{answer}");
        assert!(taken < Duration::from_secs(1), "the new proxy needed {taken:?}");
        rig.ready().await;
        hold = within("the sockets", ListenerHold::take(&rig.socket())).await.unwrap();
    }
}

#[tokio::test]
async fn under_load_a_killed_proxy_costs_what_was_in_flight_and_refuses_nobody() {
    let (mut rig, one) = (Rig::start().await, Instance::start("1.0").await);
    rig.serve(1, &[&one]).await;
    rig.router.persisted().await.unwrap();
    let mut hold = within("the sockets", ListenerHold::take(&rig.socket())).await.unwrap();
    let (stop, served) = (Arc::new(AtomicBool::new(false)), Arc::new(AtomicUsize::new(0)));
    let clients: Vec<_> = (0..8)
        .map(|_| {
            let (stop, served, listen) = (Arc::clone(&stop), Arc::clone(&served), rig.listen);
            tokio::spawn(async move {
                while !stop.load(Ordering::Relaxed) {
                    // A connect that is refused would panic here.
                    if Client::connect(listen).await.get("/version").await.is_ok() {
                        served.fetch_add(1, Ordering::Relaxed);
                    }
                }
            })
        })
        .collect();
    for _ in 0..3 {
        let before = served.load(Ordering::Relaxed);
        eventually("answers", async || served.load(Ordering::Relaxed) > before + 100).await;
        rig.kill();
        within("the loss", hold.until_lost()).await;
        let mut command = proxy_command(&rig.home, &[]);
        command.arg("--inherit-stdin");
        rig.child = spawn_proxy(command, &hold.held().unwrap()).unwrap();
        rig.ready().await;
        hold = within("the sockets", ListenerHold::take(&rig.socket())).await.unwrap();
    }
    stop.store(true, Ordering::Relaxed);
    for client in clients {
        within("the client's end", client).await.unwrap();
    }
}

#[tokio::test]
async fn a_holder_learns_of_every_address_that_is_opened_and_closed() {
    let (rig, one) = (Rig::start().await, Instance::start("1.0").await);
    let mut hold = within("the sockets", ListenerHold::take(&rig.socket())).await.unwrap();
    let addresses = |hold: &ListenerHold| hold.held().unwrap().iter().map(|one| one.0).collect::<Vec<_>>();
    let follow = async |hold: &mut ListenerHold, count: usize| {
        eventually("the news", async || {
            let _ = tokio::time::timeout(Duration::from_millis(20), hold.until_lost()).await;
            hold.held().unwrap().len() == count
        })
        .await;
    };
    rig.register(1, &[&one]).await;
    follow(&mut hold, 1).await;
    assert_eq!(addresses(&hold), [rig.listen]);
    let mut request = rig.registration(2, &[&one], 1);
    request.backends[0].listen = rig::free_address();
    rig.router.register(&request).await.unwrap();
    follow(&mut hold, 2).await;
    let gone = placement(2);
    let deregister = orchestrate_core::ports::Deregister {
        environment: gone.environment,
        slot: gone.slot,
        release: gone.release,
        fence: orchestrate_core::name::Fence(1),
    };
    rig.router.deregister(&deregister).await.unwrap();
    follow(&mut hold, 1).await;
    assert_eq!(addresses(&hold), [rig.listen]);
}

#[tokio::test]
async fn a_proxy_told_to_end_finishes_what_is_in_flight_and_takes_nothing_more() {
    let (mut rig, one) = (Rig::start().await, Instance::start("1.0").await);
    rig.serve(1, &[&one]).await;
    let listen = rig.listen;
    let mut idle = Client::connect(listen).await;
    idle.get("/version").await.unwrap();
    let waiting = tokio::spawn(async move { get(listen, "/wait").await });
    eventually("the request", async || one.waiting() == 1).await;
    rig.terminate();
    eventually("the idle connection ends", async || idle.get("/version").await.is_err()).await;
    eventually("it does not listen", async || TcpStream::connect(listen).await.is_err()).await;
    assert!(rig.child.try_wait().unwrap().is_none());
    one.seen.release.notify_one();
    assert_eq!(waiting.await.unwrap().status, 200);
    assert!(rig.exit().await.success());
    rig.restart().await;
    assert_eq!(get(rig.listen, "/version").await.status, 200);
}

#[tokio::test]
async fn a_proxy_told_to_end_stops_listening_however_many_come() {
    let (mut rig, one) = (Rig::start().await, Instance::start("1.0").await);
    rig.serve(1, &[&one]).await;
    let listen = rig.listen;
    let waiting = tokio::spawn(async move { get(listen, "/wait").await });
    eventually("the request", async || one.waiting() == 1).await;
    let coming: Vec<_> = (0..16)
        .map(|_| {
            tokio::spawn(async move {
                let mut kept = Vec::new();
                while let Ok(tcp) = TcpStream::connect(listen).await {
                    kept.push(tcp);
                    kept.truncate(100);
                }
            })
        })
        .collect();
    tokio::time::sleep(Duration::from_millis(20)).await;
    rig.terminate();
    for one in coming {
        within("the end of listening", one).await.unwrap();
    }
    assert!(rig.child.try_wait().unwrap().is_none());
    one.seen.release.notify_one();
    assert_eq!(waiting.await.unwrap().status, 200);
    assert!(rig.exit().await.success());
}

#[tokio::test]
async fn a_proxy_told_to_end_at_its_limit_serves_whom_it_has_taken() {
    let limits = ["threads=1", "max_connections=1"];
    let (mut rig, one) = (Rig::with_limits(&limits).await, Instance::start("1.0").await);
    rig.serve(1, &[&one]).await;
    let listen = rig.listen;
    let waiting = tokio::spawn(async move { get(listen, "/wait").await });
    eventually("the request", async || one.waiting() == 1).await;
    let mut taken = TcpStream::connect(listen).await.unwrap();
    eventually("it is taken", async || queued(listen) == 0).await;
    rig.terminate();
    eventually("it does not listen", async || TcpStream::connect(listen).await.is_err()).await;
    taken.write_all(b"GET /version HTTP/1.1\r\nhost: shop.test\r\n\r\n").await.unwrap();
    one.seen.release.notify_one();
    let mut answer = String::new();
    within("an answer and the end", taken.read_to_string(&mut answer)).await.unwrap();
    assert!(answer.starts_with("HTTP/1.1 200 "), "{answer}");
    assert_eq!(waiting.await.unwrap().status, 200);
    assert!(rig.exit().await.success());
}

#[tokio::test]
async fn who_comes_is_served_while_any_worker_has_a_place() {
    // A place a worker.
    let limits = ["threads=2", "max_connections=2"];
    let (rig, one) = (Rig::with_limits(&limits).await, Instance::start("1.0").await);
    rig.serve(1, &[&one]).await;
    let mut kept = Client::connect(rig.listen).await;
    for _ in 0..50 {
        assert_eq!(kept.get("/version").await.unwrap().status, 200);
        assert_eq!(get(rig.listen, "/version").await.status, 200);
    }
}

/// How many connections nobody has taken yet: what the kernel tells as the receive queue of a listener.
fn queued(listen: SocketAddr) -> u64 {
    let wanted = format!(":{:04X}", listen.port());
    let table = std::fs::read_to_string("/proc/net/tcp").unwrap();
    let line = table.lines().map(|line| line.split_whitespace().collect::<Vec<_>>());
    // A listener is in state 0A.
    let mut line =
        line.filter(|line| line.get(1).is_some_and(|local| local.ends_with(&wanted)) && line[3] == "0A");
    u64::from_str_radix(line.next().unwrap()[4].split_once(':').unwrap().1, 16).unwrap()
}

#[tokio::test]
async fn a_proxy_told_to_end_does_not_wait_for_ever() {
    let (mut rig, one) = (Rig::with_limits(&["shutdown=300"]).await, Instance::start("1.0").await);
    rig.serve(1, &[&one]).await;
    let listen = rig.listen;
    let waiting = tokio::spawn(async move { raw(listen, "GET /wait HTTP/1.1\r\nHost: a\r\n\r\n").await });
    eventually("the request", async || one.waiting() == 1).await;
    rig.router.shutdown().await.unwrap();
    assert!(rig.exit().await.success());
    assert_eq!(waiting.await.unwrap(), "");
}

#[tokio::test]
async fn an_address_that_was_taken_at_the_start_is_opened_once_it_is_free() {
    let (mut rig, one) = (Rig::start().await, Instance::start("1.0").await);
    rig.serve(1, &[&one]).await;
    rig.router.persisted().await.unwrap();
    rig.kill();
    let holder = std::net::TcpListener::bind(rig.listen).unwrap();
    rig.restart().await;
    assert!(rig.router.hello().await.unwrap().unbound.contains_key(&rig.listen));
    drop(holder);
    eventually("it listens", async || rig.router.hello().await.unwrap().unbound.is_empty()).await;
    assert_eq!(get(rig.listen, "/version").await.status, 200);
}

#[tokio::test]
async fn a_home_with_a_long_path_works() {
    let home = tempfile::TempDir::new().unwrap();
    let long = home.path().join("d".repeat(100)).join("e".repeat(100));
    std::fs::create_dir_all(&long).unwrap();
    let (socket, state) = (long.join("proxy.sock"), long.join("proxy.json"));
    let mut child = std::process::Command::new(env!("CARGO_BIN_EXE_orchestrate-proxy"))
        .arg("--socket")
        .arg(&socket)
        .arg("--state")
        .arg(&state)
        .spawn()
        .unwrap();
    let router = BuiltinRouter::new(&socket);
    eventually("the start", async || router.hello().await.is_ok()).await;
    assert!(Path::new(&socket).exists());
    within("the sockets", ListenerHold::take(&socket)).await.unwrap();
    child.kill().unwrap();
    child.wait().unwrap();
}
