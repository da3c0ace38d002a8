//! The audit trail: who did what, when and why. Only added to, each record chained to the one before it.

mod append;
mod verify;

use serde::Serialize;

pub(super) use append::{append, chain_older};
pub use verify::{AuditFinding, Verified};

use super::row::damaged;
use super::sql::query;
use super::{Database, Tx, commit};
use crate::audit_chain::AuditHead;
use crate::error::Result;
use crate::name::EnvironmentName;
use crate::release::Digest;
use crate::time::Timestamp;

#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct AuditRecord {
    pub id: i64,
    pub at: Timestamp,
    pub environment: Option<EnvironmentName>,
    pub actor: String,
    pub action: String,
    pub reason: Option<String>,
    pub detail: serde_json::Value,
    /// Covers this record and, by the hash before it, all older ones.
    pub hash: Option<Digest>,
}

/// What is to be recorded, inside the transaction that does it.
pub(crate) struct Entry<'a> {
    pub at: Timestamp,
    pub environment: &'a EnvironmentName,
    pub actor: &'a str,
    pub action: &'static str,
    pub reason: Option<&'a str>,
    pub detail: serde_json::Value,
}

/// What a transaction has to tell once it commits.
pub(crate) struct Pending {
    at: String,
    environment: Option<String>,
    actor: String,
    action: &'static str,
    reason: Option<String>,
    detail: String,
}

/// Records it with the transaction. It is written last: the head of the chain is locked for the shortest time, and after every
/// other row, so that no two transactions wait for each other.
pub(crate) fn record(tx: &mut Tx, entry: Entry<'_>) {
    tx.audit.push(Pending {
        at: entry.at.to_string(),
        environment: Some(entry.environment.to_string()),
        actor: entry.actor.to_owned(),
        action: entry.action,
        reason: entry.reason.map(str::to_owned),
        detail: entry.detail.to_string(),
    });
}

/// The same for what is about no one environment.
pub(crate) fn record_of_all(
    tx: &mut Tx,
    at: Timestamp,
    actor: &str,
    action: &'static str,
    detail: &serde_json::Value,
) {
    let (at, actor, detail) = (at.to_string(), actor.to_owned(), detail.to_string());
    tx.audit.push(Pending { at, environment: None, actor, action, reason: None, detail });
}

impl Database {
    /// Records what was done outside of the database, e.g. that a person stopped the daemon.
    pub async fn note(
        &self,
        actor: &str,
        action: &'static str,
        detail: &serde_json::Value,
        now: Timestamp,
    ) -> Result<()> {
        let mut tx = self.begin().await?;
        record_of_all(&mut tx, now, actor, action, detail);
        commit(tx).await
    }

    /// The newest records first.
    pub async fn list_audit(
        &self,
        environment: Option<&EnvironmentName>,
        limit: i64,
    ) -> Result<Vec<AuditRecord>> {
        let rows = query(
            "SELECT * FROM audit WHERE environment = $1 OR CAST($1 AS TEXT) IS NULL ORDER BY id DESC LIMIT $2",
        )
        .bind(environment.map(ToString::to_string))
        .bind(limit)
        .fetch_all(&mut *self.connection().await?)
        .await?;
        rows.iter()
            .map(|row| {
                Ok(AuditRecord {
                    id: row.int("id")?,
                    at: row.time("at")?,
                    environment: row.opt_text("environment")?.map(EnvironmentName::new).transpose()?,
                    actor: row.text("actor")?,
                    action: row.text("action")?,
                    reason: row.opt_text("reason")?,
                    detail: row.json("detail")?,
                    hash: append::opt_hash(row)?,
                })
            })
            .collect()
    }

    /// The newest record of the trail, to be kept where nobody who can write the database can change it.
    pub async fn audit_head(&self) -> Result<AuditHead> {
        chain_older(self).await?;
        let row =
            query("SELECT id, hash, at FROM audit_head").fetch_one(&mut *self.connection().await?).await?;
        let hash =
            append::opt_hash(&row)?.ok_or_else(|| damaged("the head of the audit trail has no hash"))?;
        Ok(AuditHead { id: row.int("id")?, hash, at: row.opt_time("at")? })
    }
}
