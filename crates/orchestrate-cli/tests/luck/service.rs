//! The service that the tests deploy: this very binary, asked for the one test that is ignored otherwise.
//!
//! `HEALTHY_AFTER`, `STOPS_AFTER` and `VERSION_AFTER` are milliseconds that it takes to become healthy, to end once told to,
//! and to say its version.

use std::convert::Infallible;
use std::io::Write as _;
use std::net::Ipv4Addr;
use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::{Duration, Instant};

use bytes::Bytes;
use http_body_util::combinators::UnsyncBoxBody;
use http_body_util::{BodyExt as _, Full};
use hyper::body::{Body, Frame, Incoming, SizeHint};
use hyper::header::{CONNECTION, UPGRADE};
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper::{Request, Response, StatusCode};
use hyper_util::rt::TokioIo;
use tokio::net::{TcpListener, TcpStream};
use tokio::signal::unix::{SignalKind, signal};
use tokio::sync::watch;
use tokio::task::JoinSet;

type Answer = Response<UnsyncBoxBody<Bytes, hyper::Error>>;

#[test]
#[ignore = "it is the service that the other tests deploy, and runs as an instance only"]
fn serve() {
    let Some(port) = variable("PORT") else { return };
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    runtime.block_on(listen(port.parse().unwrap()));
}

fn variable(name: &str) -> Option<String> {
    std::env::var(name).ok()
}

fn millis(name: &str) -> Duration {
    Duration::from_millis(variable(name).map_or(0, |text| text.parse().unwrap()))
}

async fn listen(port: u16) {
    let began = Instant::now();
    let mut terminate = signal(SignalKind::terminate()).unwrap();
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, port)).await.unwrap();
    let stopping = watch::Sender::new(false);
    let mut connections = JoinSet::new();
    loop {
        tokio::select! {
            _ = terminate.recv() => break,
            Some(_) = connections.join_next() => {}
            accepted = listener.accept() => {
                let Ok((stream, _)) = accepted else { continue };
                connections.spawn(converse(stream, began, stopping.subscribe()));
            }
        }
    }
    drop(listener);
    stopping.send_replace(true);
    let finished = async { while connections.join_next().await.is_some() {} };
    tokio::join!(finished, tokio::time::sleep(millis("STOPS_AFTER")));
}

async fn converse(stream: TcpStream, began: Instant, mut stopping: watch::Receiver<bool>) {
    let _ = stream.set_nodelay(true);
    let service = service_fn(move |request| async move { Ok::<_, Infallible>(answer(request, began).await) });
    let connection = http1::Builder::new().serve_connection(TokioIo::new(stream), service).with_upgrades();
    let mut connection = std::pin::pin!(connection);
    tokio::select! {
        _ = &mut connection => return,
        _ = stopping.wait_for(|stopping| *stopping) => connection.as_mut().graceful_shutdown(),
    }
    let _ = connection.await;
}

async fn answer(request: Request<Incoming>, began: Instant) -> Answer {
    let query = request.uri().query().unwrap_or_default().to_owned();
    match request.uri().path() {
        "/healthz" if began.elapsed() < millis("HEALTHY_AFTER") => {
            text(StatusCode::SERVICE_UNAVAILABLE, "not yet\n".into())
        }
        "/healthz" => text(StatusCode::OK, "ok\n".into()),
        "/version" => {
            tokio::time::sleep(millis("VERSION_AFTER")).await;
            text(StatusCode::OK, variable("ORCHESTRATE_VERSION").unwrap_or_default())
        }
        "/say" => {
            // Written past the test harness, as any service would.
            let _ = writeln!(std::io::stdout(), "{query}");
            text(StatusCode::OK, front_page())
        }
        "/echo" => Response::new(request.into_body().boxed_unsync()),
        "/count" => count(request.into_body()).await,
        "/bytes" => Response::new(Pattern { left: query.parse().unwrap() }.boxed_unsync()),
        "/tunnel" => tunnel(request),
        _ => text(StatusCode::OK, front_page()),
    }
}

fn front_page() -> String {
    let of = |name| variable(name).unwrap_or_default();
    let instance = of("ORCHESTRATE_INSTANCE");
    let short = instance.split('.').next().unwrap_or_default();
    format!("version {}, instance {short}, pid {}\n", of("ORCHESTRATE_VERSION"), std::process::id())
}

fn text(status: StatusCode, body: String) -> Answer {
    let body = Full::new(Bytes::from(body)).map_err(|never| match never {}).boxed_unsync();
    let mut answer = Response::new(body);
    *answer.status_mut() = status;
    answer
}

async fn count(mut body: Incoming) -> Answer {
    let mut bytes = 0;
    while let Some(frame) = body.frame().await {
        match frame {
            Ok(frame) => bytes += frame.data_ref().map_or(0, Bytes::len),
            Err(error) => return text(StatusCode::BAD_REQUEST, error.to_string()),
        }
    }
    text(StatusCode::OK, bytes.to_string())
}

/// What may be read at once of a download.
const PIECE: usize = 64 * 1024;

struct Pattern {
    left: usize,
}

impl Body for Pattern {
    type Data = Bytes;
    type Error = hyper::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        _: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, hyper::Error>>> {
        let size = self.left.min(PIECE);
        self.left -= size;
        Poll::Ready((size > 0).then(|| Ok(Frame::data(Bytes::from(vec![b'x'; size])))))
    }

    fn size_hint(&self) -> SizeHint {
        SizeHint::with_exact(self.left as u64)
    }
}

/// An upgraded connection that says everything back.
fn tunnel(request: Request<Incoming>) -> Answer {
    tokio::spawn(async move {
        let Ok(upgraded) = hyper::upgrade::on(request).await else { return };
        let (mut from, mut to) = tokio::io::split(TokioIo::new(upgraded));
        let _ = tokio::io::copy(&mut from, &mut to).await;
    });
    let mut answer = text(StatusCode::SWITCHING_PROTOCOLS, String::new());
    answer.headers_mut().insert(CONNECTION, "upgrade".parse().unwrap());
    answer.headers_mut().insert(UPGRADE, "websocket".parse().unwrap());
    answer
}
