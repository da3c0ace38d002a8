//! Environments: settings, channels, and what is live.

use super::audit::{self, Entry};
use super::row::{Row, to_json};
use super::sql::query;
use super::{Database, Tx, commit};
use crate::environment::{Environment, EnvironmentSettings};
use crate::error::{Error, Result};
use crate::name::{DeploymentId, EnvironmentName, ReleaseId};
use crate::notification::{Channel, NoticeKind};
use crate::time::Timestamp;

/// An environment with what is live in it.
#[derive(Clone, Debug, PartialEq)]
pub struct EnvironmentRecord {
    pub environment: Environment,
    pub channels: Vec<Channel>,
    pub live: Option<Live>,
    /// The site that its instances are on, once something was deployed; none where an engine of a cluster runs them.
    pub owner: Option<String>,
    /// Whether another environment ever declared that it needs this one.
    pub has_dependants: bool,
}

impl EnvironmentRecord {
    /// Whether anybody wants to be told of this.
    pub fn tells(&self, kind: NoticeKind) -> bool {
        self.channels.iter().any(|channel| channel.wants(kind))
    }
}

/// What has the traffic, as recorded.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Live {
    pub release: ReleaseId,
    pub deployment: DeploymentId,
    pub since: Timestamp,
}

const SELECT_ONE: &str = "SELECT e.*, (SELECT COUNT(*) FROM dependencies d WHERE d.dependency = e.name) AS dependants \
     FROM environments e WHERE e.name = $1 AND e.deleted_at IS NULL";
const SELECT_ALL: &str = "SELECT e.*, (SELECT COUNT(*) FROM dependencies d WHERE d.dependency = e.name) AS dependants \
     FROM environments e WHERE e.deleted_at IS NULL ORDER BY e.name";

impl Database {
    /// Creates the environment or replaces its settings; records who did it. Returns whether anything changed.
    pub async fn apply_environment(
        &self,
        name: &EnvironmentName,
        service: &str,
        settings: &EnvironmentSettings,
        channels: &[Channel],
        actor: &str,
        now: Timestamp,
    ) -> Result<bool> {
        let mut tx = self.begin().await?;
        let before = fetch(&mut tx, name).await?;
        if let Some(before) = &before {
            if before.environment.service != service {
                return Err(Error::refused(
                    "ORC-0108",
                    format!(
                        "environment {name} belongs to service {}, not to {service}",
                        before.environment.service
                    ),
                )
                .hint("give the environment another name, or use another --home for another service"));
            }
            if before.environment.settings == *settings && before.channels == channels {
                return Ok(false);
            }
            if !before.environment.settings.routes_like(settings) && uses_slots(&mut tx, name).await? {
                return Err(stranded(name, before.live.is_some()));
            }
        }
        query(
            "INSERT INTO environments (name, service, settings, channels, created_at, updated_at) \
             VALUES ($1, $2, $3, $4, $5, $5) ON CONFLICT (name) DO UPDATE SET \
             settings = $3, channels = $4, updated_at = $5, deleted_at = NULL, service = $2",
        )
        .bind(name.to_string())
        .bind(service.to_owned())
        .bind(to_json(settings)?)
        .bind(to_json(&channels)?)
        .bind(now.to_string())
        .execute(&mut tx)
        .await?;
        for dependency in settings.depends_on.keys() {
            query("INSERT INTO dependencies (dependant, dependency) VALUES ($1, $2) ON CONFLICT DO NOTHING")
                .bind(name.to_string())
                .bind(dependency.to_string())
                .execute(&mut tx)
                .await?;
        }
        query("INSERT INTO leases (environment, fence) VALUES ($1, 0) ON CONFLICT (environment) DO NOTHING")
            .bind(name.to_string())
            .execute(&mut tx)
            .await?;
        let action = if before.is_some() { "environment_changed" } else { "environment_created" };
        let detail =
            serde_json::json!({ "service": service, "settings": settings, "channels": channels.len() });
        audit::record(&mut tx, Entry { at: now, environment: name, actor, action, reason: None, detail });
        commit(tx).await?;
        Ok(true)
    }

    /// The environment, or an error that names those there are.
    pub async fn environment(&self, name: &EnvironmentName) -> Result<EnvironmentRecord> {
        let row =
            query(SELECT_ONE).bind(name.to_string()).fetch_optional(&mut *self.connection().await?).await?;
        match row {
            Some(row) => read(&row),
            None => Err(self.no_such_environment(name).await?),
        }
    }

    pub async fn find_environment(&self, name: &EnvironmentName) -> Result<Option<EnvironmentRecord>> {
        let row =
            query(SELECT_ONE).bind(name.to_string()).fetch_optional(&mut *self.connection().await?).await?;
        row.as_ref().map(read).transpose()
    }

