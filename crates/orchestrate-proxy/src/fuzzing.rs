//! What the fuzz targets in `fuzz/` call, and the tests that replay their corpora. Not an interface: it may change at any time.
#![allow(clippy::unwrap_used, clippy::expect_used, reason = "a target that panics has found something")]

mod control;
mod saved;
pub mod strict;

use std::net::SocketAddr;

use orchestrate_core::ports::Backend;

pub use control::control;
pub use saved::saved;
use strict::{Lines, requests};

use crate::data;

const HTTP2: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";

/// A client's bytes at a listening address. The first one says into pieces of which size the others are cut: `w` is the whole.
///
/// Whatever reaches the instance must be a request of its own to a strict parser of the client's stream, in the same order.
pub fn http(input: &[u8]) {
    let Some((cut, stream)) = input.split_first() else { return };
    data::fuzzing::guard_agrees_with_itself(stream);
    let piece = if *cut == b'w' { usize::MAX } else { usize::from(*cut).max(1) };
    let sent = data::fuzzing::converse(stream, piece);
    if stream.starts_with(HTTP2) {
        return;
    }
    let (seen, end) = requests(stream, Lines::LfToo);
    let mut left = seen.iter();
    for request in &sent {
        let is_there = left.any(|seen| seen.leads_to(request));
        assert!(is_there, "{}\nsent on {request:?}, but is {seen:?}, {end:?}", stream.escape_ascii());
    }
}

/// Tests must neither listen nor ask anywhere else.
fn keep_on_loopback(backends: &mut [Backend]) {
    for backend in backends {
        let last = 1 + u8::try_from(backend.listen.port() % 3).unwrap_or(0);
        backend.listen = SocketAddr::from(([127, 0, 0, last], 0));
        // Nobody listens there, and nobody may without a privilege.
        backend.instances.values_mut().for_each(|address| *address = SocketAddr::from(([127, 0, 0, 1], 1)));
    }
}

#[cfg(test)]
#[path = "fuzzing/tests.rs"]
mod tests;
