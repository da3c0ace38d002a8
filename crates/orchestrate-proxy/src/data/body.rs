//! Bodies on their way: a request's to the instance, an answer's to the client. Never gathered, only passed on.

use std::cell::Cell;
use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context, Poll};
use std::time::Duration;

use bytes::Bytes;
use hyper::body::{Body, Frame, Incoming, SizeHint};

use super::client::Busy;
use super::exchange::{Exchange, peek_frame};
use super::leash::{Leash, Pulled};
use super::refusal::{self, Refusal};
use super::worker::Worker;
use crate::table::{Seat, Ticket};

#[derive(Debug, thiserror::Error)]
pub(super) enum BodyError {
    #[error("the body is longer than allowed")]
    TooLong,
    #[error("the request was cut: {0:?}")]
    Pulled(Pulled),
    #[error(transparent)]
    Http(#[from] hyper::Error),
}

/// What the client did wrong in the middle of its body, which is no failure of the instance.
pub(super) type Fault = Rc<Cell<Option<Refusal>>>;

/// The body of a request.
pub(super) enum RequestBody {
    Empty,
    Stream(Box<Upload>),
}

pub(super) struct Upload {
    incoming: Incoming,
    /// Bytes that may still come.
    left: Option<u64>,
    fault: Fault,
    leash: Option<(Rc<Leash>, Option<Duration>)>,
}

impl RequestBody {
    /// `fault` is set if the body turns out to be longer than `most`, or to be none.
    pub fn new(incoming: Incoming, most: Option<u64>, fault: &Fault) -> Self {
        if incoming.is_end_stream() {
            return Self::Empty;
        }
        let fault = Rc::clone(fault);
        Self::Stream(Box::new(Upload { incoming, left: most, fault, leash: None }))
    }

    pub fn is_empty(&self) -> bool {
        matches!(self, Self::Empty)
    }

    /// Every part of the body that passes gives the exchange another `limit`.
    pub fn tie(&mut self, leash: &Rc<Leash>, limit: Option<Duration>) {
        if let Self::Stream(upload) = self {
            upload.leash = Some((Rc::clone(leash), limit));
        }
    }
}

impl Upload {
    fn check(&mut self, frame: &Frame<Bytes>) -> Result<(), BodyError> {
        if let Some((leash, limit)) = &self.leash {
            leash.arm(*limit);
        }
        if let (Some(left), Some(data)) = (&mut self.left, frame.data_ref()) {
            let Some(rest) = left.checked_sub(data.len() as u64) else {
                self.fault.set(Some(refusal::TOO_LONG));
                return Err(BodyError::TooLong);
            };
            *left = rest;
        }
        Ok(())
    }
}

impl Body for RequestBody {
    type Data = Bytes;
    type Error = BodyError;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, BodyError>>> {
        let Self::Stream(upload) = &mut *self else { return Poll::Ready(None) };
        let polled = Pin::new(&mut upload.incoming).poll_frame(cx);
        polled.map(|frame| {
            let frame = frame?.map_err(|error| {
                upload.fault.set(Some(refusal::BROKEN_BODY));
                BodyError::Http(error)
            });
            Some(frame.and_then(|frame| upload.check(&frame).map(|()| frame)))
        })
    }

    fn is_end_stream(&self) -> bool {
        match self {
            Self::Empty => true,
            Self::Stream(upload) => upload.incoming.is_end_stream(),
        }
    }

    fn size_hint(&self) -> SizeHint {
        match self {
            Self::Empty => SizeHint::with_exact(0),
            Self::Stream(upload) => upload.incoming.size_hint(),
        }
    }
}

/// The body of an answer.
pub(super) enum ResponseBody {
    Empty,
    /// The whole of it, or a message of our own.
    Whole(Bytes),
    Stream(Box<Download>),
}

/// A body that is still coming, and what must be kept until it has come.
pub(super) struct Download {
    pub first: Option<Frame<Bytes>>,
    pub incoming: Incoming,
    /// Taken back by the pool at the end.
    pub exchange: Option<Box<Exchange>>,
    pub seat: Seat,
    pub worker: Rc<Worker>,
    /// Dropped with the body, which ends the request for those who count.
    pub _counted: (Ticket, Busy),
}

impl Download {
    fn poll_next(&mut self, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, BodyError>>> {
        let Some(exchange) = &mut self.exchange else { return Poll::Ready(None) };
        if let Some(why) = exchange.leash.watch(cx) {
            return Poll::Ready(Some(Err(BodyError::Pulled(why))));
        }
        if let Some(first) = self.first.take() {
            return Poll::Ready(Some(Ok(first)));
        }
        let mut polled = peek_frame(&mut self.incoming);
        if polled.is_pending() {
            exchange.nudge();
            polled = peek_frame(&mut self.incoming);
        }
        if polled.is_pending() {
            exchange.drive(cx);
            polled = peek_frame(&mut self.incoming);
        }
        let Poll::Ready(frame) = polled else { return Poll::Pending };
        match frame {
            Some(Ok(frame)) => {
                exchange.leash.arm(self.worker.shared.limits.stall);
                Poll::Ready(Some(Ok(frame)))
            }
            Some(Err(error)) => Poll::Ready(Some(Err(error.into()))),
            None => {
                self.finish();
                Poll::Ready(None)
            }
        }
    }

    fn finish(&mut self) {
        if let Some(exchange) = self.exchange.take() {
            self.worker.put_back(self.seat.instance(), exchange);
        }
    }
}

impl Drop for Download {
    fn drop(&mut self) {
        // A body of known length ends without anybody asking for what comes after it.
        if self.first.is_none() && self.incoming.is_end_stream() {
            self.finish();
        }
    }
}

impl Body for ResponseBody {
    type Data = Bytes;
    type Error = BodyError;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, BodyError>>> {
        match &mut *self {
            Self::Empty => Poll::Ready(None),
            Self::Whole(_) => {
                let Self::Whole(bytes) = std::mem::replace(&mut *self, Self::Empty) else {
                    return Poll::Ready(None);
                };
                Poll::Ready(Some(Ok(Frame::data(bytes))))
            }
            Self::Stream(download) => download.poll_next(cx),
        }
    }

    fn is_end_stream(&self) -> bool {
        match self {
            Self::Empty => true,
            Self::Whole(_) => false,
            Self::Stream(download) => download.first.is_none() && download.incoming.is_end_stream(),
        }
    }

    fn size_hint(&self) -> SizeHint {
        match self {
            Self::Empty => SizeHint::with_exact(0),
            Self::Whole(bytes) => SizeHint::with_exact(bytes.len() as u64),
            Self::Stream(download) => download.size_hint(),
        }
    }
}

impl Download {
    fn size_hint(&self) -> SizeHint {
        let first = self.first.as_ref().and_then(|frame| frame.data_ref()).map_or(0, Bytes::len) as u64;
        match self.incoming.size_hint().exact() {
            Some(rest) => SizeHint::with_exact(rest + first),
            None => SizeHint::default(),
        }
    }
}
