//! Beginning and concluding a deployment.

use super::{
    MOVED, Seen, broke_glass, first_entry, mark_filling, moved, open_conclusion, record_needs_attention,
    take_lease, tell, unmark_filling,
};
use crate::database::audit::{self, Entry as Audit};
use crate::database::deployments::{self, NewDeployment};
use crate::database::environments::{self, Live};
use crate::database::operations::{self, NewOperation};
use crate::database::{
    Database, EnvironmentRecord, OperationStatus, Tx, approvals, commit, holds, leases, releases, rollouts,
    sites, slots,
};
use crate::deployment::{Deployment, DeploymentStatus};
use crate::deployment_executor::Cleared;
use crate::deployment_strategy::StrategyKind;
use crate::error::{Error, Result};
use crate::execute::{Failure, FailureKind, Operation, Outcome};
use crate::name::{DeploymentId, EnvironmentName};
use crate::notification::{NoticeKind, Override, Told};
use crate::plan::{Afterwards, Plan, Step};
use crate::ports::Ports;
use crate::post_deploy_verification::Marks;
use crate::release::Release;
use crate::slot::{SlotRecord, SlotState};
use crate::time::{Span, Timestamp};

pub(crate) struct NewDeploy<'a> {
    pub environment: &'a EnvironmentRecord,
    pub release: &'a Release,
    pub from: Option<&'a Release>,
    pub strategy: StrategyKind,
    pub plan: Plan,
    pub actor: &'a str,
    pub reason: Option<&'a str>,
    pub cleared: Cleared,
    pub marks: Option<Marks>,
    pub seen: Seen,
}

/// One transaction: the lease, the deployment, its operation and its first journal entry.
pub(crate) async fn begin_deploy(db: &Database, ports: &Ports, new: NewDeploy<'_>) -> Result<Operation> {
    let (now, environment) = (ports.clock.now(), &new.release.environment);
    let (mut tx, fence) = take_lease(db, db.begin().await?, ports, environment, new.actor, &new.seen).await?;
    if holds::is_held(&mut tx, environment, &new.release.version).await? {
        return Err(moved(environment));
    }
    let deployment = create(&mut tx, &new, now).await?;
    clear(&mut tx, &new, deployment, now).await?;
    announce(&mut tx, &new, deployment, now).await?;
    // It may have been pruned between its sealing and this moment.
    releases::set_pruned(&mut tx, new.release.id, None).await?;
    let traceparent = ports.host.traceparent();
    let open =
        NewOperation { environment, deployment, rollback: None, plan: &new.plan, fence, traceparent, now };
    let record = operations::create(&mut tx, open).await?;
    let entries = first_entry(&new.plan, now);
    operations::write_journal(&mut tx, record.id, 0, &entries).await?;
    mark_filling(&mut tx, environment, &new.plan, &new.seen, now).await?;
    sites::settle_here(&mut tx, ports, new.environment, new.release).await?;
    commit(tx).await?;
    Operation::new(db, record, new.release.clone(), new.from.cloned(), &entries).await
}

async fn create(tx: &mut Tx, asked: &NewDeploy<'_>, now: Timestamp) -> Result<DeploymentId> {
    let new = NewDeployment {
        environment: &asked.release.environment,
        release: asked.release.id,
        version: &asked.release.version,
        provider: asked.release.contents.settings.provider,
        strategy: asked.strategy,
        actor: asked.actor,
        reason: asked.reason,
        marks: asked.marks.as_ref(),
        now,
    };
    let id = deployments::create(tx, new.clone()).await?;
    let approval = asked.cleared.approval;
    let detail = serde_json::json!({
        "deployment": id, "version": new.version, "release": new.release, "approval": approval,
    });
    let (environment, actor, reason) = (new.environment, new.actor, new.reason);
    audit::record(tx, Audit { at: now, environment, actor, action: "deployment_started", reason, detail });
    Ok(id)
}

/// Uses the approval up, and records what was overridden.
async fn clear(tx: &mut Tx, new: &NewDeploy<'_>, id: DeploymentId, now: Timestamp) -> Result<()> {
    let (release, Cleared { approval, overrode }) = (new.release, &new.cleared);
    if let Some(approval) = approval
        && !approvals::take(tx, *approval, id, now).await?
    {
        let message = format!("the approval of {} is not there any more", release.version);
        return Err(Error::refused(MOVED, message).hint("type the same again"));
    }
    let Some(overrode) = overrode else { return Ok(()) };
    deployments::set_break_glass(tx, id, overrode).await?;
    let about = Override {
        subject: format!("deployment-{id}"),
        what: format!("the deployment of {}", release.version),
        version: Some(release.version.clone()),
        actor: new.actor.to_owned(),
        reason: new.reason.map(str::to_owned),
        overrode: overrode.clone(),
    };
    broke_glass(tx, new.environment, about, now).await
}

async fn announce(tx: &mut Tx, new: &NewDeploy<'_>, id: DeploymentId, now: Timestamp) -> Result<()> {
    let (environment, kind) = (new.environment, NoticeKind::DeploymentStarted);
    if !environment.tells(kind) {
        return Ok(());
    }
    let deployment = deployments::fetch(tx, id).await?;
    tell(tx, environment, kind, Told::Deployment(Box::new(deployment)), None, now).await
}

