//! Metrics for Prometheus, gathered when they are asked for: what the records say, and what the router sees.

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::AtomicU64;
use std::time::Duration;

use axum::Router;
use axum::extract::State;
use axum::http::{StatusCode, header};
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use orchestrate_core::Result;
use orchestrate_core::database::EnvironmentRecord;
use prometheus_client::encoding::text::encode;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::registry::Registry;
use tokio::net::TcpListener;

use crate::Daemon;

/// Until an address that is taken is tried again.
const TRY_AGAIN: Duration = Duration::from_secs(15);
const OPEN_METRICS: &str = "application/openmetrics-text; version=1.0.0; charset=utf-8";

type Labels = Vec<(&'static str, String)>;
type Gauges = Family<Labels, Gauge<f64, AtomicU64>>;
type Counters = Family<Labels, Counter>;

/// Answers `GET /metrics` for as long as the daemon runs.
pub(crate) async fn serve(daemon: Arc<Daemon>) {
    let Some(address) = daemon.options.metrics else { return std::future::pending().await };
    let listener = listen(address).await;
    let routes = Router::new().route("/metrics", get(answer)).with_state(daemon);
    if let Err(error) = axum::serve(listener, routes).await {
        tracing::error!("metrics are served no more: {error}");
    }
    std::future::pending().await
}

async fn listen(address: SocketAddr) -> TcpListener {
    let mut told = false;
    loop {
        match TcpListener::bind(address).await {
            Ok(listener) => return listener,
            Err(error) if !told => {
                tracing::error!("metrics cannot be served at {address}: {error}; tried again");
                told = true;
            }
            Err(_) => {}
        }
        tokio::time::sleep(TRY_AGAIN).await;
    }
}

async fn answer(State(daemon): State<Arc<Daemon>>) -> Response {
    match gathered(&daemon).await {
        Ok(text) => ([(header::CONTENT_TYPE, OPEN_METRICS)], text).into_response(),
        Err(error) => {
            (StatusCode::SERVICE_UNAVAILABLE, format!("{}\n", error.full_message())).into_response()
        }
    }
}

/// One scrape's metrics.
#[derive(Default)]
struct Metrics {
    live: Gauges,
    ready: Gauges,
    estimated: Gauges,
    lost: Gauges,
    drill_failed: Gauges,
    operations: Gauges,
    deployments: Gauges,
    rollbacks: Counters,
    notices: Gauges,
    weight: Gauges,
    in_flight: Gauges,
    instances: Gauges,
    healthy: Gauges,
    requests: Counters,
    errors: Counters,
}

async fn gathered(daemon: &Daemon) -> Result<String> {
    let (metrics, db) = (Metrics::default(), &daemon.options.db);
    let care = daemon.care().await?;
    for record in db.list_environments().await? {
        if care.is_for(&record.environment.name) {
            metrics.environment(daemon, &record).await?;
        }
    }
    for seen in db.list_readiness().await? {
        let labels = || vec![("environment", seen.environment.to_string())];
        set(&metrics.ready, labels(), f64::from(u8::from(seen.readiness.ready)));
        set(&metrics.lost, labels(), f64::from(u8::from(seen.lost)));
        let failed = !seen.readiness.problems.is_empty();
        set(&metrics.drill_failed, labels(), f64::from(u8::from(failed)));
        if let Some(ms) = seen.readiness.estimated_ms {
            set(&metrics.estimated, labels(), ms as f64 / 1_000.0);
        }
    }
    for count in db.count_deployments().await? {
        let labels = vec![("environment", count.environment.to_string()), ("status", count.status)];
        set(&metrics.deployments, labels, count.count as f64);
    }
    // Only what has ended stays what it is.
    let ended = |status: &str| status == "completed" || status == "failed";
    for count in db.count_rollbacks().await?.into_iter().filter(|count| ended(&count.status)) {
        let labels = vec![
            ("environment", count.environment.to_string()),
            ("type", count.rollback_type),
            ("trigger", count.trigger),
            ("path", count.path),
            ("status", count.status),
        ];
        add(&metrics.rollbacks, labels, count.count.unsigned_abs());
    }
    for (status, count) in db.count_notices().await? {
        set(&metrics.notices, vec![("status", status.as_str().to_owned())], count as f64);
    }
    Ok(metrics.text(daemon.options.version))
}

impl Metrics {
    async fn environment(&self, daemon: &Daemon, record: &EnvironmentRecord) -> Result<()> {
        let (db, router) = (&daemon.options.db, &daemon.options.ports.router);
        let name = &record.environment.name;
        if let Some(live) = &record.live
            && let Some(release) = db.release(live.release).await?
        {
            let labels = vec![
                ("environment", name.to_string()),
                ("service", record.environment.service.clone()),
                ("version", release.version.to_string()),
            ];
            // When it went live, so that a change is seen as one.
            set(&self.live, labels, live.since.as_millis() as f64 / 1_000.0);
        }
        let open = db.open_operation(name).await?;
        let labels = vec![("environment", name.to_string())];
        set(&self.operations, labels, f64::from(u8::from(open.is_some())));
        // A router that does not answer has no numbers; what the records say is told all the same.
        let Ok(view) = router.observe(name).await else { return Ok(()) };
        let counts = router.counts(name).await.unwrap_or_default();
        for slot in &view.slots {
            let labels = || {
                vec![
                    ("environment", name.to_string()),
                    ("slot", slot.slot.to_string()),
                    ("version", slot.version.to_string()),
                ]
            };
            set(&self.weight, labels(), f64::from(slot.weight) / 100.0);
            set(&self.in_flight, labels(), slot.in_flight as f64);
            let sum = |of: fn(&orchestrate_core::ports::BackendView) -> u32| {
                slot.backends.iter().map(of).sum::<u32>()
            };
            set(&self.instances, labels(), f64::from(sum(|backend| backend.instances)));
            set(&self.healthy, labels(), f64::from(sum(|backend| backend.healthy)));
            if let Some(count) =
                counts.iter().find(|count| count.slot == slot.slot && count.release == slot.release)
            {
                add(&self.requests, labels(), count.tally.requests);
                add(&self.errors, labels(), count.tally.errors);
            }
        }
        Ok(())
    }

    fn text(self, version: &str) -> String {
        let mut registry = Registry::with_prefix("orchestrate");
        let info: Gauges = Family::default();
        set(&info, vec![("version", version.to_owned())], 1.0);
        registry.register("build", "The version of the daemon.", info);
        registry.register(
            "live_since_seconds",
            "When the live release went live, in seconds since 1970.",
            self.live,
        );
        registry.register("rollback_ready", "1 if a rollback would work now.", self.ready);
        registry.register(
            "rollback_readiness_lost",
            "1 if a rollback would not work although there is a release to go back to.",
            self.lost,
        );
        registry.register(
            "rollback_drill_failed",
            "1 if the last rehearsal of a rollback failed.",
            self.drill_failed,
        );
        registry.register(
            "rollback_estimated_seconds",
            "How long a rollback would take, from earlier ones on its path.",
            self.estimated,
        );
        registry.register(
            "operation_open",
            "1 while a deployment or a rollback is carried out or needs attention.",
            self.operations,
        );
        registry.register("deployments", "Deployments, by how they stand.", self.deployments);
        registry.register("rollbacks", "Rollbacks that ended.", self.rollbacks);
        registry.register("notices", "Notices in the outbox.", self.notices);
        registry.register("slot_weight", "The share of the traffic, from 0 to 1.", self.weight);
        registry.register("slot_requests_in_flight", "Requests that were not answered yet.", self.in_flight);
        registry.register("slot_instances", "Instances that the router knows.", self.instances);
        registry.register("slot_instances_healthy", "Those of them that are healthy.", self.healthy);
        registry.register("requests", "Requests that the release in the slot answered.", self.requests);
        registry.register(
            "request_errors",
            "Those of them that were answered with a status of 500 or above.",
            self.errors,
        );
        let mut text = String::new();
        // Writing to a String cannot fail.
        let _ = encode(&mut text, &registry);
        text
    }
}

fn set(family: &Gauges, labels: Labels, value: f64) {
    family.get_or_create(&labels).set(value);
}

fn add(family: &Counters, labels: Labels, count: u64) {
    family.get_or_create(&labels).inc_by(count);
}
