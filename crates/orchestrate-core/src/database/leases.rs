//! Who may act in an environment, until when, and the fence that outdated holders are refused by.

use serde::{Deserialize, Serialize};

use super::row::{Row, damaged, to_json};
use super::sql::query;
use super::{Database, Tx};
use crate::error::{Error, Result};
use crate::name::{EnvironmentName, Fence, OperationId};
use crate::time::{Span, Timestamp};

/// The program that holds a lease, told well enough to see whether it still runs.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Holder {
    pub actor: String,
    pub host: String,
    pub pid: u32,
    /// Clock ticks since boot at which the process started; with the pid it names one process.
    pub start_time: u64,
    pub boot_id: String,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Lease {
    pub environment: EnvironmentName,
    pub fence: Fence,
    pub operation: Option<OperationId>,
    pub holder: Option<Holder>,
    pub acquired_at: Option<Timestamp>,
    pub expires_at: Option<Timestamp>,
    /// Since when its records come from a backup that nobody has accepted yet.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub restored_at: Option<Timestamp>,
}

impl Lease {
    /// Whether nothing else may begin: an operation is open, or the records wait to be accepted after a restore.
    pub fn is_closed(&self) -> bool {
        self.operation.is_some() || self.restored_at.is_some()
    }
}

impl Database {
    pub async fn lease(&self, environment: &EnvironmentName) -> Result<Option<Lease>> {
        let row = query("SELECT * FROM leases WHERE environment = $1")
            .bind(environment.to_string())
            .fetch_optional(&mut *self.connection().await?)
            .await?;
        row.as_ref().map(read).transpose()
    }

    /// Keeps a lease for another `ttl`; an error if it passed to someone else.
    pub async fn renew_lease(
        &self,
        environment: &EnvironmentName,
        fence: Fence,
        now: Timestamp,
        ttl: Span,
    ) -> Result<()> {
        let changed = query("UPDATE leases SET expires_at = $3 WHERE environment = $1 AND fence = $2")
            .bind(environment.to_string())
            .bind(fence.0)
            .bind(now.plus(ttl.duration()).to_string())
            .execute(&mut *self.connection().await?)
            .await?;
        if changed == 1 { Ok(()) } else { Err(lost(environment)) }
    }
}

/// It is no refusal: what was begun stands, and goes on or ends without whoever is told this.
pub(crate) fn lost(environment: &EnvironmentName) -> Error {
    Error::needs_attention("ORC-0107", format!("another operation took over in {environment}"))
        .hint(format!("see how it went: orchestrate deploy status --env {environment}"))
}

/// Takes the lease for a new operation and returns the new fence; `None` if someone holds it.
pub(crate) async fn take(
    tx: &mut Tx,
    environment: &EnvironmentName,
    holder: &Holder,
    now: Timestamp,
    ttl: Span,
) -> Result<Option<Fence>> {
    let row = query(
        "UPDATE leases SET fence = fence + 1, holder = $2, acquired_at = $3, expires_at = $4 \
         WHERE environment = $1 AND operation_id IS NULL AND restored_at IS NULL RETURNING fence",
    )
    .bind(environment.to_string())
    .bind(to_json(holder)?)
    .bind(now.to_string())
    .bind(now.plus(ttl.duration()).to_string())
    .fetch_optional(tx)
    .await?;
    row.map(|row| row.int("fence").map(Fence)).transpose()
}

/// Takes over the lease of an operation whose holder showed fence `seen`; `None` if it moved on meanwhile.
pub(crate) async fn take_over(
    tx: &mut Tx,
    environment: &EnvironmentName,
    seen: Fence,
    holder: &Holder,
    now: Timestamp,
    ttl: Span,
) -> Result<Option<Fence>> {
    let row = query(
        "UPDATE leases SET fence = fence + 1, holder = $3, acquired_at = $4, expires_at = $5 \
         WHERE environment = $1 AND fence = $2 AND operation_id IS NOT NULL RETURNING fence",
    )
    .bind(environment.to_string())
    .bind(seen.0)
    .bind(to_json(holder)?)
    .bind(now.to_string())
    .bind(now.plus(ttl.duration()).to_string())
    .fetch_optional(tx)
    .await?;
    row.map(|row| row.int("fence").map(Fence)).transpose()
}

pub(crate) async fn bind(tx: &mut Tx, environment: &EnvironmentName, operation: OperationId) -> Result<()> {
    query("UPDATE leases SET operation_id = $2 WHERE environment = $1")
        .bind(environment.to_string())
        .bind(operation.0)
        .execute(tx)
        .await?;
    Ok(())
}

/// Makes sure the caller still holds the lease; inside a transaction, this also keeps others out until its end.
pub(crate) async fn check(tx: &mut Tx, environment: &EnvironmentName, fence: Fence) -> Result<()> {
    let changed = query("UPDATE leases SET fence = fence WHERE environment = $1 AND fence = $2")
        .bind(environment.to_string())
        .bind(fence.0)
        .execute(tx)
        .await?;
    if changed == 1 { Ok(()) } else { Err(lost(environment)) }
}

/// Whether an operation holds the lease; none begins before the end of the transaction.
pub(crate) async fn is_taken(tx: &mut Tx, environment: &EnvironmentName) -> Result<bool> {
    let row = query("UPDATE leases SET fence = fence WHERE environment = $1 RETURNING operation_id")
        .bind(environment.to_string())
        .fetch_optional(tx)
        .await?;
    row.map_or(Ok(false), |row| row.opt_int("operation_id").map(|operation| operation.is_some()))
}

/// Gives the lease back; the fence stays.
pub(crate) async fn release(tx: &mut Tx, environment: &EnvironmentName) -> Result<()> {
    query(
        "UPDATE leases SET operation_id = NULL, holder = NULL, acquired_at = NULL, expires_at = NULL \
         WHERE environment = $1",
    )
    .bind(environment.to_string())
    .execute(tx)
    .await?;
    Ok(())
}

fn read(row: &Row) -> Result<Lease> {
    let holder = row.opt_text("holder")?;
    Ok(Lease {
        environment: row.environment("environment")?,
        fence: Fence(row.int("fence")?),
        operation: row.opt_int("operation_id")?.map(OperationId),
        holder: holder
            .map(|text| serde_json::from_str(&text).map_err(|error| damaged(format!("holder: {error}"))))
            .transpose()?,
        acquired_at: row.opt_time("acquired_at")?,
        expires_at: row.opt_time("expires_at")?,
        restored_at: row.opt_time("restored_at")?,
    })
}
