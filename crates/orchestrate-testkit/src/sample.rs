//! A service to be put behind a router: real HTTP on loopback, in this program.

use std::convert::Infallible;
use std::net::{Ipv4Addr, SocketAddr};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};

use bytes::Bytes;
use http::{Request, Response};
use http_body_util::Full;
use hyper::body::Incoming;
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::TokioIo;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::Notify;
use tokio::task::{JoinHandle, JoinSet};

/// One instance: answers with its version, and `/healthz` with 200 while it is well. A request at `/wait` is answered once
/// [`SampleInstance::let_go`] is called. Ends when it is dropped, its connections with it.
pub struct SampleInstance {
    pub address: SocketAddr,
    state: Arc<State>,
    accepting: JoinHandle<()>,
}

struct State {
    version: String,
    sick: AtomicBool,
    waiting: AtomicUsize,
    answered: AtomicUsize,
    may_go: Notify,
}

impl SampleInstance {
    pub async fn start(version: &str) -> std::io::Result<Self> {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await?;
        let address = listener.local_addr()?;
        let state = Arc::new(State {
            version: version.to_owned(),
            sick: AtomicBool::new(false),
            waiting: AtomicUsize::new(0),
            answered: AtomicUsize::new(0),
            may_go: Notify::new(),
        });
        let theirs = Arc::clone(&state);
        let accepting = tokio::spawn(async move {
            let mut connections = JoinSet::new();
            while let Ok((stream, _)) = listener.accept().await {
                connections.spawn(converse(stream, Arc::clone(&theirs)));
            }
        });
        Ok(Self { address, state, accepting })
    }

    pub fn be_well(&self, well: bool) {
        self.state.sick.store(!well, Ordering::SeqCst);
    }

    /// How many requests wait at `/wait`.
    pub fn waiting(&self) -> usize {
        self.state.waiting.load(Ordering::SeqCst)
    }

    /// How many requests of users it has answered, or is about to: all but those for its health.
    pub fn answered(&self) -> usize {
        self.state.answered.load(Ordering::SeqCst)
    }

    /// Answers all that wait.
    pub fn let_go(&self) {
        self.state.may_go.notify_waiters();
    }
}

impl Drop for SampleInstance {
    fn drop(&mut self) {
        self.accepting.abort();
    }
}

async fn converse(stream: TcpStream, state: Arc<State>) {
    let _ = stream.set_nodelay(true);
    let service = service_fn(move |request| answer(request, Arc::clone(&state)));
    let _ = http1::Builder::new().serve_connection(TokioIo::new(stream), service).await;
}

async fn answer(request: Request<Incoming>, state: Arc<State>) -> Result<Response<Full<Bytes>>, Infallible> {
    let mut response = Response::new(Full::from(format!("version {}", state.version)));
    match request.uri().path() {
        "/healthz" if state.sick.load(Ordering::SeqCst) => {
            *response.status_mut() = http::StatusCode::SERVICE_UNAVAILABLE;
        }
        "/wait" => {
            // Registered before it is counted, so that nobody can let it go in between.
            let may_go = state.may_go.notified();
            tokio::pin!(may_go);
            may_go.as_mut().enable();
            state.waiting.fetch_add(1, Ordering::SeqCst);
            may_go.await;
            state.waiting.fetch_sub(1, Ordering::SeqCst);
        }
        _ => {}
    }
    if request.uri().path() != "/healthz" {
        state.answered.fetch_add(1, Ordering::SeqCst);
    }
    Ok(response)
}
