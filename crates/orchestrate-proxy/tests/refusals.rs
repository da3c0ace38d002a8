//! What the proxy does not let through: ambiguous requests, and those over a limit.
#![allow(clippy::unwrap_used, reason = "tests, and what they share")]

mod rig;

use std::time::{Duration, Instant};

use bytes::Bytes;
use http::Request;
use http_body_util::Full;
use hyper_util::rt::{TokioExecutor, TokioIo};
use rig::client::{Client, get, raw, status};
use rig::instance::scripted;
use rig::{Instance, Rig, eventually, within};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

async fn serving(limits: &[&str]) -> (Rig, Instance) {
    let (rig, one) = (Rig::with_limits(limits).await, Instance::start("1.0").await);
    rig.serve(1, &[&one]).await;
    (rig, one)
}

#[tokio::test]
async fn an_ambiguous_request_is_refused_and_its_connection_closed() {
    let (rig, one) = serving(&[]).await;
    let hidden = "GET /hidden HTTP/1.1\r\nHost: a\r\n\r\n";
    for (name, head) in [
        ("no host", "GET / HTTP/1.1\r\n"),
        ("two hosts", "GET / HTTP/1.1\r\nHost: a\r\nHost: a\r\n"),
        ("a host with a space", "GET / HTTP/1.1\r\nHost: a b\r\n"),
        ("a user in the host", "GET / HTTP/1.1\r\nHost: x@a\r\n"),
        (
            "two lengths that differ",
            "POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 0\r\nContent-Length: 5\r\n",
        ),
        (
            "two lengths that agree",
            "POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 0\r\nContent-Length: 0\r\n",
        ),
        ("a list of lengths", "POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 0, 0\r\n"),
        ("a signed length", "POST / HTTP/1.1\r\nHost: a\r\nContent-Length: +0\r\n"),
        ("a negative length", "POST / HTTP/1.1\r\nHost: a\r\nContent-Length: -1\r\n"),
        ("an endless length", "POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 99999999999999999999\r\n"),
        (
            "length and coding",
            "POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 5\r\nTransfer-Encoding: chunked\r\n",
        ),
        (
            "coding and length",
            "POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\nContent-Length: 5\r\n",
        ),
        ("an unknown coding", "POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: xchunked\r\n"),
        ("a coding before chunked", "POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: gzip, chunked\r\n"),
        ("a coding after chunked", "POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked, identity\r\n"),
        (
            "two codings",
            "POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\nTransfer-Encoding: identity\r\n",
        ),
        ("a quoted coding", "POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: \"chunked\"\r\n"),
        ("a tab in a coding", "POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding:\x0bchunked\r\n"),
        ("a coding in HTTP/1.0", "POST / HTTP/1.0\r\nHost: a\r\nTransfer-Encoding: chunked\r\n"),
        ("a space before the colon", "POST / HTTP/1.1\r\nHost: a\r\nContent-Length : 5\r\n"),
        ("a folded line", "GET / HTTP/1.1\r\nHost: a\r\nX: 1\r\n folded\r\n"),
        ("a folded coding", "POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding:\r\n chunked\r\n"),
        ("a folded first line", "GET / HTTP/1.1\r\n Host: a\r\nHost: a\r\n"),
        ("a bare CR", "GET / HTTP/1.1\r\nHost: a\r\nX: 1\rContent-Length: 5\r\n"),
        ("a NUL", "GET / HTTP/1.1\r\nHost: a\r\nX: \0\r\n"),
        ("a line without a colon", "GET / HTTP/1.1\r\nHost: a\r\nnothing\r\n"),
        ("an empty name", "GET / HTTP/1.1\r\nHost: a\r\n: x\r\n"),
        ("a space in the target", "GET /a b HTTP/1.1\r\nHost: a\r\n"),
        ("a target that is none", "GET a HTTP/1.1\r\nHost: a\r\n"),
        ("a fragment", "GET /a#/b HTTP/1.1\r\nHost: a\r\n"),
        ("a version that is none", "GET / HTTP/1.2.3\r\nHost: a\r\n"),
        ("an old version", "GET /\r\n"),
    ] {
        println!("{name}");
        let answer = raw(rig.listen, format!("{head}\r\n{hidden}")).await;
        assert_eq!(status(&answer), 400, "{name}: {answer}");
        assert_eq!(answer.matches("HTTP/1.").count(), 1, "{name}: {answer}");
    }
    assert_eq!(one.requests(), 0, "nothing of it reached the instance");
    let connect = raw(rig.listen, "CONNECT a:80 HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n").await;
    assert_eq!(status(&connect), 405);
}

