//! One health check: a GET on an instance's own address.

use std::net::SocketAddr;

use bytes::Bytes;
use http_body_util::{BodyExt as _, Empty};
use hyper::Request;
use hyper_util::rt::TokioIo;
use orchestrate_core::environment::HealthCheck;
use tokio::net::TcpStream;
use tokio::time::timeout;

/// How much of an answer is read: enough for the instance not to see its answer cut off.
const MOST_BODY: usize = 64 * 1024;

/// Why an instance is not ready.
#[derive(Clone, Debug)]
pub(crate) struct Miss {
    pub what: String,
    /// Nobody listens yet; asking again soon costs nothing.
    pub refused: bool,
}

impl Miss {
    fn new(what: impl Into<String>) -> Self {
        Self { what: what.into(), refused: false }
    }
}

pub(crate) async fn check(address: SocketAddr, wanted: &HealthCheck) -> Result<(), Miss> {
    match timeout(wanted.timeout.duration(), ask(address, &wanted.path)).await {
        Err(_) => Err(Miss::new(format!("GET {} did not answer within {}", wanted.path, wanted.timeout))),
        Ok(Err(miss)) => Err(miss),
        Ok(Ok(status)) if status == wanted.expected_status => Ok(()),
        Ok(Ok(status)) => Err(Miss::new(format!(
            "GET {} answered {status} instead of {}",
            wanted.path, wanted.expected_status
        ))),
    }
}

async fn ask(address: SocketAddr, path: &str) -> Result<u16, Miss> {
    let stream = TcpStream::connect(address).await.map_err(|cause| Miss {
        what: format!("nothing answers on {address} ({cause})"),
        refused: cause.kind() == std::io::ErrorKind::ConnectionRefused,
    })?;
    let failed = |cause: hyper::Error| Miss::new(format!("GET {path} failed: {cause}"));
    let (mut sender, connection) =
        hyper::client::conn::http1::handshake(TokioIo::new(stream)).await.map_err(failed)?;
    // Without its slash it would be read as the name of a host.
    let slash = if path.starts_with('/') { "" } else { "/" };
    let request = Request::get(format!("{slash}{path}"))
        .header(http::header::HOST, address.to_string())
        .header(http::header::USER_AGENT, "orchestrate-health-check")
        .header(http::header::CONNECTION, "close")
        .body(Empty::<Bytes>::new())
        .map_err(|cause| Miss::new(format!("{path} is not a path to ask: {cause}")))?;
    let exchange = async {
        let mut response = sender.send_request(request).await.map_err(failed)?;
        let mut read = 0;
        while read < MOST_BODY {
            match response.body_mut().frame().await {
                Some(Ok(frame)) => read += frame.data_ref().map_or(0, Bytes::len),
                // The status counts, even if the body is not as it should be.
                Some(Err(_)) | None => break,
            }
        }
        Ok(response.status().as_u16())
    };
    // The exchange ends by itself once the connection does.
    let driver = async {
        let _ = connection.await;
        std::future::pending::<()>().await;
    };
    tokio::select! {
        answer = exchange => answer,
        () = driver => Err(Miss::new(format!("GET {path} was cut off"))),
    }
}
