//! Streams put together by chance from pieces that decide where a message ends. A seed always makes the same one.

use crate::strict::Request;

pub const CASES: u64 = 400;

const METHODS: &[&str] = &["GET", "POST", "HEAD", "PUT", "OPTIONS", "DELETE", "get", "TRACE", "M-SEARCH"];
const TARGETS: &[&str] =
    &["/", "/a?b=c", "http://b/x", "http://b", "*", "/%00", "/a//../b", "a", "/a#b", "//b/c"];
const VERSIONS: &[&str] = &["1.1", "1.1", "1.1", "1.1", "1.1", "1.0", "1.2", "2.0", "0.9"];
const HOSTS: &[&str] = &[
    "Host: a",
    "Host: a",
    "Host: a",
    "Host: a",
    "host:a",
    "HOST:  a  ",
    "",
    "Host: a\r\nHost: a",
    "Host: a:80",
    "Host:",
];
const HEADERS: &[&str] = &[
    "Content-Length: 3",
    "Content-Length: 0",
    "Content-Length: 30",
    "Content-Length: 3\r\nContent-Length: 3",
    "Content-Length: 3, 3",
    "Content-Length: 03",
    "Content-Length: +3",
    "Content-Length : 3",
    "content-length:\t3",
    "Transfer-Encoding: chunked",
    "transfer-encoding:CHUNKED",
    "Transfer-Encoding: gzip, chunked",
    "Transfer-Encoding: identity",
    "Transfer-Encoding: chunked\r\nTransfer-Encoding: chunked",
    "Transfer-Encoding: \x0bchunked",
    "Transfer-Encoding:\r\n chunked",
    "Connection: close",
    "Connection: keep-alive, x",
    "Connection: content-length",
    "Connection: transfer-encoding, host",
    "Expect: 100-continue",
    "Trailer: x",
    "X: 1\n Y: 2",
    "X: 1\nContent-Length: 3",
    "X: \0",
    "X: 1\r2",
    " X: 1",
    "X",
    ": 1",
    "X Y: 1",
    "X: ä",
];
const ENDS: &[&str] = &["\r\n", "\r\n", "\r\n", "\r\n", "\r\n", "\r\n", "\n"];
const BODIES: &[&str] = &[
    "",
    "",
    "",
    "abc",
    "3\r\nabc\r\n0\r\n\r\n",
    "0\r\n\r\n",
    "3;x=y\r\nabc\r\n0\r\n\r\n",
    "3\nabc\n0\n\n",
    "3 \r\nabc\r\n0\r\n\r\n",
    "0x3\r\nabc\r\n0\r\n\r\n",
    "3\r\nabcd\r\n0\r\n\r\n",
    "0\r\nX: 1\r\n\r\n",
    "0\r\nX: 1\n\n",
    "ffffffffffffffff0\r\nabc",
];

pub fn stream(seed: u64) -> String {
    let mut chance = fastrand::Rng::with_seed(seed);
    (0..chance.usize(1..4)).map(|_| request(&mut chance)).collect()
}

fn request(chance: &mut fastrand::Rng) -> String {
    let end = pick(chance, ENDS);
    let (method, target, version) = (pick(chance, METHODS), pick(chance, TARGETS), pick(chance, VERSIONS));
    let mut lines = vec![format!("{method} {target} HTTP/{version}"), pick(chance, HOSTS).into()];
    lines.extend((0..chance.usize(0..3)).map(|_| pick(chance, HEADERS).to_owned()));
    lines.retain(|line| !line.is_empty());
    format!("{}{end}{end}{}", lines.join(end), pick(chance, BODIES))
}

fn pick(chance: &mut fastrand::Rng, from: &[&'static str]) -> &'static str {
    from[chance.usize(..from.len())]
}

/// What must pass of a stream: what a strict parser sees, up to the first request that we refuse though it is one.
pub fn must_pass(seen: Vec<Request>) -> Vec<Request> {
    let plain = |request: &Request| {
        request.target.starts_with(b"/") || (request.target == b"*" && request.method == b"OPTIONS")
    };
    seen.into_iter().take_while(|request| request.whole && plain(request)).collect()
}
