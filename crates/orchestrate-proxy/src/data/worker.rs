//! A worker thread: its event loop, its listeners, and what all its connections share.

use std::cell::{Cell, RefCell};
use std::collections::HashMap;
use std::future::poll_fn;
use std::io;
use std::net::SocketAddr;
use std::pin::pin;
use std::rc::Rc;
use std::sync::Arc;
use std::task::Poll;
use std::time::Duration;

use tokio::net::{TcpListener, TcpStream};
use tokio::runtime::{Builder, LocalOptions};
use tokio::sync::{Notify, Semaphore, mpsc, oneshot, watch};
use tokio::task::JoinSet;

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
    /// Of the program.
    pub version: &'static str,
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
    /// Another proxy has taken over: take no connection more, and close each one after its next answer.
    Retire,
    /// Take nothing more, finish what is under way, and end.
    Finish(Finish),
}

/// The end of a worker.
#[derive(Clone)]
pub(crate) struct Finish {
    /// What is under way gets so long.
    pub limit: Duration,
    /// Dropped once nobody can ask anything more.
    pub quiet: watch::Sender<()>,
    /// Dropped once nothing is under way.
    pub ended: watch::Sender<()>,
}

/// A listening address and whom it leads to.
pub(super) struct Site {
    pub environment: Arc<Environment>,
    pub process: Arc<str>,
    /// The address, as a Host header would name it.
    pub name: String,
}

/// How often idle connections are given their turn to end.
const HUSH: u32 = 64;

pub(super) struct Worker {
    pub thread: usize,
    pub shared: Arc<Shared>,
    pub clients: Clients,
    pub leashes: Rc<Leashes>,
    pub pool: Pool,
    slots: Arc<Semaphore>,
    active: Notify,
    retired: Cell<bool>,
    finishing: Cell<bool>,
    /// Dropped, an end lets its listener stop between two connections.
    listeners: RefCell<HashMap<SocketAddr, oneshot::Sender<()>>>,
    /// A task for each of the listeners, and for those that stop and still have a connection to hand on.
    accepting: RefCell<JoinSet<()>>,
}

/// The control's end of a worker.
pub(crate) struct WorkerHandle {
    commands: mpsc::UnboundedSender<Command>,
}

