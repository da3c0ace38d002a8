//! Secret values by name and version, encrypted; equal values keep their version.

mod rotation;

pub use rotation::Resealed;

use std::collections::BTreeMap;

use super::session::Session;
use super::sql::query;
use super::{Database, Tx, audit, commit};
use crate::error::{Error, Result};
use crate::secrets::{KeyRing, KeySource, Look, SecretKey, SecretText};
use crate::time::Timestamp;

/// How often sealing is tried while the key changes under it.
const ATTEMPTS: u32 = 3;

/// One version of a secret, without its value.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SecretRecord {
    pub name: String,
    pub version: i64,
    pub created_at: Timestamp,
    /// Whether the keys at hand can decrypt it.
    pub readable: bool,
}

fn label(scope: &str, name: &str, version: i64) -> String {
    format!("{scope}/{name}/{version}")
}

impl Database {
    /// Keeps the values and returns the version of each; a value that did not change keeps its version.
    pub async fn keep_secrets(
        &self,
        keys: &dyn KeySource,
        scope: &str,
        secrets: &BTreeMap<String, SecretText>,
        actor: &str,
        now: Timestamp,
    ) -> Result<BTreeMap<String, i64>> {
        if secrets.is_empty() {
            return Ok(BTreeMap::new());
        }
        let mut look = self.look_for_key().await?;
        for attempt in 1.. {
            let ring = keys.keys(look).await?;
            let mut tx = self.begin().await?;
            let sealing = sealing_key(&mut tx, &ring, now).await?;
            let key = match sealing {
                Some(key) => key,
                // A rotation came between the look at the keys and now.
                None if attempt < ATTEMPTS => {
                    look = Look::Everywhere;
                    continue;
                }
                None if self.is_shared() && self.has_other_sites(&mut tx).await? => return Err(not_our_key()),
                // The key is lost for good: what is sealed from now on is sealed with the one that is there.
                None => change_key(&mut tx, ring.newest(), now).await?,
            };
            let (versions, fresh) = keep(&mut tx, &ring, &key, scope, secrets, now).await?;
            if !fresh.is_empty() {
                let detail = serde_json::json!({ "scope": scope, "versions": fresh });
                audit::record_of_all(&mut tx, now, actor, "secrets_kept", &detail);
            }
            commit(tx).await?;
            return Ok(versions);
        }
        Err(Error::bug("sealing was given up without an answer"))
    }

    /// The version that each value has, or would get: nothing is kept. Without a key every value counts as new.
    pub async fn secret_versions(
        &self,
        keys: Option<&KeyRing>,
        scope: &str,
        secrets: &BTreeMap<String, SecretText>,
    ) -> Result<BTreeMap<String, i64>> {
        let mut connection = self.connection().await?;
        let mut versions = BTreeMap::new();
        for (name, value) in secrets {
            versions.insert(name.clone(), version_of(&mut connection, keys, scope, name, value).await?.0);
        }
        Ok(versions)
    }

    pub async fn has_secrets(&self) -> Result<bool> {
        let any = query("SELECT version FROM secrets LIMIT 1");
        Ok(any.fetch_optional(&mut *self.connection().await?).await?.is_some())
    }

    /// The value of one version of a secret.
    pub async fn secret(
        &self,
        keys: &dyn KeySource,
        scope: &str,
        name: &str,
        version: i64,
    ) -> Result<SecretText> {
        let opened = self.open_secrets(keys, scope, &BTreeMap::from([(name.to_owned(), version)])).await?;
        opened.into_values().next().ok_or_else(|| Error::bug("a secret was opened and is not there"))
    }

    /// The values that a release was sealed with.
    pub async fn open_secrets(
        &self,
        keys: &dyn KeySource,
        scope: &str,
        versions: &BTreeMap<String, i64>,
    ) -> Result<BTreeMap<String, SecretText>> {
        let first = match keys.keys(Look::Usual).await {
            Ok(ring) => self.open_by(&ring, scope, versions).await,
            Err(error) => Err(error),
        };
        match first {
            // A rotation may have come between the look at the keys and the look at the secrets.
            Err(error) if error.code() != "ORC-0212" => match keys.keys(Look::Everywhere).await {
                Ok(ring) => self.open_by(&ring, scope, versions).await,
                Err(_) => Err(error),
            },
            result => result,
        }
    }

    async fn open_by(
        &self,
        ring: &KeyRing,
        scope: &str,
        versions: &BTreeMap<String, i64>,
    ) -> Result<BTreeMap<String, SecretText>> {
        let mut connection = self.connection().await?;
        let mut values = BTreeMap::new();
        for (name, version) in versions {
            let row = query("SELECT sealed FROM secrets WHERE scope = $1 AND name = $2 AND version = $3")
                .bind(scope.to_owned())
                .bind(name.clone())
                .bind(*version)
                .fetch_optional(&mut connection)
                .await?;
            let row = row.ok_or_else(|| {
                let what = format!("version {version} of the secret {name} is not kept any more");
                Error::refused("ORC-0212", what)
            })?;
            values.insert(name.clone(), ring.open(&label(scope, name, *version), &row.bytes("sealed")?)?);
        }
        Ok(values)
    }

