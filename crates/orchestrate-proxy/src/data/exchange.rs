//! A connection to an instance. It has no task of its own: whoever waits for its answer, or for the next part of a
//! body, drives it. That saves two trips through the scheduler for every request.

use std::future::{Future, poll_fn};
use std::io;
use std::net::SocketAddr;
use std::pin::{Pin, pin};
use std::rc::Rc;
use std::task::{Context, Poll, Waker};
use std::time::Duration;

use bytes::Bytes;
use http::{Request, Response};
use hyper::body::Incoming;
use hyper::client::conn::http1::{Builder, Connection, SendRequest};
use tokio::net::TcpStream;
use tokio::task::coop::unconstrained;

use super::body::RequestBody;
use super::leash::{Held, Leashes, Pulled};
use super::wire::Wire;

pub(super) struct Exchange {
    sender: SendRequest<RequestBody>,
    /// Gone once it has failed; kept after an upgrade, for its socket.
    connection: Option<Connection<Wire, RequestBody>>,
    finished: bool,
    /// It has carried an answer before.
    pub used: bool,
    pub idle_since: u32,
    pub leash: Held,
}

/// Why there is no answer.
pub(super) enum Failure {
    Pulled(Pulled),
    /// Nothing of the request was sent; here it is again.
    Unsent(Box<Request<RequestBody>>),
    Broken,
}

impl Exchange {
    pub async fn connect(
        address: SocketAddr,
        limit: Duration,
        leashes: &Rc<Leashes>,
    ) -> io::Result<Box<Self>> {
        let tcp = match tokio::time::timeout(limit, TcpStream::connect(address)).await {
            Ok(connected) => connected?,
            Err(_) => return Err(io::ErrorKind::TimedOut.into()),
        };
        tcp.set_nodelay(true)?;
        let handshake = Builder::new().handshake(Wire::new(tcp)).await;
        let (sender, connection) = handshake.map_err(io::Error::other)?;
        let leash = leashes.hold();
        Ok(Box::new(Self {
            sender,
            connection: Some(connection),
            finished: false,
            used: false,
            idle_since: 0,
            leash,
        }))
    }

    /// Whether it can carry another request.
    pub fn is_reusable(&self) -> bool {
        !self.finished && self.sender.is_ready() && !self.leash.is_pulled()
    }

    /// Lets the connection read and write what it can, and has it wake `cx` when it can do more. So what it feeds
    /// (the answer, the body) may be polled with a waker that does nothing.
    pub fn drive(&mut self, cx: &mut Context<'_>) -> bool {
        drive(&mut self.connection, &mut self.finished, cx);
        self.finished
    }

    /// The same, but it will wake nobody. Tried first: the parts of the connection wake one another through whoever
    /// drove them last, and where that is nobody, no task is run for nothing.
    pub fn nudge(&mut self) -> bool {
        self.drive(&mut Context::from_waker(Waker::noop()))
    }

    /// Sends the request and waits for the head of the answer.
    pub async fn send(&mut self, request: Request<RequestBody>) -> Result<Response<Incoming>, Failure> {
        // Outside of the cooperative budget, whose exhaustion would be told to the waker that does nothing.
        let mut answer = pin!(unconstrained(self.sender.try_send_request(request)));
        let answered = poll_fn(|cx| {
            if let Some(why) = self.leash.watch(cx) {
                return Poll::Ready(Err(Failure::Pulled(why)));
            }
            let mut nobody = Context::from_waker(Waker::noop());
            drive(&mut self.connection, &mut self.finished, &mut nobody);
            let mut polled = answer.as_mut().poll(&mut nobody);
            if polled.is_pending() && !self.finished {
                drive(&mut self.connection, &mut self.finished, cx);
                polled = answer.as_mut().poll(&mut nobody);
            }
            if polled.is_pending() && self.finished {
                // A connection that ended before it took the request gives it back when it is dropped.
                self.connection = None;
                polled = answer.as_mut().poll(&mut nobody);
            }
            polled.map_err(|mut error| match error.take_message() {
                Some(request) => Failure::Unsent(Box::new(request)),
                None => Failure::Broken,
            })
        })
        .await;
        self.used |= answered.is_ok();
        answered
    }

    /// After a 101: the socket, and what was read past the answer's head.
    pub async fn into_tunnel(mut self: Box<Self>) -> Option<(TcpStream, Bytes, Held)> {
        poll_fn(|cx| if self.drive(cx) { Poll::Ready(()) } else { Poll::Pending }).await;
        let this = *self;
        let parts = this.connection?.into_parts();
        Some((parts.io.into_inner(), parts.read_buf, this.leash))
    }
}

fn drive(connection: &mut Option<Connection<Wire, RequestBody>>, finished: &mut bool, cx: &mut Context<'_>) {
    if let Some(connection) = connection
        && !*finished
    {
        *finished = connection.poll_without_shutdown(cx).is_ready();
    }
}

/// Polls a body that the connection has fed already.
pub(super) fn peek_frame(
    body: &mut Incoming,
) -> Poll<Option<Result<hyper::body::Frame<Bytes>, hyper::Error>>> {
    use hyper::body::Body;
    Pin::new(body).poll_frame(&mut Context::from_waker(Waker::noop()))
}
