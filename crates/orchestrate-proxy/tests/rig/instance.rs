//! An instance of a sample service: what it does depends on the path.

use std::convert::Infallible;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};

use bytes::Bytes;
use futures_util::{SinkExt, StreamExt};
use http::{HeaderMap, Request, Response, StatusCode};
use http_body_util::combinators::UnsyncBoxBody;
use http_body_util::{BodyExt, Full, StreamBody};
use hyper::body::{Frame, Incoming};
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::TokioIo;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::Notify;
use tokio::task::{JoinHandle, JoinSet};
use tokio_tungstenite::WebSocketStream;
use tokio_tungstenite::tungstenite::handshake::derive_accept_key;
use tokio_tungstenite::tungstenite::protocol::Role;

type Body = UnsyncBoxBody<Bytes, Infallible>;

pub struct Instance {
    pub address: SocketAddr,
    pub seen: Arc<Seen>,
    accepting: JoinHandle<()>,
}

#[derive(Default)]
pub struct Seen {
    pub connections: AtomicUsize,
    pub requests: AtomicUsize,
    /// Requests at `/wait`, which end once `release` is told.
    pub waiting: AtomicUsize,
    pub release: Notify,
    pub unhealthy: AtomicBool,
}

impl Instance {
    /// Answers `/version` with the text.
    pub async fn start(version: &str) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        Self::on(listener, version)
    }

    pub fn on(listener: TcpListener, version: &str) -> Self {
        let (address, seen) = (listener.local_addr().unwrap(), Arc::new(Seen::default()));
        let (version, theirs): (Arc<str>, _) = (Arc::from(version), Arc::clone(&seen));
        let accepting = tokio::spawn(async move {
            // Connections end with the instance.
            let mut connections = JoinSet::new();
            loop {
                let (tcp, _) = listener.accept().await.unwrap();
                theirs.connections.fetch_add(1, Ordering::SeqCst);
                connections.spawn(converse(tcp, Arc::clone(&version), Arc::clone(&theirs)));
            }
        });
        Self { address, seen, accepting }
    }

    pub fn requests(&self) -> usize {
        self.seen.requests.load(Ordering::SeqCst)
    }

    pub fn connections(&self) -> usize {
        self.seen.connections.load(Ordering::SeqCst)
    }

    pub fn waiting(&self) -> usize {
        self.seen.waiting.load(Ordering::SeqCst)
    }
}

impl Drop for Instance {
    fn drop(&mut self) {
        self.accepting.abort();
    }
}

/// An instance that hands every connection to `act`, byte for byte.
pub async fn scripted<F, A>(act: A) -> Instance
where
    A: Fn(TcpStream, usize) -> F + Send + 'static,
    F: Future<Output = ()> + Send + 'static,
{
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let (address, seen) = (listener.local_addr().unwrap(), Arc::new(Seen::default()));
    let theirs = Arc::clone(&seen);
    let accepting = tokio::spawn(async move {
        let mut connections = JoinSet::new();
        loop {
            let (tcp, _) = listener.accept().await.unwrap();
            let number = theirs.connections.fetch_add(1, Ordering::SeqCst);
            connections.spawn(act(tcp, number));
        }
    });
    Instance { address, seen, accepting }
}

async fn converse(tcp: TcpStream, version: Arc<str>, seen: Arc<Seen>) {
    tcp.set_nodelay(true).unwrap();
    let service = service_fn(move |request| answer(request, Arc::clone(&version), Arc::clone(&seen)));
    let _ = http1::Builder::new().serve_connection(TokioIo::new(tcp), service).with_upgrades().await;
}

fn text(text: impl Into<Bytes>) -> Body {
    Full::new(text.into()).boxed_unsync()
}

