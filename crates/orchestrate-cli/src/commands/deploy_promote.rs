//! `orchestrate deploy promote` and `pause`: what is being rolled out goes on, or stays where it is.

use std::sync::Arc;

use orchestrate_core::access::Right;
use orchestrate_core::database::Asked;
use orchestrate_core::deployment::Deployment;
use orchestrate_core::deployment_executor::Promotion;
use orchestrate_core::execute::Limits;
use orchestrate_core::rollout::Rollout;
use orchestrate_core::time::Span;
use serde::Serialize;

use super::deploy;
use super::intake::interrupt;
use crate::args::{Global, PauseArgs, PromoteArgs};
use crate::exit::{Ended, Exit};
use crate::printer::{Printer, moment};
use crate::progress::StepProgress;
use crate::wiring::Wiring;

/// What `deploy promote --format json` prints: the deployment, and where it stands.
#[derive(Serialize)]
struct Report<'a> {
    #[serde(flatten)]
    deployment: &'a Deployment,
    rollout: Option<&'a Rollout>,
}

pub async fn promote(global: &Global, args: PromoteArgs, printer: &Printer) -> Ended {
    let wiring = Wiring::open(global).await?;
    let actor = wiring.actor(Right::Deploy, &args.env, "promote").await?;
    let reason = args.reason.as_deref();
    let asked = Asked { environment: &args.env, actor: &actor, what: "promote", version: None, reason };
    wiring.only_here(asked).await?;
    let progress = Arc::new(StepProgress::new(printer));
    let interrupt = interrupt();
    let promotion = Promotion {
        environment: args.env.clone(),
        all: args.all,
        actor,
        by_itself: None,
        break_glass: args.break_glass,
        reason: args.reason,
        limits: Limits {
            timeout: args.timeout.map(Span::from_secs),
            interrupt: Some(interrupt.clone()),
            unwanted: None,
        },
    };
    let promoted = wiring.executor(Arc::clone(&progress) as _).promote(&promotion).await;
    progress.finished();
    let promoted = promoted?;
    wiring.hand_over().await?;
    if let Some(rollout) = wiring.db.open_rollout(&args.env).await? {
        if let Some(error) = orchestrate_core::deployment_executor::failed(&promoted, None) {
            return Err(error.into());
        }
        let report = Report { deployment: &promoted.deployment, rollout: Some(&rollout) };
        printer.result(&report, || format!("{} {}", printer.good("promoted:"), standing(&rollout)));
        return Ok(Exit::DONE);
    }
    deploy::see_through(&wiring, promoted, args.detach, &progress, interrupt, printer).await
}

pub async fn pause(global: &Global, args: PauseArgs, printer: &Printer) -> Ended {
    let wiring = Wiring::open(global).await?;
    let actor = wiring.actor(Right::Deploy, &args.env, "pause").await?;
    let why = match &args.reason {
        Some(reason) => format!("{actor}: {reason}"),
        None => format!("by {actor}"),
    };
    let executor = wiring.executor(Arc::new(orchestrate_core::ports::Silent));
    let rollout = executor.pause(&args.env, &actor, &why).await?;
    printer.result(&rollout, || {
        format!(
            "{} {}; take it on: orchestrate deploy promote --env {}",
            printer.good("paused:"),
            standing(&rollout),
            args.env
        )
    });
    Ok(Exit::DONE)
}

/// Where a rollout stands, in a sentence.
pub fn standing(rollout: &Rollout) -> String {
    let Rollout { version, slot, weight, .. } = rollout;
    let now = match weight {
        0 => format!("{version} is staged in {slot}, without traffic"),
        weight => format!("{version} has {weight} % of the traffic"),
    };
    let next = match (rollout.next_at, &rollout.paused, rollout.next_weight()) {
        (Some(at), _, 100) => format!("all of it at {} UTC", moment(at)),
        (Some(at), _, next) => format!("{next} % at {} UTC", moment(at)),
        (None, Some(why), _) => format!("paused: {}", crate::printer::on_one_line(why)),
        (None, None, 100) => "all of it when it is promoted".to_owned(),
        (None, None, next) => format!("{next} % when it is promoted"),
    };
    format!("{now}; {next}")
}
