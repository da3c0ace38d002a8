//! Beginning and concluding a rollback.

use super::deploy::move_slots;
use super::{
    Seen, broke_glass, first_entry, mark_filling, open_conclusion, record_needs_attention, take_lease, tell,
    unmark_filling,
};
use crate::database::audit::{self, Entry as Audit};
use crate::database::environments::{self, Live};
use crate::database::operations::{self, NewOperation};
use crate::database::{
    Database, EnvironmentRecord, OperationRecord, OperationStatus, Tx, commit, deployments, groups, holds,
    leases, rollbacks, rollouts, sites,
};
use crate::deployment::DeploymentStatus;
use crate::error::{Error, Result};
use crate::evidence::Evidence;
use crate::execute::{Begun, Failure, Operation, Outcome};
use crate::group::PartOf;
use crate::name::{DeploymentId, ReleaseId, RollbackId};
use crate::notification::{NoticeKind, Override, Told};
use crate::plan::Plan;
use crate::plan::rollback::RollbackPlan;
use crate::ports::Ports;
use crate::release::Release;
use crate::rollback_event::{Left, NewRollbackEvent, RollbackEvent, RollbackPath, RollbackStatus, Trigger};
use crate::time::Timestamp;
use crate::trace::Traceparent;

pub(crate) struct NewRollback<'a> {
    pub plan: &'a RollbackPlan,
    pub environment: &'a EnvironmentRecord,
    pub live: Option<&'a Release>,
    pub actor: &'a str,
    pub reason: Option<&'a str>,
    pub trigger: Trigger,
    pub evidence: &'a [Evidence],
    /// The change of data that it crosses because a person said so.
    pub crossed: Option<&'a str>,
    /// What a person overrode.
    pub overrode: Option<&'a str>,
    /// The part of a group's rollback that it is.
    pub part: Option<PartOf>,
    /// When it was asked for: what is recorded as its start.
    pub asked_at: Timestamp,
    pub seen: Seen,
}

impl NewRollback<'_> {
    fn event(&self) -> NewRollbackEvent {
        let plan = self.plan;
        NewRollbackEvent {
            deployment_id: plan.deployment.id,
            environment: plan.deployment.environment.clone(),
            from_version: plan.from.version.clone(),
            from_release: plan.from.id,
            target_version: plan.target.version.clone(),
            target_release: plan.target.id,
            rollback_type: plan.rollback_type,
            path: plan.path,
            started_at: self.asked_at,
            actor: self.actor.to_owned(),
            reason: self.reason.map(str::to_owned),
            trigger: self.trigger,
            evidence: self.evidence.to_vec(),
            undoes: plan.undoes.as_ref().map(|event| event.id),
        }
    }
}

/// One transaction: the lease, the event, the operation with its plan, and its first journal entry.
pub(crate) async fn begin_rollback(
    db: &Database,
    ports: &Ports,
    new: &NewRollback<'_>,
    steps: &Plan,
) -> Result<Operation> {
    let (now, environment) = (ports.clock.now(), &new.plan.deployment.environment);
    let (mut tx, fence) = take_lease(db, db.begin().await?, ports, environment, new.actor, &new.seen).await?;
    let mut event = rollbacks::create(&mut tx, &new.event(), RollbackStatus::InProgress).await?;
    if let Some(crossed) = new.crossed {
        rollbacks::set_crossed(&mut tx, event.id, crossed).await?;
        event.crossed = Some(crossed.to_owned());
    }
    glass(&mut tx, new, &mut event, now).await?;
    if let Some(part) = new.part {
        groups::link(&mut tx, part, event.id).await?;
    }
    let traceparent = ports.host.traceparent();
    let record = open(&mut tx, new, steps, event.id, fence, traceparent, now).await?;
    sites::settle_here(&mut tx, ports, new.environment, &new.plan.target).await?;
    started(&mut tx, &event, now);
    if new.environment.tells(NoticeKind::RollbackStarted) {
        // Not for the mark that it was told of: that is for its end.
        let about = Told::Rollback(Box::new(event.clone()));
        tell(&mut tx, new.environment, NoticeKind::RollbackStarted, about, None, now).await?;
    }
    commit(tx).await?;
    let (target, live) = (new.plan.target.clone(), new.live.cloned());
    let mut operation = Operation::new(db, record, target, live, &first_entry(steps, now)).await?;
    operation.begun = Some(Begun { environment: new.environment.clone(), event });
    Ok(operation)
}

