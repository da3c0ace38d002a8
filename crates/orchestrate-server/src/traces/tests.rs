//! Real operations, a real receiver on loopback, and a clock that moves when it is told to.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use opentelemetry_proto::tonic::collector::trace::v1::{
    ExportTracePartialSuccess, ExportTraceServiceRequest, ExportTraceServiceResponse,
};
use opentelemetry_proto::tonic::trace::v1::Span as Told;
use orchestrate_core::database::{Database, DatabaseUrl};
use orchestrate_core::deployment_executor::{DeployRequest, DeploymentExecutor};
use orchestrate_core::environment::{EnvironmentSettings, ProcessType};
use orchestrate_core::fakes::{self, World};
use orchestrate_core::name::{EnvironmentName, Version};
use orchestrate_core::secrets::SecretText;
use orchestrate_notify::{Collector, OtlpTracer};
use orchestrate_testkit::{Answer, Received, WebhookReceiver};
use prost::Message as _;
use tempfile::TempDir;
use tokio::task::JoinHandle;

use super::*;

/// A deadline, not a duration.
const WITHIN: Duration = Duration::from_secs(60);

/// A daemon that does nothing but tell traces.
struct Teller {
    daemon: Arc<Daemon>,
    world: World,
    task: JoinHandle<()>,
    _directory: TempDir,
}

impl Drop for Teller {
    fn drop(&mut self) {
        self.task.abort();
    }
}

fn tracer(receiver: &WebhookReceiver) -> Traces {
    let collector = Collector {
        endpoint: format!("http://{}/v1/traces", receiver.address()),
        headers: vec![("api-key".into(), SecretText::new("hunter2"))],
        timeout: Span::from_secs(600),
        resource: vec![("service.name".into(), "orchestrate".into())],
    };
    let tracer = OtlpTracer::new(collector).unwrap();
    Traces::To { place: tracer.place(), tracer: Arc::new(tracer) }
}

impl Teller {
    async fn to(receiver: &WebhookReceiver) -> Self {
        let directory = tempfile::tempdir().unwrap();
        let db = Database::open(&DatabaseUrl::Sqlite(directory.path().join("state.db"))).await.unwrap();
        let world = World::new(&db);
        let daemon = crate::outbox::tests::daemon(db, &world, tracer(receiver));
        let (name, now) = (environment(), world.clock.read());
        let applied = daemon.options.db.apply_environment(&name, "shop", &settings(), &[], "ada", now).await;
        applied.unwrap();
        let task = tokio::spawn(tell(Arc::clone(&daemon)));
        Self { daemon, world, task, _directory: directory }
    }

    /// As after a kill: nothing of what was under way goes on.
    async fn restart(&mut self) {
        self.task.abort();
        let _ = (&mut self.task).await;
        self.daemon.telling.becomes(None);
        self.task = tokio::spawn(tell(Arc::clone(&self.daemon)));
    }

    fn later(&self, span: Span) {
        self.world.clock.advance(span);
        self.daemon.bell.traces.notify_one();
    }

    /// An operation that ends, as by a command that rings when it is done.
    async fn deploys(&self, version: &str) {
        self.world.clock.advance(Span::from_millis(1));
        let executor = DeploymentExecutor::new(self.daemon.options.db.clone(), self.world.ports());
        executor.deploy(&request(version)).await.unwrap();
        self.daemon.bell.traces.notify_one();
    }

    async fn states(&self) -> Vec<Option<String>> {
        let states = self.daemon.options.db.trace_states().await.unwrap();
        states.into_iter().map(|(_, state, _)| state).collect()
    }

    /// Waits until what became of the traces is this.
    async fn until(&self, wanted: &[Option<&str>]) {
        self.until_so(&format!("{wanted:?}"), async || {
            self.states().await.iter().map(Option::as_deref).eq(wanted.iter().copied())
        })
        .await;
    }

