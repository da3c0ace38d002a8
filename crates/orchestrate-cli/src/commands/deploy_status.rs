//! `orchestrate deploy status`: what is live, what is warm, and whether a rollback is ready.

mod watch;

use std::net::SocketAddr;
use std::sync::Arc;

use orchestrate_core::deployment::DeploymentStatus;
use orchestrate_core::deployment_rollback::Readiness;
use orchestrate_core::evidence::{Evidence, Finding};
use orchestrate_core::name::{DeploymentId, EnvironmentName, OperationId, Version};
use orchestrate_core::ports::{Router as _, RouterView, Silent};
use orchestrate_core::rollout::Rollout;
use orchestrate_core::slot::{Slot, SlotState};
use orchestrate_core::time::Timestamp;
use orchestrate_core::{Error, Result};
use orchestrate_proxy::BuiltinRouter;
use serde::Serialize;

use super::deploy_promote::standing;
use crate::args::{Global, StatusArgs};
use crate::exit::{Ended, Exit};
use crate::printer::{Printer, harmless, moment, took};
use crate::wiring::Wiring;

#[derive(Serialize)]
struct Status {
    environment: EnvironmentName,
    live: Option<LiveStatus>,
    latest: Option<Latest>,
    traffic: Vec<Traffic>,
    #[serde(skip_serializing_if = "Option::is_none")]
    rollout: Option<Rollout>,
    rollback: Readiness,
    holds: Vec<orchestrate_core::database::HoldRecord>,
    operation: Option<OperationStatus>,
}

#[derive(Serialize)]
struct LiveStatus {
    version: Version,
    deployment_id: DeploymentId,
    slot: Slot,
    since: Timestamp,
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
    /// When all of the traffic was switched to it; from then on it is rolled back, not undone.
    #[serde(skip_serializing_if = "Option::is_none")]
    point_of_no_return: Option<Timestamp>,
}

#[derive(Serialize)]
struct Traffic {
    version: Version,
    slot: Slot,
    state: SlotState,
    weight: u8,
    instances: u32,
    healthy: u32,
    in_flight: u64,
    warm_until: Option<Timestamp>,
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
    // Looking must not start anything: a router that does not run has nothing to say.
    let view = BuiltinRouter::new(wiring.home.proxy_socket()).observe(environment).await.unwrap_or_default();
    let traffic = traffic(wiring, environment, &view).await?;
    let live = record.live.and_then(|live| {
        let here = traffic.iter().find(|row| row.state == SlotState::Live)?;
        Some(LiveStatus {
            version: here.version.clone(),
            deployment_id: live.deployment,
            slot: here.slot,
            since: live.since,
        })
    });
    let latest = db.list_deployments(environment, 1).await?.into_iter().next().map(|deployment| Latest {
        deployment_id: deployment.id,
        version: deployment.version,
        status: deployment.status,
        error_message: deployment.error_message,
        bake_until: deployment.bake_until,
        evidence: deployment.evidence,
        automatic_hold: deployment.automatic_hold,
        point_of_no_return: deployment.went_live_at,
    });
    Ok(Status {
        environment: environment.clone(),
        live,
        latest,
        traffic,
        rollout: db.open_rollout(environment).await?,
        rollback: wiring.rollback(Arc::new(Silent)).readiness(environment).await?,
        holds: db.list_holds(environment).await?,
        operation: operation(wiring, environment).await?,
    })
}

