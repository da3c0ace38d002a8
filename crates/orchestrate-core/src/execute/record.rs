//! The two transactions around an operation: `begin` writes what will be done, `conclude` what came of it.

mod bake;
mod deploy;
mod drill;
mod glass;
mod prune;
mod rollback;
mod rollout;
mod stop;

pub(crate) use bake::{end_bake, hold_automatic, tell_of_evidence};
pub(crate) use deploy::{NewDeploy, begin_deploy, conclude_deploy};
pub(crate) use drill::{DrillToBegin, begin_drill, conclude_drill};
pub(crate) use prune::record_pruning;
pub(crate) use rollback::{NewRollback, begin_rollback, conclude_rollback, record_no_move, replan_rollback};
pub(crate) use rollout::{
    NewPromotion, Pause, begin_promotion, conclude_halt, conclude_unpromoted, record_pause, record_waiting,
};
pub(crate) use stop::{begin_stop, conclude_stop};

use super::journal::{Entry, StepEvent};
use super::{Failure, Operation};
use crate::database::audit::{self, Entry as Audit};
pub(crate) use crate::database::outbox::tell;
use crate::database::{
    Database, EnvironmentRecord, OperationStatus, Tx, leases, operations, restored, slots,
};
use crate::error::{Error, Result};
use crate::name::{EnvironmentName, Fence};
use crate::notification::{NoticeKind, Told};
use crate::plan::{Plan, Step};
use crate::ports::Ports;
use crate::slot::{SlotRecord, SlotState};
use crate::time::Timestamp;
use glass::broke_glass;

/// What the plan was made from; `begin` refuses if it changed since.
#[derive(Clone, Debug)]
pub(crate) struct Seen {
    pub fence: Fence,
    pub slots: Vec<SlotRecord>,
}

/// The situation moved between planning and beginning: plan anew.
pub(crate) const MOVED: &str = "ORC-0115";

/// How often a plan is made anew because the situation moved under it.
pub(crate) const ATTEMPTS: usize = 3;

/// Plans and acts, and does so anew while the situation moved in between: whoever asked meant it either way.
pub(crate) async fn anew<T, F: Future<Output = Result<T>>>(mut once: impl FnMut() -> F) -> Result<T> {
    for _ in 1..ATTEMPTS {
        match once().await {
            Err(error) if error.code() == MOVED => {}
            result => return result,
        }
    }
    once().await
}

/// Takes the lease if nobody holds it and nothing happened since the plan was made.
async fn take_lease(
    db: &Database,
    mut tx: Tx,
    ports: &Ports,
    environment: &EnvironmentName,
    actor: &str,
    seen: &Seen,
) -> Result<(Tx, Fence)> {
    let holder = ports.host.holder(actor);
    let taken = leases::take(&mut tx, environment, &holder, ports.clock.now(), ports.lease_ttl).await?;
    let Some(fence) = taken else {
        // Others wait for the lock that this transaction holds, with every other connection of the pool.
        tx.rollback().await?;
        return Err(busy(db, ports, environment).await?);
    };
    let unchanged =
        fence.0 == seen.fence.0 + 1 && slots::fetch_all(&mut tx, environment).await? == seen.slots;
    if unchanged { Ok((tx, fence)) } else { Err(moved(environment)) }
}

fn moved(environment: &EnvironmentName) -> Error {
    Error::refused(MOVED, format!("something changed in {environment} meanwhile")).hint("try again")
}

/// Who holds the lease, since when, and what to do about it.
pub(crate) async fn busy(db: &Database, ports: &Ports, environment: &EnvironmentName) -> Result<Error> {
    let (lease, operation) = (db.lease(environment).await?, db.open_operation(environment).await?);
    if let Some(since) = lease.as_ref().and_then(|lease| lease.restored_at) {
        return Ok(restored::waits(environment, since));
    }
    let Some(operation) = operation else {
        return Ok(moved(environment));
    };
    let holder = lease.as_ref().and_then(|lease| lease.holder.as_ref());
    let who = holder
        .map_or_else(|| "someone".to_owned(), |h| format!("{} (process {} on {})", h.actor, h.pid, h.host));
    let what = format!("a {} to {}", operation.kind.as_str(), operation.plan.target().version);
    if operation.status == OperationStatus::NeedsAttention {
        let why = operation.error_message.as_deref().unwrap_or("it could be neither finished nor put back");
        return Ok(Error::refused("ORC-0116", format!("{what} in {environment} needs attention: {why}"))
            .hint(format!("mend the cause, then finish it: orchestrate deploy resume --env {environment}")));
    }
    let message = format!("{environment} is busy: {what} by {who}, since {}", operation.started_at);
    let gone = holder.is_some_and(|holder| ports.host.runs(holder) == Some(false));
    let hint = if gone {
        format!("that program is gone; finish what it left: orchestrate deploy resume --env {environment}")
    } else {
        format!("wait for it, then look: orchestrate deploy status --env {environment}")
    };
    Ok(Error::refused("ORC-0110", message).hint(hint))
}

