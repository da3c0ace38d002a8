//! Looks all the time whether a rollback would work in each environment, so that it is known before it is needed.

use std::collections::HashMap;
use std::sync::Arc;

use orchestrate_core::Result;
use orchestrate_core::deployment_rollback::{DeploymentRollback, Depth, Readiness};
use orchestrate_core::name::{EnvironmentName, Fence};
use orchestrate_core::time::Span;

use crate::Daemon;

/// How often each environment is looked at when nothing happens there.
const EVERY: Span = Span::from_secs(60);
/// What seems lost is looked at again this much later, before anybody is told.
const SURE_AFTER: Span = Span::from_secs(10);
/// What is lost may be back soon.
const LOST_EVERY: Span = Span::from_secs(15);
/// How often the artifact of a cold target is read in whole.
const THOROUGH_EVERY: Span = Span::from_secs(3_600);

/// What is remembered of an environment between two looks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Seen {
    fence: Fence,
    at: Span,
    thorough_at: Span,
    /// Not ready at the last look, for the first time.
    doubtful: bool,
    /// Ready, or with nothing to go back to.
    fine: bool,
}

impl Seen {
    fn wait(&self) -> Span {
        match (self.doubtful, self.fine) {
            (true, _) => SURE_AFTER,
            (false, true) => EVERY,
            (false, false) => LOST_EVERY,
        }
    }
}

pub(crate) async fn watch(daemon: Arc<Daemon>) {
    let mut seen = HashMap::new();
    loop {
        let next = match look(&daemon, &mut seen).await {
            Ok(next) => next,
            Err(error) => {
                tracing::warn!("whether rollbacks would work cannot be seen: {}", error.full_message());
                EVERY
            }
        };
        tokio::select! {
            () = tokio::time::sleep(next.duration()) => {}
            () = daemon.bell.readiness.notified() => {}
        }
    }
}

/// Looks at what is due, and says when something is again.
async fn look(daemon: &Daemon, seen: &mut HashMap<EnvironmentName, Seen>) -> Result<Span> {
    let (care, clock) = (daemon.care().await?, &daemon.options.ports.clock);
    let mut next = EVERY;
    // Whoever holds a lease rings when it is done.
    let idle = daemon.options.db.list_fences().await?;
    seen.retain(|name, _| idle.iter().any(|(idle, _)| idle == name));
    for (name, fence) in idle.into_iter().filter(|(name, _)| care.is_for(name)) {
        let now = clock.running_for();
        if let Some(left) = seen.get(&name).and_then(|seen| left(seen, fence, now)) {
            next = next.min(left);
            continue;
        }
        match look_at(daemon, &name, fence, seen.get(&name).copied(), now).await {
            Ok(looked) => {
                next = next.min(looked.wait());
                seen.insert(name, looked);
            }
            // It was deleted meanwhile.
            Err(error) if error.code() == "ORC-0101" => {}
            Err(error) => {
                tracing::warn!(
                    "whether a rollback of {name} would work cannot be seen: {}",
                    error.full_message()
                );
            }
        }
    }
    Ok(next.max(Span::from_millis(100)))
}

/// How long it is until the next look; none if that is now.
fn left(seen: &Seen, fence: Fence, now: Span) -> Option<Span> {
    let wait = seen.wait();
    let since = now.as_millis().saturating_sub(seen.at.as_millis());
    (seen.fence == fence && since < wait.as_millis()).then(|| Span::from_millis(wait.as_millis() - since))
}

async fn look_at(
    daemon: &Daemon,
    name: &EnvironmentName,
    fence: Fence,
    before: Option<Seen>,
    now: Span,
) -> Result<Seen> {
    let (db, ports) = (&daemon.options.db, &daemon.options.ports);
    if db.environment(name).await?.live.is_none() {
        return Ok(Seen { fence, at: now, thorough_at: now, doubtful: false, fine: true });
    }
    // What was found wrong in depth is not found right by a glance.
    let thorough = before.is_none_or(|before| {
        before.fence != fence
            || !before.fine
            || now.as_millis().saturating_sub(before.thorough_at.as_millis()) >= THOROUGH_EVERY.as_millis()
    });
    let depth = if thorough { Depth::Thorough } else { Depth::Glance };
    let readiness = DeploymentRollback::new(db.clone(), ports.clone()).readiness_at(name, depth).await?;
    let thorough_at = if thorough { now } else { before.map_or(now, |before| before.thorough_at) };
    let doubtful = is_doubtful(before, fence, &readiness);
    // An operation that began meanwhile is in the way, and rings when it is done.
    let began = db.lease(name).await?.is_some_and(|lease| lease.operation.is_some() || lease.fence != fence);
    if !doubtful && !began && db.record_readiness(name, &readiness, ports.clock.now()).await? {
        daemon.bell.outbox.notify_one();
    }
    Ok(Seen { fence, at: now, thorough_at, doubtful, fine: !is_lost(&readiness) })
}

/// A proxy that is started again, or a release that is sick for a moment, is no loss: it is looked at once more.
fn is_doubtful(before: Option<Seen>, fence: Fence, readiness: &Readiness) -> bool {
    let sure = before.is_some_and(|before| before.fence == fence && !before.fine);
    is_lost(readiness) && !sure
}

fn is_lost(readiness: &Readiness) -> bool {
    !readiness.ready && readiness.target_version.is_some()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn seen(doubtful: bool, fine: bool) -> Seen {
        let at = Span::from_secs(1_000);
        Seen { fence: Fence(3), at, thorough_at: at, doubtful, fine }
    }

    #[test]
    fn it_is_looked_again_in_time_and_at_once_when_something_was_done() {
        let (fine, doubtful) = (seen(false, true), seen(true, false));
        let after = |secs: u64| Span::from_secs(1_000 + secs);
        assert_eq!(left(&fine, Fence(3), after(20)), Some(Span::from_secs(40)));
        assert_eq!(left(&fine, Fence(3), after(60)), None);
        assert_eq!(left(&fine, Fence(4), after(1)), None, "somebody acted there");
        assert_eq!(left(&doubtful, Fence(3), after(4)), Some(Span::from_secs(6)));
        assert_eq!(left(&doubtful, Fence(3), after(10)), None);
    }

    #[test]
    fn a_loss_is_believed_when_it_was_seen_twice() {
        let blocked = Readiness {
            ready: false,
            target_version: Some(orchestrate_core::name::Version::new("1").unwrap()),
            rollback_type: None,
            path: None,
            estimated_ms: None,
            blockers: vec!["its artifact is gone".into()],
            problems: Vec::new(),
            warnings: Vec::new(),
            command: None,
        };
        assert!(is_doubtful(None, Fence(3), &blocked));
        assert!(is_doubtful(Some(seen(false, true)), Fence(3), &blocked));
        assert!(!is_doubtful(Some(seen(true, false)), Fence(3), &blocked));
        assert!(is_doubtful(Some(seen(true, false)), Fence(4), &blocked), "that was of another situation");
        let nothing = Readiness { target_version: None, ..blocked.clone() };
        assert!(
            !is_doubtful(None, Fence(3), &nothing)
                && !is_doubtful(None, Fence(3), &Readiness { ready: true, ..blocked })
        );
    }
}
