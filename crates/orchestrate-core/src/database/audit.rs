//! The audit trail: who did what, when and why. Only added to.

use serde::Serialize;

use super::sql::query;
use super::{Database, Tx};
use crate::error::Result;
use crate::name::EnvironmentName;
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

pub(crate) async fn record(tx: &mut Tx, entry: Entry<'_>) -> Result<()> {
    query(
        "INSERT INTO audit (at, environment, actor, action, reason, detail) VALUES ($1, $2, $3, $4, $5, $6)",
    )
    .bind(entry.at.to_string())
    .bind(entry.environment.to_string())
    .bind(entry.actor.to_owned())
    .bind(entry.action)
    .bind(entry.reason.map(str::to_owned))
    .bind(entry.detail.to_string())
    .execute(tx)
    .await?;
    Ok(())
}

impl Database {
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
                })
            })
            .collect()
    }
}
