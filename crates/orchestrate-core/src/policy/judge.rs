//! What stands in the way of a deployment or a rollback. Pure.

use super::freeze::{Frozen, frozen};
use super::{InFreeze, Policy};
use crate::error::{Error, Result};
use crate::name::{EnvironmentName, Version};
use crate::time::Timestamp;

/// Who asks, as far as policies care.
#[derive(Clone, Copy, Debug)]
pub struct Asks<'a> {
    pub environment: &'a EnvironmentName,
    pub has_reason: bool,
    /// What was typed, without what a policy asks for: for the hint.
    pub typed: &'a str,
    pub now: Timestamp,
}

/// How far and how often it goes back; unknown where no policy asks.
#[derive(Clone, Debug)]
pub struct Back<'a> {
    pub target: &'a Version,
    pub releases: Option<u32>,
    /// When something else took the target's place, last.
    pub left_at: Option<Timestamp>,
    pub within_the_hour: Option<u32>,
}

/// Every policy that stands in the way of deploying; approval is another matter.
pub fn against_deploying(policy: &Policy, asks: &Asks<'_>) -> Vec<Error> {
    let mut against = Vec::new();
    if let Some(frozen) = frozen(&policy.freezes, asks.now) {
        let Frozen { name, until_there, .. } = frozen;
        let message = format!("{} is frozen until {until_there}: {name}", asks.environment);
        against.push(Error::refused("ORC-0170", message).hint(glass(asks, "wait; or in an emergency")));
    }
    if policy.require_reason && !asks.has_reason {
        against.push(no_reason(asks, "a deployment to"));
    }
    against
}

/// Every policy that stands in the way of a rollback that a person asks for.
pub fn against_rolling_back(policy: &Policy, asks: &Asks<'_>, back: &Back<'_>) -> Vec<Error> {
    let mut against: Vec<Error> = in_freeze(policy, asks).into_iter().collect();
    if policy.require_reason && !asks.has_reason && against.iter().all(|error| !wants_reason(error)) {
        against.push(no_reason(asks, "a rollback of"));
    }
    against.extend(too_far(policy, asks, back));
    let limits = &policy.rollback;
    if let (Some(most), Some(count)) = (limits.manual_at_most_per_hour, back.within_the_hour)
        && count >= most
    {
        let message = format!(
            "{} was rolled back {count} times within an hour (`rollback.manual_at_most_per_hour: {most}`)",
            asks.environment
        );
        let hint = glass(asks, "find out first why; or in an emergency");
        against.push(Error::refused("ORC-0174", message).hint(hint));
    }
    against
}

fn in_freeze(policy: &Policy, asks: &Asks<'_>) -> Option<Error> {
    let Frozen { name, until_there, .. } = frozen(&policy.freezes, asks.now)?;
    let environment = asks.environment;
    match policy.rollback.in_freeze {
        InFreeze::WithReason if !asks.has_reason => Some(
            Error::refused(
                "ORC-0171",
                format!(
                    "{environment} is frozen until {until_there} ({name}); a rollback needs a reason then"
                ),
            )
            .hint(format!("say why: {} --reason TEXT", asks.typed)),
        ),
        InFreeze::Refused => Some(
            Error::refused(
                "ORC-0170",
                format!("{environment} is frozen until {until_there}, for rollbacks too: {name}"),
            )
            .hint(glass(asks, "in an emergency")),
        ),
        InFreeze::WithReason | InFreeze::Freely => None,
    }
}

fn too_far(policy: &Policy, asks: &Asks<'_>, back: &Back<'_>) -> Option<Error> {
    let (limits, target) = (&policy.rollback, back.target);
    let far = limits.max_back.zip(back.releases).filter(|(most, releases)| releases > most);
    let far = far.map(|(most, releases)| format!("{releases} releases back (`rollback.max_back: {most}`)"));
    let old = limits.max_age.zip(back.left_at);
    let old = old.filter(|(most, left)| asks.now.millis_since(*left) > most.as_millis());
    let old = old.map(|(most, left)| format!("not live since {left} (`rollback.max_age: {most}`)"));
    let what: Vec<String> = far.into_iter().chain(old).collect();
    if what.is_empty() {
        return None;
    }
    let message = format!("{target} is too far back for {}: {}", asks.environment, what.join(", and "));
    Some(Error::refused("ORC-0173", message).hint(format!(
        "see what is nearer: orchestrate deploy candidates --env {}; {}",
        asks.environment,
        glass(asks, "in an emergency")
    )))
}

fn no_reason(asks: &Asks<'_>, what: &str) -> Error {
    let message = format!("{what} {} needs a reason (`require_reason`)", asks.environment);
    Error::refused("ORC-0172", message).hint(format!("say why: {} --reason TEXT", asks.typed))
}

/// Whether nothing but a reason is missing.
pub(crate) fn wants_reason(error: &Error) -> bool {
    matches!(error.code(), "ORC-0171" | "ORC-0172")
}

fn glass(asks: &Asks<'_>, when: &str) -> String {
    format!("{when}: {} --break-glass --reason TEXT", asks.typed)
}

/// The refusal, which names everything that is in the way; or what is overridden, for the record.
pub fn verdict(against: Vec<Error>, break_glass: bool) -> Result<Option<String>> {
    let told = against.iter().map(Error::message).collect::<Vec<_>>().join("; ");
    let Some(first) = against.into_iter().next() else {
        return Ok(break_glass.then(|| "nothing stood in the way".to_owned()));
    };
    if break_glass {
        return Ok(Some(told));
    }
    Err(first.reworded(told))
}

#[cfg(test)]
mod tests;
