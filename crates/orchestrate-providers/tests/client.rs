//! The client against a real socket, with the supervisor behind it.

#![allow(clippy::unwrap_used, clippy::expect_used, reason = "a test that cannot go on has failed")]

mod common;

use std::path::Path;
use std::sync::Arc;

use bytes::Bytes;
use common::{World, in_time, is_alive};
use http_body_util::{BodyExt as _, Full};
use hyper::body::Incoming;
use hyper::{Request, Response};
use hyper_util::rt::TokioIo;
use orchestrate_core::name::{Fence, ReleaseId};
use orchestrate_core::ports::{
    AwaitHealthy, Fetch, PortErrorKind, PortResult, Processes, Provider, StartRequest, StopRequest,
};
use orchestrate_core::release::Digest;
use orchestrate_core::time::Span;
use orchestrate_providers::process::ProcessProvider;
use serde_json::{from_slice, json};

/// Answers as the daemon does.
async fn serve(socket: &Path, supervisor: Arc<dyn Provider>) {
    let directory = socket.parent().unwrap();
    // A long path is bound by way of its directory, too.
    let opened = std::fs::File::open(directory).unwrap();
    let fd = std::os::fd::AsRawFd::as_raw_fd(&opened);
    let short = format!("/proc/self/fd/{fd}/{}", socket.file_name().unwrap().to_str().unwrap());
    let listener = tokio::net::UnixListener::bind(short).unwrap();
    tokio::spawn(async move {
        loop {
            let (stream, _) = listener.accept().await.unwrap();
            let supervisor = Arc::clone(&supervisor);
            let service = hyper::service::service_fn(move |request| answer(Arc::clone(&supervisor), request));
            tokio::spawn(
                hyper::server::conn::http1::Builder::new().serve_connection(TokioIo::new(stream), service),
            );
        }
    });
}

async fn answer(
    supervisor: Arc<dyn Provider>,
    request: Request<Incoming>,
) -> Result<Response<Full<Bytes>>, hyper::Error> {
    let path = request.uri().path().to_owned();
    assert_eq!(request.method(), "POST");
    let body = request.into_body().collect().await?.to_bytes();
    let json = |result: PortResult<serde_json::Value>| match result {
        Ok(value) => (200, value.to_string()),
        Err(error) => (409, json!(error).to_string()),
    };
    let (status, text) = match path.as_str() {
        "/provider/fetch" => json(supervisor.fetch(&from_slice(&body).unwrap()).await.map(|()| json!(()))),
        "/provider/start" => json(supervisor.start(&from_slice(&body).unwrap()).await.map(|all| json!(all))),
        "/provider/await_healthy" => {
            json(supervisor.await_healthy(&from_slice(&body).unwrap()).await.map(|all| json!(all)))
        }
        "/provider/stop" => json(supervisor.stop(&from_slice(&body).unwrap()).await.map(|()| json!(()))),
        "/provider/instances" => {
            json(supervisor.instances(&from_slice(&body).unwrap()).await.map(|all| json!(all)))
        }
        _ => (404, "what?".to_owned()),
    };
    Ok(Response::builder().status(status).body(text.into()).unwrap())
}

#[tokio::test]
async fn the_client_does_what_the_supervisor_does() {
    let mut world = World::new().await;
    let supervisor = world.open().await;
    let long = world.home.path().join("long".repeat(40));
    std::fs::create_dir(&long).unwrap();
    for socket in [world.home.path().join("socket"), long.join("socket")] {
        serve(&socket, Arc::clone(&supervisor) as Arc<dyn Provider>).await;
        through(&world, &ProcessProvider::new(socket)).await;
    }
    drop(supervisor);
}

async fn through(world: &World, client: &ProcessProvider) {
    let placement = world.release(1, "#!/bin/sh\nexec sleep 1000\n", 0, 1);
    let (processes, fence) = (Processes::All, Fence(3));
    let start = StartRequest { placement: placement.clone(), processes, fence, counts: None };
    let started = in_time(client.start(&start)).await.unwrap();
    assert_eq!(started, world.instances().await);
    let wait =
        AwaitHealthy { placement: placement.clone(), processes, deadline: Span::from_secs(10), counts: None };
    let ready = in_time(client.await_healthy(&wait)).await.unwrap();
    assert_eq!(in_time(client.instances(&placement.environment)).await.unwrap(), ready);

    let older = StopRequest { placement: placement.clone(), processes, fence: Fence(2), counts: None };
    assert_eq!(in_time(client.stop(&older)).await.unwrap_err().kind, PortErrorKind::Fenced);
    in_time(client.stop(&StopRequest { fence, ..older })).await.unwrap();
    assert!(!is_alive(started[0].pid.unwrap()));
    let unknown = Fetch { release: placement.release, artifact: Digest::of(b"unknown"), size: 0 };
    assert_eq!(in_time(client.fetch(&unknown)).await.unwrap_err().kind, PortErrorKind::Missing);
}

#[tokio::test]
async fn a_daemon_that_is_not_there_is_unreachable() {
    let directory = tempfile::TempDir::new().unwrap();
    let unknown = Fetch { release: ReleaseId(1), artifact: Digest::of(b"unknown"), size: 0 };
    let client = ProcessProvider::new(directory.path().join("none"));
    assert_eq!(in_time(client.fetch(&unknown)).await.unwrap_err().kind, PortErrorKind::Unreachable);

    // Nor is one that takes the question and dies.
    let socket = directory.path().join("dying");
    let listener = tokio::net::UnixListener::bind(&socket).unwrap();
    tokio::spawn(async move { drop(listener.accept().await.unwrap()) });
    let client = ProcessProvider::new(socket);
    assert_eq!(in_time(client.fetch(&unknown)).await.unwrap_err().kind, PortErrorKind::Unreachable);
}
