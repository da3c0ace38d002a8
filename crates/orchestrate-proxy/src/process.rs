//! The proxy as a process: its start, its signals, its end.

use std::collections::BTreeMap;
use std::fs::File;
use std::io::{self, Read as _};
use std::path::{Path, PathBuf};
use std::pin::pin;
use std::sync::Arc;
use std::time::Duration;

use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
use tokio::net::UnixListener;
use tokio::signal::unix::{Signal, SignalKind, signal};
use tokio::sync::mpsc;
use tokio::task::JoinHandle;

use crate::control::{self, Order};
use crate::data::{Shared, WorkerHandle, start};
use crate::handover::{Heir, Retired, Tenure, retired_socket, yield_to};
use crate::hold::inherit;
use crate::options::{ProxyError, ProxyOptions};
use crate::registry::Registry;
use crate::saved::{self, Saver};
use crate::unix;

/// How long what was restored may take to show that it is ready, before commands are listened to. Traffic flows already.
const FIRST_LOOK: Duration = Duration::from_millis(500);

/// Runs a proxy until SIGTERM, SIGINT or a request on its control socket, and then for as long as requests in flight
/// need, at most `limits.shutdown`; or until another proxy takes over, and then at most `limits.retire`.
pub fn run(options: ProxyOptions) -> Result<(), ProxyError> {
    raise_descriptor_limit();
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
    let runtime = runtime.map_err(ProxyError::start("the control's event loop"))?;
    runtime.block_on(live(options))
}

async fn live(options: ProxyOptions) -> Result<(), ProxyError> {
    let mut heir = match options.take_over {
        true => Some(Heir::ask(&options.socket).await?),
        false => None,
    };
    let tenure = Tenure::take(&options.state)?;
    let inherited = match (&mut heir, options.inherit) {
        (Some(heir), _) => std::mem::take(&mut heir.sockets),
        (None, Some(from)) => inherit(from).map_err(ProxyError::Inherit)?,
        (None, None) => BTreeMap::new(),
    };
    let loaded = saved::load(&options.state)?;
    if let (Some(_), (_, Some(aside))) = (&heir, &loaded) {
        let why = format!("its state is not understood, and lies in {}", aside.display());
        return Err(ProxyError::TakeOver { why });
    }
    let saver = Saver::start(options.state)?;
    let threads = options.threads.max(1);
    let token = heir.as_ref().map_or_else(token, |heir| Ok(heir.legacy.token.clone()));
    let token = token.map_err(ProxyError::start("without randomness"))?;
    let shared = Arc::new(Shared { limits: options.limits, threads, token, version: options.version });
    let workers = start_workers(&shared)?;
    // From here on nothing fails: as soon as routes are restored there are users, who would be cut off by it.
    let signals = Signals::listen()?;
    let listener = unix::listen(&options.socket).map_err(ProxyError::file("listen at", &options.socket))?;
    let registry = Arc::new(Registry::restore(Arc::clone(&shared), workers, saver, loaded, inherited));
    match &heir {
        Some(heir) => registry.believe(&heir.legacy.healthy),
        None => registry.first_look(FIRST_LOOK).await,
    }
    let process = Process { registry, tenure, socket: options.socket, shutdown: shared.limits.shutdown };
    process.serve(heir, listener, signals).await;
    Ok(())
}

fn start_workers(shared: &Arc<Shared>) -> Result<Vec<WorkerHandle>, ProxyError> {
    let workers = (0..shared.threads).map(|thread| start(thread, shared));
    workers.collect::<io::Result<_>>().map_err(ProxyError::start("a worker thread"))
}

/// A proxy that has everything it needs to serve.
struct Process {
    registry: Arc<Registry>,
    tenure: Tenure,
    socket: PathBuf,
    shutdown: Duration,
}

/// How long the last answers to heirs may take.
const ANSWERS: Duration = Duration::from_secs(2);

/// How soon the control socket is tried again that could not be put back, e.g. on a disk without room.
const LISTEN_AGAIN: Duration = Duration::from_secs(1);

/// What ends a proxy's service.
enum End {
    Told,
    Retired(Retired),
}

