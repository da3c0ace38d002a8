//! Sends and takes listening sockets over a Unix socket, each with the line that says what it is.

use std::collections::VecDeque;
use std::io::{self, IoSlice, IoSliceMut};
use std::mem::MaybeUninit;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

use rustix::net::{
    RecvAncillaryBuffer, RecvAncillaryMessage, RecvFlags, SendAncillaryBuffer, SendAncillaryMessage,
    SendFlags, recvmsg, sendmsg,
};

use crate::protocol::Held;

/// The line of a message.
pub(crate) fn line(message: &Held) -> Vec<u8> {
    // An address serializes always.
    let mut line = serde_json::to_vec(message).unwrap_or_default();
    line.push(b'\n');
    line
}

/// Sends as much of `bytes` as goes, the socket with its first byte.
pub(crate) fn send(stream: impl AsFd, bytes: &[u8], socket: Option<BorrowedFd<'_>>) -> io::Result<usize> {
    let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(1))];
    let mut ancillary = SendAncillaryBuffer::new(&mut space);
    let sockets: Vec<BorrowedFd<'_>> = socket.into_iter().collect();
    if !sockets.is_empty() {
        ancillary.push(SendAncillaryMessage::ScmRights(&sockets));
    }
    Ok(sendmsg(stream, &[IoSlice::new(bytes)], &mut ancillary, SendFlags::NOSIGNAL)?)
}

/// Puts lines and sockets together again.
#[derive(Default)]
pub(crate) struct Intake {
    bytes: Vec<u8>,
    sockets: VecDeque<OwnedFd>,
}

/// A message, and the socket that came with it.
pub(crate) type Arrival = (Held, Option<OwnedFd>);

impl Intake {
    /// Reads once; false at the end of the stream.
    pub fn read(&mut self, stream: impl AsFd) -> io::Result<bool> {
        let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(8))];
        let mut ancillary = RecvAncillaryBuffer::new(&mut space);
        let mut bytes = [0; 4096];
        let received =
            recvmsg(stream, &mut [IoSliceMut::new(&mut bytes)], &mut ancillary, RecvFlags::CMSG_CLOEXEC)?;
        for message in ancillary.drain() {
            if let RecvAncillaryMessage::ScmRights(sockets) = message {
                self.sockets.extend(sockets);
            }
        }
        self.bytes.extend_from_slice(&bytes[..received.bytes]);
        Ok(received.bytes > 0)
    }

    /// The next whole message.
    pub fn next(&mut self) -> io::Result<Option<Arrival>> {
        let Some(end) = self.bytes.iter().position(|byte| *byte == b'\n') else { return Ok(None) };
        let message: Held = serde_json::from_slice(&self.bytes[..end])?;
        self.bytes.drain(..=end);
        let socket = match message {
            Held::Open(_) => self.sockets.pop_front(),
            Held::Closed(_) | Held::Complete => None,
        };
        Ok(Some((message, socket)))
    }
}
