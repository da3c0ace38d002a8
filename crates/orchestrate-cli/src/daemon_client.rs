//! The command's end of the daemon's socket; starts the daemon where it does not run.

use std::io::{BufRead as _, BufReader};
use std::process::{Command, Stdio};
use std::time::Duration;

use bytes::Bytes;
use http_body_util::{BodyExt as _, Full};
use hyper::{Method, Request, StatusCode};
use hyper_util::rt::TokioIo;
use orchestrate_core::{Error, Result};

use crate::home::Home;

/// How many heaps glibc makes for the threads of a program.
pub const HEAPS: &str = "MALLOC_ARENA_MAX";

/// How a home's daemon and database are named on the command line of another program.
#[derive(Clone, Debug)]
pub struct DaemonClient {
    home: Home,
    database: Vec<String>,
}

impl DaemonClient {
    /// `database` is what `--database-url` or `--db-path` said, to be passed on.
    pub fn new(home: Home, database: Vec<String>) -> Self {
        Self { home, database }
    }

    pub async fn is_running(&self) -> bool {
        orchestrate_server::connect(&self.home.daemon_socket()).await.is_ok()
    }

    /// Makes sure that it runs and answers; returns whether it had to be started.
    pub async fn ensure(&self) -> Result<bool> {
        // One that is ending may still be connected to; only an answer shows that it is there.
        if self.is_running().await && self.call(Method::POST, "/poke", None).await.is_ok() {
            return Ok(false);
        }
        let client = self.clone();
        tokio::task::spawn_blocking(move || client.start(false))
            .await
            .map_err(|_| Error::bug("a task ended early"))??;
        Ok(true)
    }

    /// Starts a daemon of this program, which has the one that runs end once it is sure that it can go on.
    pub async fn take_over(&self) -> Result<()> {
        let client = self.clone();
        tokio::task::spawn_blocking(move || client.start(true))
            .await
            .map_err(|_| Error::bug("a task ended early"))?
    }

    /// Starts it and waits for its word that it is ready; what it says instead is the error.
    fn start(&self, take_over: bool) -> Result<()> {
        let cannot = |error: std::io::Error| {
            Error::failed("ORC-0502", "the daemon cannot be started")
                .source(error)
                .hint("look at: orchestrate doctor")
        };
        let log = self.home.open_log("daemon.log").map_err(cannot)?;
        let from = log.metadata().map(|found| found.len()).unwrap_or(0);
        let program = crate::program::path().map_err(cannot)?;
        let mut command = Command::new(program);
        command
            .arg("--home")
            .arg(self.home.directory())
            .args(self.database.iter().filter(|part| !part.contains("://")))
            .args(["daemon", "run", "--detached"])
            .args(take_over.then_some("--take-over"))
            .current_dir("/")
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(log);
        // It outlives the pipeline that this command is a step of.
        command.env_remove("TRACEPARENT").env_remove("TRACESTATE");
        // Its threads allocate little; a heap for each of them would only keep memory.
        if std::env::var_os(HEAPS).is_none() {
            command.env(HEAPS, "1");
        }
        // It works in another directory, where a relative path means another file.
        if let Some(path) = std::env::var_os(crate::keys::FILE) {
            command.env(crate::keys::FILE, std::path::absolute(&path).unwrap_or_else(|_| path.into()));
        }
        // A URL may hold a password, and command lines can be read by everyone.
        if let Some(url) = self.database.iter().find(|part| part.contains("://")) {
            command.env("ORCHESTRATE_DATABASE_URL", url);
        }
        let mut child = command.spawn().map_err(cannot)?;
        let mut word = String::new();
        if let Some(output) = child.stdout.take() {
            BufReader::new(output).read_line(&mut word).map_err(cannot)?;
        }
        if word.trim() == READY {
            return Ok(());
        }
        let _ = child.wait();
        let said = self.said_since(from);
        Err(Error::failed("ORC-0502", format!("the daemon did not start: {said}"))
            .hint(format!("its output is in {}", self.home.daemon_log().display())))
    }

    fn said_since(&self, from: u64) -> String {
        let text = std::fs::read(self.home.daemon_log()).unwrap_or_default();
        let new = text.get(usize::try_from(from).unwrap_or(0)..).unwrap_or_default();
        let lines: Vec<String> =
            String::from_utf8_lossy(new).lines().rev().take(5).map(str::to_owned).collect();
        lines.into_iter().rev().collect::<Vec<_>>().join("; ")
    }

