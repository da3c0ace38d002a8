//! The control socket: takes orders from this user and root, a line each.

use std::io;
use std::sync::Arc;
use std::time::{Duration, Instant};

use orchestrate_core::failpoint;
use orchestrate_core::ports::{Drain, Drained, PortError, PortResult, Register};
use tokio::io::{AsyncBufReadExt, AsyncReadExt, AsyncWriteExt, BufReader, Interest};
use tokio::net::{UnixListener, UnixStream};
use tokio::sync::{RwLockReadGuard, mpsc};
use tokio::task::JoinSet;

use crate::fds::{line, send};
use crate::handover::Conversation;
use crate::listeners::News;
use crate::protocol::{LINE, Reply, Request};
use crate::registry::{Registry, ended};
use crate::unix;

/// What is asked of the process rather than of its routes.
pub(crate) enum Order {
    End,
    /// Another proxy takes over, on this connection.
    Yield(Conversation),
}

/// How long a proxy may take to take over before the end of this one is refused.
const TAKE_OVER: Duration = Duration::from_secs(10);

/// Takes connections until it is dropped, which ends them; `orders` get what is for the process.
pub(crate) async fn serve(
    listener: UnixListener,
    registry: Arc<Registry>,
    orders: mpsc::UnboundedSender<Order>,
) {
    let mut conversations = JoinSet::new();
    loop {
        while conversations.try_join_next().is_some() {}
        match listener.accept().await {
            Ok((stream, _)) if unix::may_command(&stream) => {
                let (registry, orders) = (Arc::clone(&registry), orders.clone());
                conversations.spawn(async move {
                    if let Err(error) = converse(stream, &registry, &orders).await {
                        tracing::debug!(%error, "a control connection broke");
                    }
                });
            }
            Ok(_) => tracing::warn!("refused a control connection of another user"),
            Err(error) => {
                tracing::warn!(%error, "cannot accept a control connection");
                tokio::time::sleep(Duration::from_millis(50)).await;
            }
        }
    }
}

/// Answers the lines of one connection, in order.
pub(crate) async fn converse(
    stream: UnixStream,
    registry: &Registry,
    orders: &mpsc::UnboundedSender<Order>,
) -> io::Result<()> {
    let mut stream = BufReader::new(stream);
    let mut text = Vec::new();
    loop {
        text.clear();
        (&mut stream).take(LINE).read_until(b'\n', &mut text).await?;
        if text.is_empty() {
            return Ok(());
        }
        let asked = registry.asked();
        let reply = match serde_json::from_slice(&text) {
            Ok(Request::Hold) => return hold(stream.into_inner(), registry).await,
            Ok(Request::Yield) => {
                // A process that ends already drops the connection, which is an answer.
                let _ = orders.send(Order::Yield(stream));
                return Ok(());
            }
            Ok(Request::Shutdown) => end(registry, orders).await,
            Ok(Request::DrainRest(request)) => tokio::select! {
                drained = registry.drain_rest(&request) => Reply::Drained(drained),
                // Nothing is cut for an heir that has no use for it any more.
                () = hung_up(&mut stream) => return Ok(()),
            },
            Ok(request) => answer(registry, request).await,
            Err(error) => {
                Reply::Refused(PortError::failed(format!("the proxy does not understand: {error}")))
            }
        };
        let mut line = serde_json::to_vec(&reply)?;
        line.push(b'\n');
        failpoint!("routes/answer", stream.write_all(&line).await)?;
        drop(asked);
    }
}

/// Where another proxy is taking over, that one is meant: who asks waits, as for a change, and asks again there.
async fn end(registry: &Registry, orders: &mpsc::UnboundedSender<Order>) -> Reply {
    let turn = async {
        // One that has retired ends anyway, and its changes wait for ever.
        if !registry.has_retired() { Some(registry.turn().await) } else { None }
    };
    match tokio::time::timeout(TAKE_OVER, turn).await {
        Ok(_turn) => {
            let _ = orders.send(Order::End);
            Reply::Done
        }
        Err(_) => Reply::Refused(PortError::failed("another proxy is taking over; ask again")),
    }
}