impl Process {
    async fn serve(self, heir: Option<Heir>, listener: UnixListener, mut signals: Signals) {
        let (orders, mut inbox) = mpsc::unbounded_channel();
        // Whoever asks for a change before the elder has retired waits until it has.
        let frozen = match &heir {
            Some(_) => Some(self.registry.freeze().await),
            None => None,
        };
        let mut control = self.control(listener, &orders);
        let mut reachable = true;
        let binding = AbortOnDrop(tokio::spawn(bind_unbound(Arc::clone(&self.registry))));
        if let Some(heir) = heir {
            heir.take_over().await;
        }
        self.registry.elders.find(&self.socket);
        drop(frozen);
        tracing::info!(pid = std::process::id(), "the proxy serves");
        let end = loop {
            let heir = tokio::select! {
                () = signals.next() => break End::Told,
                () = tokio::time::sleep(LISTEN_AGAIN), if !reachable => {
                    if let Ok(again) = self.listen(&self.socket, &orders) {
                        control = again;
                        reachable = true;
                    }
                    continue;
                }
                order = inbox.recv() => match order {
                    Some(Order::Yield(heir)) => heir,
                    Some(Order::End) | None => break End::Told,
                },
            };
            let frozen = tokio::select! {
                () = signals.next() => break End::Told,
                frozen = self.registry.freeze() => frozen,
            };
            // Whoever asked for the end until now has been told that it comes.
            if is_told(&mut inbox, &orders) {
                break End::Told;
            }
            let mut yielding = pin!(yield_to(heir, frozen, &self.registry, &self.tenure));
            let yielded = tokio::select! {
                () = signals.next() => {
                    // First they, or changes that wait would be made here, and the state may be the heir's.
                    control.stop().await;
                    break End::Told;
                }
                yielded = &mut yielding => yielded,
            };
            match yielded {
                Some(retired) => break End::Retired(retired),
                // The heir may have put its own in the place of the socket.
                None => match self.listen(&self.socket, &orders) {
                    Ok(again) => control = again,
                    Err(error) => {
                        tracing::error!(%error, "the control socket is tried again; users are served meanwhile");
                        reachable = false;
                    }
                },
            }
        };
        drop((control, binding));
        match end {
            End::Told => self.end().await,
            End::Retired(retired) => self.retire(retired, &mut signals).await,
        }
    }

    fn listen(&self, socket: &Path, orders: &mpsc::UnboundedSender<Order>) -> io::Result<AbortOnDrop> {
        Ok(self.control(unix::listen(socket)?, orders))
    }

    fn control(&self, listener: UnixListener, orders: &mpsc::UnboundedSender<Order>) -> AbortOnDrop {
        let serving = control::serve(listener, Arc::clone(&self.registry), orders.clone());
        AbortOnDrop(tokio::spawn(serving))
    }

    /// Leaves the state to whoever comes next, and finishes what is under way.
    async fn end(self) {
        let ending = self.registry.finish(self.shutdown);
        if let Err(error) = self.registry.persisted().await {
            tracing::error!(%error, "the last state was not written");
        }
        // Without the state, an heir may have put its own in the place of the socket.
        if self.tenure.is_held() {
            let _ = std::fs::remove_file(&self.socket);
        }
        self.tenure.release();
        ending.ended().await;
    }

    /// Finishes what is under way; heirs can ask what that is, and another socket is where.
    async fn retire(self, mut retired: Retired, signals: &mut Signals) {
        let socket = retired_socket(&self.socket);
        let (orders, mut inbox) = mpsc::unbounded_channel();
        let control = self.listen(&socket, &orders);
        if let Err(error) = &control {
            // Its heirs cannot ask what it still has; it finishes that all the same.
            tracing::warn!(%error, "heirs cannot reach this proxy");
        }
        self.registry.retire();
        retired.confirm().await;
        tracing::info!("another proxy has taken over");
        let registry = Arc::clone(&self.registry);
        let finished = async {
            registry.lingered().await;
            registry.finish_retired().ended().await;
            let _ = tokio::time::timeout(ANSWERS, registry.answered()).await;
        };
        tokio::select! {
            () = finished => {}
            () = signals.next() => self.hurry().await,
            _ = inbox.recv() => self.hurry().await,
        }
        let _ = std::fs::remove_file(&socket);
    }

    /// Somebody wants it gone.
    async fn hurry(&self) {
        let ended = self.registry.finish_retired().ended();
        let _ = tokio::time::timeout(self.shutdown, ended).await;
    }
}

/// What tells a process to end.
struct Signals {
    terminate: Signal,
    interrupt: Signal,
    /// Taken and ignored: the end of a terminal is not the end of the proxy.
    _hangup: Signal,
}

impl Signals {
    fn listen() -> Result<Self, ProxyError> {
        let listen = |kind| signal(kind).map_err(ProxyError::start("listening for signals"));
        Ok(Self {
            terminate: listen(SignalKind::terminate())?,
            interrupt: listen(SignalKind::interrupt())?,
            _hangup: listen(SignalKind::hangup())?,
        })
    }

    async fn next(&mut self) {
        tokio::select! { _ = self.terminate.recv() => {}, _ = self.interrupt.recv() => {} }
    }
}

/// Whether the end has been ordered; heirs stay in the line.
fn is_told(inbox: &mut mpsc::UnboundedReceiver<Order>, orders: &mpsc::UnboundedSender<Order>) -> bool {
    let mut heirs = Vec::new();
    while let Ok(order) = inbox.try_recv() {
        match order {
            Order::End => return true,
            Order::Yield(_) => heirs.push(order),
        }
    }
    for heir in heirs {
        // The inbox is here, so it takes them.
        let _ = orders.send(heir);
    }
    false
}

struct AbortOnDrop(JoinHandle<()>);

impl AbortOnDrop {
    async fn stop(&mut self) {
        self.0.abort();
        let _ = (&mut self.0).await;
    }
}

impl Drop for AbortOnDrop {
    fn drop(&mut self) {
        self.0.abort();
    }
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
