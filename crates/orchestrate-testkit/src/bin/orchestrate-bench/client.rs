//! The load: keep-alive clients in a closed loop, on a thread of their own, as cheap as they can be.
//!
//! A request is never tried again behind the measurement's back: whatever is not a whole answer is a failure.

use std::cell::Cell;
use std::net::SocketAddr;
use std::rc::Rc;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, anyhow, bail};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;
use tokio::sync::{oneshot, watch};
use tokio::task::LocalSet;
use tokio::time::timeout;

use crate::process::{LIMIT, LOOK_EVERY};

/// The version that a rollback goes to, and the one that it leaves.
pub const GOOD: &str = "1.0.0";
pub const BAD: &str = "2.0.0";

const PATIENCE: Duration = Duration::from_secs(30);
const PAUSE_BETWEEN_CONNECTS: Duration = Duration::from_millis(5);
/// The watchers of a load look this often, counted in requests.
const REPORT_EVERY: u64 = 50;

/// Who answered.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum By {
    Good,
    Bad,
}

/// One request that is over.
#[derive(Debug)]
pub struct Record {
    pub at: Instant,
    pub outcome: Result<By, String>,
}

/// What a load has seen so far.
#[derive(Clone, Debug, Default)]
pub struct Progress {
    pub requests: u64,
    /// Of each connection.
    pub newest: Vec<Option<By>>,
}

impl Progress {
    pub fn all_by(&self, by: By) -> bool {
        self.newest.iter().all(|newest| *newest == Some(by))
    }
}

/// Runs until it is stopped, or has made as many requests as it was told.
pub struct Load {
    progress: watch::Receiver<Progress>,
    stop: watch::Sender<bool>,
    records: oneshot::Receiver<Vec<Record>>,
}

impl Load {
    /// As fast as it goes.
    pub fn start(address: SocketAddr, connections: usize, requests: Option<u64>) -> Result<Self> {
        Self::start_with(address, connections, requests, Duration::ZERO)
    }

    /// So many requests a second by all connections together.
    pub fn paced(address: SocketAddr, connections: usize, per_second: u32) -> Result<Self> {
        let connections_u32 = u32::try_from(connections)?;
        Self::start_with(address, connections, None, Duration::from_secs(1) * connections_u32 / per_second)
    }

    fn start_with(
        address: SocketAddr,
        connections: usize,
        requests: Option<u64>,
        pace: Duration,
    ) -> Result<Self> {
        let newest = vec![None; connections];
        let (seen, progress) = watch::channel(Progress { requests: 0, newest });
        let (stop, stopping) = watch::channel(false);
        let (report, records) = oneshot::channel();
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
        std::thread::Builder::new().name("load".to_owned()).spawn(move || {
            let left = Rc::new(Cell::new(requests.unwrap_or(u64::MAX)));
            let records = LocalSet::new().block_on(&runtime, async {
                let clients = (0..connections).map(|number| {
                    let (left, seen) = (Rc::clone(&left), seen.clone());
                    let client = Client { number, address, left, pace, seen };
                    tokio::task::spawn_local(client.run(stopping.clone()))
                });
                let mut all = Vec::new();
                for client in clients.collect::<Vec<_>>() {
                    all.extend(client.await.unwrap_or_default());
                }
                all
            });
            // Nobody listens any more if the benchmark has failed elsewhere.
            let _ = report.send(records);
        })?;
        Ok(Self { progress, stop, records })
    }

    pub async fn wait_until(&mut self, mut fact: impl FnMut(&Progress) -> bool) -> Result<()> {
        match timeout(LIMIT, self.progress.wait_for(|progress| fact(progress))).await {
            Ok(Ok(_)) => Ok(()),
            Ok(Err(_)) => bail!("the load ended too early"),
            Err(_) => bail!("the load did not see it within {LIMIT:?}"),
        }
    }

    /// Whether all its requests are made.
    pub fn is_over(&mut self) -> bool {
        self.progress.has_changed().is_err()
    }

    pub async fn stop(self) -> Result<Vec<Record>> {
        self.stop.send_replace(true);
        self.finish().await
    }

    /// Waits until all its requests are made.
    pub async fn finish(self) -> Result<Vec<Record>> {
        // The sender of `stop` is kept: a client takes its end for an order.
        let Self { records, stop: _stop, .. } = self;
        let limit = LIMIT * 5;
        let records =
            timeout(limit, records).await.map_err(|_| anyhow!("the load did not end within {limit:?}"))?;
        records.context("the load broke")
    }
}

/// How many failed, and the first reasons.
pub fn failures(records: &[Record]) -> (usize, Vec<String>) {
    let failed: Vec<&String> = records.iter().filter_map(|record| record.outcome.as_ref().err()).collect();
    let mut reasons: Vec<String> = failed.iter().map(|reason| (*reason).clone()).collect();
    reasons.sort();
    reasons.dedup();
    reasons.truncate(5);
    (failed.len(), reasons)
}

struct Client {
    number: usize,
    address: SocketAddr,
    /// Requests that are still to be made, by all clients.
    left: Rc<Cell<u64>>,
    /// Between the beginnings of two requests; zero is as fast as it goes.
    pace: Duration,
    seen: watch::Sender<Progress>,
}

