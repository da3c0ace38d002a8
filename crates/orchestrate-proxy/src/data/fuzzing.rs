//! One client's connection through the real data path, on one thread, with an instance that writes down what reaches it.
#![allow(clippy::unwrap_used, reason = "a target that panics has found something")]

use std::cell::{Cell, RefCell};
use std::net::SocketAddr;
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use orchestrate_core::environment::HealthCheck;
use orchestrate_core::name::{EnvironmentName, ReleaseId, Version};
use orchestrate_core::ports::Placement;
use orchestrate_core::slot::Slot;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::runtime::{Builder, LocalOptions, LocalRuntime};
use tokio::sync::{Notify, Semaphore};

use super::client::serve;
use super::guard::Guard;
use super::worker::{Shared, Site, Worker};
use crate::fuzzing::strict::{End, Lines, Request, requests};
use crate::options::Limits;
use crate::stats::Counters;
use crate::table::{Environment, Instance, Lane, Load, Placed, Table};

/// Longer than any machine needs for a few kilobytes over loopback.
const STUCK: Duration = Duration::from_secs(60);

/// What reached the instance.
#[derive(Default)]
struct Record {
    /// The bytes of each connection.
    connections: RefCell<Vec<Vec<u8>>>,
    /// Connection and number of each request, in the order in which their heads came.
    heads: RefCell<Vec<(usize, usize)>>,
    open: Cell<usize>,
    /// Whoever connected last.
    latest: Cell<Option<SocketAddr>>,
    news: Notify,
}

struct Bench {
    runtime: LocalRuntime,
    worker: Rc<Worker>,
    site: Rc<Site>,
    entrance: TcpListener,
    instance: SocketAddr,
    record: Rc<Record>,
}

thread_local! {
    static BENCH: Bench = Bench::new();
}

/// Sends the stream in pieces of a size, and returns every request that reached the instance, in order.
///
/// Panics if a request that a strict parser sees is neither answered nor refused, or if the instance got what is not HTTP.
pub(crate) fn converse(stream: &[u8], piece: usize) -> Vec<Request> {
    BENCH.with(|bench| bench.runtime.block_on(bench.converse(stream, piece)))
}

/// The guard must find the same, however the stream is cut.
pub(crate) fn guard_agrees_with_itself(stream: &[u8]) {
    let whole = Guard::default().feed(stream);
    let mut guard = Guard::default();
    let at = stream.iter().position(|byte| guard.feed(&[*byte]).is_err());
    assert_eq!(whole.err().map(|violation| violation.at), at, "{}", stream.escape_ascii());
}

impl Bench {
    fn new() -> Self {
        let runtime =
            Builder::new_current_thread().enable_all().build_local(LocalOptions::default()).unwrap();
        let loopback = "127.0.0.1:0";
        let entrance = runtime.block_on(TcpListener::bind(loopback)).unwrap();
        let backend = runtime.block_on(TcpListener::bind(loopback)).unwrap();
        let (instance, record) = (backend.local_addr().unwrap(), Rc::<Record>::default());
        let theirs = Rc::clone(&record);
        let worker = runtime.block_on(async {
            tokio::task::spawn_local(accept(backend, theirs));
            let shared =
                Shared { limits: Limits::default(), threads: 1, token: "f".repeat(32), version: "fuzzing" };
            Worker::new(0, Arc::new(shared))
        });
        let environment = Arc::new(environment(entrance.local_addr().unwrap(), instance));
        let site = Rc::new(Site { environment, process: "web".into(), name: "127.0.0.1:80".into() });
        Self { runtime, worker, site, entrance, instance, record }
    }

    async fn converse(&self, stream: &[u8], piece: usize) -> Vec<Request> {
        let (seen, _) = requests(stream, Lines::LfToo);
        let wanted = seen.iter().filter(|request| request.whole).count();
        let tcp = TcpStream::connect(self.entrance.local_addr().unwrap()).await.unwrap();
        let (ours, peer) = self.entrance.accept().await.unwrap();
        let permit = Arc::new(Semaphore::new(1)).acquire_owned().await.unwrap();
        let client = self.worker.clients.add(permit);
        let serving = serve(Rc::clone(&self.worker), Rc::clone(&self.site), ours, peer, client);
        let asking = ask(tcp, stream, piece, wanted);
        let both = async { tokio::join!(serving, asking) };
        let ended = tokio::time::timeout(STUCK, both).await;
        assert!(ended.is_ok(), "what a strict parser sees is not answered: {}", stream.escape_ascii());
        self.settle().await;
        self.collect(stream)
    }

