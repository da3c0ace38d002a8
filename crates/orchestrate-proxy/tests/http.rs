//! What passes through: bodies, trailers, upgrades and protocols, and what is added and taken away on the way.
#![allow(clippy::unwrap_used, reason = "tests, and what they share")]

mod rig;

use std::time::Duration;

use bytes::Bytes;
use futures_util::{SinkExt, StreamExt};
use http::Request;
use http_body_util::{BodyExt, Full, StreamBody};
use hyper::body::Frame;
use hyper_util::rt::{TokioExecutor, TokioIo};
use rig::client::{Client, get, raw, request, status};
use rig::instance::scripted;
use rig::{Instance, Rig, eventually, within};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::sync::mpsc;
use tokio_tungstenite::tungstenite::Message;

async fn serving() -> (Rig, Instance) {
    let (rig, one) = (Rig::start().await, Instance::start("1.0").await);
    rig.serve(1, &[&one]).await;
    (rig, one)
}

/// The lines of a request as the instance saw it.
fn has(text: &str, line: &str) -> bool {
    text.lines().any(|one| one == line)
}

#[tokio::test]
async fn the_instance_learns_who_asked_and_nothing_that_was_for_the_proxy() {
    let (rig, _one) = serving().await;
    let asked = raw(
        rig.listen,
        "GET /request?a=1 HTTP/1.1\r\nHost: shop.test\r\nConnection: close, X-Private\r\nX-Private: 1\r\n\
         Keep-Alive: 5\r\nProxy: evil\r\nTE: trailers\r\nX-Kept: 1\r\n\r\n",
    )
    .await;
    assert_eq!(status(&asked), 200);
    let body = asked.split_once("\r\n\r\n").unwrap().1;
    assert!(has(body, "GET /request?a=1 HTTP/1.1"), "{body}");
    for line in [
        "host: shop.test",
        "x-kept: 1",
        "te: trailers",
        "x-forwarded-for: 127.0.0.1",
        "x-forwarded-host: shop.test",
        "x-forwarded-proto: http",
    ] {
        assert!(has(body, line), "{line} is not in {body}");
    }
    for name in ["x-private", "keep-alive", "proxy:"] {
        assert!(!body.contains(name), "{name} is in {body}");
    }
}

#[tokio::test]
async fn an_absolute_target_and_http_1_0_reach_the_instance_in_its_own_form() {
    let (rig, _one) = serving().await;
    let absolute = "GET http://real.test/request HTTP/1.1\r\nHost: other\r\nConnection: close\r\n\r\n";
    let answer = raw(rig.listen, absolute).await;
    assert!(answer.contains("GET /request HTTP/1.1\n") && answer.contains("host: real.test\n"), "{answer}");
    let old = raw(rig.listen, "GET /request HTTP/1.0\r\n\r\n").await;
    assert!(old.starts_with("HTTP/1.0 200") && old.contains(&format!("host: {}\n", rig.listen)), "{old}");
}

#[tokio::test]
async fn answers_without_a_body_stay_without_one() {
    let (rig, _one) = serving().await;
    let head = raw(rig.listen, "HEAD /version HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n").await;
    assert!(head.contains("content-length: 11\r\n") && head.ends_with("\r\n\r\n"), "{head}");
    for (path, code) in [("/none", 204), ("/same", 304)] {
        let request = format!("GET {path} HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n");
        let answer = raw(rig.listen, request).await;
        assert_eq!(status(&answer), code);
        assert!(answer.ends_with("\r\n\r\n") && !answer.contains("transfer-encoding"), "{answer}");
    }
    let mut client = Client::connect(rig.listen).await;
    for path in ["/none", "/version", "/same", "/version"] {
        client.get(path).await.unwrap();
    }
}

#[tokio::test]
async fn connections_to_an_instance_are_used_again() {
    let (rig, one) = serving().await;
    let mut client = Client::connect(rig.listen).await;
    let before = one.connections();
    for path in ["/version", "/large", "/trailers", "/none", "/broken"].repeat(10) {
        client.get(path).await.unwrap();
    }
    assert!(one.connections() - before <= 3, "{} connections", one.connections() - before);
}

