//! Deliveries to a real HTTP receiver on loopback, in the moods that receivers have.

#![expect(clippy::unwrap_used, reason = "a test fails by panicking, its helpers too")]

use std::time::{Duration, Instant};

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use hmac::{Hmac, KeyInit as _, Mac as _};
use orchestrate_core::notification::{Channel, NoticeKind, SecretRef};
use orchestrate_core::ports::{DeliveryError, Notice, Notifier as _};
use orchestrate_core::secrets::SecretText;
use orchestrate_core::time::{Span, Timestamp};
use orchestrate_notify::ChannelNotifier;
use orchestrate_testkit::{Answer, Received, WebhookReceiver};
use serde_json::json;

const SECRET: &str = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw";
const WITHIN: Duration = Duration::from_secs(10);

fn notice(url: String) -> Notice {
    Notice {
        key: "rollback-7-completed".to_owned(),
        channel: Channel::webhook(url, &[]),
        kind: NoticeKind::Rollback,
        created_at: "2026-11-22T03:00:00.000Z".parse().unwrap(),
        payload: json!({"id": 7, "environment": "production"}),
        thread: None,
    }
}

async fn deliver(url: String) -> Result<(), DeliveryError> {
    ChannelNotifier::new().deliver(&notice(url), None).await.map(drop)
}

async fn answered(answer: Answer) -> Result<(), DeliveryError> {
    let receiver = WebhookReceiver::start().await.unwrap();
    receiver.answer(answer);
    let result = deliver(receiver.url()).await;
    assert_eq!(receiver.received().len(), 1, "one attempt is one request");
    result
}

/// Written anew from the standard's text, so that it does not share a mistake with the code under test.
fn verify(request: &Received, key: &[u8]) {
    let mut signed = request.header("webhook-id").as_bytes().to_vec();
    signed.push(b'.');
    signed.extend_from_slice(request.header("webhook-timestamp").as_bytes());
    signed.push(b'.');
    signed.extend_from_slice(&request.body);
    let encoded = request.header("webhook-signature").strip_prefix("v1,").unwrap();
    let signature = STANDARD.decode(encoded).unwrap();
    let mac = Hmac::<sha2::Sha256>::new_from_slice(key).unwrap().chain_update(signed);
    mac.verify_slice(&signature).unwrap();
}

#[tokio::test]
async fn a_notice_arrives_signed_and_whole() {
    let receiver = WebhookReceiver::start().await.unwrap();
    let before = Timestamp::system_now().as_millis() / 1_000;
    let notice = notice(receiver.url());
    ChannelNotifier::new().deliver(&notice, Some(&SecretText::new(SECRET))).await.unwrap();
    let received = receiver.await_received(1, WITHIN).await.unwrap();
    let request = &received[0];
    assert_eq!((request.method.as_str(), request.path.as_str()), ("POST", "/hook"));
    assert_eq!(request.header("content-type"), "application/json");
    assert_eq!(request.header("webhook-id"), "rollback-7-completed");
    let seconds: i64 = request.header("webhook-timestamp").parse().unwrap();
    assert!((before..=before + 10).contains(&seconds), "the time is that of the attempt");
    verify(request, &STANDARD.decode("MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw").unwrap());
    let body: serde_json::Value = serde_json::from_slice(&request.body).unwrap();
    let wanted = json!({
        "type": "rollback.completed",
        "timestamp": "2026-11-22T03:00:00.000Z",
        "data": {"id": 7, "environment": "production"},
    });
    assert_eq!(body, wanted);
}

#[tokio::test]
async fn every_attempt_has_the_same_id_and_body() {
    let receiver = WebhookReceiver::start().await.unwrap();
    receiver.answer_next([Answer::Status(500), Answer::Drop]);
    let (notifier, notice) = (ChannelNotifier::new(), notice(receiver.url()));
    assert!(notifier.deliver(&notice, None).await.unwrap_err().retry);
    assert!(notifier.deliver(&notice, None).await.unwrap_err().retry);
    notifier.deliver(&notice, None).await.unwrap();
    let received = receiver.received();
    assert_eq!(received.len(), 3);
    for request in &received {
        assert_eq!(request.header("webhook-id"), received[0].header("webhook-id"));
        assert_eq!(request.body, received[0].body);
        assert_eq!(request.header("webhook-signature"), "");
    }
}

#[tokio::test]
async fn a_notice_that_must_be_signed_is_not_sent_unsigned() {
    let receiver = WebhookReceiver::start().await.unwrap();
    let mut notice = notice(receiver.url());
    let secret = Some(SecretRef { name: "hook".to_owned(), version: 1 });
    notice.channel = Channel { secret, ..Channel::webhook(receiver.url(), &[]) };
    assert!(ChannelNotifier::new().deliver(&notice, None).await.unwrap_err().retry);
    let broken = SecretText::new("whsec_hunter2!");
    let error = ChannelNotifier::new().deliver(&notice, Some(&broken)).await.unwrap_err();
    assert!(!error.retry && !error.message.contains("hunter2"), "{error:?}");
    assert!(receiver.received().is_empty());
}

