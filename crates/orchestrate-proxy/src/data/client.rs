//! One connection of a client: from accept to its end, and what its timeouts need to know.

use std::cell::{Cell, RefCell};
use std::collections::HashMap;
use std::future::{Future, poll_fn};
use std::net::SocketAddr;
use std::pin::pin;
use std::rc::Rc;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering::Relaxed};
use std::task::{Context, Poll, Waker};

use hyper::rt::Executor;
use hyper::server::conn::{http1, http2};
use hyper::service::service_fn;
use tokio::net::TcpStream;
use tokio::sync::OwnedSemaphorePermit;

use super::clock;
use super::forward::{Visit, forward};
use super::gate::{Gate, Protocol};
use super::worker::{Site, Worker};

/// What the socket's side knows; it travels with an upgrade, so it is shared by atomics.
#[derive(Default)]
pub(super) struct Progress {
    inside_head: AtomicBool,
    /// The tick at which something last changed.
    since: AtomicU32,
}

impl Progress {
    pub fn touch(&self) {
        self.since.store(clock::now(), Relaxed);
    }

    pub fn inside_head(&self, inside: bool) {
        // The time to send a head counts from its first byte, however many follow.
        if inside != self.inside_head.load(Relaxed) {
            self.inside_head.store(inside, Relaxed);
            self.touch();
        }
    }
}

/// A client's connection as the reaper sees it.
pub(super) struct Client {
    /// Among all clients of the worker.
    key: u64,
    pub progress: Arc<Progress>,
    /// Its place under the limit, kept as long as an upgraded connection lasts.
    _permit: OwnedSemaphorePermit,
    /// Requests that have no whole answer yet.
    busy: Cell<u32>,
    end: Cell<End>,
    /// It speaks HTTP/2, which has a farewell that loses no request.
    multiplexed: Cell<bool>,
    waker: RefCell<Option<Waker>>,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum End {
    No,
    /// Close after what is under way.
    Soon,
    Announced,
    Now,
}

impl Client {
    fn new(key: u64, permit: OwnedSemaphorePermit) -> Self {
        let (progress, busy, end) = (Arc::default(), Cell::new(0), Cell::new(End::No));
        let multiplexed = Cell::new(false);
        Self { key, progress, _permit: permit, busy, end, multiplexed, waker: RefCell::default() }
    }

    pub fn begin(self: &Rc<Self>) -> Busy {
        self.busy.set(self.busy.get() + 1);
        Busy(Rc::clone(self))
    }

    /// Ends the connection once nothing is under way.
    pub fn end_soon(&self) {
        if self.end.get() == End::No {
            self.set_end(End::Soon);
        }
    }

    /// Ends the connection as soon as that costs no request: at once with HTTP/2, after the next answer without it.
    pub fn take_leave(&self) {
        if self.multiplexed.get() {
            // Also if it was told to end before it had said anything.
            self.set_end(End::Soon);
        }
    }

    fn set_end(&self, end: End) {
        self.end.set(end);
        self.progress.touch();
        if let Some(waker) = self.waker.borrow_mut().take() {
            waker.wake();
        }
    }

    /// Applies the timeouts, in ticks.
    pub fn examine(&self, header_read: u32, keep_alive: u32) {
        let still = clock::now().wrapping_sub(self.progress.since.load(Relaxed));
        if self.busy.get() > 0 {
            return;
        }
        if self.progress.inside_head.load(Relaxed) {
            if still > header_read {
                self.set_end(End::Now);
            }
        } else if still > keep_alive {
            // A client that does not even take the end of an answer is cut the second time.
            let end = if self.end.get() == End::No { End::Soon } else { End::Now };
            self.set_end(end);
        }
    }

    fn watch(&self, cx: &Context<'_>) -> End {
        let mut waker = self.waker.borrow_mut();
        if !waker.as_ref().is_some_and(|waker| waker.will_wake(cx.waker())) {
            *waker = Some(cx.waker().clone());
        }
        self.end.get()
    }

