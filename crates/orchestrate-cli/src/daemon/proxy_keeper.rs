//! Keeps a proxy running, and copies of its listening sockets, so that nobody is refused while a dead one is replaced.

use std::net::SocketAddr;
use std::os::fd::OwnedFd;
use std::os::unix::process::CommandExt as _;
use std::process::{Child, Command, Stdio};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use orchestrate_core::{Error, Result};
use orchestrate_proxy::{BuiltinRouter, Hello, ListenerHold, spawn_proxy};
use tokio::sync::watch;

use crate::home::Home;
use crate::program;

pub struct ProxyKeeper {
    home: Home,
    changes: watch::Sender<u64>,
    seen: Arc<Mutex<Seen>>,
    task: tokio::task::JoinHandle<()>,
}

/// What `daemon status` shows.
#[derive(Default)]
struct Seen {
    hello: Option<Hello>,
    handover: Handover,
}

/// How it went that a proxy of this program took over from one of another.
#[derive(Default)]
enum Handover {
    #[default]
    None,
    UnderWay,
    Failed(String),
}

impl ProxyKeeper {
    /// Adopts the proxy that runs, or starts one; returns once it answers. One of another program is replaced after that.
    pub async fn start(home: &Home) -> Result<Self> {
        let hold = adopt_or_launch(home, &[]).await?;
        let changes = watch::channel(0).0;
        let hello = BuiltinRouter::new(home.proxy_socket()).hello().await.ok();
        let other = hello.as_ref().is_some_and(|hello| {
            hello.program_version != program::version() || !program::is_run_by(hello.pid)
        });
        let handover = if other { Handover::UnderWay } else { Handover::None };
        let seen = Arc::new(Mutex::new(Seen { hello, handover }));
        let keeping = Keeping { home: home.clone(), changes: changes.clone(), seen: Arc::clone(&seen) };
        let task = tokio::spawn(async move {
            let hold = if other { keeping.replace(hold).await } else { hold };
            keeping.keep(hold).await;
        });
        Ok(Self { home: home.clone(), changes, seen, task })
    }

    /// Changes whenever another proxy took over.
    pub fn changes(&self) -> watch::Receiver<u64> {
        self.changes.subscribe()
    }

    /// What `daemon status` shows.
    pub fn status(&self) -> Arc<dyn Fn() -> serde_json::Value + Send + Sync> {
        let seen = Arc::clone(&self.seen);
        Arc::new(move || {
            let seen = seen.lock().unwrap_or_else(PoisonError::into_inner);
            let Some(hello) = &seen.hello else { return serde_json::Value::Null };
            let mut status = serde_json::json!({
                "pid": hello.pid, "version": hello.program_version, "threads": hello.threads,
            });
            match &seen.handover {
                Handover::None => {}
                Handover::UnderWay => status["handover"] = "under_way".into(),
                Handover::Failed(why) => status["handover"] = serde_json::json!({ "failed": why }),
            }
            status
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

struct Keeping {
    home: Home,
    changes: watch::Sender<u64>,
    seen: Arc<Mutex<Seen>>,
}

impl Keeping {
    async fn keep(self, mut hold: ListenerHold) {
        loop {
            hold.until_lost().await;
            tracing::warn!("the proxy is gone, another one takes over");
            // Whoever asks meanwhile is not told the pid of a process that is no more.
            *self.seen() = Seen::default();
            let mut pause = Duration::from_millis(10);
            hold = loop {
                let held = hold.held().unwrap_or_default();
                match adopt_or_launch(&self.home, &held).await {
                    Ok(hold) => break hold,
                    Err(error) => tracing::error!("no proxy could be started: {}", error.full_message()),
                }
                tokio::time::sleep(pause).await;
                pause = (pause * 2).min(Duration::from_secs(5));
            };
            self.changed(Handover::None).await;
        }
    }

    /// Has a proxy of this program take over; where it does not come up, the one that runs goes on.
    async fn replace(&self, hold: ListenerHold) -> ListenerHold {
        tracing::info!("the proxy is of another program; one of this program takes over");
        match heir(&self.home).await {
            Ok(new) => {
                tracing::info!("the new proxy serves; the one before finishes what it has under way");
                self.changed(Handover::None).await;
                new
            }
            Err(error) => {
                let why = error.full_message();
                tracing::error!("the proxy that runs goes on, because no other one took over: {why}");
                self.changed(Handover::Failed(why)).await;
                hold
            }
        }
    }

    async fn changed(&self, handover: Handover) {
        let hello = BuiltinRouter::new(self.home.proxy_socket()).hello().await.ok();
        *self.seen() = Seen { hello, handover };
        self.changes.send_modify(|count| *count += 1);
    }

    fn seen(&self) -> MutexGuard<'_, Seen> {
        self.seen.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// A daemon that was killed may have left one behind that took over when nobody looked.
async fn adopt_or_launch(home: &Home, held: &[(SocketAddr, OwnedFd)]) -> Result<ListenerHold> {
    match ListenerHold::take(&home.proxy_socket()).await {
        Ok(hold) => Ok(hold),
        Err(_) => {
            let mut child = spawn_proxy(command(home)?, held).map_err(cannot)?;
            let hold = answer(home, &mut child, false).await;
            reaped(child, hold)
        }
    }
}

/// Starts a proxy that takes over from the one that runs; returns once it does.
async fn heir(home: &Home) -> Result<ListenerHold> {
    let mut command = command(home)?;
    command.arg("--take-over").stdin(Stdio::null()).process_group(0);
    let mut child = command.spawn().map_err(cannot)?;
    let hold = answer(home, &mut child, true).await;
    reaped(child, hold)
}

/// Its end is seen on the hold; a thread only takes its exit status from the kernel.
fn reaped(mut child: Child, hold: Result<ListenerHold>) -> Result<ListenerHold> {
    if hold.is_err() {
        let _ = child.kill();
    }
    std::thread::spawn(move || child.wait());
    hold
}

fn cannot(error: std::io::Error) -> Error {
    Error::failed("ORC-0506", "the proxy cannot be started").source(error)
}

fn command(home: &Home) -> Result<Command> {
    let log =
        std::fs::OpenOptions::new().create(true).append(true).open(home.path("proxy.log")).map_err(cannot)?;
    let mut command = Command::new(program::path().map_err(cannot)?);
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
    Ok(command)
}

/// Returns once the proxy answers. `itself`: another one answers until then.
async fn answer(home: &Home, child: &mut Child, itself: bool) -> Result<ListenerHold> {
    let deadline = tokio::time::Instant::now() + Duration::from_secs(10);
    let router = BuiltinRouter::new(home.proxy_socket());
    loop {
        let serves = !itself || router.hello().await.is_ok_and(|hello| hello.pid == child.id());
        if serves && let Ok(hold) = ListenerHold::take(&home.proxy_socket()).await {
            return Ok(hold);
        }
        if let Ok(Some(status)) = child.try_wait() {
            return Err(cannot(std::io::Error::other(format!(
                "it ended with {status}; its output is in {}",
                home.path("proxy.log").display()
            ))));
        }
        if tokio::time::Instant::now() > deadline {
            return Err(cannot(std::io::ErrorKind::TimedOut.into()));
        }
        tokio::time::sleep(Duration::from_millis(2)).await;
    }
}
