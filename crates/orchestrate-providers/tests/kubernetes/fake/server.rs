//! The sockets of the API server.

use std::convert::Infallible;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use http_body_util::{BodyExt as _, Full};
use hyper::body::{Body, Frame, Incoming};
use hyper::service::service_fn;
use hyper::{Method, Request, Response};
use hyper_util::rt::TokioIo;
use serde_json::{Value, json};
use tokio::net::TcpListener;
use tokio::sync::mpsc;

use super::Shared;
use super::answer::{Asked, Reply, answer, is_meant, refused, stamp};
use super::faults::{self, Answer};
use super::rights;

type Sent = http_body_util::combinators::BoxBody<Bytes, Infallible>;
/// A header of what a test does by its own hand.
const BY_TEST: &str = "x-by-test";

/// The connection ends without an answer.
#[derive(Debug)]
struct Cut;

impl std::fmt::Display for Cut {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("cut")
    }
}

impl std::error::Error for Cut {}

pub async fn serve(listener: TcpListener, shared: Arc<Shared>) {
    let mut connections = tokio::task::JoinSet::new();
    loop {
        let Ok((stream, _)) = listener.accept().await else { return };
        let shared = Arc::clone(&shared);
        connections.spawn(async move {
            let service = service_fn(move |request| handle(Arc::clone(&shared), request));
            let _ = hyper::server::conn::http1::Builder::new()
                .serve_connection(TokioIo::new(stream), service)
                .await;
        });
    }
}

async fn handle(shared: Arc<Shared>, request: Request<Incoming>) -> Result<Response<Sent>, Cut> {
    let (head, body) = request.into_parts();
    let body = body.collect().await.map_err(|_| Cut)?.to_bytes();
    let (path, query) = (head.uri.path().to_owned(), head.uri.query().unwrap_or_default().to_owned());
    let merges = head.headers.get("content-type").is_some_and(|kind| kind == "application/merge-patch+json");
    let reply = {
        let mut world = shared.world();
        let met = faults::met(&mut world.faults, &head.method, &format!("{path}?{query}"));
        world.met += usize::from(met.is_some());
        let asked = Asked::read(&head.method, &path, &query, merges, &body);
        if let Some(look) = asked.as_ref().ok().and_then(|asked| asked.look(&world, met.is_some())) {
            world.looks.push(look);
        }
        let by_test = head.headers.contains_key(BY_TEST);
        let reply = |world: &mut super::world::World| match &asked {
            Ok(asked) => {
                let missing = if by_test { None } else { rights::missing(world, asked) };
                missing.unwrap_or_else(|| answer(world, asked))
            }
            Err(Reply::Json(code, body)) => Reply::Json(*code, body.clone()),
            Err(_) => refused(501, "NotImplemented", "?"),
        };
        match met {
            Some(Answer::Cut) => return Err(Cut),
            Some(Answer::Lost) => {
                reply(&mut world);
                drop(world);
                shared.tell();
                return Err(Cut);
            }
            Some(Answer::Status { code, reason, message, retry_after }) => {
                return Ok(whole(refused(code, reason, message), retry_after));
            }
            Some(Answer::Event(code)) => return Ok(only_told(code)),
            Some(Answer::Half) => return Ok(half()),
            Some(Answer::Raced) => {
                race(&mut world, asked.as_ref().ok());
                reply(&mut world)
            }
            None => reply(&mut world),
        }
    };
    if head.method != Method::GET {
        shared.tell();
    }
    Ok(match reply {
        Reply::Watch { plural, selector, from } => watch(shared, plural, selector, from),
        Reply::Log { pod, from } => log(shared, pod, from),
        reply => whole(reply, None),
    })
}

/// Somebody else writes something that is none of our business.
fn race(world: &mut super::world::World, asked: Option<&Asked<'_>>) {
    let Some(asked) = asked else { return };
    let Some(mut object) = world.get(&asked.plural, &asked.name).cloned() else { return };
    let number = world.number();
    object["metadata"]["annotations"]["example.com/touched"] = number.to_string().into();
    world.put(&asked.plural, object);
}

fn whole(reply: Reply, retry_after: Option<u32>) -> Response<Sent> {
    let (code, kind, text) = match reply {
        Reply::Json(code, body) => (code, "application/json", body.to_string()),
        Reply::Text(code, text) => (code, "text/plain", text),
        Reply::Watch { .. } | Reply::Log { .. } => unreachable!("it has no end"),
    };
    let mut response = Response::builder().status(code).header("content-type", kind);
    if let Some(seconds) = retry_after {
        response = response.header("retry-after", seconds.to_string());
    }
    response.body(Full::new(Bytes::from(text)).boxed()).unwrap()
}

