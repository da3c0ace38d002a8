//! The service behind every proxy, small and quick: it says its version, and takes, gives and echoes bytes.

use std::convert::Infallible;
use std::net::{IpAddr, Ipv4Addr};
use std::pin::pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use anyhow::{Context as _, Result, bail};
use bytes::Bytes;
use futures_util::{SinkExt as _, StreamExt as _, stream};
use http::header::{CONNECTION, CONTENT_LENGTH, SEC_WEBSOCKET_ACCEPT, SEC_WEBSOCKET_KEY, UPGRADE};
use http::{HeaderValue, Request, Response, StatusCode};
use http_body_util::combinators::UnsyncBoxBody;
use http_body_util::{BodyExt as _, Full, StreamBody};
use hyper::body::{Frame, Incoming};
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::TokioIo;
use tokio::net::{TcpListener, TcpStream};
use tokio::signal::unix::{SignalKind, signal};
use tokio::sync::watch;
use tokio::task::JoinSet;
use tokio_tungstenite::WebSocketStream;
use tokio_tungstenite::tungstenite::handshake::derive_accept_key;
use tokio_tungstenite::tungstenite::protocol::Role;

const CHUNK: &[u8] = &[b'x'; 16_384];

type Body = UnsyncBoxBody<Bytes, Infallible>;

struct Service {
    version: String,
    behaviour: Behaviour,
    asked: AtomicU64,
}

impl Service {
    /// Every so many of 100 answers at `/`, spread evenly.
    fn fails(&self) -> bool {
        let (number, errors) = (self.asked.fetch_add(1, Ordering::Relaxed), self.behaviour.errors);
        (number + 1) * errors / 100 > number * errors / 100
    }
}

/// What its file `BEHAVIOUR` says: `ready_after MS`, `stops_after MS`, `errors PERCENT`. Without the file it behaves.
#[derive(Default)]
struct Behaviour {
    ready_after: Duration,
    stops_after: Duration,
    errors: u64,
}

impl Behaviour {
    fn read() -> Result<Self> {
        let mut behaviour = Self::default();
        for line in std::fs::read_to_string("BEHAVIOUR").unwrap_or_default().lines() {
            match line.split_once(' ') {
                Some(("ready_after", ms)) => behaviour.ready_after = Duration::from_millis(ms.parse()?),
                Some(("stops_after", ms)) => behaviour.stops_after = Duration::from_millis(ms.parse()?),
                Some(("errors", percent)) => behaviour.errors = percent.parse()?,
                _ => bail!("`{line}` is no behaviour"),
            }
        }
        Ok(behaviour)
    }
}

/// `--serve [VERSION PORT]`, else from the variables that an instance of a deployment gets. Listens on loopback, or on the
/// address in `BENCH_LISTEN`.
pub async fn serve(arguments: &[&str]) -> Result<()> {
    let variable = |name: &str| std::env::var(name).with_context(|| format!("{name} is not set"));
    let (version, port) = match arguments {
        [version, port] => ((*version).to_owned(), (*port).to_owned()),
        [] => (variable("ORCHESTRATE_VERSION")?, variable("PORT")?),
        _ => bail!("--serve takes VERSION and PORT, or neither"),
    };
    let behaviour = Behaviour::read()?;
    tokio::time::sleep(behaviour.ready_after).await;
    let port: u16 = port.parse().with_context(|| format!("`{port}` is no port"))?;
    let mut terminate = signal(SignalKind::terminate())?;
    let address = match std::env::var("BENCH_LISTEN") {
        Ok(address) => address.parse().with_context(|| format!("`{address}` is no address"))?,
        Err(_) => IpAddr::V4(Ipv4Addr::LOCALHOST),
    };
    let listener = TcpListener::bind((address, port)).await.context("cannot listen")?;
    let stops_after = behaviour.stops_after;
    let service =
        Arc::new(Service { version: format!("version {version}\n"), behaviour, asked: AtomicU64::new(0) });
    let (stop, stopping) = watch::channel(false);
    let mut connections = JoinSet::new();
    loop {
        tokio::select! {
            _ = terminate.recv() => break,
            Some(_) = connections.join_next() => {}
            accepted = listener.accept() => if let Ok((stream, _)) = accepted {
                connections.spawn(converse(stream, Arc::clone(&service), stopping.clone()));
            }
        }
    }
    drop(listener);
    stop.send_replace(true);
    while connections.join_next().await.is_some() {}
    tokio::time::sleep(stops_after).await;
    Ok(())
}