    /// Polls to the end, or until the connection must end now; `announce` is called once it shall end soon.
    async fn drive<F: Future>(
        &self,
        future: F,
        announce: impl Fn(std::pin::Pin<&mut F>),
    ) -> Option<F::Output> {
        let mut future = pin!(future);
        poll_fn(|cx| {
            match self.watch(cx) {
                End::No | End::Announced => {}
                End::Soon => {
                    self.end.set(End::Announced);
                    announce(future.as_mut());
                }
                End::Now => return Poll::Ready(None),
            }
            future.as_mut().poll(cx).map(Some)
        })
        .await
    }
}

/// A request under way; dropping it notes its end.
pub(super) struct Busy(Rc<Client>);

impl Drop for Busy {
    fn drop(&mut self) {
        self.0.busy.set(self.0.busy.get() - 1);
        self.0.progress.touch();
    }
}

/// All clients of a worker.
#[derive(Default)]
pub(super) struct Clients {
    next: Cell<u64>,
    all: RefCell<HashMap<u64, Rc<Client>>>,
}

impl Clients {
    /// From here on it is told when it is to end, and counts as one that waits.
    pub fn add(&self, permit: OwnedSemaphorePermit) -> Rc<Client> {
        let key = self.next.get();
        let client = Rc::new(Client::new(key, permit));
        client.progress.touch();
        self.next.set(key + 1);
        self.all.borrow_mut().insert(key, Rc::clone(&client));
        client
    }

    pub fn is_empty(&self) -> bool {
        self.all.borrow().is_empty()
    }

    /// Whether one waits for its client, or could.
    pub fn any_idle(&self) -> bool {
        self.all.borrow().values().any(|client| client.busy.get() == 0)
    }

    pub fn each(&self, act: impl Fn(&Client)) {
        self.all.borrow().values().for_each(|client| act(client));
    }
}

/// Serves one connection to its end.
pub(super) async fn serve(
    worker: Rc<Worker>,
    site: Rc<Site>,
    tcp: TcpStream,
    peer: SocketAddr,
    client: Rc<Client>,
) {
    // Without it, the last part of an answer would wait for the client's acknowledgement; it is no reason to refuse.
    let _ = tcp.set_nodelay(true);
    worker.wake_reaper();
    let gate = Gate::new(tcp, Arc::clone(&client.progress));
    converse(&worker, &site, &client, gate, peer).await;
    worker.clients.all.borrow_mut().remove(&client.key);
}

async fn converse(
    worker: &Rc<Worker>,
    site: &Rc<Site>,
    client: &Rc<Client>,
    mut gate: Gate,
    peer: SocketAddr,
) {
    client.progress.inside_head(true);
    let sniffed = client.drive(gate.sniff(), |_| {}).await;
    client.progress.inside_head(false);
    let Some(Some(protocol)) = sniffed else { return };
    client.multiplexed.set(protocol == Protocol::Http2);
    if worker.is_leaving() {
        client.take_leave();
    }
    let visit = Rc::new(Visit::new(Rc::clone(worker), Rc::clone(site), Rc::clone(client), peer, protocol));
    let service = service_fn(move |request| forward(Rc::clone(&visit), request));
    // How a connection ended is of no interest to anyone but the client, who knows.
    match protocol {
        Protocol::Http1 => {
            let connection = http1_builder(worker).serve_connection(gate, service).with_upgrades();
            let _ = client.drive(connection, |connection| connection.graceful_shutdown()).await;
        }
        Protocol::Http2 => {
            let connection = http2_builder(worker).serve_connection(gate, service);
            let _ = client.drive(connection, |connection| connection.graceful_shutdown()).await;
        }
    }
}

fn http1_builder(worker: &Worker) -> http1::Builder {
    let limits = &worker.shared.limits;
    let mut builder = http1::Builder::new();
    builder.max_header_size(limits.max_header_bytes).max_buf_size(limits.max_header_bytes.max(64 * 1024));
    // The parser keeps its default number on the stack; naming that number would cost a check and no more.
    if limits.max_headers != 100 {
        builder.max_headers(limits.max_headers);
    }
    builder
}

fn http2_builder(worker: &Worker) -> http2::Builder<Local> {
    let limits = &worker.shared.limits;
    let mut builder = http2::Builder::new(Local);
    builder
        .max_concurrent_streams(limits.max_streams)
        .max_header_list_size(u32::try_from(limits.max_header_bytes).unwrap_or(u32::MAX));
    builder
}

/// Runs the streams of an HTTP/2 connection on the worker's own thread.
#[derive(Clone)]
struct Local;

impl<F: Future + 'static> Executor<F> for Local {
    fn execute(&self, future: F) {
        tokio::task::spawn_local(async move {
            future.await;
        });
    }
}