async fn glass(tx: &mut Tx, new: &NewRollback<'_>, event: &mut RollbackEvent, now: Timestamp) -> Result<()> {
    let Some(overrode) = new.overrode else { return Ok(()) };
    rollbacks::set_break_glass(tx, event.id, overrode).await?;
    event.break_glass = Some(overrode.to_owned());
    let about = Override {
        subject: format!("rollback-{}", event.id),
        what: format!("the rollback from {} to {}", event.from_version, event.target_version),
        version: Some(event.target_version.clone()),
        actor: event.actor.clone(),
        reason: event.reason.clone(),
        overrode: overrode.to_owned(),
    };
    broke_glass(tx, new.environment, about, now).await
}

/// A rollback that never comes to its end is on record all the same.
fn started(tx: &mut Tx, event: &RollbackEvent, now: Timestamp) {
    let detail = serde_json::json!({
        "rollback": event.id, "deployment": event.deployment_id, "from": event.from_version,
        "to": event.target_version, "type": event.rollback_type, "path": event.path, "trigger": event.trigger,
        "crossed": event.crossed,
    });
    let (environment, actor, reason) = (&event.environment, event.actor.as_str(), event.reason.as_deref());
    audit::record(tx, Audit { at: now, environment, actor, action: "rollback_started", reason, detail });
}

async fn open(
    tx: &mut Tx,
    new: &NewRollback<'_>,
    steps: &Plan,
    rollback: RollbackId,
    fence: crate::name::Fence,
    traceparent: Option<Traceparent>,
    now: Timestamp,
) -> Result<OperationRecord> {
    let (environment, deployment) = (&new.plan.deployment.environment, new.plan.deployment.id);
    let open = NewOperation {
        environment,
        deployment,
        rollback: Some(rollback),
        plan: steps,
        fence,
        traceparent,
        now,
    };
    let record = operations::create(tx, open).await?;
    operations::write_journal(tx, record.id, 0, &first_entry(steps, now)).await?;
    mark_filling(tx, environment, steps, &new.seen, now).await?;
    Ok(record)
}

/// The warm target was not ready after all: the same event goes on with a cold plan, under the same lease.
pub(crate) async fn replan_rollback(
    db: &Database,
    ports: &Ports,
    operation: &mut Operation,
    because: &Failure,
    new: &NewRollback<'_>,
    steps: &Plan,
) -> Result<Operation> {
    let now = ports.clock.now();
    let rollback = operation.record.rollback.ok_or_else(|| Error::bug("a rollback without its event"))?;
    let mut tx = db.begin().await?;
    open_conclusion(&mut tx, operation).await?;
    operations::set_status(
        &mut tx,
        operation.record.id,
        OperationStatus::Undone,
        Some(&because.message),
        now,
    )
    .await?;
    rollbacks::set_path(&mut tx, rollback, new.plan.rollback_type, new.plan.path).await?;
    let record =
        open(&mut tx, new, steps, rollback, operation.record.fence, operation.record.traceparent, now)
            .await?;
    commit(tx).await?;
    let mut next =
        Operation::new(db, record, new.plan.target.clone(), new.live.cloned(), &first_entry(steps, now))
            .await?;
    next.phases = std::mem::take(&mut operation.phases);
    next.hooks = std::mem::take(&mut operation.hooks);
    Ok(next)
}

