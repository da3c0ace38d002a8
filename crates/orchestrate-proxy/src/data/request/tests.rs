use http::Request;

use super::*;

fn parts(build: http::request::Builder) -> Parts {
    build.body(()).unwrap().into_parts().0
}

fn prepared(build: http::request::Builder, peer: &str) -> Result<(Parts, Facts), Refusal> {
    let mut parts = parts(build);
    let peer = Peer::new(peer.parse().unwrap());
    let facts = prepare(&mut parts, &peer, b"secret", "127.0.0.1:80")?;
    Ok((parts, facts))
}

fn get() -> http::request::Builder {
    Request::get("/").header("host", "shop.example")
}

#[test]
fn headers_for_this_hop_do_not_pass() {
    let build = get()
        .header("connection", "x-private, keep-alive, Host")
        .header("x-private", "1")
        .header("keep-alive", "5")
        .header("proxy-connection", "close")
        .header("proxy", "evil")
        .header("te", "gzip")
        .header("upgrade", "websocket")
        .header("orchestrate-prove", "secret")
        .header("x-kept", "1");
    let (parts, facts) = prepared(build, "127.0.0.1").unwrap();
    let mut names: Vec<&str> = parts.headers.keys().map(HeaderName::as_str).collect();
    names.sort_unstable();
    assert_eq!(names, ["host", "x-forwarded-for", "x-forwarded-host", "x-forwarded-proto", "x-kept"]);
    assert!(facts.proof_asked && !facts.upgrade);
}

#[test]
fn a_wrong_token_asks_for_no_proof() {
    assert!(!prepared(get().header("orchestrate-prove", "secre"), "127.0.0.1").unwrap().1.proof_asked);
}

#[test]
fn only_a_near_peer_is_believed_who_asked() {
    let build = || {
        get()
            .header("x-forwarded-for", "1.2.3.4")
            .header("x-forwarded-host", "public.example")
            .header("x-forwarded-proto", "https")
    };
    let value = |parts: &Parts, name: &str| parts.headers[name].to_str().unwrap().to_owned();
    let (near, _) = prepared(build(), "10.0.0.7").unwrap();
    assert_eq!(value(&near, "x-forwarded-for"), "1.2.3.4, 10.0.0.7");
    assert_eq!(value(&near, "x-forwarded-host"), "public.example");
    assert_eq!(value(&near, "x-forwarded-proto"), "https");
    let (far, _) = prepared(build(), "8.8.8.8").unwrap();
    assert_eq!(value(&far, "x-forwarded-for"), "8.8.8.8");
    assert_eq!(value(&far, "x-forwarded-host"), "shop.example");
    assert_eq!(value(&far, "x-forwarded-proto"), "http");
}

#[test]
fn the_host_is_one_and_valid() {
    for hosts in [&[][..], &["a", "b"], &["a", "a"], &["a b"], &["a/b"], &["u@a"], &["a,b"], &["a?"]] {
        let build = hosts.iter().fold(Request::get("/"), |build, host| build.header("host", *host));
        assert_eq!(prepared(build, "127.0.0.1").err(), Some(refusal::NO_HOST), "{hosts:?}");
    }
    for host in ["a", "a.b:80", "[::1]:80", "127.0.0.1"] {
        assert!(prepared(Request::get("/").header("host", host), "127.0.0.1").is_ok(), "{host}");
    }
}

#[test]
fn an_absolute_target_names_the_host() {
    let build = Request::get("http://real.example/a?b").header("host", "other.example");
    let (parts, _) = prepared(build, "127.0.0.1").unwrap();
    assert_eq!(parts.uri, "/a?b");
    assert_eq!(parts.headers["host"], "real.example");
    let build = Request::get("http://user@real.example/").header("host", "real.example");
    assert_eq!(prepared(build, "127.0.0.1").err(), Some(refusal::NO_HOST));
}

#[test]
fn cookies_of_http2_become_one() {
    let (parts, _) = prepared(get().header("cookie", "a=1").header("cookie", "b=2"), "127.0.0.1").unwrap();
    assert_eq!(parts.headers["cookie"], "a=1; b=2");
}

#[test]
fn connect_and_unknown_expectations_are_refused() {
    let connect = Request::connect("a:80").header("host", "a");
    assert_eq!(prepared(connect, "127.0.0.1").err(), Some(refusal::NO_CONNECT));
    assert_eq!(prepared(get().header("expect", "200-ok"), "127.0.0.1").err(), Some(refusal::EXPECTATION));
}
