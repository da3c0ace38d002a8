//! Reading what a rollback is decided from: a few indexed look-ups, however long the history is.

use crate::database::{Database, EnvironmentRecord};
use crate::deployment::Deployment;
use crate::drift;
use crate::error::{Error, Result};
use crate::execute::record::{MOVED, Seen};
use crate::name::{DeploymentId, EnvironmentName, Fence, ReleaseId};
use crate::plan::previous::Asker;
use crate::plan::rollback::{Situation, Wanted};
use crate::ports::Ports;
use crate::release::Release;
use crate::slot::{Slot, SlotState};

/// How many candidates a refusal names and a preview shows.
const NAMED: i64 = 20;

/// A situation, with what `begin` compares it to.
#[derive(Clone, Debug)]
pub(crate) struct Observed {
    pub situation: Situation,
    pub environment: EnvironmentRecord,
    pub seen: Seen,
    pub busy: bool,
}

/// What a situation is read for.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Question<'a> {
    pub wanted: &'a Wanted,
    pub asker: Asker,
    /// The deployment that is meant, whatever came after it without getting traffic.
    pub of: Option<DeploymentId>,
}

impl<'a> Question<'a> {
    pub fn of_a_person(wanted: &'a Wanted) -> Self {
        Self { wanted, asker: Asker::Person, of: None }
    }
}

/// Reads the database and the router at the same time.
pub(crate) async fn observe(
    db: &Database,
    ports: &Ports,
    name: &EnvironmentName,
    question: Question<'_>,
) -> Result<Observed> {
    // The router is asked first: it answers while the database is read.
    let (router, stored) = tokio::join!(ports.router.observe(name), async {
        tokio::task::yield_now().await;
        read_whole(db, name, question).await
    });
    let mut observed = stored?;
    observed.situation.router = router.map_err(|error| error.message);
    if observed.environment.environment.settings.provider.may_drift() {
        observed.situation.changed = drift::of_warm(db, ports, &observed.situation.slots).await?;
    }
    Ok(observed)
}

/// An operation may end between two of the reads; then they are made again.
async fn read_whole(db: &Database, name: &EnvironmentName, question: Question<'_>) -> Result<Observed> {
    let mut attempts = 0;
    loop {
        attempts += 1;
        match read(db, name, question).await {
            Err(error) if error.code() == MOVED && attempts < 10 => {}
            result => return result,
        }
    }
}

/// The lease is read first: whatever begins after that has a newer fence, which `begin` refuses.
async fn read(db: &Database, name: &EnvironmentName, question: Question<'_>) -> Result<Observed> {
    let Question { wanted, asker, of } = question;
    let lease = db.lease(name).await?;
    let environment = db.environment(name).await?;
    let slots = db.slots(name).await?;
    // One that failed without getting traffic is newer than what serves, and has nothing to do with it.
    let meant = of.filter(|of| environment.live.is_some_and(|live| live.deployment == *of));
    let current = current(db, name, meant).await?;
    let live = match environment.live {
        Some(live) => Some(live_release(db, live.release, &current, &slots).await?),
        None => None,
    };
    let (older, newer) = match (&current, wanted) {
        (None, _) | (_, Wanted::Undo) => (Vec::new(), None),
        (Some((_, release)), Wanted::Previous) => good(db, name, release, asker).await?,
        (Some(_), Wanted::Version(_)) => (db.list_good_releases(name, None, None, NAMED).await?, None),
    };
    let requested = match wanted {
        Wanted::Version(version) => db.find_release(name, version).await?,
        Wanted::Previous | Wanted::Undo => None,
    };
    let last_rollback = match wanted {
        Wanted::Undo => last_rollback(db, name).await?,
        Wanted::Previous | Wanted::Version(_) => None,
    };
    let seen = Seen { fence: lease.as_ref().map_or(Fence(0), |lease| lease.fence), slots: slots.clone() };
    let situation = Situation {
        environment: name.clone(),
        strategy: environment.environment.settings.strategy.kind,
        warm_for: environment.environment.settings.strategy.warm_for,
        current,
        live,
        slots,
        older,
        newer,
        requested,
        last_rollback,
        router: Err("not asked".into()),
        changed: Vec::new(),
    };
    Ok(Observed { situation, environment, seen, busy: lease.is_some_and(|lease| lease.is_closed()) })
}

async fn current(
    db: &Database,
    name: &EnvironmentName,
    meant: Option<DeploymentId>,
) -> Result<Option<(Deployment, Release)>> {
    let found = match meant {
        Some(meant) => db.deployment(meant).await?,
        None => db.current_deployment(name).await?,
    };
    let Some(deployment) = found else { return Ok(None) };
    let release = known(db, deployment.release).await?;
    Ok(Some((deployment, release)))
}

async fn live_release(
    db: &Database,
    id: ReleaseId,
    current: &Option<(Deployment, Release)>,
    slots: &[crate::slot::SlotRecord],
) -> Result<(Release, Slot)> {
    let release = match current {
        Some((_, release)) if release.id == id => release.clone(),
        _ => known(db, id).await?,
    };
    let live = slots.iter().find(|record| record.state == SlotState::Live && record.release == id);
    let slot = live
        .ok_or_else(|| {
            Error::refused(MOVED, format!("release {id} is live but has no slot")).hint("try again")
        })?
        .slot;
    Ok((release, slot))
}

/// The newest good release before the given one; without any, the newest good one at all, apart.
async fn good(
    db: &Database,
    name: &EnvironmentName,
    before: &Release,
    asker: Asker,
) -> Result<(Vec<Release>, Option<Release>)> {
    let unlike = before.lineage.map(|_| &before.content_digest);
    let older = match asker {
        Asker::Person => db.list_good_releases(name, before.lineage, unlike, 1).await?,
        Asker::Automatic => {
            db.newest_standing_release(name, before.lineage, unlike).await?.into_iter().collect()
        }
    };
    let newer =
        if older.is_empty() { db.list_good_releases(name, None, unlike, 1).await?.pop() } else { None };
    Ok((older, newer))
}

async fn last_rollback(
    db: &Database,
    name: &EnvironmentName,
) -> Result<Option<(crate::rollback_event::RollbackEvent, Option<Release>)>> {
    let Some(event) = db.last_standing_rollback(name).await? else { return Ok(None) };
    let release = match event.left_release() {
        Some(id) => db.release(id).await?,
        None => None,
    };
    Ok(Some((event, release)))
}

pub(crate) async fn known(db: &Database, id: ReleaseId) -> Result<Release> {
    db.release(id).await?.ok_or_else(|| Error::bug(format!("release {id} is not recorded")))
}
