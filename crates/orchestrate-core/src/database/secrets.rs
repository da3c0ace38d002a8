//! Secret values by name and version, encrypted; equal values keep their version.

use std::collections::BTreeMap;

use super::sql::query;
use super::{Database, commit};
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
        now: Timestamp,
    ) -> Result<BTreeMap<String, i64>> {
        let mut versions = BTreeMap::new();
        if secrets.is_empty() {
            return Ok(versions);
        }
        let mut tx = self.begin().await?;
        for (name, value) in secrets {
            let newest = query(
                "SELECT version, sealed FROM secrets WHERE scope = $1 AND name = $2 ORDER BY version DESC LIMIT 1",
            )
            .bind(scope.to_owned())
            .bind(name.clone())
            .fetch_optional(&mut tx)
            .await?;
            let newest =
                newest.map(|row| Ok::<_, Error>((row.int("version")?, row.bytes("sealed")?))).transpose()?;
            if let Some((version, sealed)) = &newest {
                // A value that cannot be read counts as changed: the new one is kept beside it.
                if key.open(&label(scope, name, *version), sealed).is_ok_and(|kept| kept == *value) {
                    versions.insert(name.clone(), *version);
                    continue;
                }
            }
            let version = newest.map_or(0, |(version, _)| version) + 1;
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
            versions.insert(name.clone(), version);
        }
        commit(tx).await?;
        Ok(versions)
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