#[tokio::test]
async fn large_bodies_pass_both_ways() {
    let (rig, _one) = serving().await;
    let body: Bytes = (0..5_000_000_u32).map(|number| number as u8).collect::<Vec<u8>>().into();
    let tcp = TcpStream::connect(rig.listen).await.unwrap();
    let (mut sender, connection) = hyper::client::conn::http1::handshake(TokioIo::new(tcp)).await.unwrap();
    tokio::spawn(connection);
    for _ in 0..3 {
        sender.ready().await.unwrap();
        let request = Request::post("/echo").header("host", "a").body(Full::new(body.clone())).unwrap();
        let response = within("an answer", sender.send_request(request)).await.unwrap();
        let back = within("the body", response.into_body().collect()).await.unwrap().to_bytes();
        assert!(back == body);
    }
    assert_eq!(get(rig.listen, "/large").await.body.len(), 3_000_000);
}

#[tokio::test]
async fn a_body_of_unknown_length_passes_with_every_method() {
    let (rig, _one) = serving().await;
    for method in ["GET", "DELETE", "POST", "QUERY"] {
        let head = format!("{method} /echo HTTP/1.1\r\nHost: a\r\nConnection: close\r\n");
        let answer =
            raw(rig.listen, format!("{head}Transfer-Encoding: chunked\r\n\r\n4\r\nbody\r\n0\r\n\r\n")).await;
        assert!(answer.starts_with("HTTP/1.1 200") && answer.contains("body"), "{method}: {answer}");
    }
}

#[tokio::test]
async fn an_answer_streams_part_by_part() {
    let (rig, one) = serving().await;
    let mut tcp = TcpStream::connect(rig.listen).await.unwrap();
    tcp.write_all(b"GET /ticks HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n").await.unwrap();
    let mut seen = Vec::new();
    let contains = |seen: &[u8], text: &str| String::from_utf8_lossy(seen).contains(text);
    for number in 0..3 {
        if number > 0 {
            one.seen.release.notify_one();
        }
        let tick = format!("tick {number}\n");
        within("a part", async {
            while !contains(&seen, &tick) {
                assert!(tcp.read_buf(&mut seen).await.unwrap() > 0);
            }
        })
        .await;
        assert!(!contains(&seen, &format!("tick {}", number + 1)), "parts do not come before they are sent");
    }
}

#[tokio::test]
async fn a_request_streams_part_by_part_and_back() {
    let (rig, _one) = serving().await;
    let tcp = TcpStream::connect(rig.listen).await.unwrap();
    let (mut sender, connection) = hyper::client::conn::http1::handshake(TokioIo::new(tcp)).await.unwrap();
    tokio::spawn(connection);
    let (parts, feed) = mpsc::unbounded_channel();
    let feed = futures_util::stream::unfold(feed, |mut feed| async move {
        let part: &'static str = feed.recv().await?;
        Some((Ok::<_, hyper::Error>(Frame::data(Bytes::from(part))), feed))
    });
    let body = StreamBody::new(Box::pin(feed));
    let request = Request::post("/echo").header("host", "a").body(body).unwrap();
    let answering = tokio::spawn(sender.send_request(request));
    parts.send("one").unwrap();
    let mut answer = within("the head", answering).await.unwrap().unwrap().into_body();
    for (back, next) in [("one", Some("two")), ("two", Some("three")), ("three", None)] {
        let frame = within("a part", answer.frame()).await.unwrap().unwrap();
        assert_eq!(frame.into_data().unwrap(), back);
        if let Some(next) = next {
            parts.send(next).unwrap();
        }
    }
    drop(parts);
    assert!(within("the end", answer.frame()).await.is_none());
}

