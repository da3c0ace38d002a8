//! The proxy's router port: what core and the daemon use to direct it.

use std::io;
use std::path::PathBuf;
use std::sync::{Mutex as StdMutex, PoisonError};

use async_trait::async_trait;
use orchestrate_core::failpoint;
use orchestrate_core::name::EnvironmentName;
use orchestrate_core::ports::{
    Close, Deregister, Drain, Drained, PortError, PortResult, Proof, Prove, Register, ReleaseCounts, Router,
    RouterView, Switch,
};
use orchestrate_core::traffic::Shift;
use tokio::io::{AsyncBufReadExt, AsyncReadExt, AsyncWriteExt, BufReader};
use tokio::net::UnixStream;
use tokio::sync::Mutex;

use crate::protocol::{Hello, LINE, Reply, Request};
use crate::prove::prove;
use crate::stats::ReleaseStats;
use crate::unix;

/// Directs the proxy that listens at a control socket. Keeps one connection, and makes a new one when that is gone.
pub struct BuiltinRouter {
    socket: PathBuf,
    connection: Mutex<Option<Connection>>,
    /// The proxy's token, from the last answer that carried one.
    token: StdMutex<Option<String>>,
}

type Connection = BufReader<UnixStream>;

/// How many proxies may take over from one another while a request is asked.
const TAKEOVERS: u32 = 3;

impl BuiltinRouter {
    /// Connects at the first call.
    pub fn new(socket: impl Into<PathBuf>) -> Self {
        Self { socket: socket.into(), connection: Mutex::default(), token: StdMutex::default() }
    }

    pub async fn hello(&self) -> PortResult<Hello> {
        match self.ask(&Request::Hello).await? {
            Reply::Hello(hello) => {
                self.learn(hello.token.clone());
                Ok(hello)
            }
            other => Err(unexpected(&other)),
        }
    }

    /// What every release has answered since the proxy started.
    pub async fn stats(&self) -> PortResult<Vec<ReleaseStats>> {
        match self.ask(&Request::Stats).await? {
            Reply::Stats(stats) => Ok(stats),
            other => Err(unexpected(&other)),
        }
    }

    /// Asks the proxy to end: it takes no more connections, and finishes what is in flight.
    pub async fn shutdown(&self) -> PortResult<()> {
        self.ask_done(&Request::Shutdown).await
    }

    async fn ask_done(&self, request: &Request) -> PortResult<()> {
        match self.ask(request).await? {
            Reply::Done => Ok(()),
            other => Err(unexpected(&other)),
        }
    }

    /// On a connection of its own, because the answer may take long: others shall not wait for it.
    async fn ask_apart(&self, request: &Request) -> PortResult<Reply> {
        let (reply, _connection) = self.ask_anew(request).await?;
        settle(reply)
    }

    async fn register_apart(&self, request: &Request) -> PortResult<()> {
        match self.ask_apart(request).await? {
            Reply::Done => Ok(()),
            other => Err(unexpected(&other)),
        }
    }

    async fn ask(&self, request: &Request) -> PortResult<Reply> {
        let mut kept = self.connection.lock().await;
        // Taken out, so that a call given up in the middle leaves no connection with half an answer on it.
        if let Some(connection) = kept.take()
            && let Ok((reply, connection)) = exchange(connection, request).await
        {
            *kept = Some(connection);
            return settle(reply);
        }
        // Every request ensures a fact, so one whose answer was lost may be made again.
        let (reply, connection) = self.ask_anew(request).await?;
        *kept = Some(connection);
        settle(reply)
    }

    async fn ask_anew(&self, request: &Request) -> PortResult<(Reply, Connection)> {
        let mut answered = self.exchange_anew(request).await;
        for _ in 0..TAKEOVERS {
            if !answered.as_ref().is_err_and(hung_up) {
                break;
            }
            answered = self.exchange_anew(request).await;
        }
        answered.map_err(|error: io::Error| {
            PortError::unreachable(format!(
                "the proxy does not answer at `{}`: {error}",
                self.socket.display()
            ))
            .detail("start it with `orchestrate daemon start`")
        })
    }

    async fn exchange_anew(&self, request: &Request) -> io::Result<(Reply, Connection)> {
        let connection = BufReader::new(unix::connect(&self.socket).await?);
        exchange(connection, request).await
    }

