//! What "previous" means: one function over facts, so that every history can be tried on it.

use crate::deployment::Deployment;
use crate::release::Release;

/// What the answer depends on.
#[derive(Clone, Copy, Debug)]
pub struct History<'a> {
    /// The newest deployment that was not rolled back, with its release.
    pub current: (&'a Deployment, &'a Release),
    pub live: Option<&'a Release>,
    /// Releases that may come into question, in any order.
    pub releases: &'a [Release],
}

/// Who asks: orchestrate itself is more careful than a person.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Asker {
    Person,
    Automatic,
}

impl Asker {
    pub const fn of(automatic: bool) -> Self {
        if automatic { Self::Automatic } else { Self::Person }
    }
}

/// What still serves, if the current deployment never got traffic; else the newest good release before it.
pub fn previous<'a>(history: &History<'a>, asker: Asker) -> Option<&'a Release> {
    let (deployment, current) = history.current;
    if deployment.went_live_at.is_none() && history.live.is_some() {
        return history.live;
    }
    let good = |candidate: &&Release| why_not(candidate, current, asker).is_none();
    history.releases.iter().filter(good).max_by_key(|release| release.lineage)
}

/// Why a release cannot be what "previous" means; none if it can.
pub fn why_not(candidate: &Release, current: &Release, asker: Asker) -> Option<String> {
    // A release that never got traffic is newer than all that did.
    let place = current.lineage.unwrap_or(i64::MAX);
    let Some(lineage) = candidate.lineage else { return Some("never was live".into()) };
    // A hold says why somebody left it, which is more than that it is newer.
    if let Some(hold) = &candidate.hold {
        return Some(format!("is held: {}", hold.reason));
    }
    if lineage >= place {
        return Some(format!("is not older than the current {}", current.version));
    }
    if candidate.proven_at.is_none() {
        return Some("was never proven good".into());
    }
    if let Some(since) = candidate.pruned_at {
        return Some(format!("was pruned at {since}"));
    }
    if current.lineage.is_some() && candidate.content_digest == current.content_digest {
        return Some(format!("has the same content as the current {}", current.version));
    }
    match asker {
        Asker::Automatic if !candidate.stands => Some("was passed over by a rollback to before it".into()),
        Asker::Automatic | Asker::Person => None,
    }
}
