//! A client's socket as the HTTP machinery sees it: every byte passes the [`Guard`] first, and progress is noted for
//! the timeouts.

use std::io::{self, IoSlice};
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};

use hyper::rt::{Read, ReadBufCursor, Write};
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, ReadBuf};
use tokio::net::TcpStream;

use super::client::Progress;
use super::guard::{Guard, Violation};
use super::wire::write_slices;

/// Breaks whatever line it is put into, so that the parser answers 400.
const POISON: &[u8] = b"\0\r\n\r\n";
const PREFACE: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";
/// Room for the first read, which most heads fit into.
const EARLY: usize = 2 * 1024;
/// The most that one read takes.
const READ: usize = 64 * 1024;

thread_local! {
    /// Bytes pass through here on their way to the parser, one read at a time.
    static SCRATCH: std::cell::RefCell<Box<[u8]>> = std::cell::RefCell::new(vec![0; READ].into());
}

pub(super) struct Gate {
    tcp: TcpStream,
    guard: Guard,
    /// Read while the protocol was found out, and not yet handed on.
    early: Vec<u8>,
    refused: Refused,
    progress: Arc<Progress>,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Refused {
    No,
    Now,
    Done,
    /// In the middle of a body, where the parser would take poison for a part of it.
    Broken,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Protocol {
    Http1,
    Http2,
}

impl Gate {
    pub fn new(tcp: TcpStream, progress: Arc<Progress>) -> Self {
        Self { tcp, guard: Guard::default(), early: Vec::new(), refused: Refused::No, progress }
    }

    pub fn into_inner(self) -> TcpStream {
        self.tcp
    }

    /// Reads as much as it takes to know what the client speaks; nothing, if it closes before.
    pub async fn sniff(&mut self) -> Option<Protocol> {
        loop {
            let common = self.early.len().min(PREFACE.len());
            if self.early[..common] != PREFACE[..common] {
                return Some(Protocol::Http1);
            }
            if common == PREFACE.len() {
                self.guard = Guard::open();
                return Some(Protocol::Http2);
            }
            self.early.reserve(EARLY);
            if self.tcp.read_buf(&mut self.early).await.ok()? == 0 {
                return None;
            }
        }
    }

    /// Hands bytes to the parser, or poison in place of what must not be parsed.
    fn pass(&mut self, bytes: &[u8], cursor: &mut ReadBufCursor<'_>) -> io::Result<()> {
        let good = match self.guard.feed(bytes) {
            Ok(()) => bytes,
            Err(Violation { at }) => {
                self.refused = if self.guard.expects_head() { Refused::Now } else { Refused::Broken };
                &bytes[..at]
            }
        };
        self.progress.inside_head(self.guard.is_inside_head());
        cursor.put_slice(good);
        match self.refused {
            Refused::Now if good.is_empty() => self.poison(cursor),
            Refused::Broken if good.is_empty() => return Err(broken()),
            Refused::No | Refused::Now | Refused::Broken | Refused::Done => {}
        }
        Ok(())
    }

    fn poison(&mut self, cursor: &mut ReadBufCursor<'_>) {
        cursor.put_slice(&POISON[..POISON.len().min(cursor.remaining())]);
        self.refused = Refused::Done;
    }
}

fn broken() -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, "chunks or trailers that are none")
}

impl Read for Gate {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        mut cursor: ReadBufCursor<'_>,
    ) -> Poll<io::Result<()>> {
        let this = &mut *self;
        match this.refused {
            Refused::No => {}
            Refused::Now => {
                this.poison(&mut cursor);
                return Poll::Ready(Ok(()));
            }
            // The parser has what it needs to refuse; an end of the stream would cancel the answer before.
            Refused::Done => return Poll::Pending,
            Refused::Broken => return Poll::Ready(Err(broken())),
        }
        let room = cursor.remaining().min(READ);
        if !this.early.is_empty() {
            let early = std::mem::take(&mut this.early);
            let (now, later) = early.split_at(early.len().min(room));
            this.early = later.to_vec();
            return Poll::Ready(this.pass(now, &mut cursor));
        }
        SCRATCH.with_borrow_mut(|scratch| {
            let mut buffer = ReadBuf::new(&mut scratch[..room]);
            ready!(Pin::new(&mut this.tcp).poll_read(cx, &mut buffer))?;
            let filled = buffer.filled();
            Poll::Ready(if filled.is_empty() { Ok(()) } else { this.pass(filled, &mut cursor) })
        })
    }
}

impl Write for Gate {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        self.progress.touch();
        Pin::new(&mut self.tcp).poll_write(cx, bytes)
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.tcp).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.tcp).poll_shutdown(cx)
    }

    fn is_write_vectored(&self) -> bool {
        true
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        slices: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        self.progress.touch();
        write_slices(&mut self.tcp, cx, slices)
    }
}
