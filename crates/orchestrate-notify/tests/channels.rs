//! What each service is sent, by a real HTTP receiver, and what is made of its answers.

#![expect(clippy::unwrap_used, reason = "a test fails by panicking, its helpers too")]

use std::time::Duration;

use orchestrate_core::notification::{Channel, NoticeKind, Via};
use orchestrate_core::ports::{DeliveryError, Notice, Notifier as _, Receipt};
use orchestrate_core::secrets::SecretText;
use orchestrate_core::time::Span;
use orchestrate_notify::ChannelNotifier;
use orchestrate_testkit::{Answer, Received, WebhookReceiver};
use serde_json::{Value, json};

fn notice(via: Via, kind: NoticeKind, url: &str) -> Notice {
    Notice {
        key: format!("{kind}-r7-production-1-0"),
        channel: Channel { via, ..Channel::webhook(url, &[]) },
        kind,
        created_at: "2026-11-22T03:00:00.000Z".parse().unwrap(),
        payload: json!({
            "id": 7, "service": "shop", "environment": "production", "version": "1.1.0",
            "from_version": "1.1.0", "target_version": "1.0.0", "actor": "ada@shop-1", "duration_ms": 31,
            "reason": "<!channel> prices & *more*", "url": "http://127.0.0.1:8080",
            "text": "shop in production was rolled back from 1.1.0 to 1.0.0 by ada@shop-1: <!channel> prices & *more*",
        }),
        thread: None,
    }
}

/// Delivers it to a receiver with this answer; what came of it, and what was sent.
async fn told(
    via: Via,
    kind: NoticeKind,
    secret: Option<&str>,
    answer: Answer,
    change: impl FnOnce(&mut Notice),
) -> (Result<Option<Receipt>, DeliveryError>, Vec<Received>) {
    let receiver = WebhookReceiver::start().await.unwrap();
    receiver.answer(answer);
    let mut notice = notice(via, kind, &receiver.url());
    change(&mut notice);
    let secret = secret.map(SecretText::new);
    let result = ChannelNotifier::new().deliver(&notice, secret.as_ref()).await;
    (result, receiver.received())
}

fn body(received: &[Received]) -> Value {
    assert_eq!(received.len(), 1);
    serde_json::from_slice(&received[0].body).unwrap()
}

fn says(text: &'static str) -> Answer {
    Answer::Full { status: 200, headers: Vec::new(), body: text.into() }
}

fn slack() -> Via {
    Via::Slack { channel: Some("#deploys".to_owned()) }
}

#[tokio::test]
async fn slack_gets_blocks_in_which_nobody_is_mentioned() {
    let hook = Via::Slack { channel: None };
    let (result, received) = told(hook, NoticeKind::Rollback, None, says("ok"), |_| {}).await;
    assert_eq!(result, Ok(None));
    let body = body(&received);
    assert_eq!(body["blocks"][0]["text"]["text"], ":white_check_mark: shop in production: rolled back");
    let text = body["blocks"][1]["text"]["text"].as_str().unwrap();
    assert!(text.contains("&lt;!channel&gt; prices &amp; *more*"), "{text}");
    assert!(body.get("channel").is_none() && body.get("thread_ts").is_none());
    let fields = body["blocks"][2]["fields"].as_array().unwrap();
    assert!(fields.iter().any(|field| field["text"] == "*To*\n1.0.0"), "{fields:?}");
}

