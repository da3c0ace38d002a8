//! Turns a client's request into one for an instance: what must not pass is refused or removed, and who asked is added.

use std::net::IpAddr;

use http::header::{self, Entry, HeaderMap, HeaderName, HeaderValue};
use http::{Method, Uri, Version, request::Parts};

use super::refusal::{self, Refusal};
use crate::table::PROVE;

const X_FORWARDED_FOR: HeaderName = HeaderName::from_static("x-forwarded-for");
const X_FORWARDED_HOST: HeaderName = HeaderName::from_static("x-forwarded-host");
const X_FORWARDED_PROTO: HeaderName = HeaderName::from_static("x-forwarded-proto");
pub(super) const KEEP_ALIVE: HeaderName = HeaderName::from_static("keep-alive");
pub(super) const PROXY_CONNECTION: HeaderName = HeaderName::from_static("proxy-connection");
/// CGI programs take it for the variable HTTP_PROXY.
const PROXY: HeaderName = HeaderName::from_static("proxy");

/// Who asks.
pub(super) struct Peer {
    address: HeaderValue,
    /// Another proxy may stand there, whose word on the client is passed on.
    trusted: bool,
}

/// What the rest of the way must know of a request.
pub(super) struct Facts {
    pub upgrade: bool,
    pub proof_asked: bool,
    /// GET and its like, which may be sent twice.
    pub safe: bool,
}

/// Which headers there are that need work; found in one pass over them.
#[derive(Default)]
struct Seen {
    hosts: u32,
    connection: bool,
    keep_alive: bool,
    proxy_connection: bool,
    proxy: bool,
    te: bool,
    transfer_encoding: bool,
    upgrade: bool,
    expect: bool,
    prove: bool,
    forwarded_for: bool,
    forwarded_host: bool,
    forwarded_proto: bool,
    cookies: u32,
}

impl Peer {
    pub fn new(address: IpAddr) -> Self {
        let address = address.to_canonical();
        let trusted = match address {
            IpAddr::V4(v4) => v4.is_loopback() || v4.is_private() || v4.is_link_local(),
            IpAddr::V6(v6) => v6.is_loopback() || v6.is_unique_local() || v6.is_unicast_link_local(),
        };
        // An address is made of characters that any header value may have.
        let address = HeaderValue::from_str(&address.to_string());
        Self { address: address.unwrap_or_else(|_| HeaderValue::from_static("unknown")), trusted }
    }
}

/// `token` is what a proof must show; `local` names the address that was asked where the client did not.
pub(super) fn prepare(parts: &mut Parts, peer: &Peer, token: &[u8], local: &str) -> Result<Facts, Refusal> {
    if parts.method == Method::CONNECT {
        return Err(refusal::NO_CONNECT);
    }
    let seen = look(&parts.headers);
    settle_host(parts, &seen, local)?;
    let headers = &mut parts.headers;
    if seen.expect {
        expectation(headers)?;
    }
    let upgrade = parts.version == Version::HTTP_11 && seen.upgrade && asks_for_upgrade(headers);
    let trailers = seen.te && header_has_token(headers, &header::TE, "trailers");
    let proof_asked =
        seen.prove && headers.get(&PROVE).is_some_and(|given| is_proof(given.as_bytes(), token));
    strip(headers, &seen, upgrade);
    if upgrade {
        headers.insert(header::CONNECTION, HeaderValue::from_static("upgrade"));
    } else if trailers {
        headers.insert(header::TE, HeaderValue::from_static("trailers"));
        headers.insert(header::CONNECTION, HeaderValue::from_static("te"));
    }
    if seen.cookies > 1 {
        join_cookies(headers);
    }
    introduce(headers, &seen, peer);
    parts.version = Version::HTTP_11;
    Ok(Facts { upgrade, proof_asked, safe: parts.method.is_safe() })
}

/// The token, alone or with the slot that must answer.
fn is_proof(given: &[u8], token: &[u8]) -> bool {
    given.strip_prefix(token).is_some_and(|rest| rest.is_empty() || rest.starts_with(b" "))
}

fn look(headers: &HeaderMap) -> Seen {
    let mut seen = Seen::default();
    for name in headers.iter().map(|(name, _)| name) {
        match *name {
            header::HOST => seen.hosts += 1,
            header::COOKIE => seen.cookies += 1,
            header::CONNECTION => seen.connection = true,
            header::TE => seen.te = true,
            header::TRANSFER_ENCODING => seen.transfer_encoding = true,
            header::UPGRADE => seen.upgrade = true,
            header::EXPECT => seen.expect = true,
            _ => match name.as_str() {
                "keep-alive" => seen.keep_alive = true,
                "proxy-connection" => seen.proxy_connection = true,
                "proxy" => seen.proxy = true,
                "orchestrate-prove" => seen.prove = true,
                "x-forwarded-for" => seen.forwarded_for = true,
                "x-forwarded-host" => seen.forwarded_host = true,
                "x-forwarded-proto" => seen.forwarded_proto = true,
                _ => {}
            },
        }
    }
    seen
}

