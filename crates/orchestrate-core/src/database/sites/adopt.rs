//! An environment is taken over by another site, because the one that it ran on is gone.

use serde::Serialize;

use super::{Site, SiteRecord, introduce, provider_of, set_owner};
use crate::database::audit::{self, Entry};
use crate::database::outbox::{self, Words};
use crate::database::sql::query;
use crate::database::{Database, EnvironmentRecord, Tx, commit, rollouts, slots};
use crate::error::{Error, Result};
use crate::name::EnvironmentName;
use crate::notification::NoticeKind;
use crate::slot::SlotState;
use crate::time::Timestamp;

/// Where an environment ran before it was adopted.
#[derive(Clone, Debug, Serialize)]
pub struct Adopted {
    pub environment: EnvironmentName,
    pub from: Option<SiteRecord>,
    pub to: Site,
}

impl Database {
    /// Has the environment run here from now on. Refused while the daemon of its owner is alive, unless `force`. Whatever
    /// is under way there loses its lease, and is finished or undone here.
    pub async fn adopt(
        &self,
        name: &EnvironmentName,
        here: &Site,
        force: bool,
        actor: &str,
        now: Timestamp,
    ) -> Result<Adopted> {
        let environment = self.environment(name).await?;
        let from = self.owner(&environment).await?;
        may_adopt(&environment, from.as_ref(), here, force)?;
        if environment.owner.is_none() && self.slots(name).await?.is_empty() {
            return Err(nothing(name, "nothing runs there yet; it runs where it is deployed to first"));
        }
        let mut tx = self.begin().await?;
        introduce(&mut tx, here).await?;
        let fence = fence_off(&mut tx, name).await?;
        let changed = query("UPDATE environments SET updated_at = updated_at WHERE name = $1 AND (owner = $2 OR (owner IS NULL AND CAST($2 AS TEXT) IS NULL))")
            .bind(name.to_string())
            .bind(environment.owner.clone())
            .execute(&mut tx)
            .await?;
        if changed == 0 {
            tx.rollback().await?;
            return Err(nothing(name, "another site adopted it in this moment"));
        }
        set_owner(&mut tx, name, Some(here)).await?;
        keep_live(&mut tx, name, now).await?;
        let detail = serde_json::json!({ "from": from, "to": here, "force": force });
        let entry =
            Entry { at: now, environment: name, actor, action: "environment_adopted", reason: None, detail };
        audit::record(&mut tx, entry);
        let adopted = Adopted { environment: name.clone(), from, to: here.clone() };
        tell(&mut tx, &environment, &adopted, actor, fence, now).await?;
        commit(tx).await?;
        Ok(adopted)
    }
}

fn may_adopt(
    environment: &EnvironmentRecord,
    from: Option<&SiteRecord>,
    here: &Site,
    force: bool,
) -> Result<()> {
    let name = &environment.environment.name;
    if environment.owner.as_ref() == Some(&here.id) {
        return Err(nothing(name, "it runs here already"));
    }
    if environment.owner.is_none() && !environment.environment.settings.provider.is_local() {
        return Err(nothing(name, "a cluster runs it, and every daemon may look after it"));
    }
    match from {
        Some(there) if there.alive && !force => {
            let Site { host, home, .. } = &there.site;
            Err(Error::refused("ORC-0163", format!("the daemon of {name} on {host}, in {home}, is alive")).hint(format!(
                "stop it there first: orchestrate --home {home} daemon stop --all; or take it over all the same, and what \
                 runs there goes on: orchestrate env adopt {name} --force"
            )))
        }
        _ => Ok(()),
    }
}

fn nothing(name: &EnvironmentName, why: &str) -> Error {
    Error::refused("ORC-0164", format!("{name} cannot be adopted: {why}"))
        .hint(format!("see where it runs: orchestrate deploy status --env {name}"))
}

/// Who acts there by an older fence finds that another took over; nobody waits for its lease to run out.
async fn fence_off(tx: &mut Tx, name: &EnvironmentName) -> Result<i64> {
    query("UPDATE leases SET fence = fence + 1, expires_at = NULL WHERE environment = $1 RETURNING fence")
        .bind(name.to_string())
        .fetch_one(tx)
        .await?
        .int("fence")
}

/// What was kept warm, or was on its way to be live, is on the site that is gone, unless it is found from here, too. An open
/// operation sees to its own slots.
async fn keep_live(tx: &mut Tx, name: &EnvironmentName, now: Timestamp) -> Result<()> {
    for record in slots::fetch_all(tx, name).await? {
        if provider_of(tx, record.release).await?.is_found_from_everywhere() {
            continue;
        }
        match record.state {
            SlotState::Warm | SlotState::Retiring => slots::remove(tx, name, record.slot).await?,
            SlotState::Staged => {
                rollouts::end(tx, name, now).await?;
                slots::remove(tx, name, record.slot).await?;
            }
            SlotState::Live | SlotState::Filling => {}
        }
    }
    Ok(())
}

async fn tell(
    tx: &mut Tx,
    environment: &EnvironmentRecord,
    adopted: &Adopted,
    actor: &str,
    fence: i64,
    now: Timestamp,
) -> Result<()> {
    let (kind, record) = (NoticeKind::NeedsAttention, &environment.environment);
    let (name, to) = (&record.name, &adopted.to.host);
    let from = adopted.from.as_ref().map_or("nowhere", |there| there.site.host.as_str());
    let text =
        format!("{} in {name} runs on {to} from now on, not on {from}: adopted by {actor}", record.service);
    let words = Words {
        key: format!("adopted-{name}-{fence}"),
        payload: serde_json::json!({
            "service": record.service, "environment": name, "url": record.settings.url, "actor": actor,
            "from": adopted.from, "to": adopted.to, "text": text,
        }),
        rollback: None,
        subject: None,
    };
    outbox::say(tx, environment, kind, words, now).await
}