    /// Tells the daemon to look for work, without waiting for it; true if it was there to hear it.
    pub fn ring(&self) -> bool {
        let Ok(path) = orchestrate_server::SocketPath::new(&self.home.wake_socket()) else { return false };
        let Ok(socket) = std::os::unix::net::UnixDatagram::unbound() else { return false };
        // A full queue means that it has been rung already.
        socket.set_nonblocking(true).is_ok()
            && match socket.send_to(&[1], path.as_path()) {
                Ok(_) => true,
                Err(error) => error.kind() == std::io::ErrorKind::WouldBlock,
            }
    }

    pub async fn status(&self) -> Result<Option<serde_json::Value>> {
        if !self.is_running().await {
            return Ok(None);
        }
        let (_, body) = self.call(Method::GET, "/status", None).await?;
        serde_json::from_slice(&body).map(Some).map_err(|error| Error::bug(format!("an odd status: {error}")))
    }

    /// Waits until the daemon decides nothing more about the deployment.
    pub async fn settle(&self, deployment: orchestrate_core::name::DeploymentId) -> Result<()> {
        let mut failures = 0;
        loop {
            self.ensure().await?;
            match self.call(Method::POST, &format!("/settle/{deployment}"), None).await {
                Ok(_) => return Ok(()),
                // It may have been restarted while it was waited for.
                Err(_) if failures < 5 => failures += 1,
                Err(error) => return Err(error),
            }
            tokio::time::sleep(Duration::from_millis(200)).await;
        }
    }

    /// The version of the program that runs as the daemon, if it is another than this one's.
    pub async fn another_version(&self) -> Option<String> {
        let named = std::fs::read_to_string(self.home.path("daemon.lock")).ok()?;
        let other = !named.is_empty() && named != crate::program::version();
        // Only who runs holds the lock; what is in the file may be of long ago.
        if other && self.is_running().await { Some(named) } else { None }
    }

    /// Asks it to end; it may take a moment to do so.
    pub async fn ask_to_end(&self, all: bool) -> Result<()> {
        let body = serde_json::json!({ "all": all }).to_string();
        self.call(Method::POST, "/shutdown", Some(body)).await.map(drop)
    }

    /// Asks it to end, and waits until it has.
    pub async fn shutdown(&self, all: bool) -> Result<()> {
        self.ask_to_end(all).await?;
        let lock = self.home.path("daemon.lock");
        tokio::task::spawn_blocking(move || {
            if let Ok(file) = std::fs::File::open(lock) {
                let _ = rustix::fs::flock(&file, rustix::fs::FlockOperation::LockShared);
            }
        })
        .await
        .map_err(|_| Error::bug("a task ended early"))
    }

    async fn call(&self, method: Method, path: &str, body: Option<String>) -> Result<(StatusCode, Bytes)> {
        let lost = |error: Box<dyn std::error::Error + Send + Sync>| {
            Error::failed("ORC-0503", "the daemon does not answer")
                .source(error)
                .hint("look at: orchestrate doctor")
        };
        let stream =
            orchestrate_server::connect(&self.home.daemon_socket()).await.map_err(|e| lost(e.into()))?;
        let (mut sender, connection) =
            hyper::client::conn::http1::handshake(TokioIo::new(stream)).await.map_err(|e| lost(e.into()))?;
        let driver = tokio::spawn(connection);
        let request = Request::builder()
            .method(method)
            .uri(path)
            .header("host", "daemon")
            .header("content-type", "application/json")
            .body(Full::new(Bytes::from(body.unwrap_or_default())))
            .map_err(|e| lost(e.into()))?;
        let response = sender.send_request(request).await.map_err(|e| lost(e.into()))?;
        let status = response.status();
        let body = response.into_body().collect().await.map_err(|e| lost(e.into()))?.to_bytes();
        driver.abort();
        if status.is_success() {
            return Ok((status, body));
        }
        let said = String::from_utf8_lossy(&body).into_owned();
        Err(Error::failed("ORC-0503", format!("the daemon answered {status}: {said}")))
    }
}

/// What the daemon says on its standard output once commands can reach it.
pub const READY: &str = "ready";