/// Makes sure there is exactly one Host, the one of an absolute target if it has one, and that the target has none.
fn settle_host(parts: &mut Parts, seen: &Seen, local: &str) -> Result<(), Refusal> {
    let authority = parts.uri.authority().map(|authority| authority.as_str().to_owned());
    if seen.hosts > 1 || (seen.hosts == 0 && authority.is_none() && parts.version == Version::HTTP_11) {
        return Err(refusal::NO_HOST);
    }
    if let Some(authority) = authority {
        // `GET example` parses as an authority, which only CONNECT may have for a target.
        if parts.uri.scheme().is_none() {
            return Err(refusal::BAD_TARGET);
        }
        let host = HeaderValue::try_from(authority).map_err(|_| refusal::BAD_TARGET)?;
        parts.headers.insert(header::HOST, host);
        let target = parts.uri.path_and_query().cloned();
        parts.uri = target.map_or_else(|| Uri::from_static("/"), Uri::from);
    } else if seen.hosts == 0 {
        parts.headers.insert(header::HOST, HeaderValue::try_from(local).map_err(|_| refusal::NO_HOST)?);
    }
    match parts.headers.get(header::HOST) {
        Some(host) if is_host(host.as_bytes()) => {}
        _ => return Err(refusal::NO_HOST),
    }
    let asterisk = parts.uri.path() == "*" && parts.method == Method::OPTIONS;
    if parts.uri.path().starts_with('/') || asterisk { Ok(()) } else { Err(refusal::BAD_TARGET) }
}

/// A name or an address with an optional port; user names and paths are how one host is made to look like another.
fn is_host(bytes: &[u8]) -> bool {
    bytes.iter().all(|byte| {
        byte.is_ascii_alphanumeric() || matches!(byte, b'.' | b'-' | b'_' | b':' | b'[' | b']' | b'%' | b'~')
    })
}

fn expectation(headers: &mut HeaderMap) -> Result<(), Refusal> {
    match headers.remove(header::EXPECT) {
        Some(value) if !value.as_bytes().eq_ignore_ascii_case(b"100-continue") => Err(refusal::EXPECTATION),
        _ => Ok(()),
    }
}

fn asks_for_upgrade(headers: &HeaderMap) -> bool {
    // The parser hands HTTP/2's cleartext upgrade through as any other; the instances do not speak it.
    let h2c = headers.get(header::UPGRADE).is_some_and(|value| value.as_bytes().eq_ignore_ascii_case(b"h2c"));
    !h2c && header_has_token(headers, &header::CONNECTION, "upgrade")
}

pub(super) fn header_has_token(headers: &HeaderMap, name: &HeaderName, token: &str) -> bool {
    let values = headers.get_all(name).into_iter();
    values.filter_map(|value| value.to_str().ok()).any(|value| {
        value.split(',').any(|part| {
            let part = part.split(';').next().unwrap_or(part);
            part.trim().eq_ignore_ascii_case(token)
        })
    })
}

/// Removes what is meant for this hop only.
fn strip(headers: &mut HeaderMap, seen: &Seen, upgrade: bool) {
    if seen.connection {
        remove_connection(headers);
    }
    if seen.upgrade && !upgrade {
        headers.remove(header::UPGRADE);
    }
    for (there, name) in [
        (seen.keep_alive, KEEP_ALIVE),
        (seen.proxy_connection, PROXY_CONNECTION),
        (seen.proxy, PROXY),
        (seen.te, header::TE),
        (seen.transfer_encoding, header::TRANSFER_ENCODING),
        (seen.prove, PROVE),
    ] {
        if there {
            headers.remove(name);
        }
    }
}

/// Removes `Connection` and the headers it names, but for those that say where a message ends or whom it is for.
pub(super) fn remove_connection(headers: &mut HeaderMap) {
    let Entry::Occupied(entry) = headers.entry(header::CONNECTION) else { return };
    let values: Vec<HeaderValue> = entry.remove_entry_mult().1.collect();
    for value in &values {
        for token in value.as_bytes().split(|byte| *byte == b',').map(<[u8]>::trim_ascii) {
            let usual = [&b"keep-alive"[..], b"close", b"upgrade", b"te"];
            if token.is_empty() || usual.iter().any(|usual| token.eq_ignore_ascii_case(usual)) {
                continue;
            }
            match HeaderName::from_bytes(token) {
                Ok(header::HOST | header::CONTENT_LENGTH | header::TRANSFER_ENCODING) | Err(_) => {}
                Ok(name) => drop(headers.remove(name)),
            }
        }
    }
}

/// HTTP/2 may split cookies over several headers; HTTP/1.1 knows one.
fn join_cookies(headers: &mut HeaderMap) {
    let all: Vec<&[u8]> = headers.get_all(header::COOKIE).iter().map(HeaderValue::as_bytes).collect();
    if let Ok(joined) = HeaderValue::from_bytes(&all.join(&b"; "[..])) {
        headers.insert(header::COOKIE, joined);
    }
}

/// Says who asked, for which host and how. What the client says of that itself counts only if it may be a proxy.
fn introduce(headers: &mut HeaderMap, seen: &Seen, peer: &Peer) {
    let mut chain = peer.address.clone();
    if seen.forwarded_for && peer.trusted {
        let known = headers.get_all(&X_FORWARDED_FOR).iter().map(HeaderValue::as_bytes);
        let all: Vec<&[u8]> = known.chain([peer.address.as_bytes()]).collect();
        if let Ok(joined) = HeaderValue::from_bytes(&all.join(&b", "[..])) {
            chain = joined;
        }
    }
    headers.insert(X_FORWARDED_FOR, chain);
    if !(seen.forwarded_host && peer.trusted)
        && let Some(host) = headers.get(header::HOST).cloned()
    {
        headers.insert(X_FORWARDED_HOST, host);
    }
    if !(seen.forwarded_proto && peer.trusted) {
        headers.insert(X_FORWARDED_PROTO, HeaderValue::from_static("http"));
    }
}

#[cfg(test)]
#[path = "request/tests.rs"]
mod tests;
