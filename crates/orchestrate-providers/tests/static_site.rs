//! The file server of static sites: what a browser, a cache and somebody who looks for holes get.

#![allow(clippy::unwrap_used, clippy::expect_used, reason = "a test that cannot go on has failed")]

use std::fs;
use std::net::{Ipv4Addr, SocketAddr};
use std::os::unix::fs::symlink;

use orchestrate_core::environment::Static;
use orchestrate_core::time::Span;
use orchestrate_providers::static_site::{Site, VERSION_PATH, serve};
use tempfile::TempDir;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinHandle;

struct Served {
    address: SocketAddr,
    task: JoinHandle<()>,
    _directory: TempDir,
}

/// An answer as it came, its head's lines in lower case.
struct Got {
    status: u16,
    head: String,
    body: Vec<u8>,
}

impl Got {
    fn header(&self, name: &str) -> Option<&str> {
        self.head.lines().find_map(|line| line.strip_prefix(&format!("{name}: ")))
    }

    fn text(&self) -> String {
        String::from_utf8_lossy(&self.body).into_owned()
    }
}

impl Drop for Served {
    fn drop(&mut self) {
        self.task.abort();
    }
}

impl Served {
    async fn new(settings: Static) -> Self {
        let directory = TempDir::new().unwrap();
        let site = directory.path().join("site");
        fs::create_dir_all(site.join("docs/deep")).unwrap();
        fs::create_dir_all(site.join("assets")).unwrap();
        fs::create_dir_all(site.join(".git")).unwrap();
        fs::create_dir_all(site.join(".well-known")).unwrap();
        fs::create_dir_all(site.join("empty")).unwrap();
        for (path, text) in [
            ("index.html", "<h1>home</h1>"),
            ("404.html", "<h1>nowhere</h1>"),
            ("docs/index.html", "<h1>docs</h1>"),
            ("docs/a b.txt", "blank"),
            ("docs/ü.txt", "umlaut"),
            ("assets/app.1f.js", "let all = 1;"),
            ("assets/app.1f.js.br", "BROTLI"),
            ("assets/app.1f.js.gz", "GZIPPED"),
            ("assets/logo.svg", "<svg/>"),
            ("digits.bin", "0123456789"),
            ("nothing.txt", ""),
            (".env", "PASSWORD=hunter2"),
            (".git/config", "[core]"),
            (".well-known/security.txt", "Contact: us"),
        ] {
            fs::write(site.join(path), text).unwrap();
        }
        fs::write(directory.path().join("secret.txt"), "hunter2").unwrap();
        symlink("../secret.txt", site.join("leak.txt")).unwrap();
        symlink("/etc/passwd", site.join("passwd")).unwrap();
        symlink("..", site.join("up")).unwrap();
        symlink(".env", site.join("env.txt")).unwrap();
        symlink("digits.bin", site.join("link.bin")).unwrap();
        let site = Site::read(&site, settings, "1.2.3".into()).unwrap();
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await.unwrap();
        let address = listener.local_addr().unwrap();
        let task = tokio::spawn(async move { serve(site, listener).await.unwrap() });
        Self { address, task, _directory: directory }
    }

    async fn get(&self, path: &str, headers: &[&str]) -> Got {
        self.ask("GET", path, headers).await
    }

    /// As it is written, without a client that mends it.
    async fn ask(&self, method: &str, path: &str, headers: &[&str]) -> Got {
        let mut stream = TcpStream::connect(self.address).await.unwrap();
        let more: String = headers.iter().map(|header| format!("{header}\r\n")).collect();
        let request = format!("{method} {path} HTTP/1.1\r\nhost: s\r\nconnection: close\r\n{more}\r\n");
        stream.write_all(request.as_bytes()).await.unwrap();
        let mut all = Vec::new();
        stream.read_to_end(&mut all).await.unwrap();
        let end = all.windows(4).position(|four| four == b"\r\n\r\n").expect("an answer has a head");
        let head = String::from_utf8_lossy(&all[..end]).into_owned();
        let status = head.split(' ').nth(1).unwrap().parse().unwrap();
        Got { status, head, body: all[end + 4..].to_vec() }
    }
}

fn site() -> Static {
    Static {
        not_found: Some("404.html".into()),
        immutable: vec!["assets/*.*.js".into()],
        max_age: Some(Span::from_secs(3600)),
        ..Static::default()
    }
}

