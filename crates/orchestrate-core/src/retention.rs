//! Pruning: marks the releases that an environment does not keep, then removes artifacts that nobody needs.

use std::collections::BTreeSet;

use serde::Serialize;

use crate::database::{Asked, Database, sites};
use crate::environment::Retention;
use crate::error::{Error, Result};
use crate::execute::record::{anew, busy, record_pruning};
use crate::name::{EnvironmentName, ReleaseId, Version};
use crate::plan::previous::Asker;
use crate::plan::retention::{Facts, Kept, Verdict, verdicts};
use crate::plan::rollback::{Wanted, default_target};
use crate::ports::Ports;
use crate::release::Release;
use crate::situation::{self, Observed, Question};
use crate::time::Timestamp;

/// What was pruned, or would be.
#[derive(Clone, Debug, Serialize)]
pub struct Pruning {
    pub environment: EnvironmentName,
    pub dry_run: bool,
    pub releases: Vec<Judged>,
    /// Artifacts that were removed; in a dry run, none.
    pub removed: usize,
}

/// One release, for people and scripts.
#[derive(Clone, Debug, Serialize)]
pub struct Judged {
    pub version: Version,
    /// None: it is pruned.
    pub kept: Option<Kept>,
    /// Whether a rollback can still go there afterwards, with `--version` and, where it is held, `--force`.
    pub reachable: bool,
    pub sealed_at: Timestamp,
    /// Unpacked bytes of its artifact, which other releases may share.
    pub bytes: u64,
}

/// Prunes an environment by its `retention`; refused if it has none, or while an operation is open.
pub async fn prune(
    db: &Database,
    ports: &Ports,
    environment: &EnvironmentName,
    actor: &str,
    dry_run: bool,
) -> Result<Pruning> {
    let result = anew(|| prune_once(db, ports, environment, actor, dry_run)).await;
    if dry_run {
        return result;
    }
    let asked = Asked { environment, actor, what: "prune", version: None, reason: None };
    db.noted(&asked, result, ports.clock.now()).await
}

async fn prune_once(
    db: &Database,
    ports: &Ports,
    name: &EnvironmentName,
    actor: &str,
    dry_run: bool,
) -> Result<Pruning> {
    let question = Question::of_a_person(&Wanted::Previous);
    let observed = situation::observe(db, ports, name, question).await?;
    let retention = configured(&observed)?;
    if observed.busy {
        return Err(busy(db, ports, name).await?);
    }
    if !dry_run {
        sites::only_here(db, ports, &observed.environment).await?;
    }
    let judged = verdicts(&facts(db, &observed, ports.clock.now()).await?, &retention);
    let going: Vec<&Release> =
        judged.iter().filter(|one| one.kept.is_none()).map(|one| &one.release).collect();
    let mut removed = 0;
    if !dry_run {
        if !going.is_empty() {
            record_pruning(db, ports, name, actor, &observed.seen, &going).await?;
        }
        removed = discard(db, ports, name).await?;
    }
    let releases = judged.into_iter().map(Judged::from).collect();
    Ok(Pruning { environment: name.clone(), dry_run, releases, removed })
}

fn configured(observed: &Observed) -> Result<Retention> {
    let name = &observed.situation.environment;
    observed.environment.environment.settings.retention.clone().ok_or_else(|| {
        Error::refused("ORC-0143", format!("{name} has no `retention`, so it keeps every release")).hint(
            format!(
                "write for example `retention: {{ keep: 10 }}`, then: orchestrate env apply --env {name}"
            ),
        )
    })
}

async fn facts(db: &Database, observed: &Observed, now: Timestamp) -> Result<Facts> {
    let situation = &observed.situation;
    let name = &situation.environment;
    let undo = db.last_standing_rollback(name).await?.and_then(|event| event.left_release());
    Ok(Facts {
        releases: db.list_kept_releases(name).await?,
        live: situation.live.as_ref().map(|(live, _)| live.id),
        in_slots: situation.slots.iter().map(|slot| slot.release).collect(),
        current: situation.current.as_ref().map(|(_, release)| release.id),
        previous: default_target(situation, Asker::Person).ok().map(|release| release.id),
        undo,
        with_evidence: with_evidence(db, name).await?,
        now,
    })
}

async fn with_evidence(db: &Database, name: &EnvironmentName) -> Result<BTreeSet<ReleaseId>> {
    let deployments = db.list_deployments(name, i64::MAX).await?;
    Ok(deployments.into_iter().filter(|one| !one.evidence.is_empty()).map(|one| one.release).collect())
}

/// Also what an earlier pruning did not come to remove. What was just taken in again is left by the store itself.
async fn discard(db: &Database, ports: &Ports, name: &EnvironmentName) -> Result<usize> {
    let mut removed = 0;
    if db.lease(name).await?.is_some_and(|lease| lease.restored_at.is_some()) {
        // What runs may need artifacts of which these records know nothing.
        return Ok(0);
    }
    for digest in db.list_pruned_artifacts(name).await? {
        if db.artifact_in_use(&digest).await? {
            continue;
        }
        match ports.provider.discard(&digest).await {
            Ok(true) => removed += 1,
            Ok(false) => {}
            // It takes up space, and is tried again the next time.
            Err(error) => {
                ports.progress.remark(&format!("the artifact {} was not removed: {error}", digest.short()));
            }
        }
    }
    Ok(removed)
}

impl From<Verdict> for Judged {
    fn from(Verdict { release, kept }: Verdict) -> Self {
        Self {
            kept,
            reachable: kept.is_some() && release.lineage.is_some(),
            sealed_at: release.sealed_at,
            bytes: release.contents.artifact.size,
            version: release.version,
        }
    }
}

#[cfg(test)]
mod tests;