async fn answer(
    mut request: Request<Incoming>,
    version: Arc<str>,
    seen: Arc<Seen>,
) -> Result<Response<Body>, Infallible> {
    let path = request.uri().path().to_owned();
    if path == "/healthz" {
        let status = if seen.unhealthy.load(Ordering::SeqCst) { 503 } else { 200 };
        return Ok(Response::builder().status(status).body(text("")).unwrap());
    }
    seen.requests.fetch_add(1, Ordering::SeqCst);
    Ok(match &*path {
        "/wait" => {
            seen.waiting.fetch_add(1, Ordering::SeqCst);
            seen.release.notified().await;
            seen.waiting.fetch_sub(1, Ordering::SeqCst);
            Response::new(text(version.to_string()))
        }
        "/request" => Response::new(text(describe(&request))),
        "/echo" => Response::new(echo(request)),
        "/large" => Response::new(text(vec![b'x'; 3_000_000])),
        "/ticks" => Response::new(ticks(seen)),
        "/trailers" => trailers(),
        "/websocket" => websocket(&mut request),
        "/none" => status(StatusCode::NO_CONTENT),
        "/same" => status(StatusCode::NOT_MODIFIED),
        "/broken" => status(StatusCode::INTERNAL_SERVER_ERROR),
        _ => Response::new(text(format!("version {version}"))),
    })
}

fn status(status: StatusCode) -> Response<Body> {
    Response::builder().status(status).body(text("")).unwrap()
}

/// The request as it came, a line each.
fn describe(request: &Request<Incoming>) -> String {
    let mut text = format!("{} {} {:?}\n", request.method(), request.uri(), request.version());
    for (name, value) in request.headers() {
        text += &format!("{name}: {}\n", value.to_str().unwrap());
    }
    text
}

fn echo(request: Request<Incoming>) -> Body {
    let body = request.into_body();
    let frames = futures_util::stream::unfold(body, |mut body| async move {
        let frame = body.frame().await?.ok()?;
        Some((Ok(frame), body))
    });
    BodyExt::boxed_unsync(StreamBody::new(frames))
}

/// One part at once, and another each time `release` is told; the fourth ends it.
fn ticks(seen: Arc<Seen>) -> Body {
    let frames = futures_util::stream::unfold((0, seen), |(number, seen)| async move {
        if number > 0 {
            seen.release.notified().await;
        }
        (number < 3).then(|| (Ok(Frame::data(Bytes::from(format!("tick {number}\n")))), (number + 1, seen)))
    });
    BodyExt::boxed_unsync(StreamBody::new(frames))
}

fn trailers() -> Response<Body> {
    let mut trailers = HeaderMap::new();
    trailers.insert("x-sum", "42".parse().unwrap());
    let frames = [Ok(Frame::data(Bytes::from("body"))), Ok(Frame::trailers(trailers))];
    let body = StreamBody::new(futures_util::stream::iter(frames));
    Response::builder().header("trailer", "x-sum").body(BodyExt::boxed_unsync(body)).unwrap()
}

/// Switches protocols and returns every message; every byte, where it was not asked as a websocket.
fn websocket(request: &mut Request<Incoming>) -> Response<Body> {
    let key = request.headers().get("sec-websocket-key").cloned();
    let is_websocket = key.is_some();
    let upgrade = hyper::upgrade::on(request);
    tokio::spawn(async move {
        let Ok(upgraded) = upgrade.await else { return };
        let mut io = TokioIo::new(upgraded);
        if is_websocket {
            let mut socket = WebSocketStream::from_raw_socket(io, Role::Server, None).await;
            while let Some(Ok(message)) = socket.next().await {
                if message.is_close() || socket.send(message).await.is_err() {
                    return;
                }
            }
        } else {
            let (mut read, mut write) = tokio::io::split(&mut io);
            let _ = tokio::io::copy(&mut read, &mut write).await;
        }
    });
    let mut response = Response::builder()
        .status(StatusCode::SWITCHING_PROTOCOLS)
        .header("connection", "upgrade")
        .header("upgrade", "websocket");
    if let Some(key) = key {
        response = response.header("sec-websocket-accept", derive_accept_key(key.as_bytes()));
    }
    response.body(text("")).unwrap()
}
