//! Mail to a real SMTP server, Debian's python3-aiosmtpd: encrypted, with a password, refused, threaded.

#![expect(clippy::unwrap_used, clippy::expect_used, reason = "a test fails by panicking, its helpers too")]

use std::path::Path;
use std::process::Stdio;
use std::time::Duration;

use orchestrate_core::notification::{Channel, NoticeKind, Via};
use orchestrate_core::ports::{DeliveryError, Notice, Notifier as _, Receipt};
use orchestrate_notify::ChannelNotifier;
use rcgen::{CertifiedKey, generate_simple_self_signed};
use serde_json::{Value, json};
use tokio::io::{AsyncBufReadExt as _, BufReader, Lines};
use tokio::process::{Child, ChildStdout, Command};

const WITHIN: Duration = Duration::from_secs(60);
const CASE: &str = "TEST_MAIL";

struct Server {
    _program: Child,
    lines: Lines<BufReader<ChildStdout>>,
    port: String,
}

impl Server {
    async fn start(directory: &Path, mode: &str) -> Self {
        let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/smtpd.py");
        // Debian's own, which has Debian's packages.
        let mut program = Command::new("/usr/bin/python3")
            .arg(script)
            .args([directory.join("cert.pem"), directory.join("key.pem")])
            .arg(mode)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .kill_on_drop(true)
            .spawn()
            .unwrap();
        let mut lines = BufReader::new(program.stdout.take().unwrap()).lines();
        let port = lines.next_line().await.unwrap();
        let port = port.expect("the test needs Debian's python3-aiosmtpd: scripts/install-test-tools");
        Self { _program: program, lines, port }
    }

    async fn received(&mut self) -> Value {
        let line = tokio::time::timeout(WITHIN, self.lines.next_line()).await.unwrap().unwrap().unwrap();
        serde_json::from_str(&line).unwrap()
    }
}

fn notice(url: &str, to: &[&str]) -> Notice {
    let to = to.iter().map(|address| (*address).to_owned()).collect();
    let via = Via::Email { from: "Deploys <deploys@example.com>".into(), to };
    Notice {
        key: "rollback-r7-production-1-0".to_owned(),
        channel: Channel { via, ..Channel::webhook(url, &[]) },
        kind: NoticeKind::Rollback,
        created_at: "2026-11-22T03:00:00.000Z".parse().unwrap(),
        payload: json!({
            "service": "shop", "environment": "production", "target_version": "1.0.0",
            "reason": "prices\r\nBcc: everybody@example.com", "text": "shop was rolled back: préces",
        }),
        thread: None,
    }
}

async fn deliver(notice: &Notice) -> Result<Option<Receipt>, DeliveryError> {
    ChannelNotifier::with_timeouts(WITHIN, WITHIN).deliver(notice, None).await
}

fn certificate(directory: &Path) {
    let CertifiedKey { cert, signing_key } = generate_simple_self_signed(["127.0.0.1".to_owned()]).unwrap();
    std::fs::write(directory.join("cert.pem"), cert.pem()).unwrap();
    std::fs::write(directory.join("key.pem"), signing_key.serialize_pem()).unwrap();
}

