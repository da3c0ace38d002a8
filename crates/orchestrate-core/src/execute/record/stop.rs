//! Beginning and concluding the end of everything in an environment.

use super::{Seen, first_entry, open_conclusion, record_needs_attention, take_lease};
use crate::database::audit::{self, Entry as Audit};
use crate::database::operations::{self, NewOperation};
use crate::database::{Database, OperationStatus, commit, deployments, environments, leases, slots};
use crate::error::Result;
use crate::execute::{Operation, Outcome};
use crate::name::DeploymentId;
use crate::notification::Told;
use crate::plan::Plan;
use crate::ports::Ports;
use crate::release::Release;
use crate::slot::Slot;

pub(crate) async fn begin_stop(
    db: &Database,
    ports: &Ports,
    live: &Release,
    deployment: DeploymentId,
    plan: Plan,
    actor: &str,
    seen: &Seen,
) -> Result<Operation> {
    let (now, environment) = (ports.clock.now(), &live.environment);
    let (mut tx, fence) = take_lease(db, db.begin().await?, ports, environment, actor, seen).await?;
    let traceparent = ports.host.traceparent();
    let open = NewOperation { environment, deployment, rollback: None, plan: &plan, fence, traceparent, now };
    let record = operations::create(&mut tx, open).await?;
    let entries = first_entry(&plan, now);
    operations::write_journal(&mut tx, record.id, 0, &entries).await?;
    let detail = serde_json::json!({ "version": live.version });
    let entry = Audit { at: now, environment, actor, action: "stop_started", reason: None, detail };
    audit::record(&mut tx, entry);
    commit(tx).await?;
    Operation::new(db, record, live.clone(), None, &entries).await
}

pub(crate) async fn conclude_stop(
    db: &Database,
    ports: &Ports,
    operation: &mut Operation,
    outcome: &Outcome,
) -> Result<()> {
    let (now, name) = (ports.clock.now(), operation.environment().clone());
    let environment = db.environment(&name).await?;
    let deployment = super::deploy::stored(db, operation.record.deployment).await?;
    let holder = db.lease(&name).await?.and_then(|lease| lease.holder);
    let actor = holder.map_or_else(|| "orchestrate".to_owned(), |holder| holder.actor);
    let mut tx = db.begin().await?;
    open_conclusion(&mut tx, operation).await?;
    let id = operation.record.id;
    match outcome {
        Outcome::Completed => {
            environments::set_live(&mut tx, &name, None).await?;
            deployments::end_older_bakes(&mut tx, &name, now).await?;
            super::rollout::stop_rollout(&mut tx, operation, now).await?;
            for slot in Slot::ALL {
                slots::remove(&mut tx, &name, slot).await?;
            }
            operations::set_status(&mut tx, id, OperationStatus::Completed, None, now).await?;
        }
        Outcome::Undone(failure) | Outcome::Condemned(failure) => {
            operations::set_status(&mut tx, id, OperationStatus::Undone, Some(&failure.message), now).await?;
        }
        Outcome::NeedsAttention(failure) => {
            let told = Told::Deployment(Box::new(deployment));
            record_needs_attention(&mut tx, operation, &environment, failure, told, now).await?;
            return commit(tx).await;
        }
    }
    let (action, error) = match outcome {
        Outcome::Completed => ("environment_stopped", None),
        Outcome::Undone(failure) | Outcome::Condemned(failure) | Outcome::NeedsAttention(failure) => {
            ("stop_failed", Some(&failure.message))
        }
    };
    let detail = serde_json::json!({ "version": operation.target.version, "error": error });
    let entry = Audit { at: now, environment: &name, actor: &actor, action, reason: None, detail };
    audit::record(&mut tx, entry);
    leases::release(&mut tx, &name).await?;
    commit(tx).await
}