#[tokio::test]
async fn slack_hangs_an_operation_on_its_first_message() {
    let ok = says(r#"{"ok":true,"channel":"C1","ts":"1795.0001"}"#);
    let (first, received) = told(slack(), NoticeKind::RollbackStarted, Some("xoxb-1"), ok, |_| {}).await;
    assert_eq!(first, Ok(Some(Receipt("1795.0001".into()))));
    assert_eq!(received[0].header("authorization"), "Bearer xoxb-1");
    assert_eq!(body(&received)["channel"], "#deploys");
    assert!(body(&received).get("thread_ts").is_none());

    let ok = says(r#"{"ok":true,"ts":"1795.0002"}"#);
    let hang = |notice: &mut Notice| notice.thread = first.clone().unwrap();
    let (second, received) = told(slack(), NoticeKind::RollbackFailed, Some("xoxb-1"), ok, hang).await;
    assert_eq!(second, Ok(Some(Receipt("1795.0001".into()))), "the next one hangs on the first, too");
    assert_eq!(body(&received)["thread_ts"], "1795.0001");
    assert_eq!(body(&received)["reply_broadcast"], true, "what is bad is seen in the channel itself");
}

#[tokio::test]
async fn slack_refuses_with_status_200() {
    for (answer, retry) in [
        (r#"{"ok":false,"error":"channel_not_found"}"#, false),
        (r#"{"ok":false,"error":"ratelimited"}"#, true),
        (r#"{"ok":false,"error":"internal_error"}"#, true),
        ("<html>", true),
    ] {
        let (result, _) = told(slack(), NoticeKind::Rollback, Some("xoxb-1"), says(answer), |_| {}).await;
        let error = result.unwrap_err();
        assert_eq!(error.retry, retry, "{answer}: {error:?}");
        assert!(!error.message.contains("xoxb"), "{error:?}");
    }
    let (result, received) = told(slack(), NoticeKind::Rollback, None, says("ok"), |_| {}).await;
    assert!(result.unwrap_err().retry && received.is_empty(), "without its token nothing is sent");
}

#[tokio::test]
async fn teams_gets_an_adaptive_card() {
    let (result, received) =
        told(Via::Teams, NoticeKind::RollbackFailed, None, Answer::Status(202), |_| {}).await;
    assert_eq!(result, Ok(None));
    let body = body(&received);
    assert_eq!(body["attachments"][0]["contentType"], "application/vnd.microsoft.card.adaptive");
    let card = &body["attachments"][0]["content"];
    assert_eq!((&card["type"], &card["body"][0]["color"]), (&json!("AdaptiveCard"), &json!("Attention")));
    assert_eq!(card["body"][1]["inlines"][0]["text"], body_text());
    let facts = card["body"][2]["facts"].as_array().unwrap();
    assert!(
        facts.contains(&json!({ "title": "Reason", "value": "<!channel> prices & \\*more\\*" })),
        "{facts:?}"
    );
    assert_eq!(card["actions"][0]["url"], "http://127.0.0.1:8080");
}

fn body_text() -> Value {
    notice(Via::Teams, NoticeKind::Rollback, "http://x").payload["text"].clone()
}

#[tokio::test]
async fn pagerduty_is_triggered_by_what_is_bad_and_resolved_by_what_is_well_again() {
    let told = async |kind| {
        let (result, received) =
            told(Via::Pagerduty, kind, Some("R0UT1NG"), Answer::Status(202), |_| {}).await;
        assert_eq!(result, Ok(None));
        received.first().map(|request| serde_json::from_slice::<Value>(&request.body).unwrap())
    };
    let bad = told(NoticeKind::NeedsAttention).await.unwrap();
    assert_eq!((&bad["event_action"], &bad["payload"]["severity"]), (&json!("trigger"), &json!("critical")));
    assert_eq!(bad["routing_key"], "R0UT1NG");
    let well = told(NoticeKind::Rollback).await.unwrap();
    assert_eq!(well["event_action"], "resolve");
    assert_eq!(well["dedup_key"], bad["dedup_key"], "it is the same incident");
    let lost = told(NoticeKind::ReadinessLost).await.unwrap();
    assert_ne!(lost["dedup_key"], bad["dedup_key"], "a deployment does not bring readiness back");
    assert_eq!(lost["dedup_key"], told(NoticeKind::ReadinessBack).await.unwrap()["dedup_key"]);
    for quiet in [NoticeKind::RollbackStarted, NoticeKind::HoldSet, NoticeKind::ApprovalWanted] {
        assert_eq!(told(quiet).await, None, "{quiet} wakes nobody");
    }
}

/// What `servicedeployed.json`, `serviceupgraded.json` and `servicerolledback.json` of the CDEvents specification ask for, all
/// three the same but for the type: these members, some of them required, none of them empty, and no others at any level
/// (<https://github.com/cdevents/spec/tree/v0.4.1/schemas>).
#[track_caller]
fn follows_the_published_schemas(event: &Value, what: &str) {
    let levels: [(&str, &[&str], &[&str]); 5] = [
        ("", &["context", "subject"], &["customData", "customDataContentType"]),
        ("/context", &["version", "id", "source", "type", "timestamp"], &["chainId", "links", "schemaUri"]),
        ("/subject", &["id", "type", "content"], &["source"]),
        ("/subject/content", &["environment", "artifactId"], &[]),
        ("/subject/content/environment", &["id"], &["source"]),
    ];
    for (at, required, optional) in levels {
        let members = event.pointer(at).and_then(Value::as_object).unwrap();
        for name in required {
            let member = members.get(*name).unwrap_or_else(|| panic!("no `{name}` at `{at}`: {event}"));
            assert!(
                member.is_object() || member.as_str().is_some_and(|text| !text.is_empty()),
                "{name}: {member}"
            );
        }
        let known = |name: &&str| required.contains(name) || optional.contains(name);
        let others: Vec<&str> = members.keys().map(String::as_str).filter(|name| !known(name)).collect();
        assert!(others.is_empty(), "{others:?} at `{at}`");
    }
    assert_eq!(event["context"]["type"], format!("dev.cdevents.service.{what}.0.2.0"));
    assert_eq!(event["subject"]["type"], "service");
    assert!(event["customData"].is_object());
    let timestamp = event["context"]["timestamp"].as_str().unwrap();
    timestamp.parse::<orchestrate_core::time::Timestamp>().unwrap();
}

#[tokio::test]
async fn cdevents_are_what_the_published_sdk_reads() {
    for (kind, first, what, version) in [
        (NoticeKind::Deployment, true, "deployed", "1.1.0"),
        (NoticeKind::Deployment, false, "upgraded", "1.1.0"),
        (NoticeKind::Rollback, false, "rolledback", "1.0.0"),
    ] {
        let change = |notice: &mut Notice| notice.payload["first"] = first.into();
        let (result, received) = told(Via::Cdevents, kind, None, Answer::Status(202), change).await;
        assert_eq!(result, Ok(None));
        let event: cdevents_sdk::CDEvent = serde_json::from_slice(&received[0].body).unwrap();
        assert_eq!(event.ty(), format!("dev.cdevents.service.{what}.0.2.0"));
        assert_eq!(event.id().as_str(), format!("{kind}-r7-production-1-0"));
        for (header, value) in [
            ("ce-specversion", "1.0"),
            ("ce-type", event.ty()),
            ("ce-id", event.id().as_str()),
            ("ce-time", "2026-11-22T03:00:00.000Z"),
            ("content-type", "application/json"),
        ] {
            assert_eq!(received[0].header(header), value, "{header}");
        }
        let body = body(&received);
        follows_the_published_schemas(&body, what);
        assert_eq!(body["subject"]["content"]["artifactId"], format!("pkg:generic/shop@{version}"));
        assert_eq!(body["subject"]["content"]["environment"]["id"], "production");
    }
    let (result, received) =
        told(Via::Cdevents, NoticeKind::HoldSet, None, Answer::Status(202), |_| {}).await;
    assert!(result.is_ok() && received.is_empty(), "CDEvents has no word for a hold");
}

#[tokio::test]
async fn a_receiver_that_is_busy_is_asked_again_and_one_that_refuses_is_not() {
    for via in [Via::Slack { channel: None }, Via::Teams, Via::Pagerduty, Via::Cdevents] {
        let busy = Answer::Full {
            status: 429,
            headers: vec![("retry-after".into(), "17".into())],
            body: "slow down".into(),
        };
        let kind = NoticeKind::Rollback;
        let (result, _) = told(via.clone(), kind, Some("key"), busy, |_| {}).await;
        let error = result.unwrap_err();
        assert_eq!((error.retry, error.retry_after), (true, Some(Span::from_secs(17))), "{via:?}");
        let (result, _) = told(via.clone(), kind, Some("key"), Answer::Status(400), |_| {}).await;
        assert!(!result.unwrap_err().retry, "{via:?}");
        let elsewhere = Answer::Full {
            status: 302,
            headers: vec![("location".into(), "http://127.0.0.1:1/".into())],
            body: "".into(),
        };
        let (result, received) = told(via, kind, Some("key"), elsewhere, |_| {}).await;
        assert!(result.unwrap_err().message.contains("redirects are not followed"));
        assert_eq!(received.len(), 1);
    }
}

#[tokio::test]
async fn a_template_takes_the_place_of_the_sentence() {
    let change = |notice: &mut Notice| {
        notice.channel.template =
            Some("{{ service }} → {{ target_version }}{% if missing %}!{% endif %}".into());
    };
    let (_, received) = told(Via::Webhook, NoticeKind::Rollback, None, says(""), change).await;
    assert_eq!(body(&received)["data"]["text"], "shop → 1.0.0");
    // Whatever is wrong with it, people are told.
    for broken in
        ["{{ service | nothing }}", "{% for i in range(100000) %}x{% endfor %}", "{{ service.a.b }}"]
    {
        let change = |notice: &mut Notice| notice.channel.template = Some(broken.into());
        let (result, received) = told(Via::Webhook, NoticeKind::Rollback, None, says(""), change).await;
        assert_eq!(result, Ok(None));
        let text = body(&received)["data"]["text"].as_str().unwrap().to_owned();
        assert!(text.starts_with("shop in production was rolled back"), "{broken}: {text}");
        assert!(text.contains("the channel's template: line 1"), "{broken}: {text}");
    }
    let problem = orchestrate_notify::check_template("one\n{{ service").unwrap_err();
    assert_eq!((problem.line, problem.column), (2, 4), "{problem}");
}

fn run(script: &str, limit: Duration) -> (Notice, tempfile::TempDir) {
    let place = tempfile::tempdir().unwrap();
    let out = place.path().join("out");
    let words = ["sh", "-c", script, "sh", out.to_str().unwrap()].map(str::to_owned);
    let timeout = Span::from_millis(u64::try_from(limit.as_millis()).unwrap());
    (notice(Via::Command { command: words.to_vec(), timeout }, NoticeKind::Rollback, "command:sh"), place)
}

#[tokio::test]
async fn a_command_gets_the_notice_on_its_stdin_and_nothing_in_confidence() {
    let (notice, place) = run(r#"{ cat; echo; env; } > "$1""#, Duration::from_secs(30));
    assert_eq!(ChannelNotifier::new().deliver(&notice, None).await, Ok(None));
    let out = std::fs::read_to_string(place.path().join("out")).unwrap();
    let (input, environment) = out.split_once('\n').unwrap();
    let input: Value = serde_json::from_str(input).unwrap();
    assert_eq!(input["id"], "rollback-r7-production-1-0");
    assert_eq!(
        (&input["type"], &input["data"]["target_version"]),
        (&json!("rollback.completed"), &json!("1.0.0"))
    );
    let names: Vec<&str> = environment.lines().filter_map(|line| Some(line.split_once('=')?.0)).collect();
    assert!(names.contains(&"ORCHESTRATE_NOTICE_KEY"), "{names:?}");
    let known = ["PATH", "HOME", "LANG", "PWD", "SHLVL", "_", "OLDPWD"];
    assert!(
        names.iter().all(|name| known.contains(name) || name.starts_with("ORCHESTRATE_NOTICE_")),
        "{names:?}"
    );
}

#[tokio::test]
async fn a_command_that_fails_floods_or_hangs_is_tried_again() {
    let deliver = async |script: &str, limit| {
        let (notice, _place) = run(script, limit);
        ChannelNotifier::new().deliver(&notice, None).await
    };
    let failed = deliver("echo no such room >&2; exit 3", Duration::from_secs(30)).await.unwrap_err();
    assert!(failed.retry && failed.message.contains("exit status: 3: no such room"), "{failed:?}");
    // Neither its pipes nor what it does not read holds it up.
    let flood = "head -c 3000000 /dev/zero >&2; exec <&-; exit 0";
    assert_eq!(deliver(flood, Duration::from_secs(60)).await, Ok(None));
    let hung = deliver("sleep 1000", Duration::from_millis(200)).await.unwrap_err();
    assert!(hung.retry && hung.message.contains("did not end within"), "{hung:?}");
    let (mut notice, _place) = run("", Duration::from_secs(1));
    notice.channel.via =
        Via::Command { command: vec!["no-such-program".into()], timeout: Span::from_secs(1) };
    let error = ChannelNotifier::new().deliver(&notice, None).await.unwrap_err();
    assert!(error.retry && error.message.contains("cannot be started"), "{error:?}");
}
