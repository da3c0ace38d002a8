//! The homes that share the database, and which of them an environment runs in.

mod adopt;
mod care;

use serde::{Deserialize, Serialize};

use super::sql::query;
use super::{Database, EnvironmentRecord, Tx};
use crate::environment::ProviderKind;
use crate::error::{Error, Result};
use crate::name::{EnvironmentName, ReleaseId};
use crate::ports::Ports;
use crate::release::{Contents, Release};

pub use adopt::Adopted;

/// A home on a machine.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Site {
    /// Of this home on this machine; a copy elsewhere has another one.
    #[serde(skip)]
    pub id: String,
    /// The machine's name, for people.
    pub host: String,
    pub home: String,
}

/// A site as the others know it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct SiteRecord {
    #[serde(flatten)]
    pub site: Site,
    /// Whether its daemon was heard of in time.
    pub alive: bool,
    /// How long ago its daemon was heard of last, if ever.
    pub seen_ago_ms: Option<u64>,
    pub version: Option<String>,
}

impl Database {
    /// The site that the environment runs on, as far as it is known.
    pub async fn owner(&self, environment: &EnvironmentRecord) -> Result<Option<SiteRecord>> {
        let Some(id) = &environment.owner else { return Ok(None) };
        let now = self.clock();
        let sql = format!(
            "SELECT *, {now} - seen_at AS seen_ago, CASE WHEN alive_until > {now} THEN 1 ELSE 0 END AS alive \
             FROM sites WHERE id = $1"
        );
        let row = query(sql).bind(id.clone()).fetch_optional(&mut *self.connection().await?).await?;
        let Some(row) = row else { return Ok(Some(unknown(id))) };
        Ok(Some(SiteRecord {
            site: Site { id: row.text("id")?, host: row.text("host")?, home: row.text("home")? },
            alive: row.int("alive")? == 1,
            seen_ago_ms: row.opt_int("seen_ago")?.map(|ago| u64::try_from(ago).unwrap_or(0)),
            version: row.opt_text("version")?,
        }))
    }

    /// Whether more than one home shares the database, as far as is known.
    pub(super) async fn has_other_sites(&self, tx: &mut Tx) -> Result<bool> {
        Ok(query("SELECT COUNT(*) AS n FROM sites").fetch_one(tx).await?.int("n")? > 1)
    }

    /// Refuses what would change an environment that runs on another site than this.
    pub async fn refuse_elsewhere(&self, environment: &EnvironmentRecord, here: Option<&Site>) -> Result<()> {
        let Some(here) = here else { return Ok(()) };
        let Some(owner) = &environment.owner else { return self.refuse_unsettled(environment, here).await };
        if *owner == here.id {
            return Ok(());
        }
        let there = self.owner(environment).await?.unwrap_or_else(|| unknown(owner));
        Err(elsewhere(&environment.environment.name, &there))
    }

    /// Refuses what has no owner although something runs there, as long as it can be another site's.
    async fn refuse_unsettled(&self, environment: &EnvironmentRecord, here: &Site) -> Result<()> {
        let name = &environment.environment.name;
        let has_no_owner = !environment.environment.settings.provider.is_local();
        if has_no_owner || self.slots(name).await?.is_empty() || self.is_only_site(here).await? {
            return Ok(());
        }
        Err(unsettled(name))
    }
}

/// An older program deployed it, and did not record where: a second home would start it again beside the first.
fn unsettled(environment: &EnvironmentName) -> Error {
    Error::refused(
        "ORC-0162",
        format!(
            "{environment} was deployed to by an older orchestrate, which did not record from which home"
        ),
    )
    .hint(format!(
        "start the daemon of that home, which records it: orchestrate daemon start; or have it run here: \
         orchestrate env adopt {environment}"
    ))
}

fn unknown(id: &str) -> SiteRecord {
    let site = Site { id: id.to_owned(), host: "a machine that is not known".into(), home: "?".into() };
    SiteRecord { site, alive: false, seen_ago_ms: None, version: None }
}

fn elsewhere(environment: &EnvironmentName, there: &SiteRecord) -> Error {
    let Site { host, home, .. } = &there.site;
    let seen = there.seen();
    Error::refused("ORC-0162", format!("{environment} runs on {host}, in {home}; its daemon there {seen}")).hint(format!(
        "type the same on {host}: orchestrate --home {home} …; or, if {host} is gone for good, have it run here: \
         orchestrate env adopt {environment}"
    ))
}

impl SiteRecord {
    /// When its daemon was heard of, to follow "its daemon".
    pub fn seen(&self) -> String {
        match (self.alive, self.seen_ago_ms) {
            (true, _) => "is alive".to_owned(),
            (false, Some(ago)) => format!("was last heard of {} s ago", ago / 1000),
            (false, None) => "was never heard of".to_owned(),
        }
    }
}

/// Refuses what would change an environment of another site. What was read with the lease cannot have changed once the
/// lease is taken: adopting moves its fence.
pub(crate) async fn only_here(db: &Database, ports: &Ports, environment: &EnvironmentRecord) -> Result<()> {
    db.refuse_elsewhere(environment, ports.host.site().as_ref()).await
}

/// Has the environment run on this site from its first release on; where a cluster runs it and routes to it, on none.
pub(crate) async fn settle_here(
    tx: &mut Tx,
    ports: &Ports,
    environment: &EnvironmentRecord,
    release: &Release,
) -> Result<()> {
    let Some(here) = ports.host.site() else { return Ok(()) };
    let (name, owner) = (&environment.environment.name, &environment.owner);
    if release.contents.settings.provider.is_local() {
        if owner.is_none() {
            introduce(tx, &here).await?;
            set_owner(tx, name, Some(&here)).await?;
        }
    } else if owner.is_some() && !has_local_slots(tx, name).await? {
        set_owner(tx, name, None).await?;
    }
    Ok(())
}

/// What was sealed for a provider of one home is still there.
async fn has_local_slots(tx: &mut Tx, environment: &EnvironmentName) -> Result<bool> {
    for slot in super::slots::fetch_all(tx, environment).await? {
        if provider_of(tx, slot.release).await?.is_local() {
            return Ok(true);
        }
    }
    Ok(false)
}

async fn provider_of(tx: &mut Tx, release: ReleaseId) -> Result<ProviderKind> {
    let row = query("SELECT contents FROM releases WHERE id = $1").bind(release.0).fetch_one(tx).await?;
    Ok(row.json::<Contents>("contents")?.settings.provider)
}

/// Makes the site known to the others, by its name for people.
async fn introduce(tx: &mut Tx, site: &Site) -> Result<()> {
    query(
        "INSERT INTO sites (id, host, home) VALUES ($1, $2, $3) ON CONFLICT (id) DO UPDATE SET host = $2, home = $3",
    )
    .bind(site.id.clone())
    .bind(site.host.clone())
    .bind(site.home.clone())
    .execute(tx)
    .await?;
    Ok(())
}

async fn set_owner(tx: &mut Tx, environment: &EnvironmentName, owner: Option<&Site>) -> Result<()> {
    query("UPDATE environments SET owner = $2 WHERE name = $1")
        .bind(environment.to_string())
        .bind(owner.map(|site| site.id.clone()))
        .execute(tx)
        .await?;
    Ok(())
}

/// Which environment of a cluster a daemon looks after.
fn care_of(environment: &EnvironmentName) -> String {
    format!("care/{environment}")
}
