//! `orchestrate deploy status`: what is live, what is warm, and whether a rollback is ready.

mod policies;
mod text;
mod watch;

use std::net::SocketAddr;
use std::sync::Arc;

use orchestrate_core::database::{Site, SiteRecord};
use orchestrate_core::deployment::{Deployment, DeploymentStatus};
use orchestrate_core::deployment_rollback::Readiness;
use orchestrate_core::drill::Drill;
use orchestrate_core::evidence::Evidence;
use orchestrate_core::hooks::HookRun;
use orchestrate_core::name::{DeploymentId, EnvironmentName, OperationId, Version};
use orchestrate_core::ports::{Placement, Processes, Provider, Router as _, RouterView, Silent};
use orchestrate_core::rollout::Rollout;
use orchestrate_core::slot::{Slot, SlotState};
use orchestrate_core::time::Timestamp;
use orchestrate_core::{Error, Result};
use serde::Serialize;

use text::text;

use crate::args::{Global, StatusArgs};
use crate::exit::{Ended, Exit};
use crate::printer::Printer;
use crate::wiring::Wiring;

#[derive(Serialize)]
struct Status {
    environment: EnvironmentName,
    /// Where it runs, if that is another home than this; then what only the programs there can tell is not known.
    #[serde(skip_serializing_if = "Option::is_none")]
    elsewhere: Option<SiteRecord>,
    /// Since when its records come from a backup that nobody has accepted; what runs may be something else.
    #[serde(skip_serializing_if = "Option::is_none")]
    restored_at: Option<Timestamp>,
    live: Option<LiveStatus>,
    latest: Option<Latest>,
    traffic: Vec<Traffic>,
    #[serde(skip_serializing_if = "Option::is_none")]
    rollout: Option<Rollout>,
    #[serde(skip_serializing_if = "Option::is_none")]
    bake: Option<Bake>,
    rollback: Readiness,
    /// The newest rehearsal of one.
    #[serde(skip_serializing_if = "Option::is_none")]
    drill: Option<Drill>,
    holds: Vec<orchestrate_core::database::HoldRecord>,
    /// While nothing new is deployed.
    #[serde(skip_serializing_if = "Option::is_none")]
    frozen: Option<policies::Frozen>,
    /// Deployments that wait for somebody's word, or have it and wait to be typed again.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    approvals: Vec<policies::Waiting>,
    /// What somebody else changed of what runs for the live release.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    drift: Vec<String>,
    operation: Option<OperationStatus>,
}

#[derive(Serialize)]
struct LiveStatus {
    version: Version,
    deployment_id: DeploymentId,
    slot: Slot,
    since: Timestamp,
    proven: bool,
}

/// What is watched, and what its checks say so far.
#[derive(Serialize)]
struct Bake {
    deployment_id: DeploymentId,
    version: Version,
    /// None: it is watched until somebody takes it on.
    ends_at: Option<Timestamp>,
    checks: Vec<Evidence>,
}

#[derive(Serialize)]
struct Latest {
    deployment_id: DeploymentId,
    version: Version,
    status: DeploymentStatus,
    error_message: Option<String>,
    bake_until: Option<Timestamp>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    evidence: Vec<Evidence>,
    #[serde(skip_serializing_if = "Option::is_none")]
    automatic_hold: Option<String>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    hooks: Vec<HookRun>,
    proven: bool,
    /// When all of the traffic was switched to it; from then on it is rolled back, not undone.
    #[serde(skip_serializing_if = "Option::is_none")]
    point_of_no_return: Option<Timestamp>,
}

#[derive(Serialize)]
struct Traffic {
    version: Version,
    slot: Slot,
    state: SlotState,
    /// What the router sees; none where it cannot be asked from here.
    weight: Option<u8>,
    instances: Option<u32>,
    healthy: Option<u32>,
    in_flight: Option<u64>,
    warm_until: Option<Timestamp>,
    proven: bool,
    /// Where its instances can be asked past the live address.
    addresses: Vec<SocketAddr>,
}

#[derive(Serialize)]
struct OperationStatus {
    id: OperationId,
    kind: &'static str,
    version: Version,
    status: &'static str,
    by: Option<String>,
    since: Timestamp,
    error_message: Option<String>,
}

pub async fn run(global: &Global, args: &StatusArgs, printer: &Printer) -> Ended {
    let wiring = Wiring::open(global).await?;
    if args.watch {
        return watch::run(&wiring, &args.env, printer).await;
    }
    let status = read_settled(&wiring, &args.env).await?;
    printer.result(&status, || text(printer, &status));
    Ok(Exit::DONE)
}

/// What is shown together must be true together: it is read again if an operation began or ended meanwhile.
async fn read_settled(wiring: &Wiring, environment: &EnvironmentName) -> Result<Status> {
    const ATTEMPTS: usize = 5;
    let mut status = None;
    for _ in 0..ATTEMPTS {
        let of = |lease: orchestrate_core::database::Lease| (lease.fence, lease.operation);
        let before = wiring.db.lease(environment).await?.map(of);
        let read = status.insert(read(wiring, environment).await?);
        let operation = read.operation.as_ref().map(|operation| operation.id);
        let after = wiring.db.lease(environment).await?.map(of);
        if before == after && after.and_then(|(_, holds)| holds) == operation {
            break;
        }
    }
    status.ok_or_else(|| Error::bug("a status that was not read"))
}

