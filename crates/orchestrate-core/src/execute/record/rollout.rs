//! Beginning and concluding what halts short of all traffic: the first share of a deployment, and each promotion.

use super::{
    Seen, broke_glass, busy, first_entry, open_conclusion, record_needs_attention, take_lease, tell,
};
use crate::database::audit::{self, Entry as Audit};
use crate::database::operations::{self, NewOperation};
use crate::database::{
    Database, EnvironmentRecord, OperationStatus, Tx, commit, deployments, leases, rollouts, slots,
};
use crate::deployment::{Deployment, DeploymentStatus};
use crate::error::{Error, Result};
use crate::evidence::Evidence;
use crate::execute::{Failure, Operation, Outcome};
use crate::name::{DeploymentId, EnvironmentName};
use crate::notification::{NoticeKind, Override, Told};
use crate::plan::{Halt, OperationKind, Plan};
use crate::ports::Ports;
use crate::release::Release;
use crate::rollout::Rollout;
use crate::slot::{SlotRecord, SlotState};
use crate::time::Timestamp;

pub(crate) struct NewPromotion<'a> {
    pub rollout: &'a Rollout,
    pub release: &'a Release,
    pub live: &'a Release,
    pub plan: Plan,
    pub actor: &'a str,
    pub by_itself: bool,
    pub environment: &'a EnvironmentRecord,
    /// What somebody overrode to do it, and why.
    pub overrode: Option<String>,
    pub reason: Option<&'a str>,
    pub seen: Seen,
}

/// One transaction: the lease, the operation and its first journal entry; refused if somebody paused it meanwhile.
pub(crate) async fn begin_promotion(
    db: &Database,
    ports: &Ports,
    new: NewPromotion<'_>,
) -> Result<Operation> {
    let (now, rollout) = (ports.clock.now(), new.rollout);
    let (environment, deployment) = (&rollout.environment, rollout.deployment);
    let (mut tx, fence) = take_lease(db, db.begin().await?, ports, environment, new.actor, &new.seen).await?;
    // A pause is lifted by the promotion that comes about, not by the attempt.
    if new.by_itself && !rollouts::is_free(&mut tx, deployment).await? {
        tx.rollback().await?;
        return Err(Error::refused("ORC-0155", format!("the rollout of {} is paused", rollout.version))
            .hint(format!("take it on: orchestrate deploy promote --env {environment}")));
    }
    let traceparent = ports.host.traceparent();
    let open =
        NewOperation { environment, deployment, rollback: None, plan: &new.plan, fence, traceparent, now };
    let record = operations::create(&mut tx, open).await?;
    let entries = first_entry(&new.plan, now);
    operations::write_journal(&mut tx, record.id, 0, &entries).await?;
    if let Some(overrode) = new.overrode {
        deployments::set_break_glass(&mut tx, deployment, &overrode).await?;
        let about = Override {
            subject: format!("deployment-{deployment}"),
            what: format!("the promotion of {}", rollout.version),
            version: Some(rollout.version.clone()),
            actor: new.actor.to_owned(),
            reason: new.reason.map(str::to_owned),
            overrode,
        };
        broke_glass(&mut tx, new.environment, about, now).await?;
    }
    let step = Promoted { actor: new.actor, action: "rollout_promoted", error: None };
    step.note(&mut tx, environment, deployment, &new.plan, now);
    commit(tx).await?;
    Operation::new(db, record, new.release.clone(), Some(new.live.clone()), &entries).await
}

/// A deployment came to its share: one transaction records how it goes on, and gives the lease back.
pub(crate) async fn conclude_halt(
    db: &Database,
    ports: &Ports,
    operation: &mut Operation,
    halt: &Halt,
) -> Result<Deployment> {
    let (now, name) = (ports.clock.now(), operation.environment().clone());
    let deployment = super::deploy::stored(db, operation.record.deployment).await?;
    let place = operation.record.plan.target().clone();
    let mut tx = db.begin().await?;
    open_conclusion(&mut tx, operation).await?;
    let record = SlotRecord {
        slot: place.slot,
        release: place.release,
        version: place.version.clone(),
        state: SlotState::Staged,
        since: now,
        until: None,
    };
    slots::put(&mut tx, &name, &record).await?;
    rollouts::put(&mut tx, &Rollout::halted(deployment.id, &name, place, halt, now)).await?;
    let halted = Promoted { actor: &deployment.actor, action: "rollout_halted", error: None };
    halted.note(&mut tx, &name, deployment.id, &operation.record.plan, now);
    deployments::forget_findings(&mut tx, deployment.id, now).await?;
    operations::set_status(&mut tx, operation.record.id, OperationStatus::Completed, None, now).await?;
    leases::release(&mut tx, &name).await?;
    commit(tx).await?;
    Ok(deployment)
}

