//! Adding to the chain: under the lock of its head, so that two programs that write at once come one after the other.

use super::Pending;
use crate::audit_chain::{AuditHead, Content, beginning};
use crate::database::row::{Row, damaged};
use crate::database::sql::query;
use crate::database::{Database, Tx, commit};
use crate::error::Result;
use crate::release::Digest;

/// How many older records are chained with one statement.
const BATCH: usize = 500;

/// Writes what the transaction has to tell, right before it commits.
pub(in crate::database) async fn append(tx: &mut Tx, entries: Vec<Pending>) -> Result<()> {
    if entries.is_empty() {
        return Ok(());
    }
    let mut head = lock_head(tx).await?;
    let rows = (0..entries.len()).map(|row| placeholders(row * 8 + 1, 8)).collect::<Vec<_>>().join(", ");
    let mut insert = query(format!(
        "INSERT INTO audit (id, at, environment, actor, action, reason, detail, hash) VALUES {rows}"
    ));
    for entry in entries {
        let content = entry.content(head.id + 1);
        let hash = content.hash(&head.hash);
        let at = content.at.parse().map_err(damaged)?;
        head = AuditHead { id: content.id, hash, at: Some(at) };
        insert = insert
            .bind(content.id)
            .bind(content.at)
            .bind(content.environment)
            .bind(content.actor)
            .bind(content.action)
            .bind(content.reason)
            .bind(content.detail)
            .bind(head.hash.to_string());
    }
    insert.execute(tx).await?;
    set_head(tx, &head).await
}

impl Pending {
    fn content(self, id: i64) -> Content {
        let Self { at, environment, actor, action, reason, detail } = self;
        Content { id, at, environment, actor, action: action.to_owned(), reason, detail }
    }
}

fn placeholders(first: usize, count: usize) -> String {
    let marks: Vec<String> = (first..first + count).map(|number| format!("${number}")).collect();
    format!("({})", marks.join(", "))
}

/// The head, locked until the transaction ends; what is older than the chain comes into it first.
pub(super) async fn lock_head(tx: &mut Tx) -> Result<AuditHead> {
    let row = query("UPDATE audit_head SET id = id WHERE one = 1 RETURNING id, hash, at")
        .fetch_optional(tx)
        .await?
        .ok_or_else(|| damaged("the head of the audit trail is missing"))?;
    match opt_hash(&row)? {
        Some(hash) => Ok(AuditHead { id: row.int("id")?, hash, at: row.opt_time("at")? }),
        None => chain_records(tx).await,
    }
}

async fn set_head(tx: &mut Tx, head: &AuditHead) -> Result<()> {
    query("UPDATE audit_head SET id = $1, hash = $2, at = $3 WHERE one = 1")
        .bind(head.id)
        .bind(head.hash.to_string())
        .bind(head.at.map(|at| at.to_string()))
        .execute(tx)
        .await?;
    Ok(())
}

/// Takes the records from before the chain into it, in one transaction, if that was not done yet.
pub(in crate::database) async fn chain_older(db: &Database) -> Result<()> {
    let waiting = query("SELECT id FROM audit_head WHERE hash IS NULL");
    if waiting.fetch_optional(&mut *db.connection().await?).await?.is_none() {
        return Ok(());
    }
    let mut tx = db.begin().await?;
    lock_head(&mut tx).await?;
    commit(tx).await
}

async fn chain_records(tx: &mut Tx) -> Result<AuditHead> {
    let mut head = AuditHead { id: 0, hash: beginning(), at: None };
    let mut after = i64::MIN;
    loop {
        let rows = page(tx, after, BATCH).await?;
        if rows.is_empty() {
            break;
        }
        let values = (0..rows.len()).map(|row| placeholders(row * 2 + 1, 2)).collect::<Vec<_>>().join(", ");
        let mut update = query(format!(
            "UPDATE audit SET hash = older.column2 FROM (VALUES {values}) AS older WHERE audit.id = older.column1"
        ));
        for row in &rows {
            let content = content(row)?;
            let hash = content.hash(&head.hash);
            update = update.bind(content.id).bind(hash.to_string());
            head = AuditHead { id: content.id, hash, at: row.time("at").ok() };
        }
        after = head.id;
        update.execute(tx).await?;
    }
    set_head(tx, &head).await?;
    Ok(head)
}

/// The next records after `after`, oldest first.
pub(super) async fn page(tx: &mut Tx, after: i64, most: usize) -> Result<Vec<Row>> {
    query("SELECT * FROM audit WHERE id > $1 ORDER BY id LIMIT $2")
        .bind(after)
        .bind(i64::try_from(most).unwrap_or(i64::MAX))
        .fetch_all(tx)
        .await
}

/// As it is stored, whatever it says.
pub(super) fn content(row: &Row) -> Result<Content> {
    Ok(Content {
        id: row.int("id")?,
        at: row.text("at")?,
        environment: row.opt_text("environment")?,
        actor: row.text("actor")?,
        action: row.text("action")?,
        reason: row.opt_text("reason")?,
        detail: row.text("detail")?,
    })
}

pub(super) fn opt_hash(row: &Row) -> Result<Option<Digest>> {
    row.opt_text("hash")?.map(Digest::try_from).transpose().map_err(damaged)
}
