use super::*;

/// Feeds a stream whole, and byte by byte; both must come to the same end.
fn judge(stream: &str) -> bool {
    let whole = Guard::default().feed(stream.as_bytes()).is_ok();
    let mut guard = Guard::default();
    let pieces = stream.bytes().all(|byte| guard.feed(&[byte]).is_ok());
    assert_eq!(whole, pieces, "{stream:?}");
    whole
}

#[test]
fn ambiguous_framing_is_found() {
    for headers in [
        "Content-Length: 1\r\nContent-Length: 1",
        "content-length: 1\r\nTRANSFER-ENCODING: chunked",
        "Transfer-Encoding: chunked\r\nContent-Length: 1",
        "Transfer-Encoding: chunked\r\nTransfer-Encoding: chunked",
        "Transfer-Encoding: gzip, chunked",
        "Transfer-Encoding: identity",
        "Transfer-Encoding: chunked, chunked",
        "Transfer-Encoding:",
        "Content-Length: +1",
        "Content-Length: 1, 1",
        "Content-Length: 0x1",
        "Content-Length: 99999999999999999999",
        "Content-Length:",
    ] {
        assert!(!judge(&format!("POST / HTTP/1.1\r\n{headers}\r\n\r\n")), "{headers}");
    }
    let padded = format!("POST / HTTP/1.1\r\nContent-Length: {}1\r\n\r\n", " ".repeat(LINE));
    assert!(!judge(&padded));
}

#[test]
fn the_next_head_is_found_behind_every_kind_of_body() {
    let bad = "POST / HTTP/1.1\r\nContent-Length: 1\r\nContent-Length: 2\r\n\r\n";
    for good in [
        "GET / HTTP/1.1\r\nHost: a\r\n\r\n",
        "\r\n\r\nGET / HTTP/1.1\r\n\r\n",
        "GET / HTTP/1.0\n\n",
        "POST / HTTP/1.1\r\nContent-Length: 0\r\n\r\n",
        "POST / HTTP/1.1\r\nContent-Length: 5\r\n\r\na\r\n\r\n",
        "POST / HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\n5\r\na\r\n\r\n\r\n0\r\n\r\n",
        "POST / HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\nA;x=1\r\n0123456789\r\n0\r\nTrailer: 1\r\n\r\n",
    ] {
        assert!(judge(good), "{good:?}");
        assert!(judge(&format!("{good}{good}")), "{good:?}");
        assert!(!judge(&format!("{good}{bad}")), "{good:?}");
    }
}

#[test]
fn chunks_and_trailers_end_where_everybody_says_that_they_do() {
    let chunked = "POST / HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\n";
    for good in ["3;a=b\r\nabc\r\n0\r\n\r\n", "0003\r\nabc\r\n000;x\r\n\r\n", "0\r\nA: b\r\nC: d\r\n\r\n"] {
        assert!(judge(&format!("{chunked}{good}{chunked}{good}")), "{good:?}");
    }
    for bad in [
        "3 \r\nabc\r\n0\r\n\r\n",
        " 3\r\nabc\r\n0\r\n\r\n",
        "3\nabc\r\n0\r\n\r\n",
        "3;a\nabc\r\n0\r\n\r\n",
        "3\rx",
        "x\r\n",
        "\r\n",
        ";\r\n",
        "10000000000000000\r\n",
        "ffffffffffffffff\r\n",
        "0\r\nA: b\nC: d\r\n\r\n",
        "0\r\nA: b\rC: d\r\n\r\n",
        // The parser goes on to the next empty line, and what stands between them would be a head to nobody but us.
        "0\r\nA: b\n\nGET / HTTP/1.1\r\nUpgrade: x\r\n\r\n",
    ] {
        assert!(!judge(&format!("{chunked}{bad}")), "{bad:?}");
    }
}

#[test]
fn a_fragment_is_found_in_the_first_line_only() {
    let long = "a".repeat(2 * LINE);
    for bad in ["GET /a#b HTTP/1.1\r\n", &format!("GET /{long}#"), "\r\nGET /#\r\n"] {
        assert!(!judge(bad), "{bad:?}");
    }
    assert!(judge("GET /a HTTP/1.1\r\nX: #\r\nContent-Length: 1\r\n\r\n#GET /a HTTP/1.1\r\nHost: #\r\n\r\n"));
}

#[test]
fn nothing_is_judged_once_the_protocol_may_have_changed() {
    assert!(judge(
        "GET / HTTP/1.1\r\nUpgrade: x\r\n\r\nPOST\r\nContent-Length: 1\r\nContent-Length: 2\r\n\r\n"
    ));
}

#[test]
fn a_head_is_seen_to_be_incomplete() {
    let mut guard = Guard::default();
    assert!(!guard.is_inside_head());
    for (piece, inside) in [("G", true), ("ET / HTTP/1.1\r\n", true), ("a: b\r\n\r", true), ("\n", false)] {
        guard.feed(piece.as_bytes()).unwrap();
        assert_eq!(guard.is_inside_head(), inside, "{piece:?}");
    }
}