#[tokio::test]
async fn trailers_pass_both_ways() {
    let (rig, _one) = serving().await;
    let asked = "GET /trailers HTTP/1.1\r\nHost: a\r\nTE: trailers\r\nConnection: te, close\r\n\r\n";
    let answer = raw(rig.listen, asked).await;
    assert!(answer.ends_with("0\r\nx-sum: 42\r\n\r\n"), "{answer}");
    let (sent, mut received) = mpsc::unbounded_channel();
    let instance = scripted(move |mut tcp, _| {
        let sent = sent.clone();
        async move {
            let mut seen = Vec::new();
            while !seen.ends_with(b"x-sum: 7\r\n\r\n") {
                if tcp.read_buf(&mut seen).await.unwrap() == 0 {
                    return;
                }
            }
            tcp.write_all(b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n").await.unwrap();
            sent.send(String::from_utf8(seen).unwrap()).unwrap();
        }
    })
    .await;
    rig.serve(2, &[&instance]).await;
    let answer = raw(
        rig.listen,
        "POST / HTTP/1.1\r\nHost: a\r\nConnection: close\r\nTrailer: x-sum\r\nTransfer-Encoding: chunked\r\n\r\n\
         3\r\nabc\r\n0\r\nX-Sum: 7\r\n\r\n",
    )
    .await;
    assert_eq!(status(&answer), 200);
    assert!(within("the request", received.recv()).await.unwrap().contains("abc"));
}

#[tokio::test]
async fn a_client_that_expects_to_be_told_to_continue_is_told() {
    let (rig, _one) = serving().await;
    let mut tcp = TcpStream::connect(rig.listen).await.unwrap();
    let head = "POST /echo HTTP/1.1\r\nHost: a\r\nExpect: 100-continue\r\nContent-Length: 4\r\n\
                Connection: close\r\n\r\n";
    tcp.write_all(head.as_bytes()).await.unwrap();
    let mut seen = vec![0; 25];
    within("the word", tcp.read_exact(&mut seen)).await.unwrap();
    assert_eq!(seen, b"HTTP/1.1 100 Continue\r\n\r\n");
    tcp.write_all(b"body").await.unwrap();
    let mut answer = String::new();
    within("the answer", tcp.read_to_string(&mut answer)).await.unwrap();
    assert!(status(&answer) == 200 && answer.contains("\r\nbody\r\n"), "{answer}");
}

#[tokio::test]
async fn a_websocket_is_joined_through() {
    let (rig, one) = serving().await;
    let tcp = TcpStream::connect(rig.listen).await.unwrap();
    let url = format!("ws://{}/websocket", rig.listen);
    let (mut socket, response) =
        within("the handshake", tokio_tungstenite::client_async(url, tcp)).await.unwrap();
    assert_eq!(response.status(), 101);
    for text in ["one", "two", &"x".repeat(100_000)] {
        socket.send(Message::text(text)).await.unwrap();
        let back = within("the echo", socket.next()).await.unwrap().unwrap();
        assert_eq!(back.to_text().unwrap(), text);
    }
    assert_eq!(rig.in_flight(1).await, 1, "an open websocket is in flight");
    drop(socket);
    eventually("it is not any more", async || rig.in_flight(1).await == 0).await;
    assert_eq!(one.requests(), 1);
}

#[tokio::test]
async fn any_protocol_may_be_upgraded_to_and_early_bytes_are_not_lost() {
    let (rig, _one) = serving().await;
    let mut tcp = TcpStream::connect(rig.listen).await.unwrap();
    let head = "GET /websocket HTTP/1.1\r\nHost: a\r\nConnection: Upgrade\r\nUpgrade: other/1\r\n\r\nearly ";
    tcp.write_all(head.as_bytes()).await.unwrap();
    tcp.write_all(b"late").await.unwrap();
    let mut seen = Vec::new();
    within("the echo", async {
        while !seen.ends_with(b"early late") {
            assert!(tcp.read_buf(&mut seen).await.unwrap() > 0);
        }
    })
    .await;
    assert!(seen.starts_with(b"HTTP/1.1 101 "));
}

#[tokio::test]
async fn a_refused_upgrade_is_answered_and_the_connection_ends() {
    let (rig, _one) = serving().await;
    let head = "GET /version HTTP/1.1\r\nHost: a\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\r\n";
    let answer = raw(rig.listen, head).await;
    assert!(status(&answer) == 200 && answer.contains("connection: close"), "{answer}");
}

#[tokio::test]
async fn http2_is_spoken_with_those_who_begin_with_it() {
    let (rig, _one) = serving().await;
    let tcp = TcpStream::connect(rig.listen).await.unwrap();
    let handshake = hyper::client::conn::http2::handshake(TokioExecutor::new(), TokioIo::new(tcp));
    let (mut sender, connection) = handshake.await.unwrap();
    tokio::spawn(connection);
    let url = |path: &str| format!("http://shop.test{path}");
    let answers = (0..50)
        .map(|_| sender.send_request(Request::get(url("/version")).body(Full::<Bytes>::default()).unwrap()));
    for answer in within("the answers", futures_util::future::join_all(answers)).await {
        let body = answer.unwrap().into_body().collect().await.unwrap().to_bytes();
        assert_eq!(body, "version 1.0");
    }
    let request = Request::get(url("/request")).header("cookie", "a=1").header("cookie", "b=2");
    let answer = sender.send_request(request.body(Full::default()).unwrap()).await.unwrap();
    let seen = String::from_utf8(answer.into_body().collect().await.unwrap().to_bytes().into()).unwrap();
    assert!(has(&seen, "GET /request HTTP/1.1") && has(&seen, "host: shop.test"), "{seen}");
    assert!(has(&seen, "cookie: a=1; b=2"), "{seen}");
    let request = Request::post(url("/echo")).body(Full::from(vec![7; 300_000])).unwrap();
    let answer = within("the answer", sender.send_request(request)).await.unwrap();
    assert_eq!(answer.into_body().collect().await.unwrap().to_bytes().len(), 300_000);
    let request = Request::get(url("/trailers")).header("te", "trailers").body(Full::default()).unwrap();
    let answer = within("the answer", sender.send_request(request)).await.unwrap();
    assert_eq!(answer.into_body().collect().await.unwrap().trailers().unwrap()["x-sum"], "42");
}

#[tokio::test]
async fn a_safe_request_on_a_connection_that_has_just_died_is_sent_once_more() {
    // Each connection answers once, says that it stays, and closes when the next request comes.
    let instance = scripted(|mut tcp, _| async move {
        let mut seen = Vec::new();
        while !seen.ends_with(b"\r\n\r\n") {
            if tcp.read_buf(&mut seen).await.unwrap_or(0) == 0 {
                return;
            }
        }
        let _ = tcp.write_all(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok").await;
        let _ = tcp.read(&mut [0; 1024]).await;
    })
    .await;
    let rig = Rig::start().await;
    rig.serve(1, &[&instance]).await;
    let mut client = Client::connect(rig.listen).await;
    for _ in 0..20 {
        assert_eq!(client.get("/").await.unwrap().status, 200);
    }
    let post = Request::post("/").header("host", "a").body(Full::from("data")).unwrap();
    let answer = client.send(post).await.unwrap();
    assert_eq!(answer.status, 502, "what is not safe is never sent twice");
}

#[tokio::test]
async fn an_answer_that_is_not_http_is_a_bad_gateway() {
    for nonsense in
        ["", "nonsense\r\n\r\n", "HTTP/1.1 200 OK\r\nContent-Length: 1\r\nContent-Length: 2\r\n\r\nx"]
    {
        let instance = scripted(move |mut tcp, _| async move {
            let _ = tcp.read(&mut [0; 1024]).await;
            let _ = tcp.write_all(nonsense.as_bytes()).await;
        })
        .await;
        let rig = Rig::start().await;
        rig.serve(1, &[&instance]).await;
        assert_eq!(get(rig.listen, "/").await.status, 502, "{nonsense:?}");
    }
}

#[tokio::test]
async fn an_answer_that_breaks_off_breaks_off_for_the_client_too() {
    let instance = scripted(|mut tcp, _| async move {
        let _ = tcp.read(&mut [0; 1024]).await;
        let _ = tcp.write_all(b"HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\nshort").await;
    })
    .await;
    let rig = Rig::start().await;
    rig.serve(1, &[&instance]).await;
    let mut client = Client::connect(rig.listen).await;
    assert!(within("the end", client.send(request("/"))).await.is_err());
    tokio::time::timeout(Duration::from_secs(5), async {
        eventually("nothing is in flight", async || rig.in_flight(1).await == 0).await;
    })
    .await
    .unwrap();
}