#[tokio::test]
async fn mail_is_written_and_hangs_together() {
    let directory = tempfile::tempdir().unwrap();
    certificate(directory.path());
    let mut server = Server::start(directory.path(), "plain").await;
    let url = format!("smtp://127.0.0.1:{}/?tls=none", server.port);
    let mut notice = notice(&url, &["ops@example.com", "Ada <ada@example.com>"]);
    let first = deliver(&notice).await.unwrap().unwrap();
    assert_eq!(first.0, "<rollback-r7-production-1-0@example.com>");
    let mail = server.received().await;
    assert_eq!(mail["to"], json!(["ops@example.com", "ada@example.com"]));
    let content = mail["content"].as_str().unwrap();
    for line in [
        "From: Deploys <deploys@example.com>",
        "Subject: shop in production: rolled back",
        "Message-ID: <rollback-r7-production-1-0@example.com>",
        "Date: Sun, 22 Nov 2026 03:00:00 +0000",
    ] {
        assert!(content.contains(line), "{line} is not in\n{content}");
    }
    let (head, _) = content.split_once("\r\n\r\n").unwrap();
    assert!(!head.contains("Bcc:"), "a reason became a header: {head}");

    notice.key = "rollback_failed-r7-production-2-0".into();
    notice.thread = Some(first.clone());
    assert_eq!(deliver(&notice).await.unwrap(), Some(first.clone()));
    let mail = server.received().await;
    let content = mail["content"].as_str().unwrap();
    assert!(content.contains(&format!("In-Reply-To: {}", first.0)), "{content}");
    assert!(content.contains("Message-ID: <rollback_failed-r7-production-2-0@example.com>"), "{content}");
}

#[tokio::test]
async fn a_server_says_for_now_or_for_ever_or_nothing() {
    let directory = tempfile::tempdir().unwrap();
    certificate(directory.path());
    let server = Server::start(directory.path(), "plain").await;
    let url = |more: &str| format!("smtp://127.0.0.1:{}/{more}", server.port);
    let error = deliver(&notice(&url("?tls=none"), &["nobody@example.com"])).await.unwrap_err();
    assert!(!error.retry && error.message.contains("550"), "{error:?}");
    let error = deliver(&notice(&url("?tls=none"), &["busy@example.com"])).await.unwrap_err();
    assert!(error.retry && error.message.contains("451"), "{error:?}");
    // Nothing is said in the clear to a server that cannot do otherwise, unless the URL allows it.
    let error = deliver(&notice(&url(""), &["ops@example.com"])).await.unwrap_err();
    assert!(error.message.contains("STARTTLS"), "{error:?}");
    assert!(deliver(&notice(&url("?tls=opportunistic"), &["ops@example.com"])).await.is_ok());
    drop(server);
    let error = deliver(&notice("smtp://127.0.0.1:1", &["ops@example.com"])).await.unwrap_err();
    assert!(error.retry, "{error:?}");
}

#[tokio::test]
async fn a_password_is_sent_encrypted_and_to_nobody_unknown() {
    let directory = tempfile::tempdir().unwrap();
    certificate(directory.path());
    let mut server = Server::start(directory.path(), "auth").await;
    let url = format!("smtp://ops:pa55%20word@127.0.0.1:{}", server.port);
    let error = deliver(&notice(&url, &["ops@example.com"])).await.unwrap_err();
    assert!(error.retry && error.message.contains("certificate"), "{error:?}");
    assert!(!error.message.contains("pa55"), "{error:?}");
    for (url, good) in [(url.replace("pa55", "wrong"), false), (url, true)] {
        assert_eq!(delivered_by_another(directory.path(), &url).await, good, "{url}");
    }
    let mail = server.received().await;
    assert_eq!((&mail["tls"], &mail["user"]), (&json!(true), &json!("ops")));
}

/// What a process trusts is asked of its environment, and only another process can have another one.
async fn delivered_by_another(directory: &Path, url: &str) -> bool {
    let status = Command::new(std::env::current_exe().unwrap())
        .args(["--exact", "child_that_delivers", "--ignored"])
        .env("SSL_CERT_FILE", directory.join("cert.pem"))
        .env(CASE, url)
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .kill_on_drop(true)
        .status();
    tokio::time::timeout(WITHIN, status).await.unwrap().unwrap().success()
}

#[tokio::test]
#[ignore = "runs inside a_password_is_sent_encrypted_and_to_nobody_unknown"]
async fn child_that_delivers() {
    // Without it, somebody ran the ignored tests by hand, and there is nothing to deliver to.
    if let Ok(url) = std::env::var(CASE) {
        deliver(&notice(&url, &["ops@example.com"])).await.unwrap();
    }
}
