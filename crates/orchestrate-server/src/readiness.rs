//! Looks all the time whether a rollback would work in each environment, so that it is known before it is needed.

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;

use orchestrate_core::Result;
use orchestrate_core::deployment_rollback::{DeploymentRollback, Depth, Readiness};
use orchestrate_core::name::{EnvironmentName, Fence};
use orchestrate_core::ports::{Instance, Ports, RouterView};
use orchestrate_core::rollback_event::RollbackPath;
use orchestrate_core::time::Span;

use crate::Daemon;

/// How often each environment is looked at when nothing happens there.
const EVERY: Span = Span::from_secs(60);
/// How often everything is asked about where the target runs, and what runs is what it was: policies go by the clock.
const WHOLE_EVERY: Span = Span::from_secs(300);
/// What seems lost is looked at again this much later, before anybody is told.
const SURE_AFTER: Span = Span::from_secs(10);
/// What is lost may be back soon.
const LOST_EVERY: Span = Span::from_secs(15);
/// What is due within this is looked at in one go.
const TOGETHER: Span = Span::from_secs(1);
/// How often the artifact of a cold target is read in whole.
const THOROUGH_EVERY: Span = Span::from_secs(3_600);

/// What is remembered of an environment between two looks.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Seen {
    fence: Fence,
    at: Span,
    /// When everything was asked about.
    whole_at: Span,
    thorough_at: Span,
    /// What was there by then, if it says by itself when it changes, and a rollback is a mere switch to it.
    sight: Option<Sight>,
    /// Not ready at the last look, for the first time.
    doubtful: bool,
    /// Ready, or with nothing to go back to.
    fine: bool,
}

/// What runs, and what the router knows of it.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Sight {
    instances: Vec<Instance>,
    view: RouterView,
}

impl Sight {
    async fn of(ports: &Ports, name: &EnvironmentName) -> Option<Self> {
        let instances = ports.provider.instances(name).await.ok()?;
        let view = ports.router.observe(name).await.ok()?;
        Some(Self { instances, view })
    }
}

impl Seen {
    /// Whether a rollback works for as long as what it goes to is there as it was: nobody did anything since.
    fn rests(&self, fence: Fence, now: Span, rung_at: Span) -> bool {
        let since = now.as_millis().saturating_sub(self.whole_at.as_millis());
        self.fine
            && !self.doubtful
            && self.fence == fence
            && rung_at < self.whole_at
            && since < WHOLE_EVERY.as_millis()
    }

    fn wait(&self) -> Span {
        match (self.doubtful, self.fine) {
            (true, _) => SURE_AFTER,
            (false, true) => EVERY,
            (false, false) => LOST_EVERY,
        }
    }
}

pub(crate) async fn watch(daemon: Arc<Daemon>) {
    let (mut seen, clock) = (HashMap::new(), &daemon.options.ports.clock);
    let mut rung_at = clock.running_for();
    loop {
        let next = match look(&daemon, &mut seen, rung_at).await {
            Ok(next) => next,
            Err(error) => {
                tracing::warn!("whether rollbacks would work cannot be seen: {}", error.full_message());
                EVERY
            }
        };
        tokio::select! {
            () = tokio::time::sleep(next.duration()) => {}
            () = daemon.bell.readiness.notified() => rung_at = clock.running_for(),
        }
    }
}

