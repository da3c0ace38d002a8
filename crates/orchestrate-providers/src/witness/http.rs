//! One request to one instance, and its whole answer.

use std::time::Instant;

use bytes::Bytes;
use http_body_util::{BodyExt as _, Full};
use hyper::Request;
use hyper::body::Incoming;
use hyper_util::rt::TokioIo;
use orchestrate_core::ports::{Answer, PortError, PortErrorKind, PortResult, Probe};
use tokio::net::TcpStream;
use tokio::time::timeout;

/// More of a body than this is not read.
const MOST_BODY: usize = 64 * 1024;

pub(crate) async fn request(probe: &Probe) -> PortResult<Answer> {
    timeout(probe.timeout.duration(), ask(probe)).await.unwrap_or_else(|_| {
        Err(PortError::new(PortErrorKind::TimedOut, format!("it did not answer within {}", probe.timeout)))
    })
}

async fn ask(probe: &Probe) -> PortResult<Answer> {
    let request = written(probe)?;
    let failed = |cause: &dyn std::fmt::Display| PortError::failed(format!("it failed: {cause}"));
    let begun = Instant::now();
    let stream = TcpStream::connect(probe.address)
        .await
        .map_err(|cause| PortError::failed(format!("nothing answers on {} ({cause})", probe.address)))?;
    let (mut sender, connection) =
        hyper::client::conn::http1::handshake(TokioIo::new(stream)).await.map_err(|cause| failed(&cause))?;
    let exchange = async {
        let response = sender.send_request(request).await.map_err(|cause| failed(&cause))?;
        let status = response.status().as_u16();
        let headers = response
            .headers()
            .iter()
            .map(|(name, value)| {
                (name.as_str().to_owned(), String::from_utf8_lossy(value.as_bytes()).into_owned())
            })
            .collect();
        let body = read(response.into_body()).await.map_err(|cause| failed(&cause))?;
        let micros = u64::try_from(begun.elapsed().as_micros()).unwrap_or(u64::MAX);
        Ok(Answer { status, headers, body, micros })
    };
    // The exchange ends by itself once the connection does.
    let driver = async {
        let _ = connection.await;
        std::future::pending::<()>().await;
    };
    tokio::select! {
        answer = exchange => answer,
        () = driver => Err(PortError::failed("it was cut off")),
    }
}

fn written(probe: &Probe) -> PortResult<Request<Full<Bytes>>> {
    let mut builder = Request::builder()
        .method(probe.method.as_str())
        .uri(probe.path.as_str())
        .header(http::header::USER_AGENT, "orchestrate-smoke-test")
        .header(http::header::CONNECTION, "close");
    let names_host = probe.headers.keys().any(|name| name.eq_ignore_ascii_case("host"));
    if !names_host {
        builder = builder.header(http::header::HOST, probe.address.to_string());
    }
    for (name, value) in &probe.headers {
        builder = builder.header(name.as_str(), value.as_str());
    }
    let body = Bytes::from(probe.body.clone().unwrap_or_default());
    builder.body(Full::new(body)).map_err(|cause| PortError::failed(format!("it cannot be asked: {cause}")))
}

async fn read(mut body: Incoming) -> Result<String, hyper::Error> {
    let mut bytes: Vec<u8> = Vec::new();
    while bytes.len() < MOST_BODY {
        let Some(frame) = body.frame().await else { break };
        if let Some(data) = frame?.data_ref() {
            bytes.extend_from_slice(&data[..data.len().min(MOST_BODY - bytes.len())]);
        }
    }
    Ok(String::from_utf8_lossy(&bytes).into_owned())
}