#[tokio::test]
async fn pages_and_files_are_answered_with_what_a_cache_needs() {
    let served = Served::new(site()).await;
    for (path, kind, keep, body) in [
        ("/", "text/html; charset=utf-8", "no-cache", "<h1>home</h1>"),
        ("/index.html?x=1", "text/html; charset=utf-8", "no-cache", "<h1>home</h1>"),
        ("/docs/", "text/html; charset=utf-8", "no-cache", "<h1>docs</h1>"),
        ("/docs/a%20b.txt", "text/plain; charset=utf-8", "public, max-age=3600", "blank"),
        ("/docs/%C3%BC.txt", "text/plain; charset=utf-8", "public, max-age=3600", "umlaut"),
        (
            "/assets/app.1f.js",
            "text/javascript; charset=utf-8",
            "public, max-age=31536000, immutable",
            "let all = 1;",
        ),
        ("/assets/logo.svg", "image/svg+xml", "public, max-age=3600", "<svg/>"),
        ("/link.bin", "application/octet-stream", "public, max-age=3600", "0123456789"),
        ("/nothing.txt", "text/plain; charset=utf-8", "public, max-age=3600", ""),
        ("/.well-known/security.txt", "text/plain; charset=utf-8", "public, max-age=3600", "Contact: us"),
    ] {
        let got = served.get(path, &[]).await;
        assert_eq!((got.status, got.text().as_str()), (200, body), "{path}");
        assert_eq!(
            (got.header("content-type"), got.header("cache-control")),
            (Some(kind), Some(keep)),
            "{path}"
        );
        assert_eq!(got.header("content-length"), Some(body.len().to_string().as_str()), "{path}");
        assert_eq!(got.header("x-orchestrate-version"), Some("1.2.3"));
        assert_eq!(got.header("x-content-type-options"), Some("nosniff"));
        assert_eq!(got.header("last-modified"), None, "an older release would seem not modified");
        let head = served.ask("HEAD", path, &[]).await;
        assert_eq!((head.status, head.body.len()), (200, 0), "{path}");
        assert_eq!(head.header("content-length"), got.header("content-length"), "{path}");
        let known = format!("if-none-match: \"x\", W/{}", got.header("etag").unwrap());
        let again = served.get(path, &[&known]).await;
        assert_eq!((again.status, again.body.len()), (304, 0), "{path}");
        assert_eq!((again.header("etag"), again.header("cache-control")), (got.header("etag"), Some(keep)));
        assert_eq!(served.get(path, &["if-none-match: \"other\""]).await.status, 200);
    }
    let without = Served::new(Static::default()).await;
    assert_eq!(without.get("/digits.bin", &[]).await.header("cache-control"), Some("no-cache"));
}

#[tokio::test]
async fn the_same_bytes_have_the_same_tag_in_every_release() {
    let (one, other) = (Served::new(site()).await, Served::new(Static::default()).await);
    let (first, second) = (one.get("/", &[]).await, other.get("/", &[]).await);
    assert_eq!(first.header("etag"), second.header("etag"));
    assert_ne!(first.header("etag"), one.get("/404.html", &[]).await.header("etag"));
}

#[tokio::test]
async fn a_coding_is_chosen_that_the_client_takes() {
    let served = Served::new(site()).await;
    for (accept, coding, body) in [
        ("accept-encoding: gzip, deflate, br", Some("br"), "BROTLI"),
        ("accept-encoding: gzip;q=0.5, br;q=0", Some("gzip"), "GZIPPED"),
        ("accept-encoding: GZIP", Some("gzip"), "GZIPPED"),
        ("accept-encoding: identity", None, "let all = 1;"),
        ("accept-encoding: brotli", None, "let all = 1;"),
        ("x: y", None, "let all = 1;"),
    ] {
        let got = served.get("/assets/app.1f.js", &[accept]).await;
        assert_eq!((got.header("content-encoding"), got.text().as_str()), (coding, body), "{accept}");
        assert_eq!(got.header("content-type"), Some("text/javascript; charset=utf-8"));
        assert_eq!(got.header("vary"), Some("accept-encoding"));
        let known = format!("if-none-match: {}", got.header("etag").unwrap());
        assert_eq!(served.get("/assets/app.1f.js", &[accept, &known]).await.status, 304);
    }
    assert_eq!(served.get("/", &["accept-encoding: br"]).await.header("vary"), None);
}