/// Lines with their times as they come, until the pod is gone or does not run, or all is cut.
fn log(shared: Arc<Shared>, pod: String, mut from: usize) -> Response<Sent> {
    let (sender, receiver) = mpsc::channel::<Bytes>(64);
    let cuts = shared.news.borrow().1;
    tokio::spawn(async move {
        loop {
            let (lines, runs) = {
                let world = shared.world();
                let runs = world
                    .get("pods", &pod)
                    .is_some_and(|pod| !pod["status"]["containerStatuses"][0]["state"]["running"].is_null());
                let text = world.logs.get(&pod).cloned().unwrap_or_default();
                (text.lines().skip(from).map(str::to_owned).collect::<Vec<_>>(), runs)
            };
            for line in lines {
                if sender.send(Bytes::from(format!("{} {line}\n", stamp(from)))).await.is_err() {
                    return;
                }
                from += 1;
            }
            if !runs || shared.news.borrow().1 != cuts {
                return;
            }
            tokio::time::sleep(Duration::from_millis(3)).await;
        }
    });
    Response::builder().header("content-type", "text/plain").body(Stream(receiver).boxed()).unwrap()
}

/// A watch that tells nothing but an error, and does not end.
fn only_told(code: u16) -> Response<Sent> {
    let status = json!({ "kind": "Status", "status": "Failure", "code": code, "reason": "Expired", "message": "too old resource version" });
    let (sender, receiver) = mpsc::channel::<Bytes>(1);
    let line = format!("{}\n", json!({ "type": "ERROR", "object": status }));
    tokio::spawn(async move {
        let _ = sender.send(Bytes::from(line)).await;
        sender.closed().await;
    });
    Response::builder().header("content-type", "application/json").body(Stream(receiver).boxed()).unwrap()
}

fn half() -> Response<Sent> {
    let line = "{\"type\":\"MODIFIED\",\"object\":{\"metadata\":{\"name\":";
    Response::new(Full::new(Bytes::from(line)).boxed())
}

/// Events as they come, until all watches are cut.
fn watch(shared: Arc<Shared>, plural: String, selector: String, mut from: u64) -> Response<Sent> {
    let (sender, receiver) = mpsc::channel::<Bytes>(64);
    let mut news = shared.news.subscribe();
    let cuts = news.borrow().1;
    tokio::spawn(async move {
        loop {
            let (events, version) = since(&shared, &plural, &selector, from);
            from = version;
            for event in events {
                if sender.send(Bytes::from(format!("{event}\n"))).await.is_err() {
                    return;
                }
            }
            tokio::select! {
                changed = news.changed() => if changed.is_err() || news.borrow().1 != cuts { return },
                () = sender.closed() => return,
                () = tokio::time::sleep(Duration::from_secs(1)) => {
                    let bookmark = json!({ "type": "BOOKMARK", "object": { "metadata": { "resourceVersion": from.to_string() } } });
                    let _ = sender.send(Bytes::from(format!("{bookmark}\n"))).await;
                }
            }
        }
    });
    Response::builder().header("content-type", "application/json").body(Stream(receiver).boxed()).unwrap()
}

/// Labels by which something is watched do not change here, so an event is told as it is.
fn since(shared: &Shared, plural: &str, selector: &str, from: u64) -> (Vec<Value>, u64) {
    let world = shared.world();
    let events = world.events.iter().filter(|event| event.version > from && event.plural == plural);
    let events = events.filter(|event| is_meant(plural, selector, &event.object));
    let told = events.map(|event| json!({ "type": event.kind, "object": event.object }));
    (told.collect(), world.version)
}

struct Stream(mpsc::Receiver<Bytes>);

impl Body for Stream {
    type Data = Bytes;
    type Error = Infallible;

    fn poll_frame(
        mut self: std::pin::Pin<&mut Self>,
        context: &mut std::task::Context<'_>,
    ) -> std::task::Poll<Option<Result<Frame<Bytes>, Infallible>>> {
        self.0.poll_recv(context).map(|bytes| bytes.map(|bytes| Ok(Frame::data(bytes))))
    }
}
