//! Whether the records agree with each other. Each question asks for the rows that should not be there.

use serde::Serialize;

use super::Database;
use super::releases::read_sealed;
use super::sql::query;
use crate::error::Result;

/// What is looked at, and the statement that finds what is wrong: `place` and `id` say where.
const QUESTIONS: [(&str, &str); 8] = [
    (
        "what is live is a release of its environment",
        "SELECT e.name AS place, e.live_release_id AS id FROM environments e LEFT JOIN releases r \
         ON r.id = e.live_release_id AND r.environment = e.name WHERE e.live_release_id IS NOT NULL AND r.id IS NULL",
    ),
    (
        "what is live was deployed there",
        "SELECT e.name AS place, e.live_deployment_id AS id FROM environments e LEFT JOIN deployments d \
         ON d.id = e.live_deployment_id AND d.environment = e.name AND d.release_id = e.live_release_id \
         WHERE e.live_deployment_id IS NOT NULL AND d.id IS NULL",
    ),
    (
        "what is live has a slot, and no other release is live",
        "SELECT e.name AS place, e.live_release_id AS id FROM environments e WHERE e.deleted_at IS NULL AND (SELECT COUNT(*) \
         FROM slots s WHERE s.environment = e.name AND s.state = 'live' AND s.release_id = COALESCE(e.live_release_id, -1)) \
         <> CASE WHEN e.live_release_id IS NULL THEN 0 ELSE 1 END",
    ),
    (
        "nothing else is in a live slot",
        "SELECT s.environment AS place, s.release_id AS id FROM slots s JOIN environments e ON e.name = s.environment \
         WHERE s.state = 'live' AND s.release_id <> COALESCE(e.live_release_id, -1)",
    ),
    (
        "an open operation has its lease",
        "SELECT o.environment AS place, o.id AS id FROM operations o LEFT JOIN leases l ON l.operation_id = o.id \
         WHERE o.status IN ('open', 'needs_attention') AND l.operation_id IS NULL",
    ),
    (
        "a lease is held for an open operation",
        "SELECT l.environment AS place, l.operation_id AS id FROM leases l LEFT JOIN operations o ON o.id = l.operation_id \
         AND o.status IN ('open', 'needs_attention') WHERE l.operation_id IS NOT NULL AND o.id IS NULL",
    ),
    (
        "a rollback is of a deployment of its environment",
        "SELECT e.environment AS place, e.id AS id FROM deployment_rollback_events e JOIN deployments d \
         ON d.id = e.deployment_id WHERE e.environment <> '' AND e.environment <> d.environment",
    ),
    (
        "a deployment is of a release of its environment and version",
        "SELECT d.environment AS place, d.id AS id FROM deployments d JOIN releases r ON r.id = d.release_id \
         WHERE r.environment <> d.environment OR r.version <> d.version",
    ),
];

/// One thing that was looked at.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Checked {
    pub name: String,
    /// Where it is not so: environment and number.
    pub wrong: Vec<String>,
}

impl Database {
    /// Compares the records with each other, and each sealed release with its digest.
    pub async fn check_records(&self) -> Result<Vec<Checked>> {
        let mut tx = self.begin_reading().await?;
        let mut checked = Vec::new();
        for (name, question) in QUESTIONS {
            let rows = query(question).fetch_all(&mut tx).await?;
            let wrong = rows
                .iter()
                .map(|row| Ok(format!("{} {}", row.text("place")?, row.opt_int("id")?.unwrap_or_default())));
            checked.push(Checked { name: name.to_owned(), wrong: wrong.collect::<Result<_>>()? });
        }
        let rows = query("SELECT * FROM releases ORDER BY id").fetch_all(&mut tx).await?;
        let mut wrong = Vec::new();
        for row in &rows {
            let whole = read_sealed(row).is_ok_and(|(contents, digest)| contents.digest() == digest);
            if !whole {
                wrong.push(format!("{} {}", row.text("environment")?, row.int("id")?));
            }
        }
        checked.push(Checked { name: "releases are as they were sealed".to_owned(), wrong });
        tx.rollback().await?;
        Ok(checked)
    }
}
