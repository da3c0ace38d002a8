//! Whether an instance is ready: by asking it, by the image's own health check, or by its staying up.

use std::sync::Arc;
use std::time::Duration;

use orchestrate_core::environment::DockerHealth;
use orchestrate_core::ports::InstanceState;
use orchestrate_core::time::Timestamp;
use tokio::time::{Instant, sleep};

use super::container::settings;
use super::keeper::Keeper;
use super::look::Health;
use super::shared::Shared;
use crate::process::health::check;
use crate::process::shared::loopback;
use crate::spec::RunSpec;

/// How long an instance without an address must run to count as ready.
const SETTLED: Duration = Duration::from_secs(1);
/// The shortest pause between the checks of an instance that is ready.
const CALM_INTERVAL: Duration = Duration::from_secs(1);
/// The longest pause between the checks of one that is not there yet: people wait.
const EAGER_INTERVAL: Duration = Duration::from_millis(20);
const FAILURES_TO_UNHEALTHY: u32 = 3;

/// Never returns.
pub(super) async fn watch(shared: &Arc<Shared>, keeper: &Keeper, started_at: Timestamp) {
    let spec = spec(shared, keeper).await;
    let port = keeper.status.borrow().port;
    match (settings(&spec).health, port) {
        // The engine announces what becomes of it.
        (DockerHealth::Image, _) => std::future::pending().await,
        (DockerHealth::Http, None) => settle(shared, keeper, started_at).await,
        (DockerHealth::Http, Some(port)) => ask(shared, keeper, &spec, port).await,
    }
}

async fn settle(shared: &Shared, keeper: &Keeper, started_at: Timestamp) {
    let age = Duration::from_millis(Timestamp::system_now().millis_since(started_at));
    sleep(SETTLED.saturating_sub(age)).await;
    ready(shared, keeper, Instant::now());
    std::future::pending().await
}

async fn ask(shared: &Shared, keeper: &Keeper, spec: &RunSpec, port: u16) {
    let interval = spec.health_check.interval.duration();
    let mut failures = 0;
    loop {
        let begun = Instant::now();
        match check(loopback(port), &spec.health_check).await {
            Ok(()) => {
                failures = 0;
                ready(shared, keeper, begun);
            }
            Err(miss) => {
                failures += 1;
                missed(shared, keeper, miss.what, failures >= FAILURES_TO_UNHEALTHY);
            }
        }
        let pause = match keeper.status.borrow().state {
            InstanceState::Starting => interval.min(EAGER_INTERVAL),
            // One miss may be chance; whether it is shows soon.
            InstanceState::Ready if failures > 0 => interval.max(CALM_INTERVAL / 10),
            InstanceState::Ready
            | InstanceState::Unhealthy
            | InstanceState::BackingOff
            | InstanceState::Stopping => interval.max(CALM_INTERVAL),
        };
        tokio::select! {
            () = sleep(pause.max(Duration::from_millis(1))) => {}
            () = keeper.check_now.notified() => {}
        }
    }
}

/// Takes note of what the image's own check says, where that is what counts.
pub(super) async fn note_of_image(shared: &Arc<Shared>, keeper: &Keeper, health: &Health) {
    if settings(&*spec(shared, keeper).await).health != DockerHealth::Image {
        return;
    }
    keeper.status.send_modify(|status| status.by_engine = true);
    match health {
        Health::Healthy => ready(shared, keeper, Instant::now()),
        Health::Unhealthy(output) => {
            missed(shared, keeper, format!("its HEALTHCHECK failed: {output}"), true)
        }
        Health::Unknown => missed(shared, keeper, "its HEALTHCHECK has not passed yet".into(), false),
        Health::None => {
            missed(shared, keeper, "its image has no HEALTHCHECK; leave `docker.health` out".into(), false)
        }
    }
}

fn ready(shared: &Shared, keeper: &Keeper, begun: Instant) {
    keeper.note(shared, |status| {
        status.checks += 1;
        (status.state, status.seen_ready) = (InstanceState::Ready, Some(begun));
    });
}

fn missed(shared: &Shared, keeper: &Keeper, what: String, counts: bool) {
    keeper.note(shared, |status| {
        status.checks += 1;
        status.last_miss = Some(what);
        if status.state == InstanceState::Ready && counts {
            status.state = InstanceState::Unhealthy;
        }
    });
}

/// What is sealed of it; asked again for as long as nobody can say.
async fn spec(shared: &Arc<Shared>, keeper: &Keeper) -> Arc<RunSpec> {
    loop {
        match shared.spec(keeper.placement.release).await {
            Ok(spec) => return spec,
            Err(error) => {
                tracing::warn!(instance = %keeper.id, %error, "its health cannot be checked yet");
                keeper.note(shared, |status| status.last_miss = Some(error.message));
                sleep(CALM_INTERVAL).await;
            }
        }
    }
}