/// The first `Started` goes to disk with the operation itself.
fn first_entry(plan: &Plan, now: Timestamp) -> Vec<Entry> {
    match plan.steps().first() {
        Some(_) => vec![Entry { step: 0, event: StepEvent::Started, detail: None, at: now }],
        None => Vec::new(),
    }
}

/// Marks the slot that is about to be filled.
async fn mark_filling(
    tx: &mut Tx,
    environment: &EnvironmentName,
    plan: &Plan,
    seen: &Seen,
    now: Timestamp,
) -> Result<()> {
    let fills = plan.steps().iter().any(Step::starts);
    let target = plan.target();
    let live = |record: &SlotRecord| record.slot == target.slot && record.state == SlotState::Live;
    if !fills || seen.slots.iter().any(live) {
        return Ok(());
    }
    let record = SlotRecord {
        slot: target.slot,
        release: target.release,
        version: target.version.clone(),
        state: SlotState::Filling,
        since: now,
        until: None,
    };
    slots::put(tx, environment, &record).await
}

/// The slot of an operation that was undone: what filled it is gone again. What was there before it may have been stopped
/// or not, so the daemon makes sure of that.
async fn unmark_filling(tx: &mut Tx, operation: &Operation, now: Timestamp) -> Result<()> {
    let (environment, plan) = (operation.environment(), &operation.record.plan);
    let records = slots::fetch_all(tx, environment).await?;
    let (slot, filling) = (plan.target().slot, SlotState::Filling);
    if !records.iter().any(|record| record.slot == slot && record.state == filling) {
        return Ok(());
    }
    // What was not started was not stopped either, and the same release may have been there already.
    let untouched = (!operation.has_started()).then(|| plan.target());
    match plan.occupant().or(untouched) {
        None => slots::remove(tx, environment, slot).await,
        Some(place) => {
            let (release, version) = (place.release, place.version.clone());
            let state = SlotState::Retiring;
            let record = SlotRecord { slot, release, version, state, since: now, until: None };
            slots::put(tx, environment, &record).await
        }
    }
}

/// Opens every concluding transaction: the lease is still ours, and the last journal entries are written.
async fn open_conclusion(tx: &mut Tx, operation: &mut Operation) -> Result<()> {
    let (environment, fence, id) =
        (operation.environment().clone(), operation.record.fence, operation.record.id);
    leases::check(tx, &environment, fence).await?;
    let ((first, entries), hooks) = (operation.take_pending(), operation.take_hooks());
    operations::write_journal(tx, id, first, &entries).await?;
    operations::write_hooks(tx, &operation.record, &hooks).await
}

/// Records that a person is needed; the lease stays with the operation, so that nothing else acts here.
async fn record_needs_attention(
    tx: &mut Tx,
    operation: &Operation,
    environment: &EnvironmentRecord,
    failure: &Failure,
    told: Told,
    now: Timestamp,
) -> Result<()> {
    operations::set_status(
        tx,
        operation.record.id,
        OperationStatus::NeedsAttention,
        Some(&failure.message),
        now,
    )
    .await?;
    let record = &operation.record;
    let detail = serde_json::json!({
        "operation": record.id, "kind": record.kind, "deployment": record.deployment,
        "rollback": record.rollback, "version": record.plan.target().version, "error": failure.message,
    });
    let (name, action) = (&record.environment, "operation_needs_attention");
    let entry = Audit { at: now, environment: name, actor: "orchestrate", action, reason: None, detail };
    audit::record(tx, entry);
    // It was tried again, maybe by another program, and is where it was: people know.
    if record.error_message.as_ref() == Some(&failure.message) {
        return Ok(());
    }
    tell(tx, environment, NoticeKind::NeedsAttention, told, record.rollback, now).await
}
