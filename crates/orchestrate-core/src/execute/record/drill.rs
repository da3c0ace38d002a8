//! Beginning and concluding a drill: nothing of what is live, held or proven changes by it.

use super::{Seen, first_entry, mark_filling, open_conclusion, record_needs_attention, take_lease, tell};
use crate::database::audit::{self, Entry as Audit};
use crate::database::operations::{self, NewOperation};
use crate::database::{Database, EnvironmentRecord, OperationStatus, Tx, commit, drills, leases, slots};
use crate::drill::{Drill, DrillStatus, DrillTrigger, NewDrill};
use crate::error::Result;
use crate::execute::{Operation, Outcome};
use crate::notification::{NoticeKind, Told};
use crate::plan::drill::DrillPlan;
use crate::ports::Ports;
use crate::slot::SlotState;
use crate::time::Timestamp;

pub(crate) struct DrillToBegin<'a> {
    pub plan: &'a DrillPlan,
    pub actor: &'a str,
    pub reason: Option<&'a str>,
    pub trigger: DrillTrigger,
    /// When it was asked for: what is recorded as its start.
    pub asked_at: Timestamp,
    pub seen: Seen,
}

/// One transaction: the lease, the operation with its plan, its first journal entry, and the drill.
pub(crate) async fn begin_drill(db: &Database, ports: &Ports, new: &DrillToBegin<'_>) -> Result<Operation> {
    let (now, plan) = (ports.clock.now(), new.plan);
    let environment = &plan.live.environment;
    let (mut tx, fence) = take_lease(db, db.begin().await?, ports, environment, new.actor, &new.seen).await?;
    let (deployment, steps) = (plan.deployment, &plan.plan);
    let traceparent = ports.host.traceparent();
    let open = NewOperation { environment, deployment, rollback: None, plan: steps, fence, traceparent, now };
    let record = operations::create(&mut tx, open).await?;
    let entries = first_entry(steps, now);
    operations::write_journal(&mut tx, record.id, 0, &entries).await?;
    mark_filling(&mut tx, environment, steps, &new.seen, now).await?;
    let drill = NewDrill {
        environment,
        live: (plan.live.id, &plan.live.version),
        target: (plan.target.id, &plan.target.version),
        path: plan.path,
        started_at: new.asked_at,
        actor: new.actor,
        reason: new.reason,
        trigger: new.trigger,
    };
    let drill = drills::create(&mut tx, record.id, &drill).await?;
    note(&mut tx, &drill, "drill_started", now);
    commit(tx).await?;
    Operation::new(db, record, plan.target.clone(), Some(plan.live.clone()), &entries).await
}

/// One transaction: outcome, the slot that was filled for it, the drill, and its notice.
pub(crate) async fn conclude_drill(
    db: &Database,
    ports: &Ports,
    operation: &mut Operation,
    outcome: &Outcome,
    gave_up: bool,
) -> Result<Drill> {
    let (now, name) = (ports.clock.now(), operation.environment().clone());
    let (environment, id) = (db.environment(&name).await?, operation.record.id);
    let mut tx = db.begin().await?;
    open_conclusion(&mut tx, operation).await?;
    let mut drill = drills::of_operation(&mut tx, id).await?;
    drill.phases.append(&mut operation.phases);
    let (status, error) = match outcome {
        Outcome::Completed => (OperationStatus::Completed, None),
        Outcome::Undone(failure) => (OperationStatus::Undone, Some(failure.message.as_str())),
        Outcome::Condemned(failure) | Outcome::NeedsAttention(failure) => {
            (drill.status, drill.error_message) =
                (DrillStatus::NeedsAttention, Some(failure.message.clone()));
            drills::put(&mut tx, &drill).await?;
            let told = Told::Drill(Box::new(drill.clone()));
            record_needs_attention(&mut tx, operation, &environment, failure, told, now).await?;
            commit(tx).await?;
            return Ok(drill);
        }
    };
    empty_again(&mut tx, operation).await?;
    operations::set_status(&mut tx, id, status, error, now).await?;
    drill.status = match error {
        None => DrillStatus::Completed,
        Some(_) if gave_up => DrillStatus::GivenUp,
        Some(_) => DrillStatus::Failed,
    };
    drill.error_message = error.map(str::to_owned);
    ended(&mut tx, &environment, &mut drill, now).await?;
    leases::release(&mut tx, &name).await?;
    commit(tx).await?;
    Ok(drill)
}

/// What was started for it is stopped by now, and there was nothing in its place before.
async fn empty_again(tx: &mut Tx, operation: &Operation) -> Result<()> {
    let (environment, slot) = (operation.environment(), operation.record.plan.target().slot);
    let records = slots::fetch_all(tx, environment).await?;
    match records.iter().any(|record| record.slot == slot && record.state == SlotState::Filling) {
        true => slots::remove(tx, environment, slot).await,
        false => Ok(()),
    }
}

async fn ended(
    tx: &mut Tx,
    environment: &EnvironmentRecord,
    drill: &mut Drill,
    now: Timestamp,
) -> Result<()> {
    drill.completed_at = Some(now);
    drill.duration_ms = Some(now.millis_since(drill.started_at));
    drills::put(tx, drill).await?;
    let (kind, action) = match drill.status {
        DrillStatus::Completed => (NoticeKind::DrillCompleted, "drill_completed"),
        // Whoever wanted something else knows.
        DrillStatus::GivenUp => {
            note(tx, drill, "drill_given_up", now);
            return Ok(());
        }
        DrillStatus::Failed | DrillStatus::InProgress | DrillStatus::NeedsAttention => {
            (NoticeKind::DrillFailed, "drill_failed")
        }
    };
    note(tx, drill, action, now);
    tell(tx, environment, kind, Told::Drill(Box::new(drill.clone())), None, now).await
}

fn note(tx: &mut Tx, drill: &Drill, action: &'static str, now: Timestamp) {
    let detail = serde_json::json!({
        "drill": drill.id, "live": drill.live_version, "target": drill.target_version, "path": drill.path,
        "trigger": drill.trigger, "duration_ms": drill.duration_ms, "error": drill.error_message,
    });
    let (environment, actor, reason) = (&drill.environment, drill.actor.as_str(), drill.reason.as_deref());
    audit::record(tx, Audit { at: now, environment, actor, action, reason, detail });
}