async fn converse(stream: TcpStream, this: Arc<Service>, mut stopping: watch::Receiver<bool>) {
    let _ = stream.set_nodelay(true);
    let service = service_fn(move |request| answer(Arc::clone(&this), request));
    let builder = http1::Builder::new();
    let mut connection = pin!(builder.serve_connection(TokioIo::new(stream), service).with_upgrades());
    tokio::select! {
        _ = &mut connection => return,
        _ = stopping.wait_for(|stopping| *stopping) => connection.as_mut().graceful_shutdown(),
    }
    // An error means that the client left.
    let _ = connection.await;
}

async fn answer(this: Arc<Service>, mut request: Request<Incoming>) -> Result<Response<Body>, Infallible> {
    let response = match request.uri().path() {
        "/" if this.fails() => text(StatusCode::INTERNAL_SERVER_ERROR, &this.version),
        "/" | "/version" | "/healthz" => text(StatusCode::OK, &this.version),
        "/download" => {
            let wanted = request.uri().query().and_then(|query| query.strip_prefix("bytes="));
            wanted
                .and_then(|bytes| bytes.parse().ok())
                .map_or_else(|| text(StatusCode::BAD_REQUEST, ""), download)
        }
        "/upload" => match received(request.body_mut()).await {
            Ok(bytes) => text(StatusCode::OK, &format!("received {bytes}\n")),
            Err(_) => text(StatusCode::BAD_REQUEST, "the body broke off\n"),
        },
        "/ws" => websocket(request),
        _ => text(StatusCode::NOT_FOUND, "not found\n"),
    };
    Ok(response)
}

async fn received(body: &mut Incoming) -> Result<usize, hyper::Error> {
    let mut bytes = 0;
    while let Some(frame) = body.frame().await {
        bytes += frame?.data_ref().map_or(0, Bytes::len);
    }
    Ok(bytes)
}

fn download(bytes: usize) -> Response<Body> {
    let whole = stream::repeat_with(|| Bytes::from_static(CHUNK)).take(bytes / CHUNK.len());
    let rest = stream::once(async move { Bytes::from_static(&CHUNK[..bytes % CHUNK.len()]) });
    let frames = whole.chain(rest).map(|chunk| Ok(Frame::data(chunk)));
    let mut response = Response::new(StreamBody::new(frames).boxed_unsync());
    response.headers_mut().insert(CONTENT_LENGTH, HeaderValue::from(bytes));
    response
}

/// Echoes every message until the client closes.
fn websocket(request: Request<Incoming>) -> Response<Body> {
    let key = request.headers().get(SEC_WEBSOCKET_KEY).map(|key| derive_accept_key(key.as_bytes()));
    let Some(accept) = key.and_then(|key| HeaderValue::from_str(&key).ok()) else {
        return text(StatusCode::BAD_REQUEST, "no websocket\n");
    };
    tokio::spawn(async move {
        let Ok(upgraded) = hyper::upgrade::on(request).await else { return };
        let mut socket = WebSocketStream::from_raw_socket(TokioIo::new(upgraded), Role::Server, None).await;
        while let Some(Ok(message)) = socket.next().await {
            if (message.is_text() || message.is_binary()) && socket.send(message).await.is_err() {
                break;
            }
        }
    });
    let mut response = text(StatusCode::SWITCHING_PROTOCOLS, "");
    let headers = response.headers_mut();
    headers.insert(CONNECTION, HeaderValue::from_static("upgrade"));
    headers.insert(UPGRADE, HeaderValue::from_static("websocket"));
    headers.insert(SEC_WEBSOCKET_ACCEPT, accept);
    response
}

fn text(status: StatusCode, body: &str) -> Response<Body> {
    let mut response = Response::new(Full::new(Bytes::copy_from_slice(body.as_bytes())).boxed_unsync());
    *response.status_mut() = status;
    response
}
