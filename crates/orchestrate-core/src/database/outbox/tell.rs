//! Writing notices, in the transaction of what they tell of.

use crate::database::row::to_json;
use crate::database::sql::query;
use crate::database::{Database, EnvironmentRecord, Tx, commit};
use crate::error::Result;
use crate::name::{EnvironmentName, RollbackId};
use crate::notification::{Channel, NoticeKind, Told};
use crate::release::Digest;
use crate::time::Timestamp;
use tokio::sync::watch;

/// A notice to be written.
#[derive(Clone, Debug)]
pub struct NewNotice {
    /// The idempotency key, the same over all attempts.
    pub key: String,
    pub environment: Option<EnvironmentName>,
    pub kind: NoticeKind,
    pub channel: Channel,
    pub payload: serde_json::Value,
    pub rollback: Option<RollbackId>,
    /// The operation that it is about, if it is about one.
    pub subject: Option<String>,
    pub now: Timestamp,
}

impl Database {
    /// Changes whenever this program has written notices, so that nobody has to look for them.
    pub fn notices_written(&self) -> watch::Receiver<u64> {
        self.source.notices()
    }

    pub async fn enqueue_notice(&self, notice: &NewNotice) -> Result<()> {
        let mut tx = self.begin().await?;
        let NewNotice { key, environment, kind, channel, payload, rollback, subject, now } = notice.clone();
        let words = Words { key: String::new(), payload, rollback, subject };
        let said = Said { environment: environment.as_ref(), kind, words: &words, now };
        enqueue(&mut tx, &said, &[(key, &channel)]).await?;
        commit(tx).await
    }
}

/// What all the notices of one event have in common.
struct Said<'a> {
    environment: Option<&'a EnvironmentName>,
    kind: NoticeKind,
    words: &'a Words,
    now: Timestamp,
}

/// One statement, however many channels: people wait for it. What they have in common is written down once for it.
async fn enqueue(tx: &mut Tx, said: &Said<'_>, notices: &[(String, &Channel)]) -> Result<()> {
    if notices.is_empty() {
        return Ok(());
    }
    const COMMON: usize = 6;
    let rows = (0..notices.len()).map(|row| {
        let own = |column| COMMON + row * 3 + column;
        format!("(${}, $1, $2, ${}, $3, $4, $5, $6, ${})", own(1), own(2), own(3))
    });
    let sql = format!(
        "INSERT INTO outbox (notice_key, environment, kind, channel, payload, rollback_id, subject, created_at, lane) \
         VALUES {} ON CONFLICT (notice_key) DO NOTHING",
        rows.collect::<Vec<_>>().join(", ")
    );
    let Said { environment, kind, words, now } = said;
    let mut query = query(sql)
        .bind(environment.map(ToString::to_string))
        .bind(kind.as_str())
        .bind(words.payload.to_string())
        .bind(words.rollback.map(|id| id.0))
        .bind(words.subject.clone())
        .bind(now.to_string());
    for (key, channel) in notices {
        query = query.bind(key.clone()).bind(to_json(channel)?).bind(lane(*environment, channel));
    }
    query.execute(tx).await?;
    tx.tells = true;
    Ok(())
}

/// Within it, notices are delivered in the order in which they were written.
fn lane(environment: Option<&EnvironmentName>, channel: &Channel) -> String {
    let environment = environment.map(EnvironmentName::as_str).unwrap_or_default();
    let address = channel.endpoint();
    Digest::of(format!("{environment} {address}").as_bytes()).to_string()
}

/// Writes a notice for every channel that wants it.
pub(crate) async fn tell(
    tx: &mut Tx,
    environment: &EnvironmentRecord,
    kind: NoticeKind,
    told: Told,
    rollback: Option<RollbackId>,
    now: Timestamp,
) -> Result<()> {
    if !environment.tells(kind) {
        return Ok(());
    }
    let words = Words {
        key: format!("{}-{}-{}", told.key(kind), environment.environment.name, now.as_millis()),
        payload: told.payload(kind, environment)?,
        rollback,
        subject: told.subject(),
    };
    say(tx, environment, kind, words, now).await
}

/// What every channel is told alike.
pub(crate) struct Words {
    /// The beginning of the idempotency key; the number of the channel follows.
    pub key: String,
    pub payload: serde_json::Value,
    pub rollback: Option<RollbackId>,
    pub subject: Option<String>,
}

/// The same for words that are ready.
pub(crate) async fn say(
    tx: &mut Tx,
    environment: &EnvironmentRecord,
    kind: NoticeKind,
    words: Words,
    now: Timestamp,
) -> Result<()> {
    let wanted = environment.channels.iter().enumerate().filter(|(_, channel)| channel.wants(kind));
    let notices: Vec<_> =
        wanted.map(|(index, channel)| (format!("{}-{index}", words.key), channel)).collect();
    let said = Said { environment: Some(&environment.environment.name), kind, words: &words, now };
    enqueue(tx, &said, &notices).await
}