    pub async fn list_environments(&self) -> Result<Vec<EnvironmentRecord>> {
        let rows = query(SELECT_ALL).fetch_all(&mut *self.connection().await?).await?;
        rows.iter().map(read).collect()
    }

    /// Takes an environment out of the list; its history stays. Refused while anything runs in it.
    pub async fn delete_environment(
        &self,
        name: &EnvironmentName,
        actor: &str,
        now: Timestamp,
    ) -> Result<()> {
        let mut tx = self.begin().await?;
        if uses_slots(&mut tx, name).await? {
            return Err(Error::refused(
                "ORC-0109",
                format!("environment {name} still has running instances"),
            )
            .hint(format!("stop them first: orchestrate env stop {name}")));
        }
        let changed = query(
            "UPDATE environments SET deleted_at = $2, owner = NULL WHERE name = $1 AND deleted_at IS NULL",
        )
        .bind(name.to_string())
        .bind(now.to_string())
        .execute(&mut tx)
        .await?;
        if changed == 0 {
            drop(tx);
            return Err(self.no_such_environment(name).await?);
        }
        let detail = serde_json::json!({});
        let entry =
            Entry { at: now, environment: name, actor, action: "environment_deleted", reason: None, detail };
        audit::record(&mut tx, entry);
        commit(tx).await
    }

    async fn no_such_environment(&self, name: &EnvironmentName) -> Result<Error> {
        let names: Vec<String> =
            self.list_environments().await?.into_iter().map(|e| e.environment.name.to_string()).collect();
        let hint = if names.is_empty() {
            "there are none yet; write orchestrate.yaml with `orchestrate init`, then `orchestrate env apply`"
                .to_owned()
        } else {
            let near = names
                .iter()
                .map(|known| (strsim::damerau_levenshtein(known, name.as_str()), known))
                .filter(|(distance, _)| *distance <= 3)
                .min();
            match near {
                Some((_, near)) => format!("did you mean {near}? known: {}", names.join(", ")),
                None => format!(
                    "known: {}; add one to orchestrate.yaml and run `orchestrate env apply`",
                    names.join(", ")
                ),
            }
        };
        Ok(Error::refused("ORC-0101", format!("there is no environment {name}")).hint(hint))
    }
}

pub(crate) async fn fetch(tx: &mut Tx, name: &EnvironmentName) -> Result<Option<EnvironmentRecord>> {
    let row = query(SELECT_ONE).bind(name.to_string()).fetch_optional(tx).await?;
    row.as_ref().map(read).transpose()
}

/// Every one that was not deleted.
pub(crate) async fn fetch_all(tx: &mut Tx) -> Result<Vec<EnvironmentRecord>> {
    let rows = query(SELECT_ALL).fetch_all(tx).await?;
    rows.iter().map(read).collect()
}

async fn uses_slots(tx: &mut Tx, name: &EnvironmentName) -> Result<bool> {
    let slots = query("SELECT COUNT(*) AS n FROM slots WHERE environment = $1");
    Ok(slots.bind(name.to_string()).fetch_one(tx).await?.int("n")? > 0)
}

/// The router of before would go on with what it was told last, and nobody would tell it anything any more.
fn stranded(name: &EnvironmentName, live: bool) -> Error {
    let what = if live { "something is live there" } else { "something still runs there" };
    Error::refused("ORC-0520", format!("environment {name} cannot get another router while {what}"))
        .hint(format!("stop it first: orchestrate env stop {name}; or leave `router` as it was"))
}

/// Records what is live; `None` once nothing is.
pub(crate) async fn set_live(tx: &mut Tx, name: &EnvironmentName, live: Option<Live>) -> Result<()> {
    query(
        "UPDATE environments SET live_release_id = $2, live_deployment_id = $3, live_since = $4 WHERE name = $1",
    )
    .bind(name.to_string())
    .bind(live.map(|live| live.release.0))
    .bind(live.map(|live| live.deployment.0))
    .bind(live.map(|live| live.since.to_string()))
    .execute(tx)
    .await?;
    Ok(())
}

fn read(row: &Row) -> Result<EnvironmentRecord> {
    let live = match (
        row.opt_int("live_release_id")?,
        row.opt_int("live_deployment_id")?,
        row.opt_time("live_since")?,
    ) {
        (Some(release), Some(deployment), Some(since)) => {
            Some(Live { release: ReleaseId(release), deployment: DeploymentId(deployment), since })
        }
        _ => None,
    };
    Ok(EnvironmentRecord {
        environment: Environment {
            name: row.environment("name")?,
            service: row.text("service")?,
            settings: row.json("settings")?,
            created_at: row.time("created_at")?,
            updated_at: row.time("updated_at")?,
        },
        channels: row.json("channels")?,
        live,
        owner: row.opt_text("owner")?,
        has_dependants: row.int("dependants")? > 0,
    })
}