impl WorkerHandle {
    /// A worker that has ended needs no telling.
    pub fn tell(&self, command: Command) {
        let _ = self.commands.send(command);
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
    std::thread::Builder::new().name(format!("worker-{thread}")).spawn(body)?;
    start.recv().unwrap_or_else(|_| Err(io::Error::other("the thread ended at once")))?;
    Ok(WorkerHandle { commands })
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
            retired: Cell::new(false),
            finishing: Cell::new(false),
            listeners: RefCell::default(),
            accepting: RefCell::default(),
        })
    }

    async fn run(self: Rc<Self>, mut inbox: mpsc::UnboundedReceiver<Command>) {
        let reaper = tokio::task::spawn_local(reaper::run(Rc::clone(&self)));
        let mut finish = None;
        while let Some(command) = inbox.recv().await {
            match command {
                Command::Open { listener, listen, environment, process } => {
                    let site = Site { environment, process, name: listen.to_string() };
                    self.open(listener, listen, Rc::new(site));
                }
                Command::Close(listen) => self.close(listen),
                Command::Cut(load) => self.leashes.cut(&load),
                Command::Retire => self.retire(),
                Command::Finish(end) => {
                    finish = Some(end);
                    break;
                }
            }
        }
        if let Some(Finish { limit, quiet, ended: _ended }) = finish {
            let inbox = self.obey_to_the_end(inbox);
            tokio::select! { () = self.finish(limit, quiet) => {}, () = inbox => {} }
        }
        reaper.abort();
    }

    fn open(self: &Rc<Self>, listener: std::net::TcpListener, listen: SocketAddr, site: Rc<Site>) {
        let listener = match TcpListener::from_std(listener) {
            Ok(listener) => listener,
            Err(error) => return tracing::error!(%error, %listen, "cannot listen"),
        };
        let (end, ended) = oneshot::channel();
        let mut accepting = self.accepting.borrow_mut();
        while accepting.try_join_next().is_some() {}
        accepting.spawn_local(accept(Rc::clone(self), listener, site, ended));
        self.listeners.borrow_mut().insert(listen, end);
    }

    fn close(&self, listen: SocketAddr) {
        self.listeners.borrow_mut().remove(&listen);
    }

    /// Nobody is cut off: who is idle may be sending its next request just now, so it is answered, with a farewell.
    fn retire(&self) {
        self.listeners.borrow_mut().clear();
        self.retired.set(true);
        self.clients.each(super::client::Client::take_leave);
    }

    /// What is cut must be cut while the rest is finished, too.
    async fn obey_to_the_end(&self, mut inbox: mpsc::UnboundedReceiver<Command>) {
        while let Some(command) = inbox.recv().await {
            if let Command::Cut(load) = command {
                self.leashes.cut(&load);
            }
        }
        std::future::pending().await
    }

    /// At the limit, what is left is dropped with the event loop.
    async fn finish(&self, limit: Duration, quiet: watch::Sender<()>) {
        self.listeners.borrow_mut().clear();
        self.finishing.set(true);
        self.pool.clear();
        self.clients.each(super::client::Client::end_soon);
        let finished = async {
            // First they: who is accepted shall not wait for a place behind the end of all others.
            let mut accepting = self.accepting.take();
            while accepting.join_next().await.is_some() {}
            self.hushed().await;
            drop(quiet);
            let all = u32::try_from(self.shared.limits.max_connections.div_ceil(self.shared.threads).max(1));
            let _ = self.slots.acquire_many(all.unwrap_or(u32::MAX)).await;
        };
        let _ = tokio::time::timeout(limit, finished).await;
    }

    /// Returns once each idle connection was told; one that speaks HTTP/2 may need a little longer to end.
    async fn hushed(&self) {
        for _ in 0..HUSH {
            if !self.clients.any_idle() {
                return;
            }
            tokio::task::yield_now().await;
        }
    }

    /// The next connection. A full worker takes none, or it would wait here while another worker has a place for it.
    async fn next(&self, listener: &TcpListener) -> io::Result<(TcpStream, SocketAddr)> {
        if self.shared.threads == 1 {
            return listener.accept().await;
        }
        loop {
            // Let go of at once: until there is a connection, the place is for whichever listener has one first.
            drop(self.slots.acquire().await);
            let next = poll_fn(|cx| match self.slots.available_permits() {
                0 => Poll::Ready(None),
                _ => listener.poll_accept(cx).map(Some),
            });
            if let Some(next) = next.await {
                return next;
            }
        }
    }

    /// Whether a client's next request is for somebody else.
    pub fn is_leaving(&self) -> bool {
        self.retired.get() || self.finishing.get()
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

async fn accept(worker: Rc<Worker>, listener: TcpListener, site: Rc<Site>, mut ended: oneshot::Receiver<()>) {
    let mut listener = Some(listener);
    while let Some(listening) = &listener {
        let accepted = tokio::select! {
            // A connection that was taken is served; only between two of them a listener ends.
            _ = &mut ended => return,
            accepted = worker.next(listening) => accepted,
        };
        match accepted {
            Ok((tcp, peer)) => {
                // At the limit of the only worker this one waits here, and the next ones in the backlog.
                let mut place = pin!(Arc::clone(&worker.slots).acquire_owned());
                let permit = tokio::select! {
                    biased;
                    permit = &mut place => permit,
                    _ = &mut ended => {
                        listener = None;
                        place.await
                    }
                };
                let Ok(permit) = permit else { return };
                let client = worker.clients.add(permit);
                if worker.finishing.get() {
                    client.end_soon();
                }
                tokio::task::spawn_local(serve(Rc::clone(&worker), Rc::clone(&site), tcp, peer, client));
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
