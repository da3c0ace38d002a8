//! One proxy takes over from another while users are served: nobody is refused, and nothing is routed by what was.
#![allow(clippy::unwrap_used, reason = "tests, and what they share")]

mod rig;

use std::process::Child;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use futures_util::{SinkExt as _, StreamExt as _};
use orchestrate_core::name::Fence;
use orchestrate_core::ports::{Drain, PortErrorKind, Router};
use orchestrate_core::time::Span;
use orchestrate_proxy::BuiltinRouter;
use rig::client::{Client, get};
use rig::{Instance, Rig, drain, eventually, shop, switch, within};
use rustix::process::{Pid, Signal, kill_process};
use tokio::io::{AsyncBufReadExt as _, AsyncWriteExt as _, BufReader};
use tokio::net::{TcpStream, UnixListener, UnixStream};
use tokio_tungstenite::tungstenite::Message;

async fn ends(mut elder: Child) {
    eventually("the elder ends", async || elder.try_wait().unwrap().is_some()).await;
    assert!(elder.wait().unwrap().success());
}

#[tokio::test]
async fn twenty_takeovers_under_load_cost_no_request_and_refuse_nobody() {
    let (mut rig, one) = (Rig::start().await, Instance::start("1.0").await);
    rig.serve(1, &[&one]).await;
    let (stop, served) = (Arc::new(AtomicBool::new(false)), Arc::new(AtomicUsize::new(0)));
    let users: Vec<_> = (0..8)
        .map(|user| {
            let (stop, served, listen) = (Arc::clone(&stop), Arc::clone(&served), rig.listen);
            tokio::spawn(async move {
                let mut kept: Option<Client> = None;
                while !stop.load(Ordering::Relaxed) {
                    // Half of them stay on their connections until they are told that an answer was the last.
                    let mut client = match kept.take() {
                        Some(client) => client,
                        None => Client::connect(listen).await,
                    };
                    let answer = client.get("/version").await.unwrap();
                    assert_eq!(answer.status, 200, "{}", answer.body);
                    served.fetch_add(1, Ordering::Relaxed);
                    let farewell = answer.headers.get("connection").is_some_and(|word| word == "close");
                    kept = (user % 2 == 0 && !farewell).then_some(client);
                }
            })
        })
        .collect();
    let mut elders = Vec::new();
    for _ in 0..20 {
        let before = served.load(Ordering::Relaxed);
        elders.push(rig.hand_over().await);
        eventually("answers", async || served.load(Ordering::Relaxed) > before + 50).await;
    }
    stop.store(true, Ordering::Relaxed);
    for user in users {
        within("the user's end", user).await.unwrap();
    }
    for elder in elders {
        ends(elder).await;
    }
    assert_eq!(get(rig.listen, "/version").await.status, 200);
}

#[tokio::test]
async fn a_websocket_and_a_long_request_stay_with_the_elder_until_they_end() {
    let (mut rig, one) = (Rig::with_limits(&["linger=10"]).await, Instance::start("1.0").await);
    rig.serve(1, &[&one]).await;
    let listen = rig.listen;
    let tcp = TcpStream::connect(listen).await.unwrap();
    let url = format!("ws://{listen}/websocket");
    let (mut socket, _) = tokio_tungstenite::client_async(url, tcp).await.unwrap();
    let waiting = tokio::spawn(async move { get(listen, "/wait").await });
    eventually("both are under way", async || rig.in_flight(1).await == 2).await;
    let mut elder = rig.hand_over().await;
    assert_eq!(rig.in_flight(1).await, 2, "what the elder has counts");
    one.seen.release.notify_one();
    assert_eq!(waiting.await.unwrap().status, 200);
    for word in ["still", "here"] {
        socket.send(Message::text(word)).await.unwrap();
        let back = within("the echo", socket.next()).await.unwrap().unwrap();
        assert_eq!(back.to_text().unwrap(), word);
    }
    assert!(elder.try_wait().unwrap().is_none(), "it waits for the websocket");
    drop(socket);
    ends(elder).await;
    assert_eq!(rig.in_flight(1).await, 0);
}

#[tokio::test]
async fn no_request_goes_by_the_elders_table_once_the_heir_has_switched() {
    let mut rig = Rig::start().await;
    let (one, two) = (Instance::start("1.0").await, Instance::start("2.0").await);
    rig.serve(1, &[&one]).await;
    rig.register(2, &[&two]).await;
    let mut idle = Vec::new();
    for _ in 0..16 {
        let mut client = Client::connect(rig.listen).await;
        assert_eq!(client.get("/version").await.unwrap().body, "version 1.0");
        idle.push(client);
    }
    let elder = rig.hand_over().await;
    let answer = idle[0].get("/version").await.unwrap();
    assert_eq!(answer.headers["connection"], "close", "it is told to come again");
    rig.switch(2).await;
    for mut client in idle {
        if let Ok(answer) = client.get("/version").await {
            assert_eq!(answer.body, "version 2.0");
        }
    }
    assert_eq!(get(rig.listen, "/version").await.body, "version 2.0");
    ends(elder).await;
}