#[tokio::test]
async fn a_status_decides_whether_there_is_another_attempt() {
    for status in [200, 201, 202, 204] {
        answered(Answer::Status(status)).await.unwrap();
    }
    for (status, retry) in
        [(400, false), (401, false), (404, false), (410, false), (408, true), (500, true), (503, true)]
    {
        let error = answered(Answer::Status(status)).await.unwrap_err();
        assert_eq!(error.retry, retry, "{status}: {error:?}");
        assert_eq!(error.retry_after, None, "{status}");
        assert!(error.message.contains(&status.to_string()), "{error:?}");
    }
}

fn full(status: u16, header: (&str, &str), body: &'static [u8]) -> Answer {
    let headers = vec![(header.0.to_owned(), header.1.to_owned())];
    Answer::Full { status, headers, body: body.into() }
}

#[tokio::test]
async fn a_receiver_may_say_when_to_come_back() {
    for (value, wanted) in
        [("7", Some(Span::from_secs(7))), ("86400", Some(Span::from_secs(3_600))), ("soon", None)]
    {
        let error = answered(full(429, ("retry-after", value), b"")).await.unwrap_err();
        assert!(error.retry);
        assert_eq!(error.retry_after, wanted, "{value}");
    }
    let refused = answered(full(400, ("retry-after", "7"), b"")).await.unwrap_err();
    assert_eq!((refused.retry, refused.retry_after), (false, None));
}

#[tokio::test]
async fn a_redirect_is_a_failure_and_is_not_followed() {
    let elsewhere = WebhookReceiver::start().await.unwrap();
    for (status, retry) in [(301, false), (308, false), (302, true), (307, true)] {
        let error = answered(full(status, ("location", &elsewhere.url()), b"")).await.unwrap_err();
        assert_eq!(error.retry, retry, "{error:?}");
        assert!(error.message.contains("redirects are not followed"), "{error:?}");
    }
    assert!(elsewhere.received().is_empty(), "the notice went somewhere else");
}

#[tokio::test]
async fn the_receivers_reason_is_shown_on_one_line() {
    let error = answered(full(400, ("x-a", "b"), b"unknown\n type \x07")).await.unwrap_err();
    assert!(error.message.ends_with("answered 400 Bad Request: unknown type"), "{error:?}");
}

#[tokio::test]
async fn of_an_endless_answer_only_the_start_is_read() {
    let receiver = WebhookReceiver::start().await.unwrap();
    receiver.answer(Answer::Endless(500));
    // Longer than the test may take: reading on would be noticed as the timeout of the test, not of the client.
    let notifier = ChannelNotifier::with_timeouts(WITHIN, Duration::from_secs(600));
    let notice = notice(receiver.url());
    let error = tokio::time::timeout(WITHIN, notifier.deliver(&notice, None)).await.unwrap().unwrap_err();
    assert!(error.retry && error.message.len() < 400, "{error:?}");
}

#[tokio::test]
async fn a_slow_receiver_costs_no_more_than_the_timeout() {
    let receiver = WebhookReceiver::start().await.unwrap();
    receiver.answer(Answer::After(Duration::from_secs(600)));
    let notifier = ChannelNotifier::with_timeouts(Duration::from_millis(200), Duration::from_millis(300));
    let started = Instant::now();
    let error = notifier.deliver(&notice(receiver.url()), None).await.unwrap_err();
    assert!(error.retry && error.message.contains("in time"), "{error:?}");
    assert!(started.elapsed() < Duration::from_secs(5));
}

#[tokio::test]
async fn a_receiver_that_is_down_is_tried_again_later() {
    let receiver = WebhookReceiver::start().await.unwrap();
    let url = format!("http://joe:pa55word@{}/T0123?token=abcd", receiver.address());
    drop(receiver);
    let error = tokio::time::timeout(WITHIN, async {
        loop {
            match deliver(url.clone()).await {
                // The dropped receiver's task may take one more connection before it ends.
                Ok(()) => tokio::task::yield_now().await,
                Err(error) => break error,
            }
        }
    })
    .await
    .unwrap();
    assert!(error.retry, "{error:?}");
    for private in ["joe", "pa55word", "T0123", "abcd", "token"] {
        assert!(!error.message.contains(private), "{error:?} shows {private}");
    }
}

#[tokio::test]
async fn an_answer_does_not_bring_the_token_into_the_message() {
    let receiver = WebhookReceiver::start().await.unwrap();
    receiver.answer(full(404, ("x-a", "b"), b"no hook T0123 here"));
    let error =
        deliver(format!("http://joe:pa55word@{}/T0123?token=abcd", receiver.address())).await.unwrap_err();
    assert!(error.message.contains("404") && !error.message.contains("T0123"), "{error:?}");
    let sent = &receiver.received()[0];
    assert!(sent.header("authorization").starts_with("Basic "), "the URL's user is sent as basic auth");
}

#[tokio::test]
async fn what_is_not_a_web_address_is_refused_for_good() {
    for url in ["hooks.example/x", "ftp://hooks.example/x", "file:///etc/passwd", ""] {
        let error = deliver(url.to_owned()).await.unwrap_err();
        assert!(!error.retry, "{url}: {error:?}");
    }
}
