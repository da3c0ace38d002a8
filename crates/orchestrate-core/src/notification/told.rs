//! What a notice says: its key, its payload, and one sentence for people.

use serde::{Deserialize, Serialize};

use super::NoticeKind;
use crate::approval::ApprovalRequest;
use crate::database::EnvironmentRecord;
use crate::deployment::{Deployment, DeploymentStatus};
use crate::deployment_rollback::Readiness;
use crate::drill::{Drill, DrillStatus};
use crate::error::{Error, Result};
use crate::evidence::Consequence;
use crate::name::{EnvironmentName, Version};
use crate::rollback_event::RollbackEvent;

/// What a notice tells of.
#[derive(Clone, Debug)]
pub(crate) enum Told {
    Deployment(Box<Deployment>),
    /// One that completed, and whether anything had been live here before.
    Completed {
        deployment: Box<Deployment>,
        first: bool,
    },
    Rollback(Box<RollbackEvent>),
    /// A rehearsal of one.
    Drill(Box<Drill>),
    /// Whether a rollback would work.
    Readiness(Box<Readiness>),
    /// A deployment that waits for somebody's word.
    Approval(Box<ApprovalRequest>),
    /// What was done although policies stood in the way.
    Override(Box<Override>),
    /// A hold that a person set or lifted.
    Hold {
        version: Version,
        actor: String,
        reason: Option<String>,
    },
}

/// Policies that somebody overrode.
#[derive(Clone, Debug, Serialize)]
pub(crate) struct Override {
    /// `deployment-7` or `rollback-3`.
    #[serde(skip)]
    pub subject: String,
    /// What was begun, for people.
    pub what: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub version: Option<Version>,
    pub actor: String,
    pub reason: Option<String>,
    /// What stood in the way.
    pub overrode: String,
}

/// The body of a rollback's notice.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct RollbackNotification {
    pub service: String,
    pub url: Option<String>,
    /// One sentence for people.
    pub text: String,
    #[serde(flatten)]
    pub event: RollbackEvent,
}

impl Told {
    /// The beginning of the idempotency key.
    pub(crate) fn key(&self, kind: NoticeKind) -> String {
        match self {
            Self::Deployment(deployment) | Self::Completed { deployment, .. } => {
                format!("{kind}-d{}", deployment.id)
            }
            Self::Rollback(event) => format!("{kind}-r{}", event.id),
            Self::Drill(drill) => format!("{kind}-drill{}", drill.id),
            Self::Readiness(_) => kind.to_string(),
            Self::Approval(request) => format!("{kind}-a{}", request.id),
            Self::Override(about) => format!("{kind}-{}", about.subject),
            Self::Hold { version, .. } => format!("{kind}-{version}"),
        }
    }

    /// The operation that it is about: its notices belong together.
    pub(crate) fn subject(&self) -> Option<String> {
        match self {
            Self::Deployment(deployment) | Self::Completed { deployment, .. } => {
                Some(format!("deployment-{}", deployment.id))
            }
            Self::Rollback(event) => Some(format!("rollback-{}", event.id)),
            Self::Approval(request) => Some(format!("approval-{}", request.id)),
            Self::Override(about) => Some(about.subject.clone()),
            Self::Drill(drill) => Some(format!("drill-{}", drill.id)),
            Self::Readiness(_) | Self::Hold { .. } => None,
        }
    }

    pub(crate) fn payload(
        &self,
        kind: NoticeKind,
        environment: &EnvironmentRecord,
    ) -> Result<serde_json::Value> {
        let (service, url) =
            (environment.environment.service.clone(), environment.environment.settings.url.clone());
        let value = match self {
            Self::Rollback(event) => {
                let text = rollback_text(kind, &service, event);
                serde_json::to_value(RollbackNotification { service, url, text, event: (**event).clone() })
            }
            Self::Deployment(deployment) | Self::Completed { deployment, .. } => {
                let told = about(deployment, deployment_text(kind, &service, deployment), environment);
                told.map(|mut value| {
                    if let Self::Completed { first, .. } = self {
                        value["first"] = (*first).into();
                    }
                    value
                })
            }
            Self::Drill(drill) => about(drill, drill_text(&service, drill), environment),
            Self::Readiness(readiness) => {
                let text = readiness_text(&service, &environment.environment.name, readiness);
                about(readiness, text, environment)
            }
            Self::Approval(request) => about(request, approval_text(&service, request), environment),
            Self::Override(what) => {
                about(what, override_text(&service, &environment.environment.name, what), environment)
            }
            Self::Hold { version, actor, reason } => Ok(serde_json::json!({
                "service": service, "environment": environment.environment.name, "url": url, "version": version,
                "actor": actor, "reason": reason,
                "text": hold_text(kind, &service, &environment.environment.name, version, actor, reason.as_deref()),
            })),
        };
        value.map_err(|error| Error::bug(format!("a notice cannot be written: {error}")))
    }
}

/// Facts, with the sentence for people and where it is.
fn about(
    facts: &impl Serialize,
    text: String,
    environment: &EnvironmentRecord,
) -> serde_json::Result<serde_json::Value> {
    let environment = &environment.environment;
    serde_json::to_value(facts).map(|mut value| {
        value["text"] = text.into();
        value["environment"] = environment.name.as_str().into();
        value["service"] = environment.service.as_str().into();
        value["url"] = environment.settings.url.clone().into();
        value
    })
}