#[tokio::test]
async fn a_request_is_refused_behind_good_ones_on_the_same_connection() {
    let (rig, one) = serving(&[]).await;
    let good = "POST /echo HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n0\r\n\r\n\
                POST /echo HTTP/1.1\r\nHost: a\r\nContent-Length: 3\r\n\r\ndef";
    let bad = "POST /echo HTTP/1.1\r\nHost: a\r\nContent-Length: 3\r\nTransfer-Encoding: chunked\r\n\r\n\
               0\r\n\r\nGET /hidden HTTP/1.1\r\nHost: a\r\n\r\n";
    let answer = raw(rig.listen, format!("{good}{bad}")).await;
    assert_eq!(answer.matches("HTTP/1.1 200 OK").count(), 2, "{answer}");
    assert_eq!(answer.matches("HTTP/1.1 400 Bad Request").count(), 1, "{answer}");
    assert_eq!(one.requests(), 2);
}

#[tokio::test]
async fn nothing_follows_a_request_for_another_protocol_whoever_answers_it() {
    let (rig, one) = serving(&[]).await;
    let both = "POST /echo HTTP/1.1\r\nHost: a\r\nContent-Length: 3\r\nTransfer-Encoding: chunked\r\n\r\n\
                0\r\n\r\n";
    for (asked, expected) in [("", 200), ("Expect: x\r\n", 417), ("Host: b\r\n", 400)] {
        let head = format!("GET /version HTTP/1.1\r\nHost: a\r\nUpgrade: x\r\n{asked}\r\n");
        let before = one.requests();
        let answer = raw(rig.listen, format!("{head}{both}")).await;
        assert_eq!((status(&answer), answer.matches("HTTP/1.").count()), (expected, 1), "{asked}: {answer}");
        assert_eq!(one.requests() - before, usize::from(expected == 200), "{asked}: {answer}");
    }
    let nobody = Rig::start().await;
    nobody.register(1, &[&one]).await;
    let head = "GET /version HTTP/1.1\r\nHost: a\r\nUpgrade: x\r\n\r\n";
    let answer = raw(nobody.listen, format!("{head}{both}")).await;
    assert_eq!((status(&answer), answer.matches("HTTP/1.").count()), (503, 1), "{answer}");
}

#[tokio::test]
async fn broken_chunks_end_the_request_and_never_become_another() {
    let (rig, one) = serving(&[]).await;
    for chunks in [
        "zz\r\nabc\r\n0\r\n\r\n",
        "3\nabc\r\n0\r\n\r\n",
        "3 \r\nabc\r\n0\r\n\r\n",
        "3;a\nabc\r\n0\r\n\r\n",
        "0\r\nA: b\n\n",
        "0\r\nA: b\rC: d\r\n\r\n",
        "3\r\nabcd\r\n0\r\n\r\n",
        "-1\r\n\r\n",
        "fffffffffffffffff\r\na",
    ] {
        let head = "POST /echo HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n";
        let answer = raw(rig.listen, format!("{head}{chunks}GET /hidden HTTP/1.1\r\nHost: a\r\n\r\n")).await;
        assert!(answer.matches("HTTP/1.").count() <= 1 && !answer.contains("hidden"), "{chunks:?}: {answer}");
        // It is not the release that failed.
        assert!(matches!(status(&answer), 0 | 200 | 400), "{chunks:?}: {answer}");
    }
    eventually("nothing is in flight", async || rig.in_flight(1).await == 0).await;
    let stats = rig.router.stats().await.unwrap();
    assert_eq!(stats.iter().map(|stats| stats.class(5)).sum::<u64>(), 0, "{stats:?}");
    let before = one.requests();
    assert_eq!(get(rig.listen, "/version").await.body, "version 1.0");
    assert_eq!(one.requests(), before + 1);
}

#[tokio::test]
async fn a_head_over_the_limit_is_refused() {
    let (rig, _one) = serving(&["max_header_bytes=2000", "max_headers=20"]).await;
    let padding = |count: usize, length: usize| {
        (0..count).map(|number| format!("x-{number}: {}\r\n", "y".repeat(length))).collect::<String>()
    };
    let ask =
        |headers: String| format!("GET /version HTTP/1.1\r\nHost: a\r\nConnection: close\r\n{headers}\r\n");
    assert_eq!(status(&raw(rig.listen, ask(padding(10, 100))).await), 200);
    assert_eq!(status(&raw(rig.listen, ask(padding(10, 300))).await), 431);
    assert_eq!(status(&raw(rig.listen, ask(padding(10, 30_000))).await), 431);
    assert_eq!(status(&raw(rig.listen, ask(padding(25, 1))).await), 431);
}

