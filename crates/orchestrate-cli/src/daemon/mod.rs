//! The daemon's process: takes the home, adopts what runs in it, keeps a proxy, and serves.

mod collector;
mod hosted;
mod proxy_keeper;

use std::fs::File;
use std::io::Write as _;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use orchestrate_core::plan::Step;
use orchestrate_core::ports::{Ports, Progress, SystemClock};
use orchestrate_core::time::Span;
use orchestrate_core::{Error, Result};
use orchestrate_notify::{ChannelNotifier, backoff};
use orchestrate_providers::Hosted;
use orchestrate_providers::artifact::{ArtifactLimits, ArtifactStore};
use orchestrate_providers::witness::ReleaseWitness;
use orchestrate_proxy::BuiltinRouter;
use orchestrate_server::{DaemonOptions, Farewell};
use rustix::fs::{FlockOperation, flock};
use tokio::sync::watch;

use crate::args::Global;
use crate::daemon_client::{DaemonClient, READY};
use crate::home::Home;
use crate::host::ThisHost;
use crate::program;
use crate::wiring::{
    ByProvider, ByRouter, RoutedBy, RoutersElsewhere, SealedSpecs, Wiring, haproxy, lease_ttl, routers,
};
use proxy_keeper::ProxyKeeper;

/// How a daemon is started.
#[derive(Clone, Copy, Debug)]
pub struct How {
    /// It leaves the terminal that it was started from.
    pub detached: bool,
    /// One that runs is told to end; without this, there must be none.
    pub take_over: bool,
}

/// Runs until it is told to end.
pub async fn run(global: &Global, how: How) -> Result<()> {
    if how.detached {
        // A session of its own: what happens to the terminal it was started from is nothing to it.
        let _ = rustix::process::setsid();
    }
    let home = Home::locate(global.home.as_deref())?;
    home.prepare()?;
    let free = lock(&home)?;
    if free.is_none() && !how.take_over {
        return already_running(&home, how.detached).await;
    }
    let wiring = Wiring::open_with(global, 4).await?;
    // The one that runs is not told to end before this one has all that may fail behind it.
    let lock = match free {
        Some(lock) => lock,
        None => take_over(&home).await?,
    };
    name_program(&lock);
    let store = Arc::new(ArtifactStore::new(home.directory(), ArtifactLimits::default()));
    let specs = Arc::new(SealedSpecs { db: wiring.db.clone(), keys: Arc::clone(&wiring.keys) as _ });
    let place = home.directory().to_owned();
    let providers = ByProvider::new(wiring.db.clone(), hosted::all(&wiring, &store, &specs).await?);
    let keeper = ProxyKeeper::start(&home).await?;
    let routed = Arc::new(RoutedBy::new(wiring.db.clone()));
    let haproxy = haproxy(&home, Arc::clone(&routed));
    tokio::spawn(Arc::clone(&haproxy).keep_watch());
    let router_changed = either(keeper.changes(), haproxy.changes());
    let elsewhere = RoutersElsewhere { home: place, store, specs, haproxy };
    let routers = routers(Arc::new(BuiltinRouter::new(home.proxy_socket())), elsewhere);
    let ports = Ports {
        provider: Arc::clone(&providers) as _,
        router: Arc::new(ByRouter::new(routed, routers)),
        witness: Arc::new(ReleaseWitness::new(Arc::clone(&providers) as _)),
        clock: Arc::new(SystemClock),
        host: Arc::new(ThisHost { site: wiring.site, traceparent: None }),
        progress: Arc::new(Logged),
        lease_ttl: lease_ttl(),
    };
    let db = wiring.db.clone();
    let options = DaemonOptions {
        socket: home.daemon_socket(),
        wake: home.wake_socket(),
        db: wiring.db,
        ports,
        notifier: Arc::new(ChannelNotifier::new()),
        keys: wiring.keys,
        backoff,
        instances_changed: providers.subscribe(),
        router_changed,
        router_status: keeper.status(),
        version: program::version(),
        metrics: metrics(),
        traces: collector::traces(),
    };
    let farewell = tokio::select! {
        farewell = orchestrate_server::run(options, say_ready) => farewell?,
        () = ended_by_signal() => Farewell::LeaveRunning,
    };
    let left = leave(farewell, &*providers, keeper).await;
    // Who waits for the lock may replace the database then, so nothing is written to it after that.
    db.close().await;
    // Requests of commands may still hold what the next daemon needs; the kernel frees the lock after all of that.
    std::mem::forget(lock);
    left
}

