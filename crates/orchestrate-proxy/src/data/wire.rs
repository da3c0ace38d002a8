//! A socket to an instance, and how both kinds of sockets write: a short message leaves in one plain `send`, which the
//! kernel handles with less work than a gathering write.

use std::io::{self, IoSlice};
use std::pin::Pin;
use std::task::{Context, Poll};

use hyper::rt::{Read, ReadBufCursor, Write};
use hyper_util::rt::TokioIo;
use tokio::io::AsyncWrite;
use tokio::net::TcpStream;

/// Up to here, copying a message together costs less than having the kernel gather it.
const SHORT: usize = 4 * 1024;

/// Writes several slices.
pub(super) fn write_slices(
    tcp: &mut TcpStream,
    cx: &mut Context<'_>,
    slices: &[IoSlice<'_>],
) -> Poll<io::Result<usize>> {
    if let [only] = slices {
        return Pin::new(tcp).poll_write(cx, only);
    }
    let length: usize = slices.iter().map(|slice| slice.len()).sum();
    if length > SHORT {
        return Pin::new(tcp).poll_write_vectored(cx, slices);
    }
    let mut together = [0; SHORT];
    let mut at = 0;
    for slice in slices {
        together[at..at + slice.len()].copy_from_slice(slice);
        at += slice.len();
    }
    Pin::new(tcp).poll_write(cx, &together[..at])
}

pub(super) struct Wire(TokioIo<TcpStream>);

impl Wire {
    pub fn new(tcp: TcpStream) -> Self {
        Self(TokioIo::new(tcp))
    }

    pub fn into_inner(self) -> TcpStream {
        self.0.into_inner()
    }
}

impl Read for Wire {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        cursor: ReadBufCursor<'_>,
    ) -> Poll<io::Result<()>> {
        Pin::new(&mut self.0).poll_read(cx, cursor)
    }
}

impl Write for Wire {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        Pin::new(self.0.inner_mut()).poll_write(cx, bytes)
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(self.0.inner_mut()).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(self.0.inner_mut()).poll_shutdown(cx)
    }

    fn is_write_vectored(&self) -> bool {
        true
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        slices: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        write_slices(self.0.inner_mut(), cx, slices)
    }
}