impl Client {
    async fn run(self, stopping: watch::Receiver<bool>) -> Vec<Record> {
        let mut records = Vec::new();
        let mut connection = None;
        let mut next = tokio::time::Instant::now();
        while !*stopping.borrow() && self.take_one() {
            if !self.pace.is_zero() {
                tokio::time::sleep_until(next).await;
                next += self.pace;
            }
            let asked = timeout(PATIENCE, ask(self.address, &mut connection)).await;
            let outcome = match asked {
                Ok(Ok(by)) => Ok(by),
                Ok(Err(error)) => Err(format!("{error:#}")),
                Err(_) => Err(format!("no answer within {PATIENCE:?}")),
            };
            let failed = outcome.is_err();
            self.report(outcome.as_ref().ok().copied());
            records.push(Record { at: Instant::now(), outcome });
            if failed {
                connection = None;
                tokio::time::sleep(PAUSE_BETWEEN_CONNECTS).await;
            }
        }
        records
    }

    fn take_one(&self) -> bool {
        let left = self.left.get();
        self.left.set(left.saturating_sub(1));
        left > 0
    }

    fn report(&self, by: Option<By>) {
        self.seen.send_if_modified(|progress| {
            progress.requests += 1;
            let changed = progress.newest[self.number] != by;
            progress.newest[self.number] = by;
            changed || progress.requests.is_multiple_of(REPORT_EVERY)
        });
    }
}

/// An HTTP/1.1 connection that reads small answers with a length.
struct Connection {
    stream: TcpStream,
    request: Vec<u8>,
    buffer: Vec<u8>,
}

struct Answer {
    status: u16,
    body: Vec<u8>,
    close: bool,
}

async fn ask(address: SocketAddr, open: &mut Option<Connection>) -> Result<By> {
    // Out of its place meanwhile, so that a connection on which something failed is not used again.
    let mut connection = match open.take() {
        Some(connection) => connection,
        None => Connection::open(address, "GET", "/", "").await?,
    };
    let answer = connection.ask().await?;
    if !answer.close {
        *open = Some(connection);
    }
    match (answer.status, who(&answer.body)) {
        (200, Some(by)) => Ok(by),
        (200, None) => bail!("an answer without a version"),
        (status, _) => bail!("status {status}"),
    }
}

fn who(body: &[u8]) -> Option<By> {
    match std::str::from_utf8(body).ok()?.trim_end().strip_prefix("version ")? {
        GOOD => Some(By::Good),
        BAD => Some(By::Bad),
        _ => None,
    }
}

impl Connection {
    async fn open(address: SocketAddr, method: &str, path: &str, body: &str) -> Result<Self> {
        let stream = TcpStream::connect(address).await.context("cannot connect")?;
        stream.set_nodelay(true)?;
        let mut request = format!("{method} {path} HTTP/1.1\r\nhost: {address}\r\n");
        if !body.is_empty() {
            request
                .push_str(&format!("content-type: application/json\r\ncontent-length: {}\r\n", body.len()));
        }
        request.push_str("\r\n");
        request.push_str(body);
        Ok(Self { stream, request: request.into_bytes(), buffer: Vec::with_capacity(1 << 12) })
    }

    async fn ask(&mut self) -> Result<Answer> {
        self.stream.write_all(&self.request).await.context("cannot send")?;
        self.buffer.clear();
        loop {
            if self.stream.read_buf(&mut self.buffer).await.context("cannot read")? == 0 {
                bail!("closed {}", if self.buffer.is_empty() { "without an answer" } else { "in an answer" });
            }
            if let Some(answer) = parse(&self.buffer)? {
                return Ok(answer);
            }
        }
    }
}

fn parse(bytes: &[u8]) -> Result<Option<Answer>> {
    let mut headers = [httparse::EMPTY_HEADER; 32];
    let mut response = httparse::Response::new(&mut headers);
    let httparse::Status::Complete(head) = response.parse(bytes).context("not HTTP")? else {
        return Ok(None);
    };
    let header = |name: &str| {
        let found = response.headers.iter().find(|header| header.name.eq_ignore_ascii_case(name));
        found.and_then(|header| std::str::from_utf8(header.value).ok())
    };
    let status = response.code.unwrap_or(0);
    let length: usize = match header("content-length") {
        Some(text) => text.parse().context("a length that is no number")?,
        None if matches!(status, 204 | 304) => 0,
        None => bail!("status {status} without a length"),
    };
    let close = header("connection").is_some_and(|value| value.eq_ignore_ascii_case("close"));
    let body = bytes.get(head..head + length).map(<[u8]>::to_vec);
    Ok(body.map(|body| Answer { status, body, close }))
}

/// `--send ADDRESS METHOD PATH BODY`: one request as a command, as one would type it with curl.
pub async fn send(address: &str, method: &str, path: &str, body: &str) -> Result<()> {
    let address = address.parse().with_context(|| format!("`{address}` is no address"))?;
    let answer = Connection::open(address, method, path, body).await?.ask().await?;
    if !(200..300).contains(&answer.status) {
        bail!("status {}: {}", answer.status, String::from_utf8_lossy(&answer.body).trim());
    }
    Ok(())
}

/// One request on a connection of its own.
pub async fn ask_anew(address: SocketAddr) -> Result<By> {
    timeout(PATIENCE, ask(address, &mut None)).await.map_err(|_| anyhow!("no answer within {PATIENCE:?}"))?
}

/// Returns once a new connection to the address is answered by the version.
pub async fn await_answer(address: SocketAddr, wanted: By) -> Result<()> {
    let mut last = anyhow!("never asked");
    let answered = timeout(LIMIT, async {
        loop {
            match ask(address, &mut None).await {
                Ok(by) if by == wanted => return,
                Ok(by) => last = anyhow!("answered by {by:?}"),
                Err(error) => last = error,
            }
            tokio::time::sleep(LOOK_EVERY).await;
        }
    });
    let answered = answered.await;
    answered.map_err(|_| last.context(format!("{address} was not answered by {wanted:?} within {LIMIT:?}")))
}

#[cfg(test)]
mod tests;
