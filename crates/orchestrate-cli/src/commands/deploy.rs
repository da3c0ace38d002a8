//! `orchestrate deploy`: checks, takes the artifact in, deploys, and waits for the verdict of the bake.

use std::sync::Arc;
use std::time::Duration;

use orchestrate_core::access::Right;
use orchestrate_core::approval::ApprovalStatus;
use orchestrate_core::database::{Asked, Database};
use orchestrate_core::deployment::{Deployment, DeploymentStatus};
use orchestrate_core::deployment_executor::{Deployed, WAITS_FOR_APPROVAL, failed, may_deploy};
use orchestrate_core::evidence::Evidence;
use orchestrate_core::execute::{Limits, Outcome};
use orchestrate_core::hooks::HookRun;
use orchestrate_core::name::{DeploymentId, EnvironmentName, Version};
use orchestrate_core::ports::{Clock as _, Progress as _, SystemClock};
use orchestrate_core::rollback_event::RollbackEvent;
use orchestrate_core::rollout::Rollout;
use orchestrate_core::time::{Span, Timestamp};
use orchestrate_core::{DeployRequest, Error, Result};
use serde::Serialize;

use super::deploy_promote::standing;
use super::intake::{Intended, interrupt};
use super::refusal::noted;
use crate::args::{DeployRun, Global};
use crate::exit::{Ended, Exit};
use crate::printer::{Printer, took};
use crate::progress::StepProgress;
use crate::wiring::{Wiring, shares_told};

/// What `deploy --format json` prints.
#[derive(Serialize)]
struct Report {
    id: DeploymentId,
    environment: EnvironmentName,
    version: Version,
    provider: orchestrate_core::environment::ProviderKind,
    strategy: orchestrate_core::deployment_strategy::StrategyKind,
    status: DeploymentStatus,
    error_message: Option<String>,
    started_at: Timestamp,
    completed_at: Option<Timestamp>,
    duration_ms: Option<u64>,
    actor: String,
    reason: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    bake_until: Option<Timestamp>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    evidence: Vec<Evidence>,
    #[serde(skip_serializing_if = "Option::is_none")]
    automatic_hold: Option<String>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    hooks: Vec<HookRun>,
    #[serde(skip_serializing_if = "Option::is_none")]
    break_glass: Option<String>,
    rollback: Option<RollbackEvent>,
    #[serde(skip_serializing_if = "Option::is_none")]
    rollout: Option<Rollout>,
}

pub async fn run(global: &Global, args: DeployRun, printer: &Printer) -> Ended {
    let (Some(environment), Some(version)) = (args.env.clone(), args.version.clone()) else {
        return Err(Error::usage("ORC-0208", "deploy needs --env and --version").into());
    };
    let wiring = Wiring::open(global).await?;
    let (actor, typed) = (wiring.actor(Right::Deploy, &environment, "deploy").await?, args.reason.clone());
    let asked = || Asked {
        environment: &environment,
        actor: &actor,
        what: "deploy",
        version: Some(version.as_str()),
        reason: typed.as_deref(),
    };
    wiring.only_here(asked()).await?;
    let intended = Intended::read(global, &wiring, &environment, args.artifact.as_deref()).await?;
    let allowed = may(&wiring, &intended, &args, &environment, &version).await;
    noted(&wiring.db, asked(), allowed).await?;
    let progress = Arc::new(StepProgress::new(printer));
    printer.progress(&format!("deploying {version} to {environment}"));
    if let Some(told) = shares_told(&intended.settings, args.strategy) {
        progress.remark(&told);
    }
    if !args.skip_validation {
        let passed =
            super::deploy_validate::must_pass(&wiring, &intended, &environment, &version, &progress).await;
        noted(&wiring.db, asked(), passed).await?;
    }
    let interrupt = interrupt();
    progress.waiting("taking the artifact in");
    let artifact = intended.take_in(&wiring, &version, &*progress).await;
    progress.finished();
    let artifact = artifact?;
    intended.apply(&wiring, &environment).await?;
    let contents = intended.seal(&wiring, &environment, artifact, args.strategy).await?;
    let request = DeployRequest {
        environment: environment.clone(),
        version: version.clone(),
        contents,
        strategy: args.strategy,
        no_switch: args.no_switch,
        force: args.force,
        break_glass: args.break_glass,
        actor: actor.clone(),
        reason: args.reason.clone(),
        limits: Limits {
            timeout: args.timeout.map(Span::from_secs),
            interrupt: Some(interrupt.clone()),
            unwanted: None,
        },
    };
    wiring.daemon.ensure().await?;
    let executor = wiring.executor(Arc::clone(&progress) as _);
    let deployed = match (executor.deploy(&request).await, args.wait_for_approval) {
        (Err(error), Some(patience)) if error.code() == WAITS_FOR_APPROVAL => {
            progress.waiting(error.message());
            approved(&wiring, &request, patience, interrupt.clone()).await?;
            executor.deploy(&request).await
        }
        (deployed, _) => deployed,
    };
    progress.finished();
    let deployed = deployed?;
    wiring.hand_over().await?;
    see_through(&wiring, deployed, args.detach, &progress, interrupt, printer).await
}

