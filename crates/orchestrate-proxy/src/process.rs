//! The proxy as a process: its start, its signals, its end.

use std::collections::BTreeMap;
use std::fs::File;
use std::io::{self, Read as _};
use std::sync::Arc;
use std::time::Duration;

use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
use tokio::net::UnixListener;
use tokio::signal::unix::{SignalKind, signal};
use tokio::sync::Notify;

use crate::control;
use crate::data::{Shared, WorkerHandle, start};
use crate::hold::inherit;
use crate::options::{ProxyError, ProxyOptions};
use crate::registry::Registry;
use crate::saved::{self, Saver};
use crate::unix;

/// How long what was restored may take to show that it is ready, before commands are listened to. Traffic flows already.
const FIRST_LOOK: Duration = Duration::from_millis(500);

/// Runs a proxy until SIGTERM, SIGINT or a request on its control socket, and then for as long as requests in flight
/// need, at most `limits.shutdown`.
pub fn run(options: ProxyOptions) -> Result<(), ProxyError> {
    let lock = saved::lock(&options.state)?;
    raise_descriptor_limit();
    let inherited = match options.inherit {
        Some(from) => inherit(from).map_err(ProxyError::Inherit)?,
        None => BTreeMap::new(),
    };
    let loaded = saved::load(&options.state)?;
    let saver = Saver::start(options.state)?;
    let threads = options.threads.max(1);
    let token = token().map_err(ProxyError::start("without randomness"))?;
    let shared = Arc::new(Shared { limits: options.limits, threads, token });
    let workers = start_workers(&shared)?;
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
    let runtime = runtime.map_err(ProxyError::start("the control's event loop"))?;
    let mut registry = runtime.block_on(async {
        let registry = Registry::restore(shared, workers, saver, loaded, inherited);
        registry.first_look(FIRST_LOOK).await;
        let listener =
            unix::listen(&options.socket).map_err(ProxyError::file("listen at", &options.socket))?;
        serve(Arc::new(registry), listener).await
    })?;
    drop(runtime);
    if let Some(registry) = Arc::get_mut(&mut registry) {
        registry.workers_mut().iter_mut().for_each(WorkerHandle::join);
    }
    let _ = std::fs::remove_file(&options.socket);
    drop::<File>(lock);
    Ok(())
}

fn start_workers(shared: &Arc<Shared>) -> Result<Vec<WorkerHandle>, ProxyError> {
    let workers = (0..shared.threads).map(|thread| start(thread, shared));
    workers.collect::<io::Result<_>>().map_err(ProxyError::start("a worker thread"))
}

/// Serves until the end is asked for, then tells the workers to finish.
async fn serve(registry: Arc<Registry>, listener: UnixListener) -> Result<Arc<Registry>, ProxyError> {
    let signals = |kind| signal(kind).map_err(ProxyError::start("listening for signals"));
    let (mut terminate, mut interrupt) =
        (signals(SignalKind::terminate())?, signals(SignalKind::interrupt())?);
    // Taken and ignored: the end of a terminal is not the end of the proxy.
    let _hangup = signals(SignalKind::hangup())?;
    let shutdown = Arc::new(Notify::new());
    let control = tokio::spawn(control::serve(listener, Arc::clone(&registry), Arc::clone(&shutdown)));
    let binding = tokio::spawn(bind_unbound(Arc::clone(&registry)));
    tracing::info!(pid = std::process::id(), "the proxy serves");
    tokio::select! {
        _ = terminate.recv() => {}
        _ = interrupt.recv() => {}
        () = shutdown.notified() => {}
    }
    control.abort();
    binding.abort();
    registry.finish();
    if let Err(error) = registry.persisted().await {
        tracing::error!(%error, "the last state was not written");
    }
    Ok(registry)
}

/// What holds an address that a route needs may let go of it.
async fn bind_unbound(registry: Arc<Registry>) {
    while !registry.bind_unbound() {
        tokio::time::sleep(Duration::from_secs(1)).await;
    }
}

/// Every connection takes two descriptors; the usual soft limit of 1,024 is for programs that use `select`.
fn raise_descriptor_limit() {
    let Rlimit { maximum, .. } = getrlimit(Resource::Nofile);
    if let Err(error) = setrlimit(Resource::Nofile, Rlimit { current: maximum, maximum }) {
        tracing::warn!(%error, "cannot raise the limit on open files");
    }
}

/// 128 random bits, in hexadecimal.
fn token() -> io::Result<String> {
    let mut bytes = [0; 16];
    File::open("/dev/urandom")?.read_exact(&mut bytes)?;
    Ok(format!("{:032x}", u128::from_ne_bytes(bytes)))
}
