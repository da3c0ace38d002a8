//! The listening sockets: opened, closed, inherited, and copied to whoever holds them too.

use std::collections::BTreeMap;
use std::io;
use std::net::{SocketAddr, TcpListener};
use std::os::fd::OwnedFd;
use std::sync::Arc;

use orchestrate_core::ports::{PortError, PortResult};
use socket2::{Domain, Protocol, Socket, Type};
use tokio::sync::mpsc;

use crate::data::{Command, WorkerHandle};
use crate::protocol::Held;
use crate::table::Environment;

/// How many connections the kernel queues at one address.
const BACKLOG: i32 = 4096;

/// Whom a listening address leads to.
#[derive(Clone)]
pub(crate) struct Target {
    pub environment: Arc<Environment>,
    pub process: Arc<str>,
}

struct Listening {
    socket: TcpListener,
    target: Target,
}

/// A message for a holder, with the copy of the socket that goes with it.
pub(crate) type News = (Held, Option<OwnedFd>);

#[derive(Default)]
pub(crate) struct Listeners {
    open: BTreeMap<SocketAddr, Listening>,
    /// Handed over by the parent, and not yet claimed by a route.
    inherited: BTreeMap<SocketAddr, TcpListener>,
    holders: Vec<mpsc::UnboundedSender<News>>,
}

impl Listeners {
    pub fn new(inherited: BTreeMap<SocketAddr, OwnedFd>) -> Self {
        let inherited = inherited.into_iter().map(|(address, fd)| (address, TcpListener::from(fd))).collect();
        Self { inherited, ..Self::default() }
    }

    pub fn addresses(&self) -> Vec<SocketAddr> {
        self.open.keys().copied().collect()
    }

    /// Who has the address, if it is open.
    pub fn owner(&self, address: SocketAddr) -> Option<&Target> {
        self.open.get(&address).map(|listening| &listening.target)
    }

    /// Makes a socket ready, without taking connections yet.
    pub fn prepare(&mut self, address: SocketAddr) -> PortResult<TcpListener> {
        match self.inherited.remove(&address) {
            Some(socket) => Ok(socket),
            None => bind(address).map_err(|error| explain(address, &error)),
        }
    }

    /// Begins to take connections.
    pub fn open(
        &mut self,
        address: SocketAddr,
        socket: TcpListener,
        target: Target,
        workers: &[WorkerHandle],
    ) -> io::Result<()> {
        socket.set_nonblocking(true)?;
        let copies: Vec<TcpListener> =
            workers.iter().map(|_| socket.try_clone()).collect::<io::Result<_>>()?;
        for (worker, listener) in workers.iter().zip(copies) {
            let Target { environment, process } = target.clone();
            worker.tell(Command::Open { listener, listen: address, environment, process });
        }
        self.holders.retain(|holder| {
            let copy = socket.try_clone().map(OwnedFd::from);
            copy.is_ok_and(|copy| holder.send((Held::Open(address), Some(copy))).is_ok())
        });
        self.open.insert(address, Listening { socket, target });
        Ok(())
    }

    pub fn close(&mut self, address: SocketAddr, workers: &[WorkerHandle]) {
        if self.open.remove(&address).is_some() {
            workers.iter().for_each(|worker| worker.tell(Command::Close(address)));
            self.holders.retain(|holder| holder.send((Held::Closed(address), None)).is_ok());
        }
    }

    /// Lets go of every socket; holders keep theirs.
    pub fn leave(&mut self) {
        self.open.clear();
        self.inherited.clear();
    }

    /// Closes what the parent handed over and no route uses.
    pub fn forget_inherited(&mut self) {
        self.inherited.clear();
    }

    /// Every socket there is, and from now on every change.
    pub fn hold(&mut self) -> io::Result<mpsc::UnboundedReceiver<News>> {
        let (holder, news) = mpsc::unbounded_channel();
        let gone = |_| io::Error::from(io::ErrorKind::BrokenPipe);
        for (address, listening) in &self.open {
            let copy = OwnedFd::from(listening.socket.try_clone()?);
            holder.send((Held::Open(*address), Some(copy))).map_err(gone)?;
        }
        holder.send((Held::Complete, None)).map_err(gone)?;
        self.holders.push(holder);
        Ok(news)
    }
}

fn bind(address: SocketAddr) -> io::Result<TcpListener> {
    let socket = Socket::new(Domain::for_address(address), Type::STREAM, Some(Protocol::TCP))?;
    socket.set_reuse_address(true)?;
    socket.set_nonblocking(true)?;
    socket.bind(&address.into())?;
    socket.listen(BACKLOG)?;
    Ok(socket.into())
}

fn explain(address: SocketAddr, error: &io::Error) -> PortError {
    let hint = match error.kind() {
        io::ErrorKind::AddrInUse => {
            let port = address.port();
            format!("another program listens there; `ss -ltnp 'sport = :{port}'` shows which")
        }
        io::ErrorKind::PermissionDenied => {
            "ports below 1024 need the capability CAP_NET_BIND_SERVICE, or another port".to_owned()
        }
        io::ErrorKind::AddrNotAvailable => "no interface of this machine has that address".to_owned(),
        _ => return PortError::failed(format!("cannot listen on {address}: {error}")),
    };
    PortError::failed(format!("cannot listen on {address}: {error}")).detail(hint)
}