/// What can be told before anything is built or read for it.
async fn may(
    wiring: &Wiring,
    intended: &Intended,
    args: &DeployRun,
    environment: &EnvironmentName,
    version: &Version,
) -> Result<()> {
    intended.keeps_policies(wiring, environment).await?;
    let (has_reason, now) = (args.reason.is_some(), SystemClock.now());
    may_deploy(environment, &intended.settings, version, has_reason, args.break_glass, now)
}

/// How often the database is asked whether somebody approved: people are not faster.
const LOOKS_EVERY: Duration = Duration::from_secs(1);

/// Waits until the request for approval is decided, however; what it came to is for the deployment to say.
async fn approved(
    wiring: &Wiring,
    request: &DeployRequest,
    patience: Span,
    mut interrupt: tokio::sync::watch::Receiver<bool>,
) -> Result<()> {
    let decided = async {
        loop {
            let requests = wiring.db.list_approvals(&request.environment, 20).await?;
            let waits = requests.iter().any(|asked| {
                asked.version == request.version && asked.status(SystemClock.now()) == ApprovalStatus::Waiting
            });
            if !waits {
                return Ok(());
            }
            tokio::time::sleep(LOOKS_EVERY).await;
        }
    };
    tokio::select! {
        decided = decided => decided,
        () = tokio::time::sleep(patience.duration()) => Ok(()),
        _ = interrupt.wait_for(|on| *on) => Ok(()),
    }
}

/// Waits for what comes of a deployment that has all of the traffic, and prints it; one that stopped short is printed so.
pub async fn see_through(
    wiring: &Wiring,
    mut deployed: Deployed,
    detach: bool,
    progress: &StepProgress,
    interrupt: tokio::sync::watch::Receiver<bool>,
    printer: &Printer,
) -> Ended {
    let waited = if detach && deployed.deployment.status == DeploymentStatus::InProgress {
        Waited::Detached
    } else {
        wait_for_verdict(wiring, &deployed.deployment, progress, interrupt).await?
    };
    let (deployment, rollback) = reread(&wiring.db, deployed.deployment.id).await?;
    let rollout = wiring.db.open_rollout(&deployment.environment).await?;
    deployed.deployment = deployment;
    conclude(printer, deployed, rollback, rollout, waited)
}

/// Whether the verdict was waited for.
#[derive(PartialEq)]
enum Waited {
    Done,
    /// It was not meant to be.
    Detached,
    /// The person gave the wait up; the bake goes on.
    GivenUp,
}

/// A release that bakes, or was condemned, is in the daemon's hands; the command waits for what comes of it.
async fn wait_for_verdict(
    wiring: &Wiring,
    deployment: &Deployment,
    progress: &StepProgress,
    mut interrupt: tokio::sync::watch::Receiver<bool>,
) -> Result<Waited> {
    let live = wiring.db.environment(&deployment.environment).await?.live;
    let is_live = live.is_some_and(|live| live.deployment == deployment.id);
    let undecided = matches!(deployment.status, DeploymentStatus::InProgress | DeploymentStatus::Failed);
    if !(is_live && undecided) {
        return Ok(Waited::Done);
    }
    let text = match deployment.bake_until {
        Some(until) => {
            format!("{} is live; watching it until {}", deployment.version, crate::printer::moment(until))
        }
        None => format!("{} is live but bad; going back", deployment.version),
    };
    progress.waiting(&text);
    let waited = tokio::select! {
        settled = wiring.daemon.settle(deployment.id) => settled.map(|()| Waited::Done),
        _ = interrupt.wait_for(|on| *on) => Ok(Waited::GivenUp),
    };
    progress.finished();
    waited
}

