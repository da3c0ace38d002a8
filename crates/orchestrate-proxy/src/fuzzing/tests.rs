//! The corpora of `fuzz/corpus/`, on the compiler and in the tests that everybody runs.

use orchestrate_testkit::replay;

use super::strict::{End, Lines, requests};
use super::{control, http, saved};

#[test]
fn no_seed_becomes_another_request() {
    replay("http", http);
}

/// As a client that sends byte for byte.
#[test]
fn no_seed_becomes_another_request_when_it_comes_slowly() {
    replay("http", |seed| http(&[b"\x01", seed.get(1..).unwrap_or_default()].concat()));
}

#[test]
fn every_order_is_answered() {
    replay("control", control);
}

#[test]
fn every_state_is_taken_or_set_aside() {
    replay("saved", saved);
}

/// The judge must know what it judges.
#[test]
fn the_strict_parser_is_strict() {
    let seen = |stream: &str| {
        let (found, end) = requests(stream.as_bytes(), Lines::LfToo);
        (found.len(), end)
    };
    let good = "POST /a HTTP/1.1\r\nHost: a\r\nContent-Length: 2\r\n\r\nok";
    assert_eq!(seen(good), (1, End::Clean));
    assert_eq!(seen(&format!("{good}{good}")), (2, End::Clean));
    assert_eq!(seen(&good[..good.len() - 1]), (1, End::Early));
    assert_eq!(seen("GET http://a?b HTTP/1.1\r\n\r\n"), (1, End::Clean));
    for bad in [
        "GET / HTTP/1.1\r\n\r\n",
        "GET /#a HTTP/1.1\r\nHost: a\r\n\r\n",
        "GET  / HTTP/1.1\r\nHost: a\r\n\r\n",
        "POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 1\r\nTransfer-Encoding: chunked\r\n\r\n",
        "POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 1\r\nContent-Length: 1\r\n\r\n",
        "POST / HTTP/1.1\r\nHost: a\r\nContent-Length : 1\r\n\r\n",
        "POST / HTTP/1.0\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n",
        "GET / HTTP/1.1\r\nHost: a\r\n b: c\r\n\r\n",
    ] {
        assert!(matches!(seen(bad), (0, End::Invalid(_))), "{bad}: {:?}", seen(bad));
    }
    let chunked = "POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n";
    assert_eq!(seen(&format!("{chunked}2;x\r\nok\r\n0\r\nA: b\r\n\r\n")), (1, End::Clean));
    for bad in ["2\nok\r\n0\r\n\r\n", "2\r\nokk\r\n0\r\n\r\n", "x\r\n", "\r\n", "2 2\r\nok\r\n0\r\n\r\n"] {
        assert!(matches!(seen(&format!("{chunked}{bad}")), (1, End::Invalid(_))), "{bad}");
    }
}
