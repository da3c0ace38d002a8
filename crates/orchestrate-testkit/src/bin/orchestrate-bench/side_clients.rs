//! The clients that a switch hurts first: slow ones, large bodies both ways, and websockets that stay open.

use std::net::SocketAddr;
use std::time::Duration;

use anyhow::{Context as _, Result, bail, ensure};
use bytes::Bytes;
use futures_util::{SinkExt as _, StreamExt as _};
use http::Request;
use http::header::HOST;
use http_body_util::{BodyExt as _, Full};
use hyper::body::Incoming;
use hyper::client::conn::http1::{self, SendRequest};
use hyper_util::rt::TokioIo;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;
use tokio::sync::watch;
use tokio::task::JoinSet;
use tokio::time::timeout;
use tokio_tungstenite::client_async;
use tokio_tungstenite::tungstenite::Message;

const PATIENCE: Duration = Duration::from_secs(60);
const LARGE_BYTES: usize = 4 << 20;
const SLOW_PIECES: usize = 8;
const SLOW_PAUSE: Duration = Duration::from_millis(25);
const MESSAGES: usize = 20;
const BETWEEN_MESSAGES: Duration = Duration::from_millis(50);

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Kind {
    Slow,
    Upload,
    Download,
    Websocket,
}

impl Kind {
    pub const ALL: [Self; 4] = [Self::Slow, Self::Upload, Self::Download, Self::Websocket];

    pub fn name(self) -> &'static str {
        match self {
            Self::Slow => "slow requests",
            Self::Upload => "uploads of 4 MiB",
            Self::Download => "downloads of 4 MiB",
            Self::Websocket => "websockets of 20 messages",
        }
    }

    fn clients(self) -> usize {
        match self {
            Self::Slow | Self::Websocket => 8,
            Self::Upload | Self::Download => 1,
        }
    }
}

/// What one kind of client came to.
#[derive(Debug, Default)]
pub struct Tally {
    pub done: usize,
    pub failed: usize,
    pub reasons: Vec<String>,
}

/// Runs until it is stopped.
pub struct SideClients {
    stop: watch::Sender<bool>,
    clients: JoinSet<(Kind, Tally)>,
}

impl SideClients {
    pub fn start(address: SocketAddr) -> Self {
        let (stop, stopping) = watch::channel(false);
        let mut clients = JoinSet::new();
        for kind in Kind::ALL {
            for _ in 0..kind.clients() {
                clients.spawn(repeat(kind, address, stopping.clone()));
            }
        }
        Self { stop, clients }
    }

    /// Lets each finish what it does.
    pub async fn stop(mut self) -> Result<Vec<(Kind, Tally)>> {
        self.stop.send_replace(true);
        let mut tallies: Vec<(Kind, Tally)> = Kind::ALL.map(|kind| (kind, Tally::default())).into();
        while let Some(client) = self.clients.join_next().await {
            let (kind, mut tally) = client.context("a client broke")?;
            if let Some((_, sum)) = tallies.iter_mut().find(|(known, _)| *known == kind) {
                sum.done += tally.done;
                sum.failed += tally.failed;
                sum.reasons.append(&mut tally.reasons);
            }
        }
        Ok(tallies)
    }
}

async fn repeat(kind: Kind, address: SocketAddr, stopping: watch::Receiver<bool>) -> (Kind, Tally) {
    let mut tally = Tally::default();
    // Each is heard once, however short the load was.
    while tally.done == 0 || !*stopping.borrow() {
        let once = timeout(PATIENCE, once(kind, address)).await;
        tally.done += 1;
        if let Err(error) = once.unwrap_or_else(|_| Err(anyhow::anyhow!("not done within {PATIENCE:?}"))) {
            tally.failed += 1;
            tally.reasons.push(format!("{error:#}"));
            // A peer that is down is not asked a thousand times a second.
            tokio::time::sleep(SLOW_PAUSE).await;
        }
    }
    (kind, tally)
}

async fn once(kind: Kind, address: SocketAddr) -> Result<()> {
    match kind {
        Kind::Slow => slow(address).await,
        Kind::Upload => upload(address).await,
        Kind::Download => download(address).await,
        Kind::Websocket => websocket(address).await,
    }
}

/// Sends head and body in pieces.
async fn slow(address: SocketAddr) -> Result<()> {
    let mut stream = TcpStream::connect(address).await.context("cannot connect")?;
    stream.set_nodelay(true)?;
    let length = SLOW_PIECES * 4;
    let request = format!(
        "POST /upload HTTP/1.1\r\nhost: {address}\r\nconnection: close\r\ncontent-length: {length}\r\n\r\n{}",
        "slow".repeat(SLOW_PIECES)
    );
    for piece in request.as_bytes().chunks(request.len().div_ceil(SLOW_PIECES)) {
        stream.write_all(piece).await.context("cannot send")?;
        tokio::time::sleep(SLOW_PAUSE).await;
    }
    let mut answer = String::new();
    stream.read_to_string(&mut answer).await.context("cannot read")?;
    ensure!(
        answer.starts_with("HTTP/1.1 200 ") && answer.contains(&format!("received {length}\n")),
        "answer {answer:?}"
    );
    Ok(())
}

async fn upload(address: SocketAddr) -> Result<()> {
    let body = Full::new(Bytes::from(vec![b'u'; LARGE_BYTES]));
    let request = Request::post("/upload").header(HOST, address.to_string()).body(body)?;
    let mut answer = send(address, request).await?;
    let said = answer.frame().await.context("no body")??;
    let said = said.data_ref().map(|data| String::from_utf8_lossy(data).into_owned()).unwrap_or_default();
    ensure!(said == format!("received {LARGE_BYTES}\n"), "the service said {said:?}");
    Ok(())
}

async fn download(address: SocketAddr) -> Result<()> {
    let path = format!("/download?bytes={LARGE_BYTES}");
    let request = Request::get(path).header(HOST, address.to_string()).body(Full::new(Bytes::new()))?;
    let mut answer = send(address, request).await?;
    let mut bytes = 0;
    while let Some(frame) = answer.frame().await {
        bytes += frame.context("the download broke off")?.data_ref().map_or(0, Bytes::len);
    }
    ensure!(bytes == LARGE_BYTES, "{bytes} bytes of {LARGE_BYTES}");
    Ok(())
}

async fn send(address: SocketAddr, request: Request<Full<Bytes>>) -> Result<Incoming> {
    let stream = TcpStream::connect(address).await.context("cannot connect")?;
    let (mut sender, connection): (SendRequest<Full<Bytes>>, _) =
        http1::handshake(TokioIo::new(stream)).await?;
    tokio::spawn(connection);
    let response = sender.send_request(request).await.context("no answer")?;
    ensure!(response.status().is_success(), "status {}", response.status());
    Ok(response.into_body())
}

async fn websocket(address: SocketAddr) -> Result<()> {
    let stream = TcpStream::connect(address).await.context("cannot connect")?;
    let (mut socket, _) = client_async(format!("ws://{address}/ws"), stream).await.context("no websocket")?;
    for number in 0..MESSAGES {
        let message = Message::text(format!("message {number}"));
        socket.send(message.clone()).await.context("cannot send a message")?;
        match socket.next().await {
            Some(Ok(echo)) if echo == message => {}
            Some(Ok(other)) => bail!("{other:?} for message {number}"),
            Some(Err(error)) => {
                return Err(error).context(format!("the websocket broke at message {number}"));
            }
            None => bail!("the websocket was closed at message {number}"),
        }
        tokio::time::sleep(BETWEEN_MESSAGES).await;
    }
    socket.close(None).await.context("cannot close the websocket")
}