/// One transaction: outcome, live release, hold, event, the deployment `rolled_back`, and notices in the outbox.
pub(crate) async fn conclude_rollback(
    db: &Database,
    ports: &Ports,
    operation: &mut Operation,
    outcome: &Outcome,
) -> Result<RollbackEvent> {
    let (now, name) = (ports.clock.now(), operation.environment().clone());
    let id = operation.record.rollback.ok_or_else(|| Error::bug("a rollback without its event"))?;
    let Begun { environment, mut event } = match operation.begun.take() {
        Some(begun) => begun,
        None => Begun { environment: db.environment(&name).await?, event: stored(db, id).await? },
    };
    event.phases = std::mem::take(&mut operation.phases);
    operation.hooks.iter().for_each(|ran| ran.clone().add_to(&mut event.hooks));
    let mut tx = db.begin().await?;
    open_conclusion(&mut tx, operation).await?;
    let operation_id = operation.record.id;
    match outcome {
        Outcome::Completed => {
            rollouts::end(&mut tx, &name, now).await?;
            move_slots(&mut tx, &name, &operation.record.plan, now).await?;
            operations::set_status(&mut tx, operation_id, OperationStatus::Completed, None, now).await?;
            completed(&mut tx, &environment, &mut event, now).await?;
        }
        Outcome::Undone(failure) => {
            unmark_filling(&mut tx, operation, now).await?;
            operations::set_status(
                &mut tx,
                operation_id,
                OperationStatus::Undone,
                Some(&failure.message),
                now,
            )
            .await?;
            ended(&mut tx, &environment, &mut event, RollbackStatus::Failed, Some(&failure.message), now)
                .await?;
        }
        Outcome::Condemned(failure) | Outcome::NeedsAttention(failure) => {
            (event.status, event.error_message) =
                (RollbackStatus::NeedsAttention, Some(failure.message.clone()));
            let message = Some(failure.message.as_str());
            rollbacks::set_status(&mut tx, id, event.status, message, Some(&event.phases), now).await?;
            let told = Told::Rollback(Box::new(event.clone()));
            record_needs_attention(&mut tx, operation, &environment, failure, told, now).await?;
            commit(tx).await?;
            return Ok(event);
        }
    }
    leases::release(&mut tx, &name).await?;
    commit(tx).await?;
    Ok(event)
}

/// The target serves already: one transaction records the rollback from its beginning to its end.
pub(crate) async fn record_no_move(
    db: &Database,
    ports: &Ports,
    new: &NewRollback<'_>,
) -> Result<RollbackEvent> {
    let (now, name) = (ports.clock.now(), &new.plan.deployment.environment);
    let (mut tx, _) = take_lease(db, db.begin().await?, ports, name, new.actor, &new.seen).await?;
    let mut event = rollbacks::create(&mut tx, &new.event(), RollbackStatus::InProgress).await?;
    glass(&mut tx, new, &mut event, now).await?;
    if let Some(part) = new.part {
        groups::link(&mut tx, part, event.id).await?;
    }
    completed(&mut tx, new.environment, &mut event, now).await?;
    leases::release(&mut tx, name).await?;
    commit(tx).await?;
    Ok(event)
}

/// What a completed rollback means for deployments, holds and what is live.
async fn completed(
    tx: &mut Tx,
    environment: &EnvironmentRecord,
    event: &mut RollbackEvent,
    now: Timestamp,
) -> Result<()> {
    let name = event.environment.clone();
    let target = event.target_release.ok_or_else(|| Error::bug("a rollback without a target"))?;
    let standing = standing(tx, environment, event, target).await?;
    if event.path != RollbackPath::None {
        event.left = environment.live.map(|live| Left { release: live.release, deployment: live.deployment });
        // What is live stays so when a rollout beside it is left.
        let since = environment.live.filter(|live| live.release == target).map_or(now, |live| live.since);
        let live = Live { release: target, deployment: standing, since };
        environments::set_live(tx, &name, Some(live)).await?;
    }
    match event.undoes {
        Some(undone) => take_back(tx, event, undone, standing, now).await?,
        None => {
            let marks = deployments::marks(tx, &name, event.deployment_id, standing).await?;
            rollbacks::set_left(tx, event.id, event.left, &marks).await?;
            if event.deployment_id != standing {
                deployments::set_status(tx, event.deployment_id, DeploymentStatus::RolledBack, now).await?;
            }
            // What is live by now is current, whatever became of it before.
            deployments::reinstate(tx, standing, now).await?;
            deployments::pass(tx, &name, standing, event.id).await?;
        }
    }
    match event.undoes {
        Some(_) => {}
        None => {
            if event.from_version == event.target_version {
                // The same version with other settings: a hold would also forbid what is live now.
                return ended(tx, environment, event, RollbackStatus::Completed, None, now).await;
            }
            let why =
                event.reason.clone().unwrap_or_else(|| format!("rolled back to {}", event.target_version));
            let reason = format!("rollback {}: {why}", event.id);
            holds::put(tx, &name, &event.from_version, &event.actor, &reason, Some(event.id), now).await?;
        }
    }
    ended(tx, environment, event, RollbackStatus::Completed, None, now).await
}

