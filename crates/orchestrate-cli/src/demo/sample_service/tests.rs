//! The sample service over real sockets.

use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::sync::oneshot;
use tokio::task::JoinHandle;

use super::*;

struct Running {
    address: std::net::SocketAddr,
    stop: oneshot::Sender<()>,
    served: JoinHandle<()>,
}

async fn run(behaviour: Behaviour) -> Running {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await.unwrap();
    let address = listener.local_addr().unwrap();
    let (stop, stopped) = oneshot::channel();
    let sample = Sample::new("1.2.3", "web-1", behaviour);
    let served = tokio::spawn(sample.run(listener, async move {
        let _ = stopped.await;
    }));
    Running { address, stop, served }
}

impl Running {
    async fn send(&self, request: &str) -> TcpStream {
        let mut stream = TcpStream::connect(self.address).await.unwrap();
        stream.write_all(request.as_bytes()).await.unwrap();
        stream
    }

    async fn get(&self, path: &str) -> (u16, String) {
        let request = format!("GET {path} HTTP/1.1\r\nhost: a\r\nconnection: close\r\n\r\n");
        read(self.send(&request).await).await
    }
}

async fn read(mut stream: TcpStream) -> (u16, String) {
    let mut text = String::new();
    stream.read_to_string(&mut text).await.unwrap();
    let (head, body) = text.split_once("\r\n\r\n").unwrap();
    (head[9..12].parse().unwrap(), body.to_owned())
}

#[tokio::test]
async fn a_good_service_says_who_it_is() {
    let service = run(Behaviour::Good).await;
    assert_eq!(service.get("/").await, (200, "version 1.2.3, instance web-1\n".to_owned()));
    assert_eq!(service.get("/version").await, (200, "1.2.3\n".to_owned()));
    assert_eq!(service.get("/healthz").await, (200, "ok\n".to_owned()));
    assert_eq!(service.get("/slow?ms=1").await.0, 200);
    assert_eq!(service.get("/nothing").await.0, 404);
}

#[tokio::test]
async fn an_echo_is_what_was_sent() {
    let service = run(Behaviour::Good).await;
    let head = "POST /echo HTTP/1.1\r\nhost: a\r\nconnection: close\r\ncontent-length: 500000\r\n\r\n";
    let body = "0123456789".repeat(50_000);
    let (mut from, mut to) = service.send(head).await.into_split();
    let sent = body.clone();
    let writer = tokio::spawn(async move { to.write_all(sent.as_bytes()).await });
    let mut text = String::new();
    from.read_to_string(&mut text).await.unwrap();
    writer.await.unwrap().unwrap();
    assert!(text.starts_with("HTTP/1.1 200") && text.ends_with(&format!("\r\n\r\n{body}")), "{:.300}", text);
}

#[tokio::test]
async fn sickness_is_as_told() {
    let never = run(Behaviour::NeverHealthy).await;
    assert_eq!((never.get("/healthz").await.0, never.get("/").await.0), (503, 200));

    let at_once = run(Behaviour::SickAfter(Span::default())).await;
    assert_eq!(at_once.get("/healthz").await.0, 200, "it is not in service yet");
    assert_eq!((at_once.get("/").await.0, at_once.get("/healthz").await.0), (500, 503));

    let later = run(Behaviour::SickAfter(Span::from_secs(3_600))).await;
    assert_eq!((later.get("/").await.0, later.get("/healthz").await.0), (200, 200));

    let quarter = run(Behaviour::Errors(25)).await;
    let mut failed = 0;
    for _ in 0..40 {
        failed += u32::from(quarter.get("/").await.0 == 500);
    }
    assert_eq!((failed, quarter.get("/healthz").await.0), (10, 200));
}

#[tokio::test]
async fn stopping_finishes_what_is_in_flight_and_closes_what_is_idle() {
    let service = run(Behaviour::Good).await;
    let mut idle = service.send("GET / HTTP/1.1\r\nhost: a\r\n\r\n").await;
    let mut start = [0; 12];
    idle.read_exact(&mut start).await.unwrap();
    let mut upload = service
        .send("POST /echo HTTP/1.1\r\nhost: a\r\nconnection: close\r\ncontent-length: 2\r\n\r\nx")
        .await;
    let mut head = vec![0; 1];
    upload.read_exact(&mut head).await.unwrap();
    service.stop.send(()).unwrap();
    let mut rest = Vec::new();
    idle.read_to_end(&mut rest).await.unwrap();
    while let Ok(late) = TcpStream::connect(service.address).await {
        drop(late);
        tokio::task::yield_now().await;
    }
    upload.write_all(b"y").await.unwrap();
    upload.read_to_end(&mut head).await.unwrap();
    assert!(head.ends_with(b"xy"), "{}", String::from_utf8_lossy(&head));
    tokio::time::timeout(Duration::from_secs(10), service.served).await.unwrap().unwrap();
}

#[test]
fn a_behaviour_is_read_or_refused() {
    let parse = |text: &str| text.parse::<Behaviour>();
    assert_eq!(parse("").unwrap(), Behaviour::Good);
    assert_eq!(parse("sick_after:2s").unwrap(), Behaviour::SickAfter(Span::from_secs(2)));
    assert_eq!(parse("errors:50").unwrap(), Behaviour::Errors(50));
    for wrong in ["bad", "errors:101", "errors:", "sick_after:soon", "good:1"] {
        assert!(parse(wrong).is_err(), "{wrong}");
    }
}
