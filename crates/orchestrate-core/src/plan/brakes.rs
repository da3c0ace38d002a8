//! What holds an automatic rollback back, so that automation never turns in circles. Pure.

use std::fmt;

use crate::deployment::Deployment;
use crate::environment::RollbackPolicy;
use crate::name::{RollbackId, Version};
use crate::rollback_event::{RollbackEvent, RollbackStatus, RollbackType};
use crate::time::{Span, Timestamp};

const HOUR: Span = Span::from_secs(3600);
/// A version that went back by itself and is live again within this time goes to and fro.
const FLIP_FLOP_WITHIN: Span = Span::from_secs(24 * 3600);

/// Why a bad release is not rolled back by itself.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Brake {
    /// Somebody went back to this very release: it is what was trusted.
    OfARollback(RollbackId),
    /// It was tried for this release already.
    OncePerRelease(RollbackId),
    FlipFlop(Version, RollbackId),
    TooMany {
        within_the_hour: u32,
        at_most: u32,
    },
    CoolDown {
        since: RollbackId,
        cool_down: Span,
    },
}

impl fmt::Display for Brake {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::OfARollback(id) => {
                write!(f, "rollback {id} went back to it, and no rollback is rolled back by itself")
            }
            Self::OncePerRelease(id) => write!(f, "it was rolled back by itself before (rollback {id})"),
            Self::FlipFlop(version, id) => {
                write!(f, "{version} came back after rollback {id}: it goes to and fro")
            }
            Self::TooMany { within_the_hour, at_most } => write!(
                f,
                "there were {within_the_hour} automatic rollbacks here within an hour (`rollback.at_most_per_hour: {at_most}`)"
            ),
            Self::CoolDown { since, cool_down } => {
                write!(f, "rollback {since} was less than {cool_down} ago (`rollback.cool_down`)")
            }
        }
    }
}

/// What the decision depends on.
#[derive(Clone, Debug)]
pub struct History<'a> {
    /// The newest completed rollback of the environment, of any kind.
    pub newest: Option<&'a RollbackEvent>,
    /// The automatic ones, newest first, whatever came of them.
    pub automatic: &'a [RollbackEvent],
}

/// The first brake that holds for the bad deployment, if one does.
pub fn brake(
    policy: &RollbackPolicy,
    bad: &Deployment,
    history: &History<'_>,
    now: Timestamp,
) -> Option<Brake> {
    let to_it = |event: &&RollbackEvent| {
        event.status == RollbackStatus::Completed && event.target_release == Some(bad.release)
    };
    if let Some(event) = history.newest.filter(to_it) {
        return Some(Brake::OfARollback(event.id));
    }
    let automatic =
        || history.automatic.iter().filter(|event| event.rollback_type == RollbackType::Automatic);
    if let Some(event) = automatic().find(|event| event.from_release == Some(bad.release)) {
        return Some(Brake::OncePerRelease(event.id));
    }
    // A clock that went back makes what happened look newer, which only holds longer.
    let within = |event: &&RollbackEvent, span: Span| now.millis_since(event.started_at) < span.as_millis();
    let same_version =
        |event: &&RollbackEvent| event.from_version == bad.version && within(event, FLIP_FLOP_WITHIN);
    if let Some(event) = automatic().find(same_version) {
        return Some(Brake::FlipFlop(bad.version.clone(), event.id));
    }
    let recent = automatic().filter(|event| within(event, HOUR)).count();
    let (within_the_hour, at_most) = (u32::try_from(recent).unwrap_or(u32::MAX), policy.at_most_per_hour);
    if within_the_hour >= at_most {
        return Some(Brake::TooMany { within_the_hour, at_most });
    }
    let newest = automatic().max_by_key(|event| event.id)?;
    let since = now.millis_since(newest.completed_at.unwrap_or(newest.started_at));
    (since < policy.cool_down.as_millis())
        .then_some(Brake::CoolDown { since: newest.id, cool_down: policy.cool_down })
}

#[cfg(test)]
mod tests;
