//! Taking on what stopped short of all traffic: to its next share, or to all of it; and keeping it where it is.

use super::{Deployed, DeploymentExecutor};
use crate::database::{Asked, sites};
use crate::error::{Error, Result};
use crate::execute::record::{MOVED, NewPromotion, Pause, anew, begin_promotion, record_pause};
use crate::execute::{self, Limits};
use crate::name::{DeploymentId, EnvironmentName};
use crate::plan::{self, Place};
use crate::post_deploy_verification::{INSTANCES, Subject, unwell};
use crate::release::Release;
use crate::rollout::Rollout;
use crate::situation::known;
use crate::slot::SlotState;

/// What is asked for.
#[derive(Clone, Debug)]
pub struct Promotion {
    pub environment: EnvironmentName,
    /// To all of the traffic, whatever steps are left.
    pub all: bool,
    pub actor: String,
    /// Only if this is what is being rolled out, and nobody paused it: how the daemon asks.
    pub by_itself: Option<DeploymentId>,
    /// Whatever policies say; recorded, and told to everybody.
    pub break_glass: bool,
    pub reason: Option<String>,
    pub limits: Limits,
}

impl DeploymentExecutor {
    /// Gives what is being rolled out its next share of the traffic, or all of it.
    pub async fn promote(&self, asked: &Promotion) -> Result<Deployed> {
        let result = anew(|| self.promote_once(asked)).await;
        let (environment, actor) = (&asked.environment, asked.actor.as_str());
        self.noted(
            &Asked { environment, actor, what: "promote", version: None, reason: asked.reason.as_deref() },
            result,
        )
        .await
    }

    async fn promote_once(&self, asked: &Promotion) -> Result<Deployed> {
        let name = &asked.environment;
        let (environment, seen) = self.see(name).await?;
        let rollout = self.rollout(name).await?;
        if let Some(meant) = asked.by_itself.filter(|meant| *meant != rollout.deployment) {
            return Err(Error::refused(
                "ORC-0132",
                format!("deployment {meant} is not the current one any more"),
            )
            .hint(format!("see how it stands: orchestrate deploy status --env {name}")));
        }
        let moved =
            || Error::refused(MOVED, format!("what is live in {name} changed meanwhile")).hint("try again");
        let live = environment.live.ok_or_else(moved)?;
        let slot =
            seen.slots.iter().find(|slot| slot.state == SlotState::Live && slot.release == live.release);
        let slot = slot.ok_or_else(moved)?.slot;
        let (release, live) = (known(&self.db, rollout.release).await?, known(&self.db, live.release).await?);
        if rollout.weight == 0 {
            self.must_be_well(&rollout, &release).await?;
        }
        let overrode = self.promotion_cleared(asked, &environment).await?;
        let plan = plan::canary::promote(&rollout, &release, Place::of(&live, slot), asked.all);
        let new = NewPromotion {
            rollout: &rollout,
            release: &release,
            live: &live,
            plan,
            actor: &asked.actor,
            by_itself: asked.by_itself.is_some(),
            environment: &environment,
            overrode,
            reason: asked.reason.as_deref(),
            seen,
        };
        let mut operation = begin_promotion(&self.db, &self.ports, new).await?;
        let outcome = execute::run(&self.db, &self.ports, &mut operation, &asked.limits).await?;
        self.conclude(&mut operation, outcome, false).await
    }

    /// Keeps what is being rolled out at its share until somebody promotes it; `why` is told by the status. Refused while
    /// an operation is open, because only that decides where the traffic will be.
    pub async fn pause(&self, environment: &EnvironmentName, actor: &str, why: &str) -> Result<Rollout> {
        let asked = Asked { environment, actor, what: "pause", version: None, reason: Some(why) };
        self.noted(&asked, anew(|| self.pause_open(environment, actor, why)).await).await
    }

    async fn pause_open(&self, environment: &EnvironmentName, actor: &str, why: &str) -> Result<Rollout> {
        sites::only_here(&self.db, &self.ports, &self.db.environment(environment).await?).await?;
        let pause = Pause { environment, actor, why, only: None };
        record_pause(&self.db, &self.ports, pause).await?.ok_or_else(|| nothing_under_way(environment))
    }

    /// The daemon keeps it at this share. What a person said about a pause stands, and what moved on meanwhile is left alone.
    pub async fn pause_by_itself(&self, rollout: &Rollout, why: &str) -> Result<()> {
        let environment = &rollout.environment;
        let pause = Pause { environment, actor: "orchestrate", why, only: Some(rollout) };
        record_pause(&self.db, &self.ports, pause).await.map(drop)
    }

    /// What has no traffic yet shall not get any before it is known to be able to serve it.
    async fn must_be_well(&self, rollout: &Rollout, release: &Release) -> Result<()> {
        let Rollout { environment, version, .. } = rollout;
        let deployment = self.db.deployment(rollout.deployment).await?;
        let subject = Subject::staged(rollout, release.clone());
        let sick = unwell(&self.ports, &subject).await;
        // Only the look of this moment says something about the instances.
        let known = deployment.into_iter().flat_map(|deployment| deployment.evidence);
        let known = known.filter(|one| one.check != INSTANCES && one.condemns()).map(|one| one.text);
        let why: Vec<String> = sick.into_iter().chain(known).collect();
        if why.is_empty() {
            return Ok(());
        }
        let why = why.join("; ");
        Err(Error::refused(
            "ORC-0156",
            format!("{version} is staged in {environment} and is not well: {why}"),
        )
        .hint(format!(
            "look at its output: orchestrate logs --env {environment} --version {version}, \
                 or take it back: orchestrate deploy rollback --env {environment}"
        )))
    }

    async fn rollout(&self, name: &EnvironmentName) -> Result<Rollout> {
        self.db.environment(name).await?;
        self.db.open_rollout(name).await?.ok_or_else(|| nothing_under_way(name))
    }
}

fn nothing_under_way(name: &EnvironmentName) -> Error {
    Error::refused("ORC-0150", format!("nothing is being rolled out in {name}"))
        .hint(format!("see what is live: orchestrate deploy status --env {name}"))
}
