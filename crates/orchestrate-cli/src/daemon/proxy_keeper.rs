//! Keeps a proxy running, and copies of its listening sockets, so that nobody is refused while a dead one is replaced.

use std::net::SocketAddr;
use std::os::fd::OwnedFd;
use std::process::{Command, Stdio};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use orchestrate_core::{Error, Result};
use orchestrate_proxy::{BuiltinRouter, Hello, ListenerHold, spawn_proxy};
use tokio::sync::watch;

use crate::home::Home;

pub struct ProxyKeeper {
    home: Home,
    changes: watch::Sender<u64>,
    seen: Arc<Mutex<Option<Hello>>>,
    task: tokio::task::JoinHandle<()>,
}

impl ProxyKeeper {
    /// Adopts the proxy that runs, or starts one; returns once it answers.
    pub async fn start(home: &Home) -> Result<Self> {
        let hold = match ListenerHold::take(&home.proxy_socket()).await {
            Ok(hold) => hold,
            Err(_) => launch(home, &[]).await?,
        };
        let changes = watch::channel(0).0;
        let seen = Arc::new(Mutex::new(BuiltinRouter::new(home.proxy_socket()).hello().await.ok()));
        let task = tokio::spawn(keep(home.clone(), hold, changes.clone(), Arc::clone(&seen)));
        Ok(Self { home: home.clone(), changes, seen, task })
    }

    /// Changes whenever another proxy took over.
    pub fn changes(&self) -> watch::Receiver<u64> {
        self.changes.subscribe()
    }

    /// What `daemon status` shows.
    pub fn status(&self) -> Arc<dyn Fn() -> serde_json::Value + Send + Sync> {
        let seen = Arc::clone(&self.seen);
        Arc::new(move || match &*seen.lock().unwrap_or_else(PoisonError::into_inner) {
            Some(hello) => serde_json::json!({
                "pid": hello.pid, "version": hello.program_version, "threads": hello.threads,
            }),
            None => serde_json::Value::Null,
        })
    }

    /// Ends the keeping; the proxy goes on.
    pub fn leave(self) {
        self.task.abort();
    }

    /// Ends the proxy too, and waits until it is gone.
    pub async fn stop(self) -> Result<()> {
        self.task.abort();
        let socket = self.home.proxy_socket();
        let Ok(mut hold) = ListenerHold::take(&socket).await else { return Ok(()) };
        BuiltinRouter::new(socket)
            .shutdown()
            .await
            .map_err(|error| Error::failed("ORC-0504", "the proxy could not be stopped").source(error))?;
        hold.until_lost().await;
        Ok(())
    }
}

async fn keep(
    home: Home,
    mut hold: ListenerHold,
    changes: watch::Sender<u64>,
    seen: Arc<Mutex<Option<Hello>>>,
) {
    loop {
        hold.until_lost().await;
        tracing::warn!("the proxy is gone, another one takes over");
        // Whoever asks meanwhile is not told the pid of a process that is no more.
        *seen.lock().unwrap_or_else(PoisonError::into_inner) = None;
        let mut pause = Duration::from_millis(10);
        hold = loop {
            let held = hold.held().unwrap_or_default();
            match launch(&home, &held).await {
                Ok(hold) => break hold,
                Err(error) => tracing::error!("no proxy could be started: {}", error.full_message()),
            }
            tokio::time::sleep(pause).await;
            pause = (pause * 2).min(Duration::from_secs(5));
        };
        *seen.lock().unwrap_or_else(PoisonError::into_inner) =
            BuiltinRouter::new(home.proxy_socket()).hello().await.ok();
        changes.send_modify(|count| *count += 1);
    }
}

/// Starts a proxy that inherits `held`, and returns once it answers.
async fn launch(home: &Home, held: &[(SocketAddr, OwnedFd)]) -> Result<ListenerHold> {
    let cannot =
        |error: std::io::Error| Error::failed("ORC-0506", "the proxy cannot be started").source(error);
    let log =
        std::fs::OpenOptions::new().create(true).append(true).open(home.path("proxy.log")).map_err(cannot)?;
    let mut command = Command::new(std::env::current_exe().map_err(cannot)?);
    command
        .args(["proxy", "--socket"])
        .arg(home.proxy_socket())
        .arg("--state")
        .arg(home.proxy_state())
        .current_dir("/")
        // The proxy's threads should not wait for each other's memory, as the daemon's may.
        .env_remove(crate::daemon_client::HEAPS)
        .stdout(Stdio::null())
        .stderr(log);
    if let Some(threads) = std::env::var_os("ORCHESTRATE_PROXY_THREADS") {
        command.arg("--threads").arg(threads);
    }
    let mut child = spawn_proxy(command, held).map_err(cannot)?;
    let deadline = tokio::time::Instant::now() + Duration::from_secs(10);
    loop {
        if let Ok(hold) = ListenerHold::take(&home.proxy_socket()).await {
            // Its end is seen on the hold; this thread only takes its exit status from the kernel.
            std::thread::spawn(move || child.wait());
            return Ok(hold);
        }
        if let Ok(Some(status)) = child.try_wait() {
            return Err(cannot(std::io::Error::other(format!(
                "it ended with {status}; its output is in {}",
                home.path("proxy.log").display()
            ))));
        }
        if tokio::time::Instant::now() > deadline {
            let _ = child.kill();
            let _ = child.wait();
            return Err(cannot(std::io::ErrorKind::TimedOut.into()));
        }
        tokio::time::sleep(Duration::from_millis(2)).await;
    }
}