/// Everything that the rollback changed stands again as it was; what was tried since is passed.
async fn take_back(
    tx: &mut Tx,
    event: &RollbackEvent,
    undone: RollbackId,
    standing: DeploymentId,
    now: Timestamp,
) -> Result<()> {
    holds::remove_of_rollback(tx, undone).await?;
    deployments::pass(tx, &event.environment, standing, event.id).await?;
    deployments::unpass(tx, undone).await?;
    let marks = rollbacks::marks(tx, undone).await?;
    if marks.is_empty() {
        // Written by an older program: no marks were kept.
        deployments::reinstate(tx, standing, now).await?;
        if event.deployment_id > standing {
            deployments::set_status(tx, event.deployment_id, DeploymentStatus::RolledBack, now).await?;
        }
    }
    deployments::restore(tx, &marks, now).await?;
    // What was not proven when it was left is not proven now: it is watched again, from the beginning.
    let was_baking =
        |mark: &deployments::Mark| mark.deployment == standing && mark.status == DeploymentStatus::InProgress;
    if marks.iter().any(was_baking) {
        deployments::bake_again(tx, standing, now).await?;
    }
    Ok(())
}

/// The deployment by which the target is live from now on.
async fn standing(
    tx: &mut Tx,
    environment: &EnvironmentRecord,
    event: &RollbackEvent,
    target: ReleaseId,
) -> Result<DeploymentId> {
    if let Some(live) = environment.live.filter(|live| live.release == target) {
        return Ok(live.deployment);
    }
    let found = match event.undoes {
        Some(undone) => rollbacks::deployment_left_by(tx, undone).await?,
        None => deployments::latest_live_of(tx, target).await?,
    };
    found.ok_or_else(|| Error::bug(format!("release {target} was never deployed")))
}

async fn ended(
    tx: &mut Tx,
    environment: &EnvironmentRecord,
    event: &mut RollbackEvent,
    status: RollbackStatus,
    error: Option<&str>,
    now: Timestamp,
) -> Result<()> {
    event.status = status;
    event.error_message = error.map(str::to_owned);
    event.completed_at = Some(now);
    event.duration_ms = Some(now.millis_since(event.started_at));
    rollbacks::set_status(tx, event.id, status, error, Some(&event.phases), now).await?;
    let good = status == RollbackStatus::Completed;
    let action = if good { "rollback_completed" } else { "rollback_failed" };
    let detail = serde_json::json!({
        "rollback": event.id, "deployment": event.deployment_id, "from": event.from_version,
        "to": event.target_version, "type": event.rollback_type, "path": event.path,
        "duration_ms": event.duration_ms, "error": event.error_message, "crossed": event.crossed,
    });
    let (name, actor) = (&event.environment, event.actor.as_str());
    let entry = Audit { at: now, environment: name, actor, action, reason: event.reason.as_deref(), detail };
    audit::record(tx, entry);
    let kind = if good { NoticeKind::Rollback } else { NoticeKind::RollbackFailed };
    tell(tx, environment, kind, Told::Rollback(Box::new(event.clone())), Some(event.id), now).await
}

async fn stored(db: &Database, id: RollbackId) -> Result<RollbackEvent> {
    db.get_deployment_rollback_event(id)
        .await?
        .ok_or_else(|| Error::bug(format!("rollback {id} is not recorded")))
}
