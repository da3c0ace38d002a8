//! Records that come from a backup: what runs may be newer, so nothing is changed until both agree or a person says so.

use super::backup::Numbers;
use super::sql::query;
use super::{Database, Tx, audit, commit, rollouts, slots};
use crate::error::{Error, Result};
use crate::name::EnvironmentName;
use crate::slot::{Slot, SlotRecord, SlotState};
use crate::time::Timestamp;

/// The tables whose numbers are known outside of the database: in the provider's books, and to people.
const NUMBERED: [&str; 4] = ["releases", "deployments", "operations", "deployment_rollback_events"];

impl Database {
    /// Marks every environment as restored. Its fences and numbers go on above `used`; where that is not known, above what can have been
    /// given out by now: the milliseconds and seconds of the clock.
    pub async fn mark_restored(
        &self,
        used: Option<&Numbers>,
        from: &str,
        actor: &str,
        now: Timestamp,
    ) -> Result<()> {
        let fence = used.map_or(0, |used| used.fence + 1).max(now.as_millis());
        let unknown = || NUMBERED.iter().map(|name| ((*name).to_owned(), now.as_millis() / 1000)).collect();
        let tables = used.map_or_else(unknown, |used| used.tables.clone());
        let mut tx = self.begin().await?;
        query("UPDATE leases SET restored_at = $1, fence = CASE WHEN fence < $2 THEN $2 ELSE fence + 1 END")
            .bind(now.to_string())
            .bind(fence)
            .execute(&mut tx)
            .await?;
        for (table, number) in tables {
            let raised = query(
                "UPDATE sqlite_sequence SET seq = CASE WHEN seq < $2 THEN $2 ELSE seq END WHERE name = $1",
            )
            .bind(table.clone())
            .bind(number)
            .execute(&mut tx)
            .await?;
            if raised == 0 {
                query("INSERT INTO sqlite_sequence (name, seq) VALUES ($1, $2)")
                    .bind(table)
                    .bind(number)
                    .execute(&mut tx)
                    .await?;
            }
        }
        let detail = serde_json::json!({ "from": from });
        audit::record_of_all(&mut tx, now, actor, "database_restored", &detail);
        commit(tx).await
    }

    /// What is recorded counts again: the daemon brings what runs in line with it. `served` is the slot that has the traffic, where that is
    /// another release than the recorded one: what is recorded is started beside it, not in its place.
    pub async fn accept_restored(
        &self,
        name: &EnvironmentName,
        served: Option<Slot>,
        actor: &str,
        now: Timestamp,
    ) -> Result<()> {
        let mut tx = self.begin().await?;
        let changed =
            query("UPDATE leases SET restored_at = NULL WHERE environment = $1 AND restored_at IS NOT NULL")
                .bind(name.to_string())
                .execute(&mut tx)
                .await?;
        if changed == 0 {
            return Err(Error::refused(
                "ORC-0161",
                format!("the records of {name} do not wait to be accepted"),
            )
            .hint(format!("see how it stands: orchestrate env check {name}")));
        }
        if let Some(served) = served {
            make_room(&mut tx, name, served, now).await?;
        }
        let (action, detail) = ("restored_accepted", serde_json::json!({}));
        audit::record(
            &mut tx,
            audit::Entry { at: now, environment: name, actor, action, reason: None, detail },
        );
        commit(tx).await
    }
}

/// Of the recorded slots only the live one is true to what shall run; it moves aside if its place has the traffic.
async fn make_room(tx: &mut Tx, name: &EnvironmentName, served: Slot, now: Timestamp) -> Result<()> {
    let records = slots::fetch_all(tx, name).await?;
    for record in &records {
        slots::remove(tx, name, record.slot).await?;
    }
    rollouts::end(tx, name, now).await?;
    if let Some(live) = records.into_iter().find(|record| record.state == SlotState::Live) {
        let slot = if live.slot == served { served.other() } else { live.slot };
        slots::put(tx, name, &SlotRecord { slot, ..live }).await?;
    }
    Ok(())
}

/// The refusal of everything that would change what runs.
pub(crate) fn waits(name: &EnvironmentName, since: Timestamp) -> Error {
    Error::refused(
        "ORC-0160",
        format!("the records of {name} were restored from a backup at {since} and are not what runs"),
    )
    .hint(format!(
        "compare: orchestrate env check {name}; then let what is recorded run again: orchestrate env accept {name}"
    ))
}
