//! One GET on a connection of its own, for health checks and proofs.

use std::io;
use std::net::SocketAddr;

use bytes::Bytes;
use http::{HeaderMap, Request, StatusCode, header};
use http_body_util::{BodyExt, Empty, Limited};
use hyper::client::conn::http1;
use hyper_util::rt::TokioIo;
use tokio::net::TcpStream;

/// The most that is read of a body.
const BODY: usize = 1024 * 1024;

pub(crate) struct Answer {
    pub status: StatusCode,
    pub headers: HeaderMap,
    pub body: Bytes,
}

/// Asks `address` for `path`; the caller bounds the time.
pub(crate) async fn get(
    address: SocketAddr,
    host: SocketAddr,
    path: &str,
    extra: Option<(&str, &str)>,
) -> io::Result<Answer> {
    let tcp = TcpStream::connect(address).await?;
    tcp.set_nodelay(true)?;
    let (mut sender, connection) = http1::handshake(TokioIo::new(tcp)).await.map_err(io::Error::other)?;
    let mut request = Request::get(path)
        .header(header::HOST, host.to_string())
        .header(header::USER_AGENT, concat!("orchestrate/", env!("CARGO_PKG_VERSION")))
        .header(header::CONNECTION, "close");
    if let Some((name, value)) = extra {
        request = request.header(name, value);
    }
    let request = request.body(Empty::<Bytes>::new()).map_err(io::Error::other)?;
    let exchange = async {
        let (head, body) = sender.send_request(request).await.map_err(io::Error::other)?.into_parts();
        let body = Limited::new(body, BODY).collect().await.map_err(io::Error::other)?.to_bytes();
        Ok(Answer { status: head.status, headers: head.headers, body })
    };
    let mut exchange = std::pin::pin!(exchange);
    tokio::select! {
        answer = &mut exchange => return answer,
        // The connection ends once the answer is complete, and the answer may not have been looked at yet.
        _ = connection => {}
    }
    exchange.await
}
