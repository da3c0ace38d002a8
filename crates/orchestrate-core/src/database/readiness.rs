//! Whether a rollback would work, as the daemon saw it last; people are told when that is lost, and when it is back.

use super::audit::{self, Entry};
use super::row::{Row, to_json};
use super::session::Session;
use super::sql::query;
use super::{Database, Tx, commit, environments, outbox};
use crate::deployment_rollback::Readiness;
use crate::error::Result;
use crate::name::{EnvironmentName, Fence};
use crate::notification::{NoticeKind, Told};
use crate::time::{Span, Timestamp};

/// What was seen last.
#[derive(Clone, Debug, PartialEq)]
pub struct ReadinessRecord {
    pub environment: EnvironmentName,
    pub readiness: Readiness,
    /// Since when it has been so, in this respect: ready, not ready, or nothing to go back to.
    pub since: Timestamp,
    pub checked_at: Timestamp,
    /// Whether people were told that it was lost, and not yet that it is back.
    pub lost: bool,
}

/// A record that says the same is not written again before this long.
const WRITTEN_EVERY: Span = Span::from_secs(600);

impl Database {
    pub async fn list_readiness(&self) -> Result<Vec<ReadinessRecord>> {
        let rows = query(
            "SELECT r.* FROM readiness r JOIN environments e ON e.name = r.environment \
             WHERE e.deleted_at IS NULL ORDER BY r.environment",
        )
        .fetch_all(&mut *self.connection().await?)
        .await?;
        rows.iter().map(read).collect()
    }

    /// The fence of each environment, which whoever acts there raises; none while an operation is open.
    pub async fn list_fences(&self) -> Result<Vec<(EnvironmentName, Option<Fence>)>> {
        let rows = query(
            "SELECT l.environment, CASE WHEN l.operation_id IS NULL THEN l.fence END AS fence FROM leases l \
             JOIN environments e ON e.name = l.environment WHERE e.deleted_at IS NULL",
        )
        .fetch_all(&mut *self.connection().await?)
        .await?;
        rows.iter()
            .map(|row| Ok((row.environment("environment")?, row.opt_int("fence")?.map(Fence))))
            .collect()
    }

    /// Records what was seen, with an audit record and a notice where it was lost or is back. Returns whether it was one of the two.
    pub async fn record_readiness(
        &self,
        environment: &EnvironmentName,
        readiness: &Readiness,
        now: Timestamp,
    ) -> Result<bool> {
        // Mostly there is nothing to write, and nobody is kept from writing for that.
        let before = fetch(&mut *self.connection().await?, environment).await?;
        if before.is_some_and(|before| before.says(readiness, now)) {
            return Ok(false);
        }
        let mut tx = self.begin().await?;
        let before = fetch(&mut tx, environment).await?;
        let change = change(before.as_ref(), readiness);
        put(&mut tx, environment, readiness, before.as_ref(), change, now).await?;
        if let Some(kind) = change {
            let detail =
                serde_json::json!({ "target": readiness.target_version, "blockers": readiness.blockers });
            let (actor, action) = ("orchestrate", kind.as_str());
            audit::record(&mut tx, Entry { at: now, environment, actor, action, reason: None, detail });
            if let Some(record) = environments::fetch(&mut tx, environment).await? {
                let told = Told::Readiness(Box::new(readiness.clone()));
                outbox::tell(&mut tx, &record, kind, told, None, now).await?;
            }
        }
        commit(tx).await?;
        Ok(change.is_some())
    }

    /// Nothing is live, so nothing can be said of going back; nobody is told, since people stopped it.
    pub async fn forget_readiness(&self, environment: &EnvironmentName) -> Result<()> {
        if fetch(&mut *self.connection().await?, environment).await?.is_some() {
            query("DELETE FROM readiness WHERE environment = $1")
                .bind(environment.to_string())
                .execute(&mut *self.connection().await?)
                .await?;
        }
        Ok(())
    }
}

impl ReadinessRecord {
    /// Whether it says the same, and was written not long ago.
    fn says(&self, readiness: &Readiness, now: Timestamp) -> bool {
        // What to type for it is not written down.
        let written = Readiness { command: None, ..readiness.clone() };
        self.readiness == written && now.millis_since(self.checked_at) < WRITTEN_EVERY.as_millis()
    }
}