async fn traffic(wiring: &Wiring, environment: &EnvironmentName, view: &RouterView) -> Result<Vec<Traffic>> {
    let mut rows = Vec::new();
    for slot in wiring.db.slots(environment).await? {
        let release =
            wiring.db.release(slot.release).await?.ok_or_else(|| Error::bug("a slot without a release"))?;
        let seen = view.slot(slot.slot).filter(|seen| seen.release == slot.release);
        let count = |field: fn(&orchestrate_core::ports::BackendView) -> u32| {
            seen.map_or(0, |seen| seen.backends.iter().map(field).sum())
        };
        rows.push(Traffic {
            version: release.version,
            slot: slot.slot,
            state: slot.state,
            weight: seen.map_or(0, |seen| seen.weight),
            instances: count(|backend| backend.instances),
            healthy: count(|backend| backend.healthy),
            in_flight: seen.map_or(0, |seen| seen.in_flight),
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

fn text(printer: &Printer, status: &Status) -> String {
    let mut lines = Vec::new();
    match &status.live {
        Some(live) => lines.push(format!(
            "{}: {} is live in {} since {} UTC (deployment {})",
            status.environment,
            printer.good(live.version.as_str()),
            live.slot,
            moment(live.since),
            live.deployment_id
        )),
        None => lines.push(format!("{}: nothing is live", status.environment)),
    }
    if let Some(latest) = &status.latest {
        let bake = latest
            .bake_until
            .map_or_else(String::new, |until| format!(", watched until {} UTC", moment(until)));
        let error =
            latest.error_message.as_deref().map_or_else(String::new, |e| format!(": {}", harmless(e)));
        lines.push(format!(
            "latest deployment: {} of {}, {}{bake}{error}",
            latest.deployment_id,
            latest.version,
            super::deploy_history::status(printer, latest.status)
        ));
    }
    if let Some(latest) = &status.latest {
        let against = latest.evidence.iter().filter(|one| one.finding != Finding::Good);
        lines.extend(against.map(|one| super::evidence::line(printer, one)));
        if let Some(why) = &latest.automatic_hold {
            lines.push(printer.noted(&format!("not rolled back by itself: {}", harmless(why))));
        }
    }
    if let Some(operation) = &status.operation {
        let by = operation.by.as_deref().map_or_else(String::new, |by| format!(" by {}", harmless(by)));
        let error =
            operation.error_message.as_deref().map_or_else(String::new, |e| format!(": {}", harmless(e)));
        lines.push(printer.noted(&format!(
            "operation {}: {} to {}{by} since {} UTC, {}{error}",
            operation.id,
            operation.kind,
            operation.version,
            moment(operation.since),
            operation.status
        )));
    }
    if let Some(rollout) = &status.rollout {
        lines.push(printer.noted(&rollout_line(rollout, &status.traffic)));
    }
    lines.push(rollback_line(printer, &status.rollback));
    for hold in &status.holds {
        lines.push(format!(
            "held: {} since {} UTC: {}",
            hold.version,
            moment(hold.since),
            harmless(&hold.reason)
        ));
    }
    if !status.traffic.is_empty() {
        let rows = status.traffic.iter().map(|row| {
            vec![
                row.version.to_string(),
                row.slot.to_string(),
                serde_json::to_value(row.state)
                    .ok()
                    .and_then(|v| v.as_str().map(str::to_owned))
                    .unwrap_or_default(),
                format!("{} %", row.weight),
                format!("{}/{}", row.healthy, row.instances),
                row.in_flight.to_string(),
                row.warm_until.map_or_else(String::new, |until| format!("{} UTC", moment(until))),
            ]
        });
        lines.push(String::new());
        lines.push(printer.table(
            &["VERSION", "SLOT", "STATE", "TRAFFIC", "HEALTHY", "IN FLIGHT", "WARM UNTIL"],
            rows.collect(),
        ));
    }
    lines.join("\n")
}

fn rollout_line(rollout: &Rollout, traffic: &[Traffic]) -> String {
    let here = traffic.iter().find(|row| row.slot == rollout.slot);
    let addresses: Vec<String> =
        here.map_or_else(Vec::new, |row| row.addresses.iter().map(ToString::to_string).collect());
    let asked = match addresses.as_slice() {
        [] => String::new(),
        addresses => format!("; ask it alone at {}", addresses.join(" ")),
    };
    format!("rollout: {}{asked}", standing(rollout))
}

fn rollback_line(printer: &Printer, rollback: &Readiness) -> String {
    match (&rollback.target_version, rollback.ready) {
        (Some(target), true) => {
            let path = rollback.path.map_or_else(String::new, |path| format!(" ({path})"));
            let time = rollback.estimated_ms.map_or_else(String::new, |ms| format!(", about {}", took(ms)));
            let command = rollback.command.as_deref().map_or_else(String::new, |typed| format!(": {typed}"));
            format!("rollback: {} to {target}{path}{time}{command}", printer.good("ready"))
        }
        _ => format!("rollback: {}: {}", printer.bad("not ready"), harmless(&rollback.blockers.join("; "))),
    }
}