    /// Waits until it waits, after so many attempts.
    async fn until_waiting(&self, attempts: u32) -> Waiting {
        let waits = || self.daemon.telling.now().filter(|waiting| waiting.attempts == attempts);
        self.until_so(&format!("{attempts} attempts"), async || waits().is_some()).await;
        waits().unwrap()
    }

    async fn until_so(&self, what: &str, so: impl AsyncFn() -> bool) {
        let deadline = Instant::now() + WITHIN;
        while !so().await {
            let now = (self.states().await, self.daemon.telling.now());
            assert!(Instant::now() < deadline, "{what} is not so: {now:?}");
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    }
}

fn environment() -> EnvironmentName {
    EnvironmentName::new("production").unwrap()
}

fn settings() -> EnvironmentSettings {
    let web = ProcessType {
        command: vec!["./serve".into()],
        instances: 1,
        listen: Some(([127, 0, 0, 1], 8080).into()),
        confinement: Default::default(),
    };
    EnvironmentSettings {
        processes: BTreeMap::from([("web".to_owned(), web)]),
        url: Some("http://127.0.0.1:8080".into()),
        ..EnvironmentSettings::default()
    }
}

fn request(version: &str) -> DeployRequest {
    let contents = fakes::contents(&settings(), version);
    fakes::to_deploy(&environment(), Version::new(version).unwrap(), contents)
}

fn spans(received: &Received) -> Vec<Told> {
    let told = ExportTraceServiceRequest::decode(received.body.clone()).unwrap();
    told.resource_spans.into_iter().flat_map(|one| one.scope_spans).flat_map(|one| one.spans).collect()
}

/// The version that each trace is about.
fn versions(receiver: &WebhookReceiver) -> Vec<String> {
    let version = |received: &Received| {
        let root = spans(received).remove(0);
        let told = root.attributes.into_iter().find(|pair| pair.key == "orchestrate.version");
        format!("{:?}", told.unwrap().value.unwrap().value.unwrap()).split('"').nth(1).unwrap().to_owned()
    };
    receiver.received().iter().map(version).collect()
}

const SENT: Option<&str> = Some("sent");
const REFUSED: Option<&str> = Some("refused");

#[tokio::test]
async fn a_collector_that_was_down_for_a_day_gets_everything_once_and_in_order() {
    let receiver = WebhookReceiver::start().await.unwrap();
    let teller = Teller::to(&receiver).await;
    receiver.answer(Answer::Drop);
    teller.deploys("1.0").await;
    let (began, mut attempts) = (teller.world.clock.read(), 0);
    while teller.world.clock.read().millis_since(began) < 24 * 3_600_000 {
        attempts += 1;
        let waiting = teller.until_waiting(attempts).await;
        assert!(waiting.error.contains("did not answer"), "{}", waiting.error);
        let next = waiting.next.millis_since(teller.world.clock.read());
        if attempts == 20 {
            receiver.answer(Answer::Status(200));
            for version in ["1.1", "1.2"] {
                teller.deploys(version).await;
            }
            teller.later(Span::from_millis(next));
            break;
        }
        teller.later(Span::from_millis(next));
    }
    teller.until(&[SENT, SENT, SENT]).await;
    assert_eq!(attempts, 20, "some a day, not thousands");
    let mut told = versions(&receiver);
    told.dedup();
    assert_eq!(told, ["1.0", "1.1", "1.2"]);
    assert!(teller.daemon.telling.now().is_none());
}

#[tokio::test]
async fn a_collector_that_names_a_time_is_left_alone_until_then() {
    for status in [429, 503] {
        let receiver = WebhookReceiver::start().await.unwrap();
        let teller = Teller::to(&receiver).await;
        let headers = vec![("retry-after".to_owned(), "120".to_owned())];
        receiver.answer_next([Answer::Full { status, headers, body: Default::default() }]);
        teller.deploys("1.0").await;
        let waiting = teller.until_waiting(1).await;
        assert_eq!(waiting.next.millis_since(waiting.attempted_at), 120_000);
        teller.later(Span::from_secs(119));
        teller.deploys("1.1").await;
        assert_eq!(receiver.received().len(), 1, "not even news changes that");
        teller.later(Span::from_secs(1));
        teller.until(&[SENT, SENT]).await;
        assert_eq!(versions(&receiver), ["1.0", "1.0", "1.1"]);
    }
}

#[tokio::test]
async fn news_is_a_reason_to_ask_again_who_was_left_alone() {
    let receiver = WebhookReceiver::start().await.unwrap();
    let teller = Teller::to(&receiver).await;
    receiver.answer_next([Answer::Status(503), Answer::Status(503), Answer::Status(502)]);
    teller.deploys("1.0").await;
    for attempts in 1..3 {
        let next = teller.until_waiting(attempts).await.next;
        teller.later(Span::from_millis(next.millis_since(teller.world.clock.read())));
    }
    let waiting = teller.until_waiting(3).await;
    assert!(waiting.next.millis_since(waiting.attempted_at) > 60_000, "{waiting:?}");
    teller.world.clock.advance(Span::from_secs(31));
    teller.deploys("1.1").await;
    teller.until(&[SENT, SENT]).await;
}

#[tokio::test]
async fn what_is_refused_for_ever_holds_nothing_up_and_shows_no_secret() {
    let receiver = WebhookReceiver::start().await.unwrap();
    let teller = Teller::to(&receiver).await;
    let body = b"the key hunter2 may not do that"[..].into();
    receiver.answer_next([Answer::Full { status: 400, headers: Vec::new(), body }]);
    let partial =
        ExportTracePartialSuccess { rejected_spans: 2, error_message: "hunter2 sent too many".into() };
    let body = ExportTraceServiceResponse { partial_success: Some(partial) }.encode_to_vec().into();
    receiver.answer_next([Answer::Full { status: 200, headers: Vec::new(), body }]);
    for version in ["1.0", "1.1", "1.2"] {
        teller.deploys(version).await;
    }
    teller.until(&[REFUSED, REFUSED, SENT]).await;
    let states = teller.daemon.options.db.trace_states().await.unwrap();
    let errors: Vec<_> = states.iter().filter_map(|(_, _, error)| error.as_deref()).collect();
    assert!(errors[0].contains("400") && errors[1].contains("left 2 spans out"), "{errors:?}");
    assert!(!errors.concat().contains("hunter2"), "{errors:?}");
    assert_eq!(receiver.received()[0].header("api-key"), "hunter2");
    assert_eq!(status(&teller.daemon).await["refused"], 2);
}

#[tokio::test]
async fn who_is_not_let_in_is_told_so_and_loses_nothing() {
    let receiver = WebhookReceiver::start().await.unwrap();
    let mut teller = Teller::to(&receiver).await;
    receiver.answer(Answer::Status(401));
    teller.deploys("1.0").await;
    teller.until_waiting(1).await;
    let told = status(&teller.daemon).await;
    assert_eq!(told["waiting"], 1);
    assert!(told["error"].as_str().unwrap().contains("401"), "{told}");
    // Somebody corrects the settings, which needs another daemon.
    receiver.answer(Answer::Status(200));
    teller.restart().await;
    teller.until(&[SENT]).await;
}

#[tokio::test]
async fn an_end_between_sending_and_noting_it_tells_the_same_trace_again() {
    let receiver = WebhookReceiver::start().await.unwrap();
    let mut teller = Teller::to(&receiver).await;
    receiver.answer_next([Answer::After(Duration::from_secs(600))]);
    teller.deploys("1.0").await;
    receiver.await_received(1, WITHIN).await.unwrap();
    teller.restart().await;
    teller.until(&[SENT]).await;
    let told: Vec<_> = receiver.received().iter().map(spans).collect();
    assert_eq!(told.len(), 2);
    assert_eq!(told[0], told[1], "whoever keeps spans by their numbers keeps each once");
    teller.restart().await;
    teller.deploys("1.1").await;
    teller.until(&[SENT, SENT]).await;
    assert_eq!(receiver.received().len(), 3, "what is noted is told no more");
}