/// Something to go back to, and something in its way.
fn is_blocked(readiness: &Readiness) -> bool {
    !readiness.ready && readiness.target_version.is_some()
}

/// What people have to be told. That there is nothing older any more is no loss: they went back themselves.
fn change(before: Option<&ReadinessRecord>, now: &Readiness) -> Option<NoticeKind> {
    let before = before?;
    match (before.lost, is_blocked(now)) {
        (false, true) if before.readiness.ready => Some(NoticeKind::ReadinessLost),
        (true, false) if now.ready => Some(NoticeKind::ReadinessBack),
        (false | true, false | true) => None,
    }
}

async fn fetch(session: &mut Session, environment: &EnvironmentName) -> Result<Option<ReadinessRecord>> {
    let row = query("SELECT * FROM readiness WHERE environment = $1")
        .bind(environment.to_string())
        .fetch_optional(session)
        .await?;
    row.as_ref().map(read).transpose()
}

async fn put(
    tx: &mut Tx,
    environment: &EnvironmentName,
    readiness: &Readiness,
    before: Option<&ReadinessRecord>,
    change: Option<NoticeKind>,
    now: Timestamp,
) -> Result<()> {
    let same = |before: &&ReadinessRecord| {
        (before.readiness.ready, is_blocked(&before.readiness)) == (readiness.ready, is_blocked(readiness))
    };
    let since = before.filter(same).map_or(now, |before| before.since);
    let lost = match change {
        Some(kind) => kind == NoticeKind::ReadinessLost,
        None => before.is_some_and(|before| before.lost),
    };
    query(
        "INSERT INTO readiness (environment, report, since, checked_at, lost) VALUES ($1, $2, $3, $4, $5) \
         ON CONFLICT (environment) DO UPDATE SET report = excluded.report, since = excluded.since, \
         checked_at = excluded.checked_at, lost = excluded.lost",
    )
    .bind(environment.to_string())
    .bind(to_json(readiness)?)
    .bind(since.to_string())
    .bind(now.to_string())
    .bind(i64::from(lost))
    .execute(tx)
    .await?;
    Ok(())
}

fn read(row: &Row) -> Result<ReadinessRecord> {
    Ok(ReadinessRecord {
        environment: row.environment("environment")?,
        readiness: row.json("report")?,
        since: row.time("since")?,
        checked_at: row.time("checked_at")?,
        lost: row.int("lost")? != 0,
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::name::Version;

    fn readiness(ready: bool, target: bool) -> Readiness {
        Readiness {
            ready,
            target_version: target.then(|| Version::new("1.0.0").unwrap()),
            rollback_type: None,
            path: None,
            estimated_ms: None,
            blockers: Vec::new(),
            problems: Vec::new(),
            warnings: Vec::new(),
            command: None,
        }
    }

    #[test]
    fn people_are_told_of_a_loss_once_and_of_its_end_once() {
        let at = Timestamp::from_millis(0);
        let record = |ready, target, lost| ReadinessRecord {
            environment: EnvironmentName::new("production").unwrap(),
            readiness: readiness(ready, target),
            since: at,
            checked_at: at,
            lost,
        };
        let (ready, blocked, nothing) =
            (readiness(true, true), readiness(false, true), readiness(false, false));
        let told = |before: Option<&ReadinessRecord>, now| change(before, now);
        assert_eq!(told(None, &blocked), None, "what never was is not lost");
        let was_ready = record(true, true, false);
        assert_eq!(told(Some(&was_ready), &blocked), Some(NoticeKind::ReadinessLost));
        assert_eq!(
            told(Some(&was_ready), &nothing),
            None,
            "who went back to the oldest knows that there is no more"
        );
        assert_eq!(told(Some(&was_ready), &ready), None);
        let lost = record(false, true, true);
        assert_eq!(told(Some(&lost), &blocked), None, "once is enough");
        assert_eq!(told(Some(&lost), &ready), Some(NoticeKind::ReadinessBack));
        assert_eq!(told(Some(&lost), &nothing), None);
        let never = record(false, true, false);
        assert_eq!(told(Some(&never), &ready), None, "what was not told as lost is not told as back");
    }
}