async fn read(wiring: &Wiring, environment: &EnvironmentName) -> Result<Status> {
    let db = &wiring.db;
    let record = db.environment(environment).await?;
    let elsewhere = wiring.elsewhere(&record).await?;
    let (provider, router) = wiring.onlooker();
    let view = match elsewhere {
        Some(_) => None,
        None => Some(router.observe(environment).await.unwrap_or_default()),
    };
    let traffic = traffic(wiring, environment, view.as_ref()).await?;
    let live = record.live.and_then(|live| {
        let here = traffic.iter().find(|row| row.state == SlotState::Live)?;
        Some(LiveStatus {
            version: here.version.clone(),
            deployment_id: live.deployment,
            slot: here.slot,
            since: live.since,
            proven: here.proven,
        })
    });
    let latest = db.list_deployments(environment, 1).await?.pop();
    let rollout = db.open_rollout(environment).await?;
    let bake = bake(wiring, latest.as_ref(), rollout.as_ref()).await?;
    let proven = db.proven_releases(environment).await?;
    let latest = latest.map(|deployment| Latest {
        proven: proven.contains(&deployment.release),
        deployment_id: deployment.id,
        version: deployment.version,
        status: deployment.status,
        error_message: deployment.error_message,
        bake_until: deployment.bake_until,
        evidence: deployment.evidence,
        automatic_hold: deployment.automatic_hold,
        hooks: deployment.hooks,
        point_of_no_return: deployment.went_live_at,
    });
    let rollback = match &elsewhere {
        Some(there) => unknown_from_here(there),
        None => wiring.rollback(Arc::new(Silent)).readiness(environment).await?,
    };
    Ok(Status {
        environment: environment.clone(),
        elsewhere,
        restored_at: db.lease(environment).await?.and_then(|lease| lease.restored_at),
        live,
        latest,
        traffic,
        rollout,
        bake,
        rollback,
        drill: db.list_drills(environment, 1).await?.pop(),
        holds: db.list_holds(environment).await?,
        frozen: policies::frozen(&record),
        approvals: policies::waiting(wiring, &record).await?,
        drift: drift(wiring, &provider, environment).await?,
        operation: operation(wiring, environment).await?,
    })
}

/// Nothing where nobody else can change anything, and where nobody runs who could be asked.
async fn drift(
    wiring: &Wiring,
    provider: &impl Provider,
    environment: &EnvironmentName,
) -> Result<Vec<String>> {
    let slots = wiring.db.slots(environment).await?;
    let Some(live) = slots.into_iter().find(|record| record.state == SlotState::Live) else {
        return Ok(Vec::new());
    };
    let release = wiring.db.release(live.release).await?;
    if !release.is_some_and(|release| release.contents.settings.provider.may_drift()) {
        return Ok(Vec::new());
    }
    let (environment, slot) = (environment.clone(), live.slot);
    let placement = Placement { environment, slot, release: live.release, version: live.version };
    Ok(provider.drift(&placement, Processes::All).await.unwrap_or_default())
}

/// Whether a rollback is ready is known where the instances are.
fn unknown_from_here(there: &SiteRecord) -> Readiness {
    let Site { host, home, .. } = &there.site;
    Readiness {
        ready: false,
        target_version: None,
        rollback_type: None,
        path: None,
        estimated_ms: None,
        problems: Vec::new(),
        blockers: vec![format!("it runs on {host}, in {home}, and goes back only from there")],
        warnings: Vec::new(),
        command: None,
    }
}

async fn bake(
    wiring: &Wiring,
    latest: Option<&Deployment>,
    rollout: Option<&Rollout>,
) -> Result<Option<Bake>> {
    let Some(latest) = latest else { return Ok(None) };
    let on_its_way = rollout.filter(|rollout| rollout.deployment == latest.id);
    if on_its_way.is_none() && latest.bake_until.is_none() {
        return Ok(None);
    }
    Ok(Some(Bake {
        deployment_id: latest.id,
        version: latest.version.clone(),
        ends_at: on_its_way.map_or(latest.bake_until, |rollout| rollout.next_at),
        checks: wiring.db.checks_of_deployment(latest.id).await?,
    }))
}

async fn traffic(
    wiring: &Wiring,
    environment: &EnvironmentName,
    view: Option<&RouterView>,
) -> Result<Vec<Traffic>> {
    let mut rows = Vec::new();
    for slot in wiring.db.slots(environment).await? {
        let release =
            wiring.db.release(slot.release).await?.ok_or_else(|| Error::bug("a slot without a release"))?;
        let seen = view.and_then(|view| view.placed(slot.slot, slot.release));
        let count = |field: fn(&orchestrate_core::ports::BackendView) -> u32| {
            view.map(|_| seen.map_or(0, |seen| seen.backends.iter().map(field).sum()))
        };
        rows.push(Traffic {
            proven: release.proven_at.is_some(),
            version: release.version,
            slot: slot.slot,
            state: slot.state,
            weight: view.map(|_| seen.map_or(0, |seen| seen.weight)),
            instances: count(|backend| backend.instances),
            healthy: count(|backend| backend.healthy),
            in_flight: view.map(|_| seen.map_or(0, |seen| seen.in_flight)),
            warm_until: slot.until,
            addresses: seen.map_or_else(Vec::new, |seen| {
                seen.backends.iter().flat_map(|backend| backend.addresses.clone()).collect()
            }),
        });
    }
    rows.sort_by_key(|row| row.state != SlotState::Live);
    Ok(rows)
}

async fn operation(wiring: &Wiring, environment: &EnvironmentName) -> Result<Option<OperationStatus>> {
    let Some(operation) = wiring.db.open_operation(environment).await? else { return Ok(None) };
    let lease = wiring.db.lease(environment).await?;
    Ok(Some(OperationStatus {
        id: operation.id,
        kind: operation.kind.as_str(),
        version: operation.plan.target().version.clone(),
        status: operation.status.as_str(),
        by: lease.and_then(|lease| lease.holder).map(|holder| holder.actor),
        since: operation.started_at,
        error_message: operation.error_message,
    }))
}