/// One transaction: outcome, live release, slots, notices, and the lease given back.
pub(crate) async fn conclude_deploy(
    db: &Database,
    ports: &Ports,
    operation: &mut Operation,
    outcome: &Outcome,
) -> Result<Deployment> {
    let (now, name) = (ports.clock.now(), operation.environment().clone());
    let environment = db.environment(&name).await?;
    let mut deployment = stored(db, operation.record.deployment).await?;
    operation.hooks.iter().for_each(|ran| ran.clone().add_to(&mut deployment.hooks));
    let target = &operation.target;
    let starts = operation.record.plan.steps().iter().any(Step::starts);
    // What serves and was proven already has nothing to prove by being deployed again.
    let bake = if starts || target.proven_at.is_none() {
        target.contents.settings.verify.bake
    } else {
        Span::default()
    };
    let mut tx = db.begin().await?;
    open_conclusion(&mut tx, operation).await?;
    let (status, error) = match outcome {
        Outcome::Completed if bake.is_zero() => (DeploymentStatus::Completed, None),
        Outcome::Completed => (DeploymentStatus::InProgress, None),
        Outcome::Undone(Failure { kind: FailureKind::TimedOut, message, .. }) => {
            (DeploymentStatus::TimedOut, Some(message))
        }
        Outcome::Condemned(failure) | Outcome::Undone(failure) | Outcome::NeedsAttention(failure) => {
            (DeploymentStatus::Failed, Some(&failure.message))
        }
    };
    deployment.status = status;
    deployment.error_message = error.cloned();
    match outcome {
        Outcome::Completed | Outcome::Condemned(_) => {
            let bake = Some(bake).filter(|bake| !bake.is_zero() && status == DeploymentStatus::InProgress);
            went_live(&mut tx, operation, bake, now).await?;
            operations::set_status(&mut tx, operation.record.id, OperationStatus::Completed, None, now)
                .await?;
        }
        Outcome::Undone(failure) => {
            unmark_filling(&mut tx, operation, now).await?;
            operations::set_status(
                &mut tx,
                operation.record.id,
                OperationStatus::Undone,
                Some(&failure.message),
                now,
            )
            .await?;
        }
        Outcome::NeedsAttention(failure) => {
            let message = deployment.error_message.as_deref();
            deployments::end(&mut tx, deployment.id, deployment.status, message, now).await?;
            let told = Told::Deployment(Box::new(deployment.clone()));
            record_needs_attention(&mut tx, operation, &environment, failure, told, now).await?;
            commit(tx).await?;
            return Ok(deployment);
        }
    }
    if status != DeploymentStatus::InProgress {
        end(&mut tx, &environment, &mut deployment, now).await?;
    }
    leases::release(&mut tx, &name).await?;
    commit(tx).await?;
    stored(db, deployment.id).await
}

/// The target is live: it enters the lineage, and the release before it is kept warm or retired.
async fn went_live(tx: &mut Tx, operation: &Operation, bake: Option<Span>, now: Timestamp) -> Result<()> {
    let (name, plan) = (operation.environment(), &operation.record.plan);
    deployments::end_older_bakes(tx, name, now).await?;
    rollouts::end(tx, name, now).await?;
    let until = bake.map(|bake| now.plus(bake.duration()));
    deployments::went_live(tx, operation.record.deployment, until, now).await?;
    releases::enter_lineage(tx, name, operation.target.id).await?;
    let live = Live { release: operation.target.id, deployment: operation.record.deployment, since: now };
    environments::set_live(tx, name, Some(live)).await?;
    move_slots(tx, name, plan, now).await
}

/// The target's slot is live; the one before it becomes warm, or is on its way out.
pub(super) async fn move_slots(
    tx: &mut Tx,
    environment: &EnvironmentName,
    plan: &Plan,
    now: Timestamp,
) -> Result<()> {
    let target = plan.target();
    let live = SlotRecord {
        slot: target.slot,
        release: target.release,
        version: target.version.clone(),
        state: SlotState::Live,
        since: now,
        until: None,
    };
    slots::put(tx, environment, &live).await?;
    if let Some(from) = plan.from() {
        let (state, until) = match plan.afterwards() {
            Afterwards::KeepWarm(span) if !span.is_zero() => {
                (SlotState::Warm, Some(now.plus(span.duration())))
            }
            Afterwards::KeepWarm(_) | Afterwards::Retire => (SlotState::Retiring, None),
        };
        let (slot, release, version) = (from.slot, from.release, from.version.clone());
        let left = SlotRecord { slot, release, version, state, since: now, until };
        slots::put(tx, environment, &left).await?;
    }
    Ok(())
}

/// Ends the deployment, proves its release if it is good, and tells.
pub(super) async fn end(
    tx: &mut Tx,
    environment: &EnvironmentRecord,
    deployment: &mut Deployment,
    now: Timestamp,
) -> Result<()> {
    let good = deployment.status == DeploymentStatus::Completed;
    deployments::end(tx, deployment.id, deployment.status, deployment.error_message.as_deref(), now).await?;
    if good {
        releases::mark_proven(tx, deployment.release, now).await?;
    }
    deployment.completed_at = Some(now);
    let (kind, action) = if good {
        (NoticeKind::Deployment, "deployment_completed")
    } else {
        (NoticeKind::DeploymentFailed, "deployment_failed")
    };
    let detail = serde_json::json!({
        "deployment": deployment.id, "version": deployment.version,
        "status": deployment.status, "error": deployment.error_message,
    });
    let entry = Audit {
        at: now,
        environment: &deployment.environment,
        actor: &deployment.actor,
        action,
        reason: deployment.reason.as_deref(),
        detail,
    };
    audit::record(tx, entry);
    if !environment.tells(kind) {
        return Ok(());
    }
    let about = Box::new(deployment.clone());
    let told = match good {
        true => Told::Completed { first: deployments::is_first(tx, deployment).await?, deployment: about },
        false => Told::Deployment(about),
    };
    tell(tx, environment, kind, told, None, now).await
}

pub(super) async fn stored(db: &Database, id: DeploymentId) -> Result<Deployment> {
    db.deployment(id).await?.ok_or_else(|| Error::bug(format!("deployment {id} is not recorded")))
}
