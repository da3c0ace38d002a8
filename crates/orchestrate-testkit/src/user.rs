//! A user of a service: one keep-alive connection, made again whenever the other side has closed it.

use std::net::SocketAddr;

use bytes::Bytes;
use http::Request;
use http_body_util::{BodyExt as _, Empty};
use hyper::client::conn::http1::{SendRequest, handshake};
use hyper_util::rt::TokioIo;
use tokio::net::TcpStream;

/// Asks at one address.
pub struct User {
    address: SocketAddr,
    open: Option<SendRequest<Empty<Bytes>>>,
}

impl User {
    pub const fn new(address: SocketAddr) -> Self {
        Self { address, open: None }
    }

    /// The status and the body of an answer, or what went wrong.
    pub async fn get(&mut self, path: &str) -> Result<(u16, String), String> {
        let mut open = match self.open.take() {
            Some(open) if !open.is_closed() => open,
            _ => self.connect().await?,
        };
        // A server may close between two requests; that is no failure.
        if open.ready().await.is_err() {
            open = self.connect().await?;
        }
        let request = Request::get(path).header("host", self.address.to_string()).body(Empty::new());
        let request = request.map_err(|error| error.to_string())?;
        let answer = open.send_request(request).await.map_err(|error| format!("no answer: {error:?}"))?;
        let status = answer.status().as_u16();
        let body =
            answer.into_body().collect().await.map_err(|error| format!("half an answer: {error:?}"))?;
        self.open = Some(open);
        Ok((status, String::from_utf8_lossy(&body.to_bytes()).into_owned()))
    }

    /// The version that answers with status 200, as [`crate::sample::SampleInstance`] says it.
    pub async fn version(&mut self) -> Option<String> {
        match self.get("/version").await {
            Ok((200, body)) => body.strip_prefix("version ").map(str::to_owned),
            _ => None,
        }
    }

    async fn connect(&self) -> Result<SendRequest<Empty<Bytes>>, String> {
        let stream = TcpStream::connect(self.address).await;
        let stream = stream.map_err(|error| format!("cannot connect: {error}"))?;
        let _ = stream.set_nodelay(true);
        let (sender, connection) =
            handshake(TokioIo::new(stream)).await.map_err(|error| error.to_string())?;
        tokio::spawn(connection);
        Ok(sender)
    }
}