#[tokio::test]
async fn a_body_over_the_limit_is_refused_whether_it_says_so_or_not() {
    let (rig, _one) = serving(&["max_body=1000"]).await;
    let post = |headers: &str, body: &str| {
        format!("POST /echo HTTP/1.1\r\nHost: a\r\nConnection: close\r\n{headers}\r\n\r\n{body}")
    };
    let body = "z".repeat(1000);
    assert_eq!(status(&raw(rig.listen, post("Content-Length: 1000", &body)).await), 200);
    assert_eq!(status(&raw(rig.listen, post("Content-Length: 1001", &body)).await), 413);
    // An instance that waits for the whole body has not answered when the limit is passed.
    let patient = scripted(|mut tcp, _| async move {
        let _ = tcp.read_to_end(&mut Vec::new()).await;
    })
    .await;
    rig.serve(2, &[&patient]).await;
    let chunked = format!("3e8\r\n{body}\r\n1\r\nz\r\n0\r\n\r\n");
    assert_eq!(status(&raw(rig.listen, post("Transfer-Encoding: chunked", &chunked)).await), 413);
}

#[tokio::test]
async fn a_head_that_comes_too_slowly_ends_the_connection() {
    let (rig, _one) = serving(&["header_read=500"]).await;
    for start in ["", "G", "GET / HTTP/1.1\r\nHost: a\r\nX: "] {
        let mut tcp = TcpStream::connect(rig.listen).await.unwrap();
        tcp.write_all(start.as_bytes()).await.unwrap();
        let begun = Instant::now();
        let mut answer = Vec::new();
        let _ = within("the end", tcp.read_to_end(&mut answer)).await;
        assert!(begun.elapsed() >= Duration::from_millis(400) && answer.is_empty(), "{start:?}");
    }
}

#[tokio::test]
async fn an_idle_connection_is_closed_and_a_busy_one_is_not() {
    let (rig, one) = serving(&["keep_alive=500"]).await;
    let mut busy = Client::connect(rig.listen).await;
    let waiting = tokio::spawn(async move { busy.get("/wait").await });
    eventually("the request", async || one.waiting() == 1).await;
    let mut idle = TcpStream::connect(rig.listen).await.unwrap();
    idle.write_all(b"GET /version HTTP/1.1\r\nHost: a\r\n\r\n").await.unwrap();
    let mut answer = Vec::new();
    within("the end", idle.read_to_end(&mut answer)).await.unwrap();
    assert!(answer.starts_with(b"HTTP/1.1 200 OK"));
    one.seen.release.notify_one();
    assert_eq!(within("the answer", waiting).await.unwrap().unwrap().status, 200);
}

#[tokio::test]
async fn an_instance_that_does_not_answer_in_time_is_a_timeout() {
    let (rig, one) = serving(&["response_header=500"]).await;
    assert_eq!(get(rig.listen, "/wait").await.status, 504);
    assert_eq!(get(rig.listen, "/version").await.status, 200);
    eventually("nothing is in flight", async || rig.in_flight(1).await == 0).await;
    drop(one);
}

#[tokio::test]
async fn connections_over_the_limit_wait_for_their_turn() {
    let (rig, _one) = serving(&["max_connections=4"]).await;
    let mut clients = Vec::new();
    for _ in 0..4 {
        // Two workers share the limit, and each takes what it gets.
        let mut client = Client::connect(rig.listen).await;
        if tokio::time::timeout(Duration::from_millis(300), client.get("/version")).await.is_err() {
            break;
        }
        clients.push(client);
    }
    assert!(clients.len() >= 2);
    let listen = rig.listen;
    let late: Vec<_> =
        (0..20).map(|_| tokio::spawn(async move { get(listen, "/version").await.status })).collect();
    drop(clients);
    for answer in late {
        assert_eq!(within("the turn", answer).await.unwrap(), 200);
    }
}

#[tokio::test]
async fn http2_is_held_to_the_same_rules() {
    let (rig, one) = serving(&["max_body=1000"]).await;
    let tcp = TcpStream::connect(rig.listen).await.unwrap();
    let handshake = hyper::client::conn::http2::handshake(TokioExecutor::new(), TokioIo::new(tcp));
    let (mut sender, connection) = handshake.await.unwrap();
    tokio::spawn(connection);
    let request = Request::get("http://x@a/").body(Full::<Bytes>::default()).unwrap();
    assert_eq!(within("an answer", sender.send_request(request)).await.unwrap().status(), 400);
    let request = Request::post("http://a/echo").body(Full::from(vec![1; 2000])).unwrap();
    assert_eq!(within("an answer", sender.send_request(request)).await.unwrap().status(), 413);
    assert_eq!(one.requests(), 0);
}
