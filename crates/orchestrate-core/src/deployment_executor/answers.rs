//! What a deployment, a promotion or a stop that did not come about says to people.

use super::Deployed;
use crate::deployment::{Deployment, DeploymentStatus};
use crate::error::Error;
use crate::execute::{Failure, FailureKind, Outcome};
use crate::name::{EnvironmentName, Version};
use crate::rollback_event::RollbackEvent;

/// A release that is on its way keeps others out until it has arrived or was taken back.
pub(super) fn under_way(environment: &EnvironmentName, version: &Version) -> Error {
    Error::refused("ORC-0151", format!("{version} is being rolled out in {environment}")).hint(format!(
        "take it on: orchestrate deploy promote --env {environment}, \
         or back: orchestrate deploy rollback --env {environment}"
    ))
}

pub(super) fn stop_error(environment: &EnvironmentName, outcome: Outcome) -> Option<Error> {
    match outcome {
        Outcome::Completed => None,
        Outcome::Condemned(failure) | Outcome::Undone(failure) => Some(Error::failed(
            "ORC-0122",
            format!("{environment} could not be stopped: {}", failure.message),
        )),
        Outcome::NeedsAttention(failure) => Some(
            Error::needs_attention(
                "ORC-0119",
                format!("stopping {environment} needs attention: {}", failure.message),
            )
            .hint(format!("mend the cause, then finish it: orchestrate deploy resume --env {environment}")),
        ),
    }
}

/// The error of a deployment that was begun and is not live and good.
pub fn failed(deployed: &Deployed, rollback: Option<&RollbackEvent>) -> Option<Error> {
    let Deployment { id, version, environment, status, error_message, .. } = &deployed.deployment;
    let why = error_message.as_deref().unwrap_or("no reason is recorded");
    let detail = deployed.outcome.failure().and_then(|failure| failure.detail.as_ref());
    let detail = detail.map_or_else(String::new, |text| format!("\n{text}"));
    let what = format!("deployment {id} of {version} to {environment}");
    if let Outcome::NeedsAttention(failure) = &deployed.outcome {
        let message = format!("{what} needs attention: {}{detail}", failure.message);
        return Some(
            Error::needs_attention("ORC-0119", message).hint(format!(
                "mend the cause, then finish it: orchestrate deploy resume --env {environment}"
            )),
        );
    }
    match status {
        DeploymentStatus::Completed | DeploymentStatus::Pending | DeploymentStatus::Validating => None,
        DeploymentStatus::InProgress => unpromoted(deployed, &detail),
        DeploymentStatus::RolledBack => {
            let target = rollback.map_or_else(String::new, |event| format!(" to {}", event.target_version));
            Some(
                Error::failed(
                    "ORC-0123",
                    format!("{what} turned out bad and was rolled back{target}: {why}{detail}"),
                )
                .hint(format!(
                    "look at its output: orchestrate logs --env {environment} --version {version}"
                )),
            )
        }
        DeploymentStatus::Failed | DeploymentStatus::TimedOut => {
            let (verb, code) = match status {
                DeploymentStatus::TimedOut => ("ran out of time", "ORC-0125"),
                _ => ("failed", "ORC-0124"),
            };
            let served = match deployed.outcome {
                Outcome::Undone(Failure { kind: FailureKind::Interrupted, .. }) => "; it was put back",
                Outcome::Undone(_) if deployed.is_first => "; nothing is live, as before",
                Outcome::Undone(_) => "; users are served as before",
                // Nothing was put back, so a person has to.
                Outcome::Completed | Outcome::Condemned(_) | Outcome::NeedsAttention(_) => {
                    let held = deployed.deployment.automatic_hold.as_ref();
                    let held = held.map_or_else(String::new, |hold| {
                        format!("; it is not rolled back by itself: {hold}")
                    });
                    let message = format!("{what} {verb} and is live all the same: {why}{held}{detail}");
                    return Some(
                        Error::needs_attention(code, message)
                            .hint(format!("go back: orchestrate deploy rollback --env {environment}")),
                    );
                }
            };
            Some(Error::failed(code, format!("{what} {verb}{served}: {why}{detail}")).hint(format!(
                "look at its output: orchestrate logs --env {environment} --version {version}"
            )))
        }
    }
}

/// A promotion that was put back leaves its deployment where it was.
fn unpromoted(deployed: &Deployed, detail: &str) -> Option<Error> {
    let Outcome::Undone(failure) = &deployed.outcome else { return None };
    let Deployment { version, environment, .. } = &deployed.deployment;
    let message = format!(
        "{version} was not taken on in {environment}; users are served as before: {}{detail}",
        failure.message
    );
    Some(Error::failed("ORC-0152", message).hint(format!(
        "see how it stands: orchestrate deploy status --env {environment}, \
         or go back: orchestrate deploy rollback --env {environment}"
    )))
}
