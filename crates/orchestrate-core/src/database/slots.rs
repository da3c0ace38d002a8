//! Which release has instances in which slot.

use super::audit::{self, Entry};
use super::row::Row;
use super::sql::query;
use super::{Database, Tx, commit};
use crate::error::Result;
use crate::name::{EnvironmentName, Fence, ReleaseId};
use crate::ports::Placement;
use crate::slot::{Slot, SlotRecord, SlotState};
use crate::time::Timestamp;

const SELECT: &str = "SELECT s.*, r.version AS version FROM slots s JOIN releases r ON r.id = s.release_id \
                      WHERE s.environment = $1 ORDER BY s.slot";

impl Database {
    pub async fn slots(&self, environment: &EnvironmentName) -> Result<Vec<SlotRecord>> {
        let rows =
            query(SELECT).bind(environment.to_string()).fetch_all(&mut *self.connection().await?).await?;
        rows.iter().map(read).collect()
    }

    /// Every slot that is warm or retiring, with its environment's fence: the daemon's work list. Where an operation is
    /// open, the slots are its business.
    pub async fn list_leaving_slots(&self) -> Result<Vec<(Placement, SlotRecord, Fence)>> {
        let rows = query(
            "SELECT s.*, r.version AS version, l.fence AS fence FROM slots s \
             JOIN releases r ON r.id = s.release_id JOIN leases l ON l.environment = s.environment \
             WHERE s.state IN ('warm', 'retiring') AND l.operation_id IS NULL AND l.restored_at IS NULL",
        )
        .fetch_all(&mut *self.connection().await?)
        .await?;
        rows.iter()
            .map(|row| {
                let record = read(row)?;
                let placement = Placement {
                    environment: row.environment("environment")?,
                    slot: record.slot,
                    release: record.release,
                    version: record.version.clone(),
                };
                Ok((placement, record, Fence(row.int("fence")?)))
            })
            .collect()
    }

    /// Turns a warm slot whose time is up into a retiring one, unless an operation is open. True if it did.
    pub async fn retire_slot_if_due(&self, placement: &Placement, now: Timestamp) -> Result<bool> {
        let mut tx = self.begin().await?;
        let changed = query(
            "UPDATE slots SET state = 'retiring', since = $4 WHERE environment = $1 AND slot = $2 AND release_id = $3 \
             AND state = 'warm' AND until <= $4 AND NOT EXISTS (SELECT 1 FROM leases l WHERE l.environment = $1 \
             AND l.operation_id IS NOT NULL)",
        )
        .bind(placement.environment.to_string())
        .bind(placement.slot.as_str())
        .bind(placement.release.0)
        .bind(now.to_string())
        .execute(&mut tx)
        .await?;
        if changed == 1 {
            record(&mut tx, placement, "warm_period_ended", now);
        }
        commit(tx).await?;
        Ok(changed == 1)
    }

    /// Ends a warm period now: what is not there any more is kept warm for nobody.
    pub(crate) async fn end_warm_period(&self, placement: &Placement, now: Timestamp) -> Result<()> {
        query("UPDATE slots SET until = $4 WHERE environment = $1 AND slot = $2 AND release_id = $3 AND state = 'warm'")
            .bind(placement.environment.to_string())
            .bind(placement.slot.as_str())
            .bind(placement.release.0)
            .bind(now.to_string())
            .execute(&mut *self.connection().await?)
            .await?;
        Ok(())
    }

    /// Forgets a slot whose instances are gone, if it is still the retiring one that was meant.
    pub async fn forget_slot(&self, placement: &Placement, now: Timestamp) -> Result<()> {
        let mut tx = self.begin().await?;
        let changed = query("DELETE FROM slots WHERE environment = $1 AND slot = $2 AND release_id = $3 AND state = 'retiring'")
            .bind(placement.environment.to_string())
            .bind(placement.slot.as_str())
            .bind(placement.release.0)
            .execute(&mut tx)
            .await?;
        if changed == 1 {
            record(&mut tx, placement, "release_stopped", now);
        }
        commit(tx).await
    }
}

/// What the daemon did with a release that lost its traffic.
fn record(tx: &mut Tx, placement: &Placement, action: &'static str, now: Timestamp) {
    let Placement { environment, slot, release, version } = placement;
    let detail = serde_json::json!({ "version": version, "release": release, "slot": slot });
    audit::record(tx, Entry { at: now, environment, actor: "orchestrate", action, reason: None, detail });
}

/// Writes what a slot is for, whatever was there.
pub(crate) async fn put(tx: &mut Tx, environment: &EnvironmentName, record: &SlotRecord) -> Result<()> {
    query(
        "INSERT INTO slots (environment, slot, release_id, state, since, until) VALUES ($1, $2, $3, $4, $5, $6) \
         ON CONFLICT (environment, slot) DO UPDATE SET release_id = $3, state = $4, since = $5, until = $6",
    )
    .bind(environment.to_string())
    .bind(record.slot.as_str())
    .bind(record.release.0)
    .bind(record.state.as_str())
    .bind(record.since.to_string())
    .bind(record.until.map(|t| t.to_string()))
    .execute(tx)
    .await?;
    Ok(())
}

pub(crate) async fn remove(tx: &mut Tx, environment: &EnvironmentName, slot: Slot) -> Result<()> {
    query("DELETE FROM slots WHERE environment = $1 AND slot = $2")
        .bind(environment.to_string())
        .bind(slot.as_str())
        .execute(tx)
        .await?;
    Ok(())
}

pub(crate) async fn fetch_all(tx: &mut Tx, environment: &EnvironmentName) -> Result<Vec<SlotRecord>> {
    let rows = query(SELECT).bind(environment.to_string()).fetch_all(tx).await?;
    rows.iter().map(read).collect()
}

fn read(row: &Row) -> Result<SlotRecord> {
    Ok(SlotRecord {
        slot: row.parsed("slot", Slot::parse)?,
        release: ReleaseId(row.int("release_id")?),
        version: row.version("version")?,
        state: row.parsed("state", SlotState::parse)?,
        since: row.time("since")?,
        until: row.opt_time("until")?,
    })
}