#[tokio::test]
async fn parts_of_a_file_are_answered() {
    let served = Served::new(site()).await;
    let etag = served.get("/digits.bin", &[]).await.header("etag").unwrap().to_owned();
    let known = format!("if-range: {etag}");
    for (headers, status, range, body) in [
        (vec!["range: bytes=2-4"], 206, Some("bytes 2-4/10"), "234"),
        (vec!["range: bytes=-2"], 206, Some("bytes 8-9/10"), "89"),
        (vec!["range: bytes=7-"], 206, Some("bytes 7-9/10"), "789"),
        (vec!["range: bytes=2-4", &known], 206, Some("bytes 2-4/10"), "234"),
        (vec!["range: bytes=2-4", "if-range: \"old\""], 200, None, "0123456789"),
        (vec!["range: bytes=0-1,4-5"], 200, None, "0123456789"),
        (vec!["range: bytes=10-"], 416, Some("bytes */10"), "Range Not Satisfiable"),
    ] {
        let got = served.get("/digits.bin", &headers).await;
        assert_eq!(
            (got.status, got.header("content-range"), got.text().as_str()),
            (status, range, body),
            "{headers:?}"
        );
    }
    assert_eq!(served.get("/digits.bin", &[]).await.header("accept-ranges"), Some("bytes"));
}

#[tokio::test]
async fn nothing_but_the_files_of_the_site_is_served() {
    let served = Served::new(site()).await;
    for path in [
        "/.env",
        "/.git/config",
        "/env.txt",
        "/leak.txt",
        "/passwd",
        "/up/secret.txt",
        "/up/site/index.html",
        "/../secret.txt",
        "/docs/../../secret.txt",
        "/..%2fsecret.txt",
        "/%2e%2e/secret.txt",
        "/%2e%2e%2fsecret.txt",
        "//etc/passwd",
        "/docs//index.html",
        "/docs/./index.html",
        "/docs/..",
        "/docs\\..\\..\\secret.txt",
        "/index.html/",
        "/digits.bin/x",
        "/empty",
        "/empty/",
        "/docs/deep",
        "/nobody",
        "/%2561",
        "/.well-known/",
    ] {
        let got = served.get(path, &[]).await;
        assert_eq!((got.status, got.text().as_str()), (404, "<h1>nowhere</h1>"), "{path}");
        assert_eq!(got.header("cache-control"), Some("no-cache"));
    }
    for path in ["/%", "/%4", "/%zz", "/%ff", "/a%00b"] {
        assert_eq!(served.get(path, &[]).await.status, 400, "{path}");
    }
    for method in ["POST", "PUT", "DELETE", "OPTIONS", "PROPFIND"] {
        let got = served.ask(method, "/", &["content-length: 0"]).await;
        assert_eq!((got.status, got.header("allow")), (405, Some("GET, HEAD")), "{method}");
    }
}

#[tokio::test]
async fn a_directory_without_its_slash_leads_to_itself_and_nowhere_else() {
    let served = Served::new(Static::default()).await;
    let got = served.get("/docs?x=//evil", &[]).await;
    assert_eq!((got.status, got.header("location")), (302, Some("./docs/?x=//evil")));
    assert_eq!(got.header("cache-control"), Some("no-cache"), "another release may have a file there");
    assert_eq!(served.get("//docs", &[]).await.status, 404);
    assert_eq!(served.get("/nobody", &[]).await.text(), "Not Found");
}

#[tokio::test]
async fn an_app_of_one_page_answers_its_own_paths_and_no_missing_files() {
    let served = Served::new(Static { spa: true, ..Static::default() }).await;
    for path in ["/users/7", "/users", "/empty/"] {
        let got = served.get(path, &["accept: text/html,*/*"]).await;
        assert_eq!(
            (got.status, got.text().as_str(), got.header("cache-control")),
            (200, "<h1>home</h1>", Some("no-cache"))
        );
    }
    assert_eq!(served.get("/assets/app.2e.js", &[]).await.status, 404, "an old page asks for what is gone");
    assert_eq!(served.get("/api/users", &["accept: application/json"]).await.status, 404);
}

#[tokio::test]
async fn a_large_file_comes_whole() {
    let directory = TempDir::new().unwrap();
    let bytes: Vec<u8> = (0..1_000_003_u32).map(|number| (number % 251) as u8).collect();
    fs::write(directory.path().join("large.bin"), &bytes).unwrap();
    let site = Site::read(directory.path(), Static::default(), "1".into()).unwrap();
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await.unwrap();
    let address = listener.local_addr().unwrap();
    let task = tokio::spawn(async move { serve(site, listener).await.unwrap() });
    let served = Served { address, task, _directory: directory };
    assert!(served.get("/large.bin", &[]).await.body == bytes);
    assert!(served.get("/large.bin", &["range: bytes=65530-999999"]).await.body == bytes[65530..=999_999]);
}

#[tokio::test]
async fn the_version_can_be_asked_for() {
    let served = Served::new(site()).await;
    let got = served.get(VERSION_PATH, &[]).await;
    assert_eq!(
        (got.status, got.text().as_str(), got.header("cache-control")),
        (200, "1.2.3", Some("no-store"))
    );
}