    /// All versions in a scope, by name, the newest first.
    pub async fn list_secrets(&self, ring: Option<&KeyRing>, scope: &str) -> Result<Vec<SecretRecord>> {
        let all = query("SELECT * FROM secrets WHERE scope = $1 ORDER BY name, version DESC").bind(scope);
        let rows = all.fetch_all(&mut *self.connection().await?).await?;
        let record = |row: &super::row::Row| {
            let (name, version) = (row.text("name")?, row.int("version")?);
            let (label, sealed) = (label(scope, &name, version), row.bytes("sealed")?);
            let readable = ring.is_some_and(|ring| ring.open(&label, &sealed).is_ok());
            Ok(SecretRecord { name, version, created_at: row.time("created_at")?, readable })
        };
        rows.iter().map(record).collect()
    }

    /// How to look for the key: with a new one in the place of one that is only away, nothing that was sealed could be read any more.
    pub async fn look_for_key(&self) -> Result<Look> {
        Ok(if self.sealing_key().await?.is_some() { Look::Usual } else { Look::OrMake })
    }

    /// By its fingerprint, the key that secrets are sealed with; none before the first one.
    pub async fn sealing_key(&self) -> Result<Option<String>> {
        let row = query("SELECT fingerprint FROM sealing_key");
        let row = row.fetch_optional(&mut *self.connection().await?).await?;
        row.map(|row| row.text("fingerprint")).transpose()
    }
}

/// Another home would not be able to read any more what it deploys.
fn not_our_key() -> Error {
    Error::refused("ORC-0211", "the secrets of this database are sealed with another key than the one of this home").hint(
        "have all homes that share the database use one key: copy the file `key` of the other home, or name one place for all \
         by ORCHESTRATE_KEY_FILE or ORCHESTRATE_KEY_COMMAND; if it is lost: orchestrate secrets rotate --skip-unreadable",
    )
}

/// The version of each, and of those that are new.
async fn keep(
    tx: &mut Tx,
    ring: &KeyRing,
    key: &SecretKey,
    scope: &str,
    secrets: &BTreeMap<String, SecretText>,
    now: Timestamp,
) -> Result<(BTreeMap<String, i64>, BTreeMap<String, i64>)> {
    let (mut versions, mut fresh) = (BTreeMap::new(), BTreeMap::new());
    for (name, value) in secrets {
        let (version, is_kept) = version_of(tx, Some(ring), scope, name, value).await?;
        versions.insert(name.clone(), version);
        if is_kept {
            continue;
        }
        fresh.insert(name.clone(), version);
        query("INSERT INTO secrets (scope, name, version, sealed, created_at) VALUES ($1, $2, $3, $4, $5)")
            .bind(scope.to_owned())
            .bind(name.clone())
            .bind(version)
            .bind(key.seal(&label(scope, name, version), value)?)
            .bind(now.to_string())
            .execute(tx)
            .await?;
    }
    Ok((versions, fresh))
}

/// The key of the ring that secrets are sealed with; none if it is another one. Until the transaction ends, nobody else
/// seals. The first who seals decides which it is.
async fn sealing_key(tx: &mut Tx, ring: &KeyRing, now: Timestamp) -> Result<Option<SecretKey>> {
    let row = query(
        "INSERT INTO sealing_key (one, fingerprint, since) VALUES (1, $1, $2) \
         ON CONFLICT (one) DO UPDATE SET fingerprint = sealing_key.fingerprint RETURNING fingerprint",
    )
    .bind(ring.newest().fingerprint())
    .bind(now.to_string())
    .fetch_one(tx)
    .await?;
    Ok(ring.find(&row.text("fingerprint")?).cloned())
}

async fn change_key(tx: &mut Tx, key: &SecretKey, now: Timestamp) -> Result<SecretKey> {
    query("UPDATE sealing_key SET fingerprint = $1, since = $2 WHERE one = 1")
        .bind(key.fingerprint())
        .bind(now.to_string())
        .execute(tx)
        .await?;
    Ok(key.clone())
}

/// The version of a value, and whether it is kept already. One that cannot be read counts as changed.
async fn version_of(
    session: &mut Session,
    keys: Option<&KeyRing>,
    scope: &str,
    name: &str,
    value: &SecretText,
) -> Result<(i64, bool)> {
    let newest = query(
        "SELECT version, sealed FROM secrets WHERE scope = $1 AND name = $2 ORDER BY version DESC LIMIT 1",
    )
    .bind(scope)
    .bind(name)
    .fetch_optional(session)
    .await?;
    let Some(row) = newest else { return Ok((1, false)) };
    let (version, sealed) = (row.int("version")?, row.bytes("sealed")?);
    let kept = keys.and_then(|keys| keys.open(&label(scope, name, version), &sealed).ok());
    if kept.as_ref() == Some(value) { Ok((version, true)) } else { Ok((version + 1, false)) }
}
