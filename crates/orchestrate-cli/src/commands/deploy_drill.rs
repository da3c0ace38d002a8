//! `orchestrate deploy drill` and `deploy drills`: rehearsals of a rollback, and what they took.

use std::sync::Arc;

use orchestrate_core::access::Right;
use orchestrate_core::database::Asked;
use orchestrate_core::deployment_drill::{DrillPreview, failed};
use orchestrate_core::drill::{Drill, DrillStatus, DrillTrigger};
use orchestrate_core::execute::Limits;
use orchestrate_core::{DeploymentDrill, DrillRequest};

use super::intake::interrupt;
use crate::args::{DrillArgs, Global, Listing};
use crate::exit::{Ended, Exit};
use crate::printer::{Printer, harmless, moment, took};
use crate::progress::StepProgress;
use crate::wiring::Wiring;

pub async fn run(global: &Global, args: DrillArgs, printer: &Printer) -> Ended {
    let wiring = Wiring::open(global).await?;
    let actor = match args.dry_run {
        true => wiring.caller().await?.name().to_owned(),
        false => wiring.actor(Right::Deploy, &args.env, "drill").await?,
    };
    let reason = args.reason.as_deref();
    let asked = Asked { environment: &args.env, actor: &actor, what: "drill", version: None, reason };
    wiring.only_here(asked).await?;
    let progress = Arc::new(StepProgress::new(printer));
    let drill = DeploymentDrill::new(wiring.db.clone(), wiring.ports(Arc::clone(&progress) as _));
    if args.dry_run {
        let preview = drill.preview(&args.env).await?;
        printer.result(&preview, || preview_text(&preview));
        return Ok(Exit::DONE);
    }
    let request = DrillRequest {
        environment: args.env,
        actor,
        reason: args.reason,
        trigger: DrillTrigger::Manual,
        limits: Limits { interrupt: Some(interrupt()), ..Limits::default() },
    };
    let drilled = drill.drill(&request).await;
    progress.finished();
    let drilled = drilled?;
    // It is over; that its notice waits for a daemon must not make it look failed.
    if let Err(error) = wiring.hand_over().await {
        printer.note(&format!("the daemon does not run, so nobody is told yet: {}", error.full_message()));
    }
    if drilled.drill.status != DrillStatus::Completed {
        return Err(failed(&drilled).into());
    }
    printer.result(&drilled.drill, || text(printer, &drilled.drill));
    Ok(Exit::DONE)
}

pub async fn list(global: &Global, args: &Listing, printer: &Printer) -> Ended {
    let wiring = Wiring::open(global).await?;
    let environment = &args.env;
    wiring.db.environment(environment).await?;
    let drills = wiring.db.list_drills(environment, i64::from(args.limit)).await?;
    printer.result(&drills, || {
        if drills.is_empty() {
            return format!("there were no drills in {environment}");
        }
        let head = ["ID", "STARTED (UTC)", "LIVE", "TARGET", "PATH", "STATUS", "TOOK", "PHASES", "BY", "WHY"];
        printer.table(&head, drills.iter().map(|drill| row(printer, drill)).collect())
    });
    Ok(Exit::DONE)
}

/// What a finished drill showed, in a sentence.
pub fn text(printer: &Printer, drill: &Drill) -> String {
    let Drill { id, environment, live_version, target_version, path, .. } = drill;
    let how_long = drill.duration_ms.map_or_else(String::new, |ms| format!(" in {}", took(ms)));
    format!(
        "{} a rollback of {environment} to {target_version}{how_long} ({path}): {}; {live_version} is live, as before [drill {id}]",
        printer.good("rehearsed"),
        phases(drill),
    )
}

fn phases(drill: &Drill) -> String {
    let phase =
        |phase: &orchestrate_core::rollback_event::Phase| format!("{} {}", phase.name, took(phase.ms));
    drill.phases.iter().map(phase).collect::<Vec<_>>().join(", ")
}

pub fn status(printer: &Printer, status: DrillStatus) -> String {
    match status {
        DrillStatus::Completed => printer.good(status.as_str()),
        DrillStatus::Failed | DrillStatus::NeedsAttention => printer.bad(status.as_str()),
        DrillStatus::InProgress | DrillStatus::GivenUp => printer.noted(status.as_str()),
    }
}

fn row(printer: &Printer, drill: &Drill) -> Vec<String> {
    let why = drill.error_message.as_deref().or(drill.reason.as_deref()).unwrap_or_default();
    vec![
        drill.id.to_string(),
        moment(drill.started_at),
        drill.live_version.to_string(),
        drill.target_version.to_string(),
        drill.path.to_string(),
        status(printer, drill.status),
        drill.duration_ms.map_or_else(String::new, took),
        phases(drill),
        format!("{} ({})", harmless(&drill.actor), drill.trigger),
        harmless(why),
    ]
}

fn preview_text(preview: &DrillPreview) -> String {
    let DrillPreview { environment, live_version, target_version, path, .. } = preview;
    let mut text =
        format!("drill of a rollback of {environment} from {live_version} to {target_version} ({path})\n");
    for (title, items) in [("steps:", &preview.steps), ("to know:", &preview.remarks)] {
        if !items.is_empty() {
            text.push_str(&format!("\n{title}\n"));
            items.iter().for_each(|item| text.push_str(&format!("  - {item}\n")));
        }
    }
    text.push_str(&format!(
        "\n{live_version} is live before and after\nnothing was changed; to do it: orchestrate deploy drill --env {environment}"
    ));
    text
}
