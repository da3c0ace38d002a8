//! Asks every instance again and again whether it is well.

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use orchestrate_core::environment::HealthCheck;
use tokio::task::AbortHandle;

use crate::http_get::get;
use crate::table::Instance;

/// Failed checks in a row that make an instance unhealthy.
const FAILURES: u32 = 3;
/// A healthy instance is not asked more often, an unhealthy one not more often than a tenth of that.
const CALM: Duration = Duration::from_secs(1);

/// A running check; dropping it ends it.
pub(crate) struct Check(AbortHandle);

impl Drop for Check {
    fn drop(&mut self) {
        self.0.abort();
    }
}

impl Check {
    pub fn start(instance: Arc<Instance>, check: HealthCheck) -> Self {
        Self(tokio::spawn(repeat(instance, check)).abort_handle())
    }
}

async fn repeat(instance: Arc<Instance>, check: HealthCheck) {
    let interval = check.interval.duration();
    let mut failures = 0;
    // Who is not known to be well is asked at once.
    let mut pause = if instance.is_healthy() { interval.max(CALM) } else { Duration::ZERO };
    loop {
        tokio::time::sleep(pause).await;
        if passes(&instance, &check).await {
            failures = 0;
            instance.connected();
            instance.healthy.store(true, Ordering::Relaxed);
        } else {
            failures += 1;
            if failures == FAILURES {
                tracing::warn!(instance = %instance.id, address = %instance.address, "unhealthy");
                instance.healthy.store(false, Ordering::Relaxed);
            }
        }
        pause =
            if instance.is_healthy() && failures == 0 { interval.max(CALM) } else { interval.max(CALM / 10) };
    }
}

/// Asks it once, now; a failure says nothing yet. Returns whether it answered as it should.
pub(crate) async fn look(instance: Arc<Instance>, check: HealthCheck) -> bool {
    let passed = passes(&instance, &check).await;
    if passed {
        instance.connected();
        instance.healthy.store(true, Ordering::Relaxed);
    }
    passed
}

async fn passes(instance: &Instance, check: &HealthCheck) -> bool {
    let asked = get(instance.address, instance.address, &check.path, None);
    match tokio::time::timeout(check.timeout.duration(), asked).await {
        Ok(Ok(answer)) => answer.status.as_u16() == check.expected_status,
        Ok(Err(_)) | Err(_) => false,
    }
}