    /// Waits until the instance has read all that was sent to it.
    async fn settle(&self) {
        self.worker.pool.clear();
        // Connections are taken in their order, so behind this one no other is left.
        let last = TcpStream::connect(self.instance).await.unwrap();
        let address = last.local_addr().unwrap();
        drop(last);
        let record = &self.record;
        while record.latest.get() != Some(address) || record.open.get() > 0 {
            let news = tokio::time::timeout(STUCK, record.news.notified()).await;
            assert!(news.is_ok(), "a connection to the instance is never closed");
        }
    }

    fn collect(&self, stream: &[u8]) -> Vec<Request> {
        let connections = self.record.connections.take();
        let read = connections.iter().map(|bytes| {
            let (sent, end) = requests(bytes, Lines::CrLf);
            let what = || format!("{}\nbecame\n{}", stream.escape_ascii(), bytes.escape_ascii());
            assert!(!matches!(end, End::Invalid(_)), "{end:?}: {}", what());
            sent
        });
        let sent: Vec<Vec<Request>> = read.collect();
        let heads = self.record.heads.take().into_iter();
        heads.filter_map(|(connection, number)| sent.get(connection)?.get(number).cloned()).collect()
    }
}

fn environment(listen: SocketAddr, instance: SocketAddr) -> Environment {
    let name = EnvironmentName::new("fuzz").unwrap();
    let instance = Arc::new(Instance::new(1, "web-0".into(), instance));
    let lane = Lane::new("web".into(), listen, vec![instance], HealthCheck::default());
    let placement = Placement {
        environment: name.clone(),
        slot: Slot::Blue,
        release: ReleaseId(1),
        version: Version::new("1.0").unwrap(),
    };
    let load = Arc::new(Load::new(Arc::new(Counters::new(1))));
    let placed = Placed { placement, weight: 100, lanes: [lane].into(), load };
    let environment = Environment::new(name);
    environment.swap(Table { placed: vec![Arc::new(placed)], rules: None });
    environment
}

/// Sends all of it, reads as many answers as there must be, and only then says that no more will come: the proxy takes the end
/// of a client for the end of its interest.
async fn ask(mut tcp: TcpStream, stream: &[u8], piece: usize, wanted: usize) {
    let (mut read, mut write) = tcp.split();
    let mut answers = Vec::new();
    let writing = async {
        for piece in stream.chunks(piece) {
            if write.write_all(piece).await.is_err() {
                return;
            }
            tokio::task::yield_now().await;
        }
    };
    let reading = async {
        while answered(&answers) < wanted && read.read_buf(&mut answers).await.is_ok_and(|read| read > 0) {}
    };
    tokio::join!(writing, reading);
    let _ = write.shutdown().await;
    let _ = read.read_to_end(&mut answers).await;
}

/// Answers that are not interim.
fn answered(bytes: &[u8]) -> usize {
    let count = |text: &[u8]| bytes.windows(text.len()).filter(|window| *window == text).count();
    count(b"HTTP/1.") - count(b"HTTP/1.1 100 ")
}

async fn accept(listener: TcpListener, record: Rc<Record>) {
    while let Ok((tcp, peer)) = listener.accept().await {
        record.open.set(record.open.get() + 1);
        record.latest.set(Some(peer));
        let number = {
            let mut connections = record.connections.borrow_mut();
            connections.push(Vec::new());
            connections.len() - 1
        };
        let record = Rc::clone(&record);
        tokio::task::spawn_local(async move {
            note(tcp, number, &record).await;
            record.open.set(record.open.get() - 1);
            record.news.notify_one();
        });
    }
}

/// Writes down what comes, and answers each whole request.
async fn note(mut tcp: TcpStream, number: usize, record: &Record) {
    let (mut heads, mut answered, mut bytes) = (0, 0, Vec::new());
    while tcp.read_buf(&mut bytes).await.is_ok_and(|read| read > 0) {
        let (found, end) = requests(&bytes, Lines::CrLf);
        record.connections.borrow_mut()[number].clone_from(&bytes);
        record.heads.borrow_mut().extend((heads..found.len()).map(|head| (number, head)));
        heads = found.len();
        for request in found.iter().filter(|request| request.whole).skip(answered) {
            answered += 1;
            let body = if request.method == b"HEAD" { "" } else { "ok" };
            let answer = format!("HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\n{body}");
            if tcp.write_all(answer.as_bytes()).await.is_err() {
                return;
            }
        }
        if matches!(end, End::Invalid(_)) {
            return;
        }
    }
}