/// Where Prometheus finds the metrics. A value that cannot be read is told, and keeps no daemon from its work.
fn metrics() -> Option<SocketAddr> {
    let text = std::env::var("ORCHESTRATE_METRICS").ok().filter(|text| !text.is_empty())?;
    let address = text.parse();
    address
        .inspect_err(|_| tracing::error!("ORCHESTRATE_METRICS is `{text}`; write for example 127.0.0.1:9464"))
        .ok()
}

/// Changes with each of the two.
fn either(mut one: watch::Receiver<u64>, mut other: watch::Receiver<u64>) -> watch::Receiver<u64> {
    let (changes, changed) = watch::channel(0);
    tokio::spawn(async move {
        loop {
            tokio::select! {
                Ok(()) = one.changed() => {}
                Ok(()) = other.changed() => {}
                else => return,
            }
            changes.send_modify(|count| *count += 1);
        }
    });
    changed
}

async fn leave(farewell: Farewell, providers: &dyn Hosted, keeper: ProxyKeeper) -> Result<()> {
    match farewell {
        Farewell::LeaveRunning => keeper.leave(),
        Farewell::StopAll => {
            // The proxy last, so that users are answered for as long as there is something to answer.
            let stopped = providers.stop_everything().await;
            keeper.stop().await?;
            stopped.map_err(|error| {
                Error::failed("ORC-0504", "not everything could be stopped").source(error)
            })?;
        }
    }
    Ok(())
}

fn say_ready() {
    // Nobody may be listening any more; that is no reason not to run.
    let _ = writeln!(std::io::stdout(), "{READY}");
    let _ = std::io::stdout().flush();
}

/// Has the daemon that runs end, and returns the home's lock.
async fn take_over(home: &Home) -> Result<File> {
    let client = DaemonClient::new(home.clone(), Vec::new());
    let deadline = tokio::time::Instant::now() + Duration::from_secs(20);
    loop {
        // A command may have started another one meanwhile, which is asked as well.
        let asked = client.ask_to_end(false).await;
        for _ in 0..200 {
            if let Some(lock) = lock(home)? {
                return Ok(lock);
            }
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
        if tokio::time::Instant::now() > deadline {
            let error = Error::failed("ORC-0502", "the daemon that runs does not end")
                .hint("see what it does: tail daemon.log in the home; its pid: orchestrate daemon status");
            return Err(match asked {
                Ok(()) => error,
                Err(cause) => error.source(cause),
            });
        }
    }
}

/// Commands of another program see from this who runs.
fn name_program(mut lock: &File) {
    let named = lock.set_len(0).and_then(|()| lock.write_all(program::version().as_bytes()));
    if let Err(error) = named {
        tracing::warn!(%error, "the version is not in the lock file");
    }
}

/// The home's lock, held as long as the daemon lives; none if another one has it.
pub fn lock(home: &Home) -> Result<Option<File>> {
    let path = home.path("daemon.lock");
    let cannot = |error: std::io::Error| {
        Error::failed("ORC-0404", format!("{} cannot be opened", path.display()))
            .hint("check the owner and mode of the home, and the space on its disk")
            .source(error)
    };
    let file = std::fs::OpenOptions::new().create(true).append(true).open(&path).map_err(cannot)?;
    match flock(&file, FlockOperation::NonBlockingLockExclusive) {
        Ok(()) => Ok(Some(file)),
        Err(rustix::io::Errno::WOULDBLOCK) => Ok(None),
        Err(error) => Err(cannot(error.into())),
    }
}

/// Two commands started one at the same time: the second one's word is that the first one is ready.
async fn already_running(home: &Home, detached: bool) -> Result<()> {
    if !detached {
        return Err(Error::refused("ORC-0505", "a daemon runs in this home already")
            .hint("see it: orchestrate daemon status"));
    }
    let client = DaemonClient::new(home.clone(), Vec::new());
    for _ in 0..500 {
        if client.is_running().await {
            say_ready();
            return Ok(());
        }
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    Err(Error::failed("ORC-0502", "another daemon holds the home but does not answer"))
}

async fn ended_by_signal() {
    use tokio::signal::unix::{SignalKind, signal};
    let (Ok(mut term), Ok(mut int)) = (signal(SignalKind::terminate()), signal(SignalKind::interrupt()))
    else {
        return std::future::pending().await;
    };
    tokio::select! { _ = term.recv() => {}, _ = int.recv() => {} }
}

/// The daemon's progress goes to its log.
struct Logged;

impl Progress for Logged {
    fn started(&self, step: &Step) {
        tracing::debug!("begins: {step}");
    }

    fn done(&self, step: &Step, took: Span) {
        tracing::info!("done: {step} ({took})");
    }

    fn remark(&self, text: &str) {
        tracing::info!("{text}");
    }
}
