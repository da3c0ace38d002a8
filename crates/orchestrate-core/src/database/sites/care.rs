//! Which environments a daemon looks after: those of its site, and those of clusters that are its turn.

use super::{Site, care_of, introduce, set_owner};
use crate::database::duties::span_millis;
use crate::database::sql::query;
use crate::database::{Database, Holder, commit};
use crate::error::Result;
use crate::name::EnvironmentName;
use crate::time::Span;

impl Database {
    /// Says that the daemon of this site is alive, for `ttl` from now. False if another daemon speaks for the same site: a
    /// copy of the whole machine.
    pub async fn beat(&self, site: &Site, daemon: &Holder, version: &str, ttl: Span) -> Result<bool> {
        let now = self.clock();
        // On the same boot of the same machine the home's lock says that the other one has ended.
        let sql = format!(
            "INSERT INTO sites (id, host, home, pid, boot, version, seen_at, alive_until) \
             VALUES ($1, $2, $3, $4, $5, $6, {now}, {now} + $7) ON CONFLICT (id) DO UPDATE \
             SET host = $2, home = $3, pid = $4, boot = $5, version = $6, seen_at = {now}, alive_until = {now} + $7 \
             WHERE sites.alive_until IS NULL OR sites.alive_until < {now} OR sites.boot = $5"
        );
        let heard = query(sql)
            .bind(site.id.clone())
            .bind(site.host.clone())
            .bind(site.home.clone())
            .bind(i64::from(daemon.pid))
            .bind(daemon.boot_id.clone())
            .bind(version.to_owned())
            .bind(span_millis(ttl))
            .execute(&mut *self.connection().await?)
            .await?;
        Ok(heard == 1)
    }

    /// The daemon of this site ends: nobody has to wait until it counts as dead.
    pub async fn sign_off(&self, site: &Site, daemon: &Holder) -> Result<()> {
        let signed = query("UPDATE sites SET alive_until = 0 WHERE id = $1 AND pid = $2 AND boot = $3")
            .bind(site.id.clone())
            .bind(i64::from(daemon.pid))
            .bind(daemon.boot_id.clone())
            .execute(&mut *self.connection().await?)
            .await?;
        if signed == 1 {
            query("DELETE FROM duties WHERE site = $1")
                .bind(site.id.clone())
                .execute(&mut *self.connection().await?)
                .await?;
        }
        Ok(())
    }

    /// What this daemon looks after now; nothing, unless it is the one that speaks for its site.
    pub async fn in_care_of(&self, site: &Site, daemon: &Holder) -> Result<Vec<EnvironmentName>> {
        let sql = format!(
            "SELECT e.name FROM environments e WHERE e.deleted_at IS NULL AND EXISTS (SELECT 1 FROM sites s \
             WHERE s.id = $1 AND s.pid = $2 AND s.boot = $3 AND s.alive_until > {now}) AND (e.owner = $1 OR \
             (e.owner IS NULL AND EXISTS (SELECT 1 FROM duties d WHERE d.duty = 'care/' || e.name AND d.site = $1 \
             AND d.until > {now}))) ORDER BY e.name",
            now = self.clock()
        );
        let rows = query(sql)
            .bind(site.id.clone())
            .bind(i64::from(daemon.pid))
            .bind(daemon.boot_id.clone())
            .fetch_all(&mut *self.connection().await?)
            .await?;
        rows.iter().map(|row| row.environment("name")).collect()
    }

    /// Takes the environments of clusters that nobody looks after, for `ttl`; with `keep`, those that it has for as long again.
    pub async fn take_care(&self, site: &Site, ttl: Span, keep: bool) -> Result<()> {
        for record in self.list_environments().await? {
            if record.environment.settings.provider.is_local() || record.owner.is_some() {
                continue;
            }
            let duty = care_of(&record.environment.name);
            if keep || !self.has_duty(&duty, &site.id, Span::default()).await? {
                self.take_duty(&duty, &site.id, ttl).await?;
            }
        }
        Ok(())
    }

    /// Environments that were deployed to by a program which did not record where: something runs, and nobody knows on which site.
    pub async fn without_owner(&self) -> Result<Vec<EnvironmentName>> {
        let rows = query(
            "SELECT name, settings FROM environments e WHERE deleted_at IS NULL AND owner IS NULL \
             AND EXISTS (SELECT 1 FROM slots s WHERE s.environment = e.name)",
        )
        .fetch_all(&mut *self.connection().await?)
        .await?;
        let mut names = Vec::new();
        for row in &rows {
            let settings: crate::environment::EnvironmentSettings = row.json("settings")?;
            if settings.provider.is_local() {
                names.push(row.environment("name")?);
            }
        }
        Ok(names)
    }

    /// Whether no other site was ever heard of.
    pub async fn is_only_site(&self, site: &Site) -> Result<bool> {
        let others = query("SELECT COUNT(*) AS n FROM sites WHERE id <> $1").bind(site.id.clone());
        Ok(others.fetch_one(&mut *self.connection().await?).await?.int("n")? == 0)
    }

    /// Records that what has no owner runs here; false if it has one by now.
    pub async fn own(&self, environment: &EnvironmentName, site: &Site) -> Result<bool> {
        let mut tx = self.begin().await?;
        introduce(&mut tx, site).await?;
        let ours = query("UPDATE environments SET owner = NULL WHERE name = $1 AND owner IS NULL")
            .bind(environment.to_string())
            .execute(&mut tx)
            .await?;
        if ours == 1 {
            set_owner(&mut tx, environment, Some(site)).await?;
        }
        commit(tx).await?;
        Ok(ours == 1)
    }
}