/// Looks at what is due, and says when something is again.
async fn look(daemon: &Daemon, seen: &mut HashMap<EnvironmentName, Seen>, rung_at: Span) -> Result<Span> {
    let (care, clock) = (daemon.care().await?, &daemon.options.ports.clock);
    let mut next = EVERY;
    // Whoever holds a lease rings when it is done.
    let idle = idle(daemon.options.db.list_fences().await?);
    seen.retain(|name, _| idle.contains_key(name));
    for (name, fence) in idle.into_iter().filter(|(name, _)| care.is_for(name)) {
        let now = clock.running_for();
        if let Some(left) = seen.get(&name).and_then(|seen| left(seen, fence, now)) {
            next = next.min(left);
            continue;
        }
        let before = seen.get(&name).cloned();
        let resting = before.as_ref().filter(|before| before.rests(fence, now, rung_at));
        if let Some(resting) = resting
            && resting.sight.is_some()
            && resting.sight == Sight::of(&daemon.options.ports, &name).await
        {
            seen.insert(name, Seen { at: now, ..resting.clone() });
            continue;
        }
        match look_at(daemon, &name, fence, before, now).await {
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
    Ok(next.max(TOGETHER))
}

fn idle(fences: Vec<(EnvironmentName, Option<Fence>)>) -> BTreeMap<EnvironmentName, Fence> {
    fences.into_iter().filter_map(|(name, fence)| Some((name, fence?))).collect()
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
    let record = db.environment(name).await?;
    if record.live.is_none() {
        db.forget_readiness(name).await?;
        let (whole_at, thorough_at) = (now, now);
        return Ok(Seen { fence, at: now, whole_at, thorough_at, sight: None, doubtful: false, fine: true });
    }
    // First, so that what changes meanwhile is otherwise at the next look.
    let sight = match record.environment.settings.provider.tells_changes() {
        true => Sight::of(ports, name).await,
        false => None,
    };
    // What was found wrong in depth is not found right by a glance.
    let thorough = before.as_ref().is_none_or(|before| {
        before.fence != fence
            || !before.fine
            || now.as_millis().saturating_sub(before.thorough_at.as_millis()) >= THOROUGH_EVERY.as_millis()
    });
    let depth = if thorough { Depth::Thorough } else { Depth::Glance };
    let readiness = DeploymentRollback::new(db.clone(), ports.clone()).readiness_at(name, depth).await?;
    let thorough_at = if thorough { now } else { before.as_ref().map_or(now, |before| before.thorough_at) };
    let doubtful = is_doubtful(before.as_ref(), fence, &readiness);
    // An operation that began meanwhile is in the way, and rings when it is done.
    let began = db.lease(name).await?.is_some_and(|lease| lease.operation.is_some() || lease.fence != fence);
    if !doubtful && !began && db.record_readiness(name, &readiness, ports.clock.now()).await? {
        daemon.bell.outbox.notify_one();
    }
    let sight = sight.filter(|_| readiness.path == Some(RollbackPath::Warm));
    Ok(Seen { fence, at: now, whole_at: now, thorough_at, sight, doubtful, fine: !is_lost(&readiness) })
}

/// A proxy that is started again, or a release that is sick for a moment, is no loss: it is looked at once more.
fn is_doubtful(before: Option<&Seen>, fence: Fence, readiness: &Readiness) -> bool {
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
        Seen { fence: Fence(3), at, whole_at: at, thorough_at: at, sight: None, doubtful, fine }
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
    fn everything_is_asked_about_again_in_time_and_after_whatever_was_done() {
        let (fine, before) = (seen(false, true), Span::from_secs(999));
        let after = |secs: u64| Span::from_secs(1_000 + secs);
        assert!(fine.rests(Fence(3), after(299), before));
        assert!(!fine.rests(Fence(3), after(300), before), "a freeze may have begun");
        assert!(!fine.rests(Fence(4), after(60), before), "somebody acted there");
        assert!(!fine.rests(Fence(3), after(60), after(30)), "somebody did something, maybe here");
        assert!(!seen(false, false).rests(Fence(3), after(15), before), "it may be back");
        assert!(!seen(true, false).rests(Fence(3), after(10), before), "it is not sure yet");
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
        assert!(is_doubtful(Some(&seen(false, true)), Fence(3), &blocked));
        assert!(!is_doubtful(Some(&seen(true, false)), Fence(3), &blocked));
        assert!(is_doubtful(Some(&seen(true, false)), Fence(4), &blocked), "that was of another situation");
        let nothing = Readiness { target_version: None, ..blocked.clone() };
        assert!(
            !is_doubtful(None, Fence(3), &nothing)
                && !is_doubtful(None, Fence(3), &Readiness { ready: true, ..blocked })
        );
    }
}
