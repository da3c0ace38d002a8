//! Refusals are recorded too: who asked for what, and why it was not done. Bounded, so that a loop cannot fill the disk.

use std::time::Duration;

use super::audit::{self, Entry};
use super::sql::query;
use super::{Database, Tx, commit};
use crate::error::{Error, ErrorKind, Result};
use crate::name::EnvironmentName;
use crate::release::Digest;
use crate::time::{Span, Timestamp};

/// In this time, so many refusals of an environment are recorded; more are counted.
const WINDOW: Span = Span::from_secs(3600);
const MOST: i64 = 30;
/// A person waits for the refusal, not for its record.
const PATIENCE: Duration = Duration::from_millis(500);
/// There is no such environment: what is asked of any of them is counted together.
const UNKNOWN: &str = "ORC-0101";

/// What somebody asked for.
#[derive(Clone, Debug)]
pub struct Asked<'a> {
    pub environment: &'a EnvironmentName,
    pub actor: &'a str,
    /// In a word: `rollback`, `deploy`, `hold`.
    pub what: &'static str,
    /// The version that it was about, where one was named.
    pub version: Option<&'a str>,
    pub reason: Option<&'a str>,
}

impl Database {
    /// Gives the result back, after its refusal was recorded, if it is one.
    pub async fn noted<T>(&self, asked: &Asked<'_>, result: Result<T>, now: Timestamp) -> Result<T> {
        if let Err(error) = &result {
            self.note_refusal(asked, error, now).await;
        }
        result
    }

    /// Records a refusal; other errors are not its business. That it cannot be recorded is nobody's error: the refusal counts.
    async fn note_refusal(&self, asked: &Asked<'_>, error: &Error, now: Timestamp) {
        if error.kind() != ErrorKind::Refused {
            return;
        }
        match tokio::time::timeout(PATIENCE, self.record_refusal(asked, error, now)).await {
            Ok(Ok(())) => {}
            Ok(Err(cause)) => tracing::warn!("a refusal was not recorded: {}", cause.full_message()),
            Err(_) => tracing::warn!("a refusal was not recorded: the database did not answer in time"),
        }
    }

    async fn record_refusal(&self, asked: &Asked<'_>, error: &Error, now: Timestamp) -> Result<()> {
        let known = error.code() != UNKNOWN;
        let place = if known { asked.environment.as_str() } else { "" };
        let alike = fingerprint(asked, error);
        let mut tx = self.begin().await?;
        let mut counts = lock_counts(&mut tx, place, now).await?;
        let over = now < counts.since || now.millis_since(counts.since) >= WINDOW.as_millis();
        if !over && (counts.recorded >= MOST || counts.last == alike) {
            counts.counted += 1;
            keep_counts(&mut tx, place, &counts).await?;
            return commit(tx).await;
        }
        let detail = serde_json::json!({
            "asked": asked.what, "version": asked.version, "code": error.code(), "message": error.message(),
            "environment": asked.environment, "not_recorded_before": counts.counted,
        });
        let (actor, reason, action) = (asked.actor, asked.reason, "refused");
        match known {
            true => {
                let environment = asked.environment;
                audit::record(&mut tx, Entry { at: now, environment, actor, action, reason, detail });
            }
            false => audit::record_of_all(&mut tx, now, actor, action, &detail),
        }
        let (since, recorded) = if over { (now, 1) } else { (counts.since, counts.recorded + 1) };
        keep_counts(&mut tx, place, &Counts { since, recorded, counted: 0, last: alike }).await?;
        commit(tx).await
    }
}

/// Refusals are alike if the same one asked for the same and was told the same.
fn fingerprint(asked: &Asked<'_>, error: &Error) -> String {
    let version = asked.version.unwrap_or_default();
    let parts = [asked.environment.as_str(), asked.actor, asked.what, version, error.code()];
    Digest::of(parts.join("\n").as_bytes()).short().to_owned()
}

struct Counts {
    since: Timestamp,
    recorded: i64,
    counted: i64,
    last: String,
}

async fn lock_counts(tx: &mut Tx, place: &str, now: Timestamp) -> Result<Counts> {
    let row = query(
        "INSERT INTO refusal_counts (environment, since, recorded, counted, last) VALUES ($1, $2, 0, 0, '') \
         ON CONFLICT (environment) DO UPDATE SET environment = $1 RETURNING since, recorded, counted, last",
    )
    .bind(place)
    .bind(now.to_string())
    .fetch_one(tx)
    .await?;
    Ok(Counts {
        since: row.time("since")?,
        recorded: row.int("recorded")?,
        counted: row.int("counted")?,
        last: row.text("last")?,
    })
}

async fn keep_counts(tx: &mut Tx, place: &str, counts: &Counts) -> Result<()> {
    query(
        "UPDATE refusal_counts SET since = $2, recorded = $3, counted = $4, last = $5 WHERE environment = $1",
    )
    .bind(place)
    .bind(counts.since.to_string())
    .bind(counts.recorded)
    .bind(counts.counted)
    .bind(counts.last.clone())
    .execute(tx)
    .await?;
    Ok(())
}