async fn reread(db: &Database, id: DeploymentId) -> Result<(Deployment, Option<RollbackEvent>)> {
    let deployment = db.deployment(id).await?.ok_or_else(|| Error::bug("a deployment vanished"))?;
    Ok((deployment, db.rollback_of_deployment(id).await?))
}

fn conclude(
    printer: &Printer,
    deployed: Deployed,
    rollback: Option<RollbackEvent>,
    rollout: Option<Rollout>,
    waited: Waited,
) -> Ended {
    let error = failed(&deployed, rollback.as_ref());
    let already_live = deployed.already_live && deployed.outcome == Outcome::Completed;
    let deployment = deployed.deployment;
    let rollout = rollout.filter(|rollout| rollout.deployment == deployment.id);
    let rolled_back = deployment.status == DeploymentStatus::RolledBack;
    if let Some(error) = error {
        if !rolled_back {
            return Err(error.into());
        }
        // A deployment that went back by itself has a result worth printing, and ends as a failure all the same.
        let code = error.kind().exit_code();
        if printer.json() {
            printer.result(&report(deployment, rollback, rollout), String::new);
            return Ok(Exit(code));
        }
        printer.out(&rolled_back_text(printer, &deployment, rollback.as_ref()));
        return Err(error.into());
    }
    let text = if let Some(rollout) = &rollout {
        under_way(printer, &deployment, rollout)
    } else if waited != Waited::Done && deployment.status == DeploymentStatus::InProgress {
        watched_on(printer, &deployment)
    } else if already_live {
        format!(
            "{} {} is live in {} with the same content already; nothing was restarted",
            printer.good("unchanged:"),
            deployment.version,
            deployment.environment
        )
    } else {
        let duration = deployment.duration_ms().map_or_else(String::new, |ms| format!(" in {}", took(ms)));
        format!("{} {} to {}{duration}", printer.good("deployed"), deployment.version, deployment.environment)
    };
    printer.result(&report(deployment, rollback, rollout), || text);
    Ok(Exit::DONE)
}

/// Nobody waits any more, which changes nothing about what happens.
fn watched_on(printer: &Printer, deployment: &Deployment) -> String {
    let Deployment { version, environment, .. } = deployment;
    let until = deployment
        .bake_until
        .map_or_else(String::new, |until| format!(" until {} UTC", crate::printer::moment(until)));
    format!(
        "{} {version} to {environment}: it is live and not proven yet; the daemon goes on watching it{until}, and rolls it \
         back if it turns out bad; see: orchestrate deploy status --env {environment}",
        printer.noted("deployed")
    )
}

fn under_way(printer: &Printer, deployment: &Deployment, rollout: &Rollout) -> String {
    format!(
        "{} {}\nsee how it stands: orchestrate deploy status --env {}",
        printer.good("under way:"),
        standing(rollout),
        deployment.environment
    )
}

fn rolled_back_text(printer: &Printer, deployment: &Deployment, rollback: Option<&RollbackEvent>) -> String {
    let back = rollback.map_or_else(String::new, |event| {
        let in_time = event.duration_ms.map_or_else(String::new, |ms| format!(" in {}", took(ms)));
        format!(" to {}{in_time} (rollback {}, {})", event.target_version, event.id, event.path)
    });
    format!("{} {} in {}{back}", printer.bad("rolled back"), deployment.version, deployment.environment)
}

fn report(deployment: Deployment, rollback: Option<RollbackEvent>, rollout: Option<Rollout>) -> Report {
    Report {
        id: deployment.id,
        duration_ms: deployment.duration_ms(),
        environment: deployment.environment,
        version: deployment.version,
        provider: deployment.provider,
        strategy: deployment.strategy,
        status: deployment.status,
        error_message: deployment.error_message,
        started_at: deployment.started_at,
        completed_at: deployment.completed_at,
        actor: deployment.actor,
        reason: deployment.reason,
        bake_until: deployment.bake_until,
        evidence: deployment.evidence,
        automatic_hold: deployment.automatic_hold,
        hooks: deployment.hooks,
        break_glass: deployment.break_glass,
        rollback,
        rollout,
    }
}