#[tokio::test]
async fn a_drain_waits_for_what_an_elder_has_and_cuts_it_at_its_deadline() {
    let mut rig = Rig::start().await;
    let (one, two) = (Instance::start("1.0").await, Instance::start("2.0").await);
    rig.serve(1, &[&one]).await;
    rig.register(2, &[&two]).await;
    let listen = rig.listen;
    let waiting = tokio::spawn(async move { get(listen, "/wait").await });
    eventually("the request", async || one.waiting() == 1).await;
    // Two handovers: the one that has the request is not the one before the last.
    let (elder, between) = (rig.hand_over().await, rig.hand_over().await);
    rig.switch(2).await;
    assert_eq!(
        within("the drain", rig.router.drain(&drain(1, Span::from_millis(100)))).await.unwrap().cut,
        1
    );
    assert_ne!(within("the answer", waiting).await.unwrap().status, 200);
    ends(elder).await;
    ends(between).await;
    assert_eq!(rig.router.drain(&drain(1, Span::from_secs(9))).await.unwrap().cut, 0);
}

#[tokio::test]
async fn an_elder_cuts_nothing_of_a_release_that_has_the_traffic_again() {
    let mut rig = Rig::start().await;
    let (one, two) = (Instance::start("1.0").await, Instance::start("2.0").await);
    rig.serve(1, &[&one]).await;
    rig.register(2, &[&two]).await;
    let listen = rig.listen;
    let waiting = tokio::spawn(async move { get(listen, "/wait").await.status });
    eventually("the request", async || one.waiting() == 1).await;
    let elder = rig.hand_over().await;
    rig.switch(2).await;
    let router = BuiltinRouter::new(rig.socket());
    let deadline = Duration::from_secs(2);
    let request = Drain { fence: Fence(2), ..drain(1, Span::from_secs(2)) };
    let begun = Instant::now();
    let draining = tokio::spawn(async move { router.drain(&request).await });
    let newest = async || rig.router.observe(&shop()).await.unwrap().fence;
    eventually("the drain has begun", async || newest().await == Some(Fence(2))).await;
    rig.router.switch(&switch(1, 3)).await.unwrap();
    let refusal = within("the drain's end", draining).await.unwrap().unwrap_err();
    assert_eq!(refusal.kind, PortErrorKind::Fenced, "{refusal}");
    // The elder, too, lets the deadline pass.
    tokio::time::sleep((deadline + Duration::from_millis(500)).saturating_sub(begun.elapsed())).await;
    one.seen.release.notify_one();
    assert_eq!(within("the answer", waiting).await.unwrap(), 200);
    ends(elder).await;
}

#[tokio::test]
async fn after_the_heir_was_killed_the_next_proxy_still_knows_the_elder() {
    let (mut rig, one) = (Rig::start().await, Instance::start("1.0").await);
    rig.serve(1, &[&one]).await;
    let listen = rig.listen;
    let waiting = tokio::spawn(async move { get(listen, "/wait").await });
    eventually("the request", async || one.waiting() == 1).await;
    let elder = rig.hand_over().await;
    rig.kill();
    rig.restart().await;
    assert_eq!(rig.in_flight(1).await, 1);
    one.seen.release.notify_one();
    assert_eq!(waiting.await.unwrap().status, 200);
    ends(elder).await;
    assert_eq!(rig.in_flight(1).await, 0, "one that has ended is forgotten");
}

#[tokio::test]
async fn fences_weights_and_health_are_the_heirs_at_once() {
    let mut rig = Rig::start().await;
    let (one, two) = (Instance::start("1.0").await, Instance::start("2.0").await);
    rig.serve(1, &[&one]).await;
    rig.router.register(&rig.registration(2, &[&two], 7)).await.unwrap();
    let proof = rig.prove(1);
    rig.router.prove(&proof).await.unwrap();
    let before = rig.router.observe(&shop()).await.unwrap();
    let elder = rig.hand_over().await;
    assert_eq!(rig.router.observe(&shop()).await.unwrap(), before);
    assert!(rig.router.switch(&switch(2, 6)).await.is_err(), "an older fence");
    rig.router.prove(&proof).await.unwrap();
    drop(two);
    ends(elder).await;
}