fn approval_text(service: &str, request: &ApprovalRequest) -> String {
    let ApprovalRequest { environment, version, actor, needed, .. } = request;
    let why = request.reason.as_ref().map_or_else(String::new, |reason| format!(": {reason}"));
    let people = if *needed == 1 { String::new() } else { format!(" of {needed} people") };
    format!(
        "{service} in {environment}: {actor} wants to deploy {version} and asks for the approval{people}{why}; \
         to give it, type: orchestrate deploy approve --env {environment} --version {version}"
    )
}

fn override_text(service: &str, environment: &EnvironmentName, about: &Override) -> String {
    let Override { what, actor, overrode, .. } = about;
    let why = about.reason.as_deref().unwrap_or("no reason is recorded");
    format!(
        "{service} in {environment}: {actor} broke the glass for {what}: {why}; what stood in the way: {overrode}"
    )
}

fn rollback_text(kind: NoticeKind, service: &str, event: &RollbackEvent) -> String {
    let RollbackEvent { environment, from_version, target_version, actor, .. } = event;
    let why = event.reason.as_ref().map_or_else(String::new, |reason| format!(": {reason}"));
    match kind {
        NoticeKind::RollbackFailed => format!(
            "{service} in {environment}: the rollback from {from_version} to {target_version} by {actor} failed, users are \
             served as before: {}",
            event.error_message.as_deref().unwrap_or("no reason is known")
        ),
        NoticeKind::NeedsAttention => format!(
            "{service} in {environment}: the rollback from {from_version} to {target_version} by {actor} needs attention: {}",
            event.error_message.as_deref().unwrap_or("no reason is known")
        ),
        NoticeKind::RollbackStarted => format!(
            "{service} in {environment} is being rolled back from {from_version} to {target_version} by {actor}{why}"
        ),
        // Told of a rollback is only how it went.
        _ => {
            format!(
                "{service} in {environment} was rolled back from {from_version} to {target_version} by {actor}{why}"
            )
        }
    }
}

fn drill_text(service: &str, drill: &Drill) -> String {
    let Drill { environment, live_version, target_version, actor, path, .. } = drill;
    let why = drill.error_message.as_deref().unwrap_or("no reason is known");
    let what = format!("{service} in {environment}: the drill of a rollback to {target_version} by {actor}");
    match drill.status {
        DrillStatus::Completed => {
            let took = drill.duration_ms.map_or_else(String::new, |ms| format!(" in {ms} ms"));
            format!("{what} went well{took} ({path}); {live_version} is live, as before")
        }
        DrillStatus::NeedsAttention => format!("{what} needs attention: {why}"),
        DrillStatus::Failed | DrillStatus::GivenUp | DrillStatus::InProgress => {
            format!("{what} failed, users are served by {live_version}, as before: {why}")
        }
    }
}

fn deployment_text(kind: NoticeKind, service: &str, deployment: &Deployment) -> String {
    let Deployment { environment, version, actor, .. } = deployment;
    let error = deployment.error_message.as_deref().unwrap_or("no reason is known");
    let found = || {
        let worth_telling = deployment.evidence.iter().filter(|one| one.consequence == Consequence::Notify);
        worth_telling.map(|one| one.text.as_str()).collect::<Vec<_>>().join("; ")
    };
    match kind {
        NoticeKind::NeedsAttention if deployment.automatic_hold.is_some() => {
            let why = deployment.automatic_hold.as_deref().unwrap_or_default();
            let stays = if deployment.went_live_at.is_some() { "live" } else { "at its share" };
            format!(
                "{service} in {environment}: {version} turned out bad ({error}) and stays {stays}, because {why}; to \
                 go back, type: orchestrate deploy rollback --env {environment}"
            )
        }
        NoticeKind::NeedsAttention if deployment.status == DeploymentStatus::Completed => {
            format!(
                "{service} in {environment}: {version} stays live, but was not judged in full: {}",
                found()
            )
        }
        NoticeKind::NeedsAttention if deployment.status == DeploymentStatus::InProgress => {
            format!("{service} in {environment}: {version} shows itself bad and is watched on: {}", found())
        }
        NoticeKind::DeploymentFailed => {
            format!("{service} in {environment}: the deployment of {version} by {actor} failed: {error}")
        }
        NoticeKind::NeedsAttention => {
            format!(
                "{service} in {environment}: the deployment of {version} by {actor} needs attention: {error}"
            )
        }
        NoticeKind::DeploymentStarted => {
            format!("{service} in {environment}: {version} is being deployed by {actor}")
        }
        // Told of a deployment is only how it went.
        _ => format!("{service} in {environment}: {version} was deployed by {actor}"),
    }
}

fn hold_text(
    kind: NoticeKind,
    service: &str,
    environment: &EnvironmentName,
    version: &Version,
    actor: &str,
    reason: Option<&str>,
) -> String {
    let why = reason.map_or_else(String::new, |reason| format!(": {reason}"));
    match kind {
        NoticeKind::HoldLifted => {
            format!("{service} in {environment}: {version} may be deployed again, says {actor}{why}")
        }
        _ => format!("{service} in {environment}: {version} is held, nobody deploys it, says {actor}{why}"),
    }
}

fn readiness_text(service: &str, environment: &EnvironmentName, readiness: &Readiness) -> String {
    let target = readiness.target_version.as_ref().map_or_else(String::new, |target| format!(" to {target}"));
    match readiness.ready {
        true => format!("{service} in {environment}: a rollback{target} would work again"),
        false => format!(
            "{service} in {environment}: a rollback{target} would not work now: {}",
            readiness.blockers.join("; ")
        ),
    }
}