    fn learn(&self, token: String) {
        *self.token.lock().unwrap_or_else(PoisonError::into_inner) = Some(token);
    }

    fn known_token(&self) -> Option<String> {
        self.token.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }
}

/// Whether a proxy went away in the middle. Where another one took over from it, that one is there already.
fn hung_up(error: &io::Error) -> bool {
    use io::ErrorKind::{BrokenPipe, ConnectionReset, UnexpectedEof};
    matches!(error.kind(), UnexpectedEof | ConnectionReset | BrokenPipe)
}

async fn exchange(mut connection: Connection, request: &Request) -> io::Result<(Reply, Connection)> {
    let mut line = serde_json::to_vec(request)?;
    line.push(b'\n');
    connection.write_all(&line).await?;
    line.clear();
    (&mut connection).take(LINE).read_until(b'\n', &mut line).await?;
    if line.last() != Some(&b'\n') {
        return Err(io::ErrorKind::UnexpectedEof.into());
    }
    Ok((serde_json::from_slice(&line)?, connection))
}

fn settle(reply: Reply) -> PortResult<Reply> {
    match reply {
        Reply::Refused(error) => Err(error),
        other => Ok(other),
    }
}

fn unexpected(reply: &Reply) -> PortError {
    PortError::failed(format!("the proxy gave an answer of another kind: {reply:?}")).detail(
        "the running proxy may be of another version; restart it with `orchestrate daemon stop --all`",
    )
}

#[async_trait]
impl Router for BuiltinRouter {
    async fn register(&self, request: &Register) -> PortResult<()> {
        let (asked, waits) = (Request::Register(request.clone()), request.drain.is_some());
        let registered =
            async { if waits { self.register_apart(&asked).await } else { self.ask_done(&asked).await } };
        failpoint!("router/register", registered.await)
    }

    async fn switch(&self, request: &Switch) -> PortResult<()> {
        match failpoint!("router/switch", self.ask(&Request::Switch(request.clone())).await)? {
            Reply::Switched { token } => {
                self.learn(token);
                Ok(())
            }
            other => Err(unexpected(&other)),
        }
    }

    async fn shift(&self, request: &Shift) -> PortResult<()> {
        failpoint!("router/shift", self.ask_done(&Request::Shift(request.clone())).await)
    }

    async fn persisted(&self) -> PortResult<()> {
        failpoint!("router/persisted", self.ask_done(&Request::Persisted).await)
    }

    async fn observe(&self, environment: &EnvironmentName) -> PortResult<RouterView> {
        match failpoint!("router/observe", self.ask(&Request::Observe(environment.clone())).await)? {
            Reply::View { view, token } => {
                self.learn(token);
                Ok(view)
            }
            other => Err(unexpected(&other)),
        }
    }

    async fn counts(&self, environment: &EnvironmentName) -> PortResult<Vec<ReleaseCounts>> {
        match self.ask(&Request::Counts(environment.clone())).await? {
            Reply::Counts(counts) => Ok(counts),
            other => Err(unexpected(&other)),
        }
    }

    async fn prove(&self, request: &Prove) -> PortResult<Proof> {
        if let Some(token) = self.known_token()
            && let Some(proof) = failpoint!("router/prove", prove(request, &token).await)?
        {
            return Ok(proof);
        }
        // No token yet, or one of a proxy that has ended.
        let token = self.hello().await?.token;
        prove(request, &token).await?.ok_or_else(|| {
            PortError::failed(format!("what answers at {} is not this proxy", request.listen))
                .detail("another program may listen at the same port on a more specific address")
        })
    }

    async fn drain(&self, request: &Drain) -> PortResult<Drained> {
        match failpoint!("router/drain", self.ask_apart(&Request::Drain(request.clone())).await)? {
            Reply::Drained(drained) => Ok(drained),
            other => Err(unexpected(&other)),
        }
    }

    async fn close(&self, request: &Close) -> PortResult<()> {
        failpoint!("router/close", self.ask_done(&Request::Close(request.clone())).await)
    }

    async fn deregister(&self, request: &Deregister) -> PortResult<()> {
        failpoint!("router/deregister", self.ask_done(&Request::Deregister(request.clone())).await)
    }
}
