//! Deliveries over TLS: to a receiver whose certificate this machine trusts, and to one that it does not know.

#![expect(clippy::unwrap_used, reason = "a test fails by panicking, its helpers too")]

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use orchestrate_core::notification::{Channel, NoticeKind};
use orchestrate_core::ports::{DeliveryError, Notice, Notifier as _};
use orchestrate_core::time::Timestamp;
use orchestrate_notify::ChannelNotifier;
use rcgen::{CertifiedKey, generate_simple_self_signed};
use rustls::ServerConfig;
use rustls::pki_types::PrivateKeyDer;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};
use tokio::process::Command;
use tokio::sync::watch;
use tokio_rustls::TlsAcceptor;

const WITHIN: Duration = Duration::from_secs(30);
const URL: &str = "TEST_HOOK_URL";

struct Receiver {
    address: SocketAddr,
    /// Its certificate, as PEM.
    certificate: String,
    accepted: watch::Receiver<u32>,
}

async fn receiver() -> Receiver {
    let CertifiedKey { cert, signing_key } = generate_simple_self_signed(["127.0.0.1".to_owned()]).unwrap();
    let key = PrivateKeyDer::try_from(signing_key.serialize_der()).unwrap();
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let config = ServerConfig::builder_with_provider(provider).with_safe_default_protocol_versions().unwrap();
    let config = config.with_no_client_auth().with_single_cert(vec![cert.der().clone()], key).unwrap();
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let (count, accepted) = watch::channel(0);
    let acceptor = TlsAcceptor::from(Arc::new(config));
    tokio::spawn(async move {
        while let Ok((stream, _)) = listener.accept().await {
            if answer(&acceptor, stream).await.is_some() {
                count.send_modify(|count| *count += 1);
            }
        }
    });
    Receiver { address, certificate: cert.pem(), accepted }
}

async fn answer(acceptor: &TlsAcceptor, stream: TcpStream) -> Option<()> {
    let mut stream = acceptor.accept(stream).await.ok()?;
    let mut request = Vec::new();
    // The body's last byte is the last of the two braces that it ends with.
    while !request.ends_with(b"}}") {
        if stream.read_buf(&mut request).await.ok()? == 0 {
            return None;
        }
    }
    stream.write_all(b"HTTP/1.1 204 No Content\r\n\r\n").await.ok()?;
    stream.shutdown().await.ok()
}

async fn deliver(url: String) -> Result<(), DeliveryError> {
    let notice = Notice {
        key: "rollback-7-completed".to_owned(),
        channel: Channel::webhook(url, &[]),
        kind: NoticeKind::Rollback,
        created_at: Timestamp::system_now(),
        payload: serde_json::json!({"id": 7}),
        thread: None,
    };
    ChannelNotifier::new().deliver(&notice, None).await.map(drop)
}

#[tokio::test]
async fn a_receiver_with_an_unknown_certificate_gets_nothing() {
    let receiver = receiver().await;
    let error = deliver(format!("https://{}/token123", receiver.address)).await.unwrap_err();
    assert!(error.retry && error.message.contains("certificate"), "{error:?}");
    assert!(!error.message.contains("token123"), "{error:?}");
    assert_eq!(*receiver.accepted.borrow(), 0);
}

#[tokio::test]
async fn a_receiver_with_a_trusted_certificate_gets_the_notice() {
    let receiver = receiver().await;
    let directory = tempfile::tempdir().unwrap();
    let trusted = directory.path().join("ca.pem");
    std::fs::write(&trusted, &receiver.certificate).unwrap();
    // What a process trusts is asked of its environment, and only another process can have another one.
    let output = Command::new(std::env::current_exe().unwrap())
        .args(["--exact", "child_that_delivers", "--ignored", "--nocapture"])
        .env("SSL_CERT_FILE", &trusted)
        .env(URL, format!("https://{}/hook", receiver.address))
        .kill_on_drop(true)
        .output();
    let output = tokio::time::timeout(WITHIN, output).await.unwrap().unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stdout));
    assert_eq!(*receiver.accepted.borrow(), 1);
}

#[tokio::test]
#[ignore = "runs inside a_receiver_with_a_trusted_certificate_gets_the_notice"]
async fn child_that_delivers() {
    // Without it, somebody ran the ignored tests by hand, and there is nothing to deliver to.
    if let Ok(url) = std::env::var(URL) {
        deliver(url).await.unwrap();
    }
}