/// Says it to the control socket as an heir would; what is answered, and the connection.
async fn say(rig: &Rig, word: &str) -> (String, BufReader<UnixStream>) {
    let mut stream = BufReader::new(UnixStream::connect(rig.socket()).await.unwrap());
    stream.write_all(format!("\"{word}\"\n").as_bytes()).await.unwrap();
    let mut answer = String::new();
    within("the answer", stream.read_line(&mut answer)).await.unwrap();
    (answer, stream)
}

#[tokio::test]
async fn an_heir_that_dies_on_the_way_leaves_everything_to_the_elder() {
    let mut rig = Rig::start().await;
    let (one, two) = (Instance::start("1.0").await, Instance::start("2.0").await);
    rig.serve(1, &[&one]).await;
    rig.register(2, &[&two]).await;
    for round in 1..=5 {
        let (answer, heir) = say(&rig, "yield").await;
        assert!(answer.contains("yielded"), "{answer}");
        // The state is free, traffic flows, and changes wait.
        assert_eq!(get(rig.listen, "/version").await.status, 200);
        let to = 1 + round % 2;
        let (release, fence) = (switch(to, round), rig.router.observe(&shop()).await.unwrap().fence);
        // A router asks one thing after another.
        let other = BuiltinRouter::new(rig.socket());
        let change = async {
            let changed = rig.router.switch(&release).await;
            (changed, rig.router.observe(&shop()).await.unwrap().fence)
        };
        let heirs_end = async {
            for _ in 0..20 {
                assert_eq!(other.observe(&shop()).await.unwrap().fence, fence, "nothing is changed");
            }
            drop(heir);
        };
        let ((changed, after), ()) = within("the change", async { tokio::join!(change, heirs_end) }).await;
        changed.unwrap();
        assert_eq!(after.unwrap().0, round);
    }
    // The state is its own again.
    rig.refuses_a_second().await;
    rig.router.persisted().await.unwrap();
    let before = rig.router.observe(&shop()).await.unwrap();
    rig.kill();
    rig.restart().await;
    assert_eq!(rig.router.observe(&shop()).await.unwrap(), before);
}

#[tokio::test]
async fn killed_at_any_moment_of_a_takeover_one_of_the_two_serves() {
    let (mut rig, one) = (Rig::start().await, Instance::start("1.0").await);
    rig.serve(1, &[&one]).await;
    rig.router.persisted().await.unwrap();
    for round in 0..24_u32 {
        let mut heir = rig.heir();
        // From before its first instruction to after it has taken over.
        tokio::time::sleep(std::time::Duration::from_millis(u64::from(round) * 3)).await;
        if round % 2 == 0 {
            kill_process(Pid::from_child(&heir), Signal::KILL).unwrap();
            heir.wait().unwrap();
        } else {
            kill_process(Pid::from_child(&rig.child), Signal::KILL).unwrap();
            rig.child.wait().unwrap();
        }
        // An heir that was too late to take over ends, and somebody's parent starts a proxy that needs no elder.
        eventually("somebody serves", async || {
            let gone = |child: &mut Child| child.try_wait().unwrap().is_some();
            if rig.router.hello().await.is_err() && gone(&mut heir) && gone(&mut rig.child) {
                rig.restart().await;
            }
            rig.router.hello().await.is_ok()
        })
        .await;
        assert_eq!(get(rig.listen, "/version").await.status, 200, "round {round}");
        rig.register(1, &[&one]).await;
        let pid = rig.router.hello().await.unwrap().pid;
        if heir.id() == pid {
            rig.child = heir;
        }
        assert_eq!(rig.child.id(), pid, "round {round}");
    }
}

#[tokio::test]
async fn a_proxy_that_ends_lets_the_next_one_begin_before_its_last_request_is_answered() {
    let (mut rig, one) = (Rig::start().await, Instance::start("1.0").await);
    rig.serve(1, &[&one]).await;
    let listen = rig.listen;
    let waiting = tokio::spawn(async move { get(listen, "/wait").await });
    eventually("the request", async || one.waiting() == 1).await;
    rig.terminate();
    eventually("it listens no more", async || rig.router.hello().await.is_err()).await;
    let heir = rig.heir();
    let elder = std::mem::replace(&mut rig.child, heir);
    // There is nobody to take over from any more.
    assert!(!rig.exit().await.success());
    rig.restart().await;
    assert_eq!(get(rig.listen, "/version").await.status, 200);
    one.seen.release.notify_one();
    assert_eq!(waiting.await.unwrap().status, 200);
    ends(elder).await;
}

