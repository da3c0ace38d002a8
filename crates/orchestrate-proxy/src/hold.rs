//! For the parent of a proxy: keep its listening sockets, and give them to the next proxy when this one dies.

use std::collections::BTreeMap;
use std::io::{self, Write as _};
use std::net::SocketAddr;
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::net::UnixStream as StdUnixStream;
use std::os::unix::process::CommandExt;
use std::path::Path;
use std::process::{Child, Command};
use std::time::Duration;

use rustix::net::sockopt::{Timeout, set_socket_timeout};
use tokio::io::{AsyncWriteExt, Interest};
use tokio::net::UnixStream;

use crate::fds::{Intake, line, send};
use crate::protocol::{Held, Request};
use crate::unix;

/// Copies of a proxy's listening sockets, kept up to date while both live. While a copy exists, the kernel queues
/// connections to its address, whether or not a proxy runs.
pub struct ListenerHold {
    stream: UnixStream,
    intake: Intake,
    held: BTreeMap<SocketAddr, OwnedFd>,
}

impl ListenerHold {
    /// Asks the proxy at `socket` for its listening sockets; returns once it has all that there are.
    pub async fn take(socket: &Path) -> io::Result<Self> {
        let mut stream = unix::connect(socket).await?;
        let mut request = serde_json::to_vec(&Request::Hold)?;
        request.push(b'\n');
        stream.write_all(&request).await?;
        let mut hold = Self { stream, intake: Intake::default(), held: BTreeMap::new() };
        while !hold.step().await? {}
        Ok(hold)
    }

    /// Follows what the proxy opens and closes; returns when the proxy is gone. May be dropped and called again.
    pub async fn until_lost(&mut self) {
        // Whatever ends the stream, the proxy at its other end cannot be relied on any more.
        while self.step().await.is_ok() {}
    }

    /// Copies of what is held, for [`spawn_proxy`].
    pub fn held(&self) -> io::Result<Vec<(SocketAddr, OwnedFd)>> {
        self.held.iter().map(|(address, socket)| Ok((*address, socket.try_clone()?))).collect()
    }

    pub(crate) fn into_held(self) -> BTreeMap<SocketAddr, OwnedFd> {
        self.held
    }

    /// Takes what has arrived; true where the proxy said that it was all.
    async fn step(&mut self) -> io::Result<bool> {
        let mut complete = false;
        while let Some((message, socket)) = self.intake.next()? {
            match (message, socket) {
                (Held::Open(address), Some(socket)) => drop(self.held.insert(address, socket)),
                (Held::Open(_), None) => {
                    return Err(io::Error::other("a listening socket was lost on its way"));
                }
                (Held::Closed(address), _) => drop(self.held.remove(&address)),
                (Held::Complete, _) => complete = true,
            }
        }
        if complete {
            return Ok(true);
        }
        let Self { stream, intake, .. } = self;
        let more = stream.async_io(Interest::READABLE, || intake.read(&*stream)).await?;
        if more { Ok(false) } else { Err(io::ErrorKind::UnexpectedEof.into()) }
    }
}

/// Starts a proxy that takes over the listening sockets in `held`. Its standard input becomes the way they are sent,
/// which the program must pass on as [`crate::ProxyOptions::inherit`]; it runs in a process group of its own.
pub fn spawn_proxy(mut command: Command, held: &[(SocketAddr, OwnedFd)]) -> io::Result<Child> {
    let (ours, theirs) = StdUnixStream::pair()?;
    let mut child = command.stdin(OwnedFd::from(theirs)).process_group(0).spawn()?;
    // The command holds the child's end open as long as it exists.
    drop(command);
    if let Err(error) = send_all(&ours, held) {
        // A child that did not even take its sockets has died, or is not the proxy; either way it must not stay.
        let _ = child.kill();
        let _ = child.wait();
        return Err(error);
    }
    Ok(child)
}

fn send_all(stream: &StdUnixStream, held: &[(SocketAddr, OwnedFd)]) -> io::Result<()> {
    for (address, socket) in held {
        send_whole(stream, &Held::Open(*address), Some(socket))?;
    }
    send_whole(stream, &Held::Complete, None)
}

fn send_whole(mut stream: &StdUnixStream, message: &Held, socket: Option<&OwnedFd>) -> io::Result<()> {
    let line = line(message);
    let sent = send(stream, &line, socket.map(AsFd::as_fd))?;
    stream.write_all(&line[sent..])
}

/// The other end of [`spawn_proxy`]: waits for all sockets of the parent.
pub(crate) fn inherit(from: OwnedFd) -> io::Result<BTreeMap<SocketAddr, OwnedFd>> {
    // A parent that has stopped must not keep the proxy from saying so.
    set_socket_timeout(&from, Timeout::Recv, Some(Duration::from_secs(5)))?;
    let (mut intake, mut inherited) = (Intake::default(), BTreeMap::new());
    loop {
        while let Some((message, socket)) = intake.next()? {
            match (message, socket) {
                (Held::Open(address), Some(socket)) => drop(inherited.insert(address, socket)),
                (Held::Complete, _) => return Ok(inherited),
                (Held::Open(_) | Held::Closed(_), _) => {
                    return Err(io::Error::other("the parent sent no socket"));
                }
            }
        }
        if !intake.read(&from)? {
            return Err(io::Error::new(io::ErrorKind::UnexpectedEof, "the parent ended before it sent all"));
        }
    }
}
