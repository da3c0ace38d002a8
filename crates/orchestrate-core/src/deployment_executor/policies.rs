//! Whether the policies of an environment let a deployment through.

use super::{DeployRequest, DeploymentExecutor, Promotion};
use crate::approval::{ApprovalRequest, ApprovalStatus};
use crate::database::EnvironmentRecord;
use crate::dependency;
use crate::environment::EnvironmentSettings;
use crate::error::{Error, Result};
use crate::name::{ApprovalId, EnvironmentName, Version};
use crate::policy::{self, Asks};
use crate::release::Release;
use crate::time::Timestamp;

/// The code of a deployment that waits to be approved.
pub const WAITS_FOR_APPROVAL: &str = "ORC-0175";

/// What lets a deployment through.
#[derive(Clone, Debug, Default)]
pub(crate) struct Cleared {
    /// The approval that it uses up.
    pub approval: Option<ApprovalId>,
    /// What was overridden, where somebody broke the glass.
    pub overrode: Option<String>,
}

/// Refuses what policies refuse whatever release it is, before anything is read or built for it.
pub fn may_deploy(
    environment: &EnvironmentName,
    settings: &EnvironmentSettings,
    version: &Version,
    has_reason: bool,
    break_glass: bool,
    now: Timestamp,
) -> Result<()> {
    let typed = typed(environment, version);
    let asks = Asks { environment, has_reason, typed: &typed, now };
    policy::verdict(policy::against_deploying(&settings.policy, &asks), break_glass).map(drop)
}

fn typed(environment: &EnvironmentName, version: &Version) -> String {
    format!("orchestrate deploy --env {environment} --version {version}")
}

impl DeploymentExecutor {
    /// What lets the deployment through; `is_new`, unless this very release serves already.
    pub(super) async fn cleared(
        &self,
        request: &DeployRequest,
        environment: &EnvironmentRecord,
        release: &Release,
        is_new: bool,
    ) -> Result<Cleared> {
        let settings = &environment.environment.settings;
        let (name, now) = (&request.environment, self.ports.clock.now());
        let typed = typed(name, &request.version);
        let asks = Asks { environment: name, has_reason: request.reason.is_some(), typed: &typed, now };
        let mut against = policy::against_deploying(&settings.policy, &asks);
        if is_new {
            against.extend(dependency::unmet(&self.db, release).await?);
            against.extend(dependency::broken(&self.db, environment, release, &[]).await?);
        }
        let mut approval = None;
        if settings.requires_approval && is_new && request.break_glass {
            against.push(Error::refused(WAITS_FOR_APPROVAL, format!("{} was not approved", request.version)));
        } else if settings.requires_approval && is_new && against.is_empty() {
            let (actor, reason) = (request.actor.as_str(), request.reason.as_deref());
            let asked = self.db.ask_approval(environment, release, actor, reason, now).await?;
            match asked.status(now) {
                ApprovalStatus::Approved if asked.approvals_but(actor) < asked.needed => {
                    against.push(own_word(&asked, actor, &typed));
                }
                ApprovalStatus::Approved => approval = Some(asked.id),
                status => against.push(not_approved(&asked, status, &settings.policy.approval.by, &typed)),
            }
        }
        let overrode = policy::verdict(against, request.break_glass)?;
        if let Some(overrode) = &overrode {
            self.ports.progress.remark(&format!("the glass is broken: {overrode}"));
        }
        Ok(Cleared { approval, overrode })
    }

    /// Who takes a rollout on puts something new before users, whenever it was begun; what goes on by itself was let through.
    pub(super) async fn promotion_cleared(
        &self,
        asked: &Promotion,
        environment: &EnvironmentRecord,
    ) -> Result<Option<String>> {
        if asked.by_itself.is_some() {
            return Ok(None);
        }
        let typed = format!("orchestrate deploy promote --env {}", asked.environment);
        // Why it is deployed was said when it was begun.
        let asks = Asks {
            environment: &asked.environment,
            has_reason: true,
            typed: &typed,
            now: self.ports.clock.now(),
        };
        let against = policy::against_deploying(&environment.environment.settings.policy, &asks);
        policy::verdict(against, asked.break_glass)
    }
}

/// Who approves a deployment is not the one who carries it out.
fn own_word(asked: &ApprovalRequest, actor: &str, typed: &str) -> Error {
    let ApprovalRequest { id, environment, version, .. } = asked;
    let message = format!(
        "{actor} approved the deployment of {version} to {environment} (request {id}), which does not count where {actor} deploys it"
    );
    Error::refused(WAITS_FOR_APPROVAL, message)
        .hint(format!("have {} type: {typed}; or have somebody else approve it as well", asked.actor))
}

/// Why the request does not let the deployment through, yet or any more.
fn not_approved(asked: &ApprovalRequest, status: ApprovalStatus, by: &[String], typed: &str) -> Error {
    let ApprovalRequest { id, environment, version, .. } = asked;
    if let (ApprovalStatus::Rejected, Some(vote)) = (status, asked.rejection()) {
        let why = vote.reason.as_ref().map_or_else(String::new, |reason| format!(": {reason}"));
        let message = format!(
            "the deployment of {version} to {environment} was rejected by {} (request {id}){why}",
            vote.actor
        );
        return Error::refused("ORC-0178", message)
            .hint(format!("deploy something else; or in an emergency: {typed} --break-glass --reason TEXT"));
    }
    let have = match (asked.approvals(), asked.needed) {
        (_, 1) => String::new(),
        (have, needed) => format!(", {have} of {needed} given"),
    };
    let message = format!(
        "the deployment of {version} to {environment} waits for approval (request {id}{have}), until {}",
        asked.expires_at
    );
    let who = if by.is_empty() { "somebody else".to_owned() } else { by.join(" or ") };
    Error::refused(WAITS_FOR_APPROVAL, message).hint(format!(
        "ask {who} to type: orchestrate deploy approve --env {environment} --version {version}; then type \
         the same again"
    ))
}
