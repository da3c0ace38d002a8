//! Secret values by name and version, encrypted; equal values keep their version.

use std::collections::BTreeMap;

use super::session::Session;
use super::sql::query;
use super::{Database, audit, commit};
use crate::error::{Error, Result};
use crate::secrets::{SecretKey, SecretText};
use crate::time::Timestamp;

fn label(scope: &str, name: &str, version: i64) -> String {
    format!("{scope}/{name}/{version}")
}

impl Database {
    /// Keeps the values and returns the version of each; a value that did not change keeps its version.
    pub async fn keep_secrets(
        &self,
        key: &SecretKey,
        scope: &str,
        secrets: &BTreeMap<String, SecretText>,
        actor: &str,
        now: Timestamp,
    ) -> Result<BTreeMap<String, i64>> {
        let mut versions = BTreeMap::new();
        if secrets.is_empty() {
            return Ok(versions);
        }
        let mut tx = self.begin().await?;
        let mut fresh = BTreeMap::new();
        for (name, value) in secrets {
            let (version, is_kept) = version_of(&mut tx, Some(key), scope, name, value).await?;
            versions.insert(name.clone(), version);
            if is_kept {
                continue;
            }
            fresh.insert(name, version);
            query(
                "INSERT INTO secrets (scope, name, version, sealed, created_at) VALUES ($1, $2, $3, $4, $5)",
            )
            .bind(scope.to_owned())
            .bind(name.clone())
            .bind(version)
            .bind(key.seal(&label(scope, name, version), value)?)
            .bind(now.to_string())
            .execute(&mut tx)
            .await?;
        }
        if !fresh.is_empty() {
            let detail = serde_json::json!({ "scope": scope, "versions": fresh });
            audit::record_of_all(&mut tx, now, actor, "secrets_kept", &detail);
        }
        commit(tx).await?;
        Ok(versions)
    }

    /// The version that each value has, or would get: nothing is kept. Without a key every value counts as new.
    pub async fn secret_versions(
        &self,
        key: Option<&SecretKey>,
        scope: &str,
        secrets: &BTreeMap<String, SecretText>,
    ) -> Result<BTreeMap<String, i64>> {
        let mut connection = self.connection().await?;
        let mut versions = BTreeMap::new();
        for (name, value) in secrets {
            versions.insert(name.clone(), version_of(&mut connection, key, scope, name, value).await?.0);
        }
        Ok(versions)
    }

    pub async fn has_secrets(&self) -> Result<bool> {
        let any = query("SELECT version FROM secrets LIMIT 1");
        Ok(any.fetch_optional(&mut *self.connection().await?).await?.is_some())
    }

    /// The value of one version of a secret.
    pub async fn secret(&self, key: &SecretKey, scope: &str, name: &str, version: i64) -> Result<SecretText> {
        let row = query("SELECT sealed FROM secrets WHERE scope = $1 AND name = $2 AND version = $3")
            .bind(scope.to_owned())
            .bind(name.to_owned())
            .bind(version)
            .fetch_optional(&mut *self.connection().await?)
            .await?;
        let row = row.ok_or_else(|| {
            Error::refused("ORC-0212", format!("version {version} of the secret {name} is not kept any more"))
        })?;
        key.open(&label(scope, name, version), &row.bytes("sealed")?)
    }

    /// The values that a release was sealed with.
    pub async fn open_secrets(
        &self,
        key: &SecretKey,
        scope: &str,
        versions: &BTreeMap<String, i64>,
    ) -> Result<BTreeMap<String, SecretText>> {
        let mut values = BTreeMap::new();
        for (name, version) in versions {
            values.insert(name.clone(), self.secret(key, scope, name, *version).await?);
        }
        Ok(values)
    }
}

/// The version of a value, and whether it is kept already. One that cannot be read counts as changed.
async fn version_of(
    session: &mut Session,
    key: Option<&SecretKey>,
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
    let kept = key.and_then(|key| key.open(&label(scope, name, version), &sealed).ok());
    if kept.as_ref() == Some(value) { Ok((version, true)) } else { Ok((version + 1, false)) }
}