async fn answer(registry: &Registry, request: Request) -> Reply {
    match request {
        Request::Hello => Reply::Hello(registry.hello()),
        Request::Observe(name) => {
            let mut view = registry.observe(&name);
            registry.elders.add_to(&mut view, &name).await;
            Reply::View { view, token: registry.token().to_owned() }
        }
        Request::Persisted => done(registry.persisted().await),
        Request::Counts(name) => Reply::Counts(registry.counts(&name)),
        Request::Stats => Reply::Stats(registry.stats()),
        Request::Quiet => {
            registry.lingered().await;
            registry.finish_retired().quiet().await;
            Reply::Done
        }
        Request::RegisterRest(request) => {
            registry.register_rest(&request).await;
            Reply::Done
        }
        Request::Drain(request) => drain(registry, request).await.map_or_else(Reply::Refused, Reply::Drained),
        Request::Register(request) => done(register(registry, &request).await),
        Request::Switch(request) => {
            let _turn = turn(registry).await;
            registry.look_again(&request.placement, &request.needs).await;
            let token = registry.token().to_owned();
            registry.switch(&request).map_or_else(Reply::Refused, |()| Reply::Switched { token })
        }
        Request::Shift(request) => {
            let _turn = turn(registry).await;
            if request.weight > 0 {
                registry.look_again(&request.placement, &request.needs).await;
            }
            done(registry.shift(&request))
        }
        Request::Deregister(request) => {
            let _turn = turn(registry).await;
            done(registry.deregister(&request).await)
        }
        Request::Close(request) => {
            let _turn = turn(registry).await;
            done(registry.close(&request).await)
        }
        Request::Hold | Request::Shutdown | Request::Yield | Request::Retire | Request::DrainRest(_) => {
            Reply::Refused(PortError::failed("that is not asked here"))
        }
    }
}

/// Returns once the other end is gone.
async fn hung_up(stream: &mut BufReader<UnixStream>) {
    if stream.fill_buf().await.is_ok_and(|next| !next.is_empty()) {
        // It has said the next thing already, so it waits for both answers.
        std::future::pending().await
    }
}

fn done(outcome: PortResult<()>) -> Reply {
    outcome.map_or_else(Reply::Refused, |()| Reply::Done)
}

/// Whose turn it is knows that no request is routed any more by what was true before.
async fn turn(registry: &Registry) -> RwLockReadGuard<'_, ()> {
    let turn = registry.turn().await;
    registry.quiet_elders().await;
    turn
}

async fn register(registry: &Registry, request: &Register) -> PortResult<()> {
    let leaving = {
        let _turn = registry.turn().await;
        // The daemon says again what is so already whenever a proxy took over; that must end no idle connection.
        if !registry.is_registered(request) {
            registry.quiet_elders().await;
        }
        registry.register(request).await?
    };
    // Nobody's turn: it may take long.
    if let Some(drain) = request.drain {
        ended(&leaving, drain.duration()).await;
        registry.elders.registered(request).await;
    }
    Ok(())
}

/// Waits for what those have in flight that retired, too.
async fn drain(registry: &Registry, request: Drain) -> PortResult<Drained> {
    let begun = Instant::now();
    registry.quiet_elders().await;
    let own = registry.drain(&request).await?;
    let left = request.deadline.duration().saturating_sub(begun.elapsed());
    tokio::select! {
        biased;
        // What they have belongs to a release that may be live again by now.
        overtaken = registry.overtaken(&request) => Err(overtaken),
        theirs = registry.elders.drain(&request.placement, request.fence, left) => {
            Ok(Drained { cut: own.cut + theirs })
        }
    }
}

/// Sends every listening socket, now and whenever one is opened, until the other end is gone.
async fn hold(stream: UnixStream, registry: &Registry) -> io::Result<()> {
    let mut news = registry.hold()?;
    loop {
        let next = tokio::select! {
            next = news.recv() => next,
            // A holder says nothing, so what becomes readable is its end.
            _ = stream.readable() => return Ok(()),
        };
        let Some(news) = next else { return Ok(()) };
        pass_on(&stream, &news).await?;
    }
}

async fn pass_on(stream: &UnixStream, (message, socket): &News) -> io::Result<()> {
    use std::os::fd::AsFd;
    let line = line(message);
    let mut sent = 0;
    while sent < line.len() {
        // The socket goes with the first byte.
        let socket = socket.as_ref().filter(|_| sent == 0).map(AsFd::as_fd);
        sent += stream.async_io(Interest::WRITABLE, || send(stream, &line[sent..], socket)).await?;
    }
    Ok(())
}
