//! The `process` provider as the command line sees it: the daemon's supervisor, asked over its Unix socket.

use std::fs::File;
use std::io;
use std::os::fd::AsRawFd as _;
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::{Path, PathBuf};

use async_trait::async_trait;
use bytes::Bytes;
use http_body_util::{BodyExt as _, Full, Limited};
use hyper::Request;
use hyper_util::rt::TokioIo;
use orchestrate_core::failpoint;
use orchestrate_core::name::EnvironmentName;
use orchestrate_core::ports::{
    AwaitHealthy, Ended, Fetch, HookRequest, Instance, Memory, Placement, PortError, PortErrorKind,
    PortResult, Processes, Provider, StartRequest, StopRequest,
};
use orchestrate_core::release::Digest;
use rustix::fs::OFlags;
use serde::Serialize;
use serde::de::DeserializeOwned;
use tokio::net::UnixStream;

/// What the kernel takes as the path of a socket, without its ending zero.
const LONGEST_SOCKET_PATH: usize = 107;
const MOST_ANSWER: usize = 16 << 20;

/// Asks the daemon behind a socket. Every call makes a connection of its own.
#[derive(Clone, Debug)]
pub struct ProcessProvider {
    socket: PathBuf,
}

impl ProcessProvider {
    pub fn new(socket: PathBuf) -> Self {
        Self { socket }
    }

    async fn ask<Q: Serialize + Sync, A: DeserializeOwned>(&self, verb: &str, question: &Q) -> PortResult<A> {
        let body = serde_json::to_vec(question)
            .map_err(|cause| PortError::failed(format!("a request cannot be written as JSON: {cause}")))?;
        let unreachable = |cause: &dyn std::fmt::Display| {
            PortError::unreachable(format!(
                "the daemon at {} does not answer: {cause}",
                self.socket.display()
            ))
        };
        let stream = connect(&self.socket).await.map_err(|cause| unreachable(&cause))?;
        let (mut sender, connection) = hyper::client::conn::http1::handshake(TokioIo::new(stream))
            .await
            .map_err(|cause| unreachable(&cause))?;
        let request = Request::post(format!("/provider/{verb}"))
            .header(http::header::HOST, "orchestrate")
            .header(http::header::CONTENT_TYPE, "application/json")
            .body(Full::new(Bytes::from(body)))
            .map_err(|cause| PortError::failed(format!("a request cannot be made: {cause}")))?;
        let exchange = async {
            let response = sender.send_request(request).await.map_err(|cause| unreachable(&cause))?;
            let status = response.status();
            let body = Limited::new(response.into_body(), MOST_ANSWER).collect().await;
            PortResult::Ok((status, body.map_err(|cause| unreachable(&cause))?.to_bytes()))
        };
        let driver = async {
            let _ = connection.await;
            std::future::pending::<()>().await;
        };
        let (status, body) = tokio::select! {
            answer = exchange => answer?,
            () = driver => return Err(unreachable(&"the connection was cut off")),
        };
        if status == http::StatusCode::OK {
            // It was done, but what came of it is not known.
            return serde_json::from_slice(&body).map_err(|cause| unreachable(&cause));
        }
        Err(serde_json::from_slice(&body).unwrap_or_else(|_| {
            let said = String::from_utf8_lossy(&body).chars().take(200).collect::<String>();
            PortError::new(PortErrorKind::Failed, format!("the daemon answered {status} to {verb}: {said}"))
        }))
    }
}

#[async_trait]
impl Provider for ProcessProvider {
    async fn fetch(&self, request: &Fetch) -> PortResult<()> {
        failpoint!("provider/fetch", self.ask("fetch", request).await)
    }

    async fn start(&self, request: &StartRequest) -> PortResult<Vec<Instance>> {
        failpoint!("provider/start", self.ask("start", request).await)
    }

    async fn await_healthy(&self, request: &AwaitHealthy) -> PortResult<Vec<Instance>> {
        failpoint!("provider/await", self.ask("await_healthy", request).await)
    }

    async fn stop(&self, request: &StopRequest) -> PortResult<()> {
        failpoint!("provider/stop", self.ask("stop", request).await)
    }

    async fn hook(&self, request: &HookRequest) -> PortResult<Ended> {
        failpoint!("provider/hook", self.ask("hook", request).await)
    }

    async fn discard(&self, artifact: &Digest) -> PortResult<bool> {
        failpoint!("provider/discard", self.ask("discard", artifact).await)
    }

    async fn instances(&self, environment: &EnvironmentName) -> PortResult<Vec<Instance>> {
        self.ask("instances", environment).await
    }

    async fn drift(&self, placement: &Placement, of: Processes) -> PortResult<Vec<String>> {
        self.ask("drift", &(placement, of)).await
    }

    async fn memory(&self, placement: &Placement) -> PortResult<Option<Memory>> {
        self.ask("memory", placement).await
    }
}

/// A path too long for the kernel is named by its opened directory.
async fn connect(socket: &Path) -> io::Result<UnixStream> {
    if socket.as_os_str().len() <= LONGEST_SOCKET_PATH {
        return UnixStream::connect(socket).await;
    }
    let (Some(directory), Some(name)) = (socket.parent(), socket.file_name()) else {
        return Err(io::ErrorKind::InvalidInput.into());
    };
    let flags = i32::try_from((OFlags::PATH | OFlags::DIRECTORY).bits()).unwrap_or(0);
    let directory: File = File::options().read(true).custom_flags(flags).open(directory)?;
    let short = Path::new("/proc/self/fd").join(directory.as_raw_fd().to_string()).join(name);
    UnixStream::connect(short).await
}