/// Puts a socket of its own in the place of the proxy's, as an heir does.
fn bind_in_place(rig: &Rig) -> UnixListener {
    let beside = rig.home.path().join("heir.sock");
    let listener = UnixListener::bind(&beside).unwrap();
    std::fs::rename(beside, rig.socket()).unwrap();
    listener
}

#[tokio::test]
async fn an_elder_that_is_told_to_end_on_the_way_leaves_the_heir_its_socket() {
    let mut rig = Rig::start().await;
    let (answer, _heir) = say(&rig, "yield").await;
    assert!(answer.contains("yielded"), "{answer}");
    let _listener = bind_in_place(&rig);
    rig.terminate();
    assert!(rig.exit().await.success());
    UnixStream::connect(rig.socket()).await.expect("the heir's socket is there");
}

#[tokio::test]
async fn a_shutdown_that_is_asked_on_the_way_is_the_heirs_once_it_serves_and_the_elders_otherwise() {
    for retires in [true, false] {
        let mut rig = Rig::start().await;
        let other = BuiltinRouter::new(rig.socket());
        // Both have their connections to the elder from now on.
        rig.router.hello().await.unwrap();
        other.hello().await.unwrap();
        let (answer, mut heir) = say(&rig, "yield").await;
        assert!(answer.contains("yielded"), "{answer}");
        let listener = retires.then(|| bind_in_place(&rig));
        let told = async {
            within("the answer", rig.router.shutdown()).await.unwrap();
        };
        let story = async {
            for _ in 0..20 {
                other.hello().await.unwrap();
            }
            let Some(listener) = listener else { return drop(heir) };
            heir.write_all(b"\"retire\"\n").await.unwrap();
            let (asked, _) = within("the question to the heir", listener.accept()).await.unwrap();
            let (mut asked, mut line) = (BufReader::new(asked), String::new());
            within("the word", asked.read_line(&mut line)).await.unwrap();
            assert_eq!(line, "\"shutdown\"\n");
            asked.write_all(b"\"done\"\n").await.unwrap();
        };
        tokio::join!(told, story);
        assert!(rig.exit().await.success());
    }
}

#[tokio::test]
async fn an_elder_that_cannot_put_its_socket_back_serves_and_tries_again() {
    let mut rig = Rig::start().await;
    let one = Instance::start("1.0").await;
    rig.serve(1, &[&one]).await;
    let listen = rig.listen;
    let waiting = tokio::spawn(async move { get(listen, "/wait").await.status });
    eventually("the request", async || one.waiting() == 1).await;
    let (answer, heir) = say(&rig, "yield").await;
    assert!(answer.contains("yielded"), "{answer}");
    // The heir puts its own there and dies; where the elder makes its new one, something is in the way.
    drop(bind_in_place(&rig));
    let in_the_way = rig.home.path().join(format!("proxy.sock.{}", rig.child.id()));
    std::fs::create_dir(&in_the_way).unwrap();
    drop(heir);
    eventually("the state is its own again", async || {
        let lock = std::fs::File::open(rig.home.path().join("proxy.json.lock")).unwrap();
        lock.try_lock_shared().is_err()
    })
    .await;
    // More than once it cannot.
    tokio::time::sleep(Duration::from_millis(1500)).await;
    assert!(rig.child.try_wait().unwrap().is_none(), "it goes on");
    assert_eq!(get(rig.listen, "/version").await.status, 200);
    std::fs::remove_dir(&in_the_way).unwrap();
    eventually("it can be commanded", async || rig.router.hello().await.is_ok()).await;
    one.seen.release.notify_one();
    assert_eq!(within("the answer", waiting).await.unwrap(), 200);
}

#[tokio::test]
async fn an_heir_that_cannot_make_its_socket_takes_no_user_along() {
    let (rig, one) = (Rig::start().await, Instance::start("1.0").await);
    rig.serve(1, &[&one]).await;
    let (stop, listen) = (Arc::new(AtomicBool::new(false)), rig.listen);
    let users: Vec<_> = (0..4)
        .map(|_| {
            let stop = Arc::clone(&stop);
            tokio::spawn(async move {
                while !stop.load(Ordering::Relaxed) {
                    assert_eq!(get(listen, "/version").await.status, 200);
                }
            })
        })
        .collect();
    for _ in 0..20 {
        let heir = rig.heir_that_finds_a_directory_for_its_socket();
        assert!(!within("its end", heir).await.success());
    }
    stop.store(true, Ordering::Relaxed);
    for user in users {
        within("the user's end", user).await.unwrap();
    }
}