/// A promotion did not come about: the deployment goes on where it was, or needs a person.
pub(crate) async fn conclude_unpromoted(
    db: &Database,
    ports: &Ports,
    operation: &mut Operation,
    failure: &Failure,
    stuck: bool,
) -> Result<Deployment> {
    let (now, name) = (ports.clock.now(), operation.environment().clone());
    let environment = db.environment(&name).await?;
    let deployment = super::deploy::stored(db, operation.record.deployment).await?;
    let holder = db.lease(&name).await?.and_then(|lease| lease.holder);
    let actor = holder.map_or_else(|| deployment.actor.clone(), |holder| holder.actor);
    let mut tx = db.begin().await?;
    open_conclusion(&mut tx, operation).await?;
    if stuck {
        let about = Told::Deployment(Box::new(deployment.clone()));
        record_needs_attention(&mut tx, operation, &environment, failure, about, now).await?;
        commit(tx).await?;
        return Ok(deployment);
    }
    let (id, message) = (operation.record.id, Some(failure.message.as_str()));
    operations::set_status(&mut tx, id, OperationStatus::Undone, message, now).await?;
    let failed = Promoted { actor: &actor, action: "promotion_failed", error: message };
    failed.note(&mut tx, &name, deployment.id, &operation.record.plan, now);
    leases::release(&mut tx, &name).await?;
    commit(tx).await?;
    Ok(deployment)
}

/// A wish to keep what is being rolled out at its share.
pub(crate) struct Pause<'a> {
    pub environment: &'a EnvironmentName,
    pub actor: &'a str,
    pub why: &'a str,
    /// Only while it stands like this and nobody paused it: how the daemon asks.
    pub only: Option<&'a Rollout>,
}

/// One transaction: that no operation is open, the pause and its audit. How it stands afterwards; `None`: nothing is
/// being rolled out.
pub(crate) async fn record_pause(db: &Database, ports: &Ports, pause: Pause<'_>) -> Result<Option<Rollout>> {
    let Pause { environment, actor, why, only } = pause;
    let mut tx = db.begin().await?;
    if leases::is_taken(&mut tx, environment).await? {
        tx.rollback().await?;
        return Err(busy(db, ports, environment).await?);
    }
    let stands = rollouts::fetch_open(&mut tx, environment).await?;
    let Some(before) = stands.filter(|now| only.is_none_or(|only| now.is_at(only))) else {
        tx.rollback().await?;
        return Ok(None);
    };
    let changes = match &before.paused {
        Some(paused) => only.is_none() && paused != why,
        None => true,
    };
    if !changes {
        tx.rollback().await?;
        return Ok(Some(before));
    }
    rollouts::pause(&mut tx, before.deployment, why).await?;
    let detail = serde_json::json!({
        "deployment": before.deployment, "version": before.version, "weight": before.weight,
    });
    let (at, action) = (ports.clock.now(), "rollout_paused");
    audit::record(&mut tx, Audit { at, environment, actor, action, reason: Some(why), detail });
    commit(tx).await?;
    Ok(Some(Rollout { paused: Some(why.to_owned()), next_at: None, ..before }))
}

/// A line of the audit trail about a promotion.
struct Promoted<'a> {
    actor: &'a str,
    action: &'static str,
    error: Option<&'a str>,
}

impl Promoted<'_> {
    fn note(
        self,
        tx: &mut Tx,
        environment: &EnvironmentName,
        deployment: DeploymentId,
        plan: &Plan,
        now: Timestamp,
    ) {
        let detail = serde_json::json!({
            "deployment": deployment, "version": plan.target().version,
            "weight": plan.halt().map_or(100, |halt| halt.weight), "error": self.error,
        });
        let Self { actor, action, .. } = self;
        audit::record(tx, Audit { at: now, environment, actor, action, reason: None, detail });
    }
}

/// Records what was found of a release that is staged, and tells of it if there is something new; nothing, once it is
/// being rolled out no more or has traffic.
pub(crate) async fn record_waiting(
    db: &Database,
    id: DeploymentId,
    evidence: &[Evidence],
    news: bool,
    now: Timestamp,
) -> Result<()> {
    let deployment = super::deploy::stored(db, id).await?;
    let environment = db.environment(&deployment.environment).await?;
    let mut tx = db.begin().await?;
    // Whoever promotes it takes the lease first.
    let taken = leases::is_taken(&mut tx, &deployment.environment).await?;
    let stands = rollouts::fetch_open(&mut tx, &deployment.environment).await?;
    if taken || !stands.is_some_and(|rollout| rollout.deployment == id && rollout.weight == 0) {
        return tx.rollback().await;
    }
    deployments::set_evidence(&mut tx, id, evidence, now).await?;
    if news {
        let told = Deployment { evidence: evidence.to_vec(), ..deployment };
        let told = Told::Deployment(Box::new(told));
        tell(&mut tx, &environment, NoticeKind::NeedsAttention, told, None, now).await?;
    }
    commit(tx).await
}

/// What was being rolled out is stopped with its environment.
pub(super) async fn stop_rollout(tx: &mut Tx, operation: &Operation, now: Timestamp) -> Result<()> {
    if let Some(deployment) = rollouts::end(tx, operation.environment(), now).await? {
        let why = Some("its environment was stopped before it had all of the traffic");
        deployments::end(tx, deployment, DeploymentStatus::Failed, why, now).await?;
    }
    Ok(())
}

impl Operation {
    /// Whether it was to take a rollout on.
    pub(crate) fn is_promotion(&self) -> bool {
        self.record.kind == OperationKind::Promote
    }
}

impl Outcome {
    /// Why a promotion did not come about, and whether a person is needed.
    pub(crate) fn of_unpromoted(&self) -> Option<(&Failure, bool)> {
        match self {
            Self::Completed | Self::Condemned(_) => None,
            Self::Undone(failure) => Some((failure, false)),
            Self::NeedsAttention(failure) => Some((failure, true)),
        }
    }
}
