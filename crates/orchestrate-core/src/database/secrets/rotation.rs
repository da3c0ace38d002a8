//! Sealing everything anew under another key, in one transaction: nobody ever sees a half of it.

use super::{change_key, label, sealing_key};
use crate::database::sql::query;
use crate::database::{Database, audit, commit};
use crate::error::{Error, Result};
use crate::secrets::{KeyRing, SecretKey};
use crate::time::Timestamp;

/// What a rotation did.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Resealed {
    /// How many versions of secrets are sealed with the new key now.
    pub resealed: i64,
    /// Those that no key at hand opens, `scope/name/version`; they stay as they are.
    pub unreadable: Vec<String>,
}

impl Database {
    /// Seals every version of every secret with `to`. One that the ring cannot open refuses the whole, unless `skip`.
    pub async fn reseal_secrets(
        &self,
        ring: &KeyRing,
        to: &SecretKey,
        skip: bool,
        actor: &str,
        now: Timestamp,
    ) -> Result<Resealed> {
        let mut tx = self.begin().await?;
        // Taken even if the ring does not have the key: nobody may seal meanwhile.
        let from = sealing_key(&mut tx, ring, now).await?;
        let mut done = Resealed { resealed: 0, unreadable: Vec::new() };
        let all = query("SELECT scope, name, version, sealed FROM secrets ORDER BY scope, name, version");
        for row in all.fetch_all(&mut tx).await? {
            let (scope, name, version) = (row.text("scope")?, row.text("name")?, row.int("version")?);
            let label = label(&scope, &name, version);
            let Ok(value) = ring.open(&label, &row.bytes("sealed")?) else {
                done.unreadable.push(label);
                continue;
            };
            query("UPDATE secrets SET sealed = $1 WHERE scope = $2 AND name = $3 AND version = $4")
                .bind(to.seal(&label, &value)?)
                .bind(scope)
                .bind(name)
                .bind(version)
                .execute(&mut tx)
                .await?;
            done.resealed += 1;
        }
        if !skip && !done.unreadable.is_empty() {
            return Err(unreadable(&done.unreadable));
        }
        change_key(&mut tx, to, now).await?;
        let detail = serde_json::json!({
            "from": from.map(|key| key.fingerprint()),
            "to": to.fingerprint(),
            "resealed": done.resealed,
            "unreadable": done.unreadable,
        });
        audit::record_of_all(&mut tx, now, actor, "secrets_rotated", &detail);
        commit(tx).await?;
        Ok(done)
    }
}

fn unreadable(labels: &[String]) -> Error {
    let (first, count) = (labels.first().map_or("", String::as_str), labels.len());
    let more = if count > 1 { format!(" and {} more", count - 1) } else { String::new() };
    Error::refused("ORC-0234", format!("no key at hand opens the secret {first}{more}; nothing was changed"))
        .hint(
            "restore its key from a backup, or leave it behind: orchestrate secrets rotate --skip-unreadable",
        )
}
