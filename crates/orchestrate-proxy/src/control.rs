//! The control socket: takes orders from this user and root, a line each.

use std::io;
use std::sync::Arc;

use orchestrate_core::failpoint;
use orchestrate_core::ports::{PortError, PortResult};
use tokio::io::{AsyncBufReadExt, AsyncReadExt, AsyncWriteExt, BufReader, Interest};
use tokio::net::{UnixListener, UnixStream};
use tokio::sync::Notify;

use crate::fds::{line, send};
use crate::listeners::News;
use crate::protocol::{LINE, Reply, Request};
use crate::registry::Registry;
use crate::unix;

/// Takes connections until the task is dropped; `shutdown` is told when somebody asks for the end.
pub(crate) async fn serve(listener: UnixListener, registry: Arc<Registry>, shutdown: Arc<Notify>) {
    loop {
        match listener.accept().await {
            Ok((stream, _)) if unix::may_command(&stream) => {
                let (registry, shutdown) = (Arc::clone(&registry), Arc::clone(&shutdown));
                tokio::spawn(async move {
                    if let Err(error) = converse(stream, &registry, &shutdown).await {
                        tracing::debug!(%error, "a control connection broke");
                    }
                });
            }
            Ok(_) => tracing::warn!("refused a control connection of another user"),
            Err(error) => {
                tracing::warn!(%error, "cannot accept a control connection");
                tokio::time::sleep(std::time::Duration::from_millis(50)).await;
            }
        }
    }
}

/// Answers the lines of one connection, in order.
pub(crate) async fn converse(stream: UnixStream, registry: &Registry, shutdown: &Notify) -> io::Result<()> {
    let mut stream = BufReader::new(stream);
    let mut text = Vec::new();
    loop {
        text.clear();
        (&mut stream).take(LINE).read_until(b'\n', &mut text).await?;
        if text.is_empty() {
            return Ok(());
        }
        let reply = match serde_json::from_slice(&text) {
            Ok(Request::Hold) => return hold(stream.into_inner(), registry).await,
            Ok(Request::Shutdown) => {
                shutdown.notify_one();
                Reply::Done
            }
            Ok(request) => answer(registry, request).await,
            Err(error) => {
                Reply::Refused(PortError::failed(format!("the proxy does not understand: {error}")))
            }
        };
        let mut line = serde_json::to_vec(&reply)?;
        line.push(b'\n');
        failpoint!("routes/answer", stream.write_all(&line).await)?;
    }
}

async fn answer(registry: &Registry, request: Request) -> Reply {
    let done = |outcome: PortResult<()>| outcome.map(|()| Reply::Done);
    let token = || registry.token().to_owned();
    let outcome = match request {
        Request::Hello => Ok(Reply::Hello(registry.hello())),
        Request::Observe(name) => Ok(Reply::View { view: registry.observe(&name), token: token() }),
        Request::Register(request) => done(registry.register(&request).await),
        Request::Switch(request) => {
            registry.look_again(&request.placement, &request.needs).await;
            registry.switch(&request).map(|()| Reply::Switched { token: token() })
        }
        Request::Shift(request) => {
            if request.weight > 0 {
                registry.look_again(&request.placement, &request.needs).await;
            }
            done(registry.shift(&request))
        }
        Request::Drain(request) => registry.drain(&request).await.map(Reply::Drained),
        Request::Deregister(request) => done(registry.deregister(&request).await),
        Request::Close(request) => done(registry.close(&request).await),
        Request::Persisted => done(registry.persisted().await),
        Request::Counts(name) => Ok(Reply::Counts(registry.counts(&name))),
        Request::Stats => Ok(Reply::Stats(registry.stats())),
        Request::Hold | Request::Shutdown => {
            Err(PortError::failed("hold and shutdown are not answered here"))
        }
    };
    outcome.unwrap_or_else(Reply::Refused)
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
