//! A real HTTP server on loopback that keeps every request, and answers as it is told.

use std::collections::VecDeque;
use std::convert::Infallible;
use std::io;
use std::net::{Ipv4Addr, SocketAddr};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use bytes::Bytes;
use futures_util::stream;
use http::{HeaderMap, Request, Response};
use http_body_util::combinators::UnsyncBoxBody;
use http_body_util::{BodyExt as _, Full, StreamBody};
use hyper::body::{Frame, Incoming};
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::TokioIo;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;
use tokio::task::{JoinHandle, JoinSet};

/// What the receiver does with a request after it has kept it.
#[derive(Clone, Debug)]
pub enum Answer {
    Status(u16),
    /// With headers and a body.
    Full {
        status: u16,
        headers: Vec<(String, String)>,
        body: Bytes,
    },
    /// A body that never ends.
    Endless(u16),
    /// Status 200, after this long.
    After(Duration),
    /// Closes the connection without an answer.
    Drop,
}

/// A request, complete with its body.
#[derive(Clone, Debug)]
pub struct Received {
    pub method: String,
    pub path: String,
    pub headers: HeaderMap,
    pub body: Bytes,
}

impl Received {
    /// A header's value as text; empty if there is none.
    pub fn header(&self, name: &str) -> &str {
        self.headers.get(name).and_then(|value| value.to_str().ok()).unwrap_or_default()
    }
}

type Body = UnsyncBoxBody<Bytes, Infallible>;

struct State {
    /// For the next requests, in this order.
    next: VecDeque<Answer>,
    /// For every other request.
    always: Answer,
}

struct Shared {
    state: Mutex<State>,
    received: watch::Sender<Vec<Received>>,
}

/// Stops, with its connections, when it is dropped.
pub struct WebhookReceiver {
    address: SocketAddr,
    shared: Arc<Shared>,
    server: JoinHandle<()>,
}

impl WebhookReceiver {
    /// Listens on a free port of loopback and answers 200.
    pub async fn start() -> io::Result<Self> {
        Self::start_at((Ipv4Addr::LOCALHOST, 0).into()).await
    }

    /// Listens at a given address, e.g. one where a receiver was before.
    pub async fn start_at(address: SocketAddr) -> io::Result<Self> {
        let listener = TcpListener::bind(address).await?;
        let address = listener.local_addr()?;
        let state = Mutex::new(State { next: VecDeque::new(), always: Answer::Status(200) });
        let shared = Arc::new(Shared { state, received: watch::Sender::new(Vec::new()) });
        let server = tokio::spawn(accept(listener, Arc::clone(&shared)));
        Ok(Self { address, shared, server })
    }

    pub fn address(&self) -> SocketAddr {
        self.address
    }

    pub fn url(&self) -> String {
        format!("http://{}/hook", self.address)
    }

    /// From now on.
    pub fn answer(&self, answer: Answer) {
        self.shared.state().always = answer;
    }

    /// To the next requests that have no such answer yet, one each.
    pub fn answer_next(&self, answers: impl IntoIterator<Item = Answer>) {
        self.shared.state().next.extend(answers);
    }

    pub fn received(&self) -> Vec<Received> {
        self.shared.received.borrow().clone()
    }

    /// Returns all that was received once there are `count` requests; an error that shows them if `within` runs out.
    pub async fn await_received(&self, count: usize, within: Duration) -> io::Result<Vec<Received>> {
        let mut received = self.shared.received.subscribe();
        let enough = received.wait_for(|all| all.len() >= count);
        match tokio::time::timeout(within, enough).await {
            Ok(Ok(all)) => Ok(all.clone()),
            Ok(Err(_)) | Err(_) => Err(io::Error::new(
                io::ErrorKind::TimedOut,
                format!("{count} requests wanted within {within:?}, received {:?}", self.received()),
            )),
        }
    }
}

impl Drop for WebhookReceiver {
    fn drop(&mut self) {
        self.server.abort();
    }
}

impl Shared {
    fn state(&self) -> std::sync::MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    async fn handle(&self, request: Request<Incoming>) -> io::Result<Response<Body>> {
        let (parts, body) = request.into_parts();
        let body = body.collect().await.map_err(io::Error::other)?.to_bytes();
        let answer = {
            let mut state = self.state();
            state.next.pop_front().unwrap_or_else(|| state.always.clone())
        };
        let (method, path) = (parts.method.to_string(), parts.uri.to_string());
        self.received.send_modify(|all| all.push(Received { method, path, headers: parts.headers, body }));
        match answer {
            Answer::Status(status) => respond(status, &[], whole(Bytes::new())),
            Answer::Full { status, headers, body } => respond(status, &headers, whole(body)),
            Answer::Endless(status) => respond(status, &[], endless()),
            Answer::After(pause) => {
                tokio::time::sleep(pause).await;
                respond(200, &[], whole(Bytes::new()))
            }
            // hyper closes the connection when the service fails.
            Answer::Drop => Err(io::Error::other("dropped as told")),
        }
    }
}

fn respond(status: u16, headers: &[(String, String)], body: Body) -> io::Result<Response<Body>> {
    let mut builder = Response::builder().status(status);
    for (name, value) in headers {
        builder = builder.header(name, value);
    }
    builder.body(body).map_err(io::Error::other)
}

fn whole(bytes: Bytes) -> Body {
    Full::new(bytes).boxed_unsync()
}

fn endless() -> Body {
    let chunk = Bytes::from_static(&[b'x'; 8_192]);
    let frames = stream::repeat_with(move || Ok(Frame::data(chunk.clone())));
    StreamBody::new(frames).boxed_unsync()
}

async fn accept(listener: TcpListener, shared: Arc<Shared>) {
    // Dropping the set ends the connections with the server.
    let mut connections = JoinSet::new();
    while let Ok((stream, _)) = listener.accept().await {
        connections.spawn(serve(stream, Arc::clone(&shared)));
        while connections.try_join_next().is_some() {}
    }
}

async fn serve(stream: TcpStream, shared: Arc<Shared>) {
    let service = service_fn(move |request| {
        let shared = Arc::clone(&shared);
        async move { shared.handle(request).await }
    });
    // A connection that breaks, or is dropped as told, concerns the client only.
    let _ = http1::Builder::new().serve_connection(TokioIo::new(stream), service).await;
}
