//! A worker thread: its event loop, its listeners, and what all its connections share.

use std::cell::{Cell, RefCell};
use std::collections::HashMap;
use std::io;
use std::net::SocketAddr;
use std::rc::Rc;
use std::sync::Arc;
use std::thread::JoinHandle;
use std::time::Duration;

use tokio::net::TcpListener;
use tokio::runtime::{Builder, LocalOptions};
use tokio::sync::{Notify, Semaphore, mpsc};
use tokio::task::AbortHandle;

use super::client::{Clients, serve};
use super::exchange::Exchange;
use super::leash::Leashes;
use super::pool::Pool;
use super::reaper;
use crate::options::Limits;
use crate::table::{Environment, Instance, Load};

/// What every worker is given.
pub(crate) struct Shared {
    pub limits: Limits,
    pub threads: usize,
    /// Whoever shows it is told which release answered.
    pub token: String,
}

/// What a worker is told.
pub(crate) enum Command {
    Open {
        listener: std::net::TcpListener,
        listen: SocketAddr,
        environment: Arc<Environment>,
        process: Arc<str>,
    },
    Close(SocketAddr),
    /// Ends what is in flight to the release.
    Cut(Arc<Load>),
    /// Take nothing more, finish what is under way, and end.
    Finish,
}

/// A listening address and whom it leads to.
pub(super) struct Site {
    pub environment: Arc<Environment>,
    pub process: Arc<str>,
    /// The address, as a Host header would name it.
    pub name: String,
}

pub(super) struct Worker {
    pub thread: usize,
    pub shared: Arc<Shared>,
    pub clients: Clients,
    pub leashes: Rc<Leashes>,
    pub pool: Pool,
    slots: Arc<Semaphore>,
    active: Notify,
    finishing: Cell<bool>,
    listeners: RefCell<HashMap<SocketAddr, AbortHandle>>,
}

/// The control's end of a worker.
pub(crate) struct WorkerHandle {
    commands: mpsc::UnboundedSender<Command>,
    thread: Option<JoinHandle<()>>,
}

impl WorkerHandle {
    /// A worker that has ended needs no telling.
    pub fn tell(&self, command: Command) {
        let _ = self.commands.send(command);
    }

    /// Waits for the thread to end.
    pub fn join(&mut self) {
        if let Some(thread) = self.thread.take() {
            // A worker that panicked has been reported by the panic itself.
            let _ = thread.join();
        }
    }
}

/// Starts worker number `thread`.
pub(crate) fn start(thread: usize, shared: &Arc<Shared>) -> io::Result<WorkerHandle> {
    let (commands, inbox) = mpsc::unbounded_channel();
    let (started, start) = std::sync::mpsc::sync_channel(1);
    let shared = Arc::clone(shared);
    // The event loop cannot leave its thread, so it is made there.
    let body = move || {
        let built =
            Builder::new_current_thread().enable_io().enable_time().build_local(LocalOptions::default());
        let (runtime, outcome) = match built {
            Ok(runtime) => (Some(runtime), Ok(())),
            Err(error) => (None, Err(error)),
        };
        // The starter waits for this word, or has been told why there is no thread.
        let _ = started.send(outcome);
        if let Some(runtime) = runtime {
            runtime.block_on(Worker::new(thread, shared).run(inbox));
        }
    };
    let thread = std::thread::Builder::new().name(format!("worker-{thread}")).spawn(body)?;
    start.recv().unwrap_or_else(|_| Err(io::Error::other("the thread ended at once")))?;
    Ok(WorkerHandle { commands, thread: Some(thread) })
}

impl Worker {
    pub fn new(thread: usize, shared: Arc<Shared>) -> Rc<Self> {
        let connections = shared.limits.max_connections.div_ceil(shared.threads).max(1);
        Rc::new(Self {
            thread,
            shared,
            clients: Clients::default(),
            leashes: Rc::default(),
            pool: Pool::default(),
            slots: Arc::new(Semaphore::new(connections)),
            active: Notify::new(),
            finishing: Cell::new(false),
            listeners: RefCell::default(),
        })
    }

    async fn run(self: Rc<Self>, mut inbox: mpsc::UnboundedReceiver<Command>) {
        let reaper = tokio::task::spawn_local(reaper::run(Rc::clone(&self)));
        while let Some(command) = inbox.recv().await {
            match command {
                Command::Open { listener, listen, environment, process } => {
                    let site = Site { environment, process, name: listen.to_string() };
                    self.open(listener, listen, Rc::new(site));
                }
                Command::Close(listen) => self.close(listen),
                Command::Cut(load) => self.leashes.cut(&load),
                Command::Finish => break,
            }
        }
        self.finish().await;
        reaper.abort();
    }

    fn open(self: &Rc<Self>, listener: std::net::TcpListener, listen: SocketAddr, site: Rc<Site>) {
        let listener = match TcpListener::from_std(listener) {
            Ok(listener) => listener,
            Err(error) => return tracing::error!(%error, %listen, "cannot listen"),
        };
        let task = tokio::task::spawn_local(accept(Rc::clone(self), listener, site));
        if let Some(before) = self.listeners.borrow_mut().insert(listen, task.abort_handle()) {
            before.abort();
        }
    }

    fn close(&self, listen: SocketAddr) {
        if let Some(task) = self.listeners.borrow_mut().remove(&listen) {
            task.abort();
        }
    }

    async fn finish(&self) {
        self.listeners.borrow_mut().drain().for_each(|(_, task)| task.abort());
        self.finishing.set(true);
        self.pool.clear();
        self.clients.each(super::client::Client::end_soon);
        let all = u32::try_from(self.shared.limits.max_connections.div_ceil(self.shared.threads).max(1));
        let idle = self.slots.acquire_many(all.unwrap_or(u32::MAX));
        // At the limit, what is left is dropped with the event loop.
        let _ = tokio::time::timeout(self.shared.limits.shutdown, idle).await;
    }

    pub fn put_back(&self, instance: &Arc<Instance>, exchange: Box<Exchange>) {
        if !self.finishing.get() {
            self.pool.put(instance, exchange, self.shared.limits.upstream_idle_connections);
        }
    }

    pub fn wake_reaper(&self) {
        self.active.notify_one();
    }

    pub async fn something_to_time(&self) {
        while self.clients.is_empty() && self.leashes.is_empty() && self.pool.is_empty() {
            self.active.notified().await;
        }
    }
}

async fn accept(worker: Rc<Worker>, listener: TcpListener, site: Rc<Site>) {
    loop {
        match listener.accept().await {
            Ok((tcp, peer)) => {
                // At the limit this one waits here, and the next ones in the backlog.
                let Ok(permit) = Arc::clone(&worker.slots).acquire_owned().await else { return };
                let serving = serve(Rc::clone(&worker), Rc::clone(&site), tcp, peer, permit);
                tokio::task::spawn_local(serving);
                // The other workers get their chance at what else waits.
                tokio::task::yield_now().await;
            }
            Err(error) => {
                tracing::warn!(%error, "cannot accept a connection");
                pause_after(&error).await;
            }
        }
    }
}

/// Out of descriptors, the kernel would report the same connection again at once.
async fn pause_after(error: &io::Error) {
    if !matches!(error.kind(), io::ErrorKind::ConnectionAborted | io::ErrorKind::ConnectionReset) {
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
}
