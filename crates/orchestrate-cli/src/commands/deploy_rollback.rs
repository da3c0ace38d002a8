//! `orchestrate deploy rollback`: args → settings → request; prints the result; decides nothing.

use std::sync::Arc;

use orchestrate_core::access::Right;
use orchestrate_core::database::Asked;
use orchestrate_core::deployment_rollback::{Asking, Preview, RolledBack, failed};
use orchestrate_core::execute::Limits;
use orchestrate_core::rollback_event::{RollbackEvent, RollbackPath, RollbackStatus, Trigger};
use orchestrate_core::{Error, RollbackRequest};

use super::deploy_rollback_group;
use super::intake::interrupt;
use crate::args::{Global, Rollback};
use crate::exit::{Ended, Exit};
use crate::printer::{Printer, took};
use crate::progress::StepProgress;
use crate::wiring::Wiring;

pub async fn run(global: &Global, args: Rollback, printer: &Printer) -> Ended {
    if let Some(group) = args.group.clone() {
        return deploy_rollback_group::run(global, args, group, printer).await;
    }
    let Some(environment) = args.env else {
        return Err(Error::usage("ORC-0208", "rollback needs --env").into());
    };
    let wiring = Wiring::open(global).await?;
    let progress = Arc::new(StepProgress::new(printer));
    let rollback = wiring.rollback(Arc::clone(&progress) as _);
    let request = RollbackRequest {
        environment,
        target_version: args.version,
        skip_validation: args.skip_validation,
        force: args.force,
    };
    let actor = match args.dry_run {
        true => wiring.caller().await?.name().to_owned(),
        false => wiring.actor(Right::Deploy, &request.environment, "rollback").await?,
    };
    let asking = Asking {
        break_glass: args.break_glass,
        skip_pre_rollback: args.skip_pre_rollback,
        actor,
        reason: args.reason,
        trigger: Trigger::Manual,
        of: None,
        evidence: Vec::new(),
        undo: args.undo,
        together: Vec::new(),
        part: None,
        plan: args.plan,
        limits: Limits { interrupt: Some(interrupt()), ..Limits::default() },
    };
    // Core refuses it as well; but no daemon is started for what runs on another site.
    if !args.dry_run && wiring.site.is_some() && !wiring.daemon.is_running().await {
        let (what, version) =
            (if asking.undo { "undo" } else { "rollback" }, request.target_version.as_ref());
        wiring
            .only_here(Asked {
                environment: &request.environment,
                actor: &asking.actor,
                what,
                version: version.map(|version| version.as_str()),
                reason: asking.reason.as_deref(),
            })
            .await?;
    }
    if args.dry_run {
        let preview = wiring.looking(&request.environment).await?.preview(&request, &asking).await?;
        printer.result(&preview, || preview_text(printer, &preview, &command(&request, &asking, &preview)));
        return Ok(Exit::DONE);
    }
    let rolled = rollback.rollback_as(&request, &asking).await;
    progress.finished();
    let rolled = rolled?;
    // The rollback is done; that its notices and its drain wait for a daemon must not make it look failed.
    if let Err(error) = wiring.hand_over().await {
        printer.note(&format!(
            "the daemon does not run, so nothing is told or stopped yet: {}",
            error.full_message()
        ));
    }
    conclude(printer, rolled)
}

fn conclude(printer: &Printer, rolled: RolledBack) -> Ended {
    if rolled.event.status != RollbackStatus::Completed {
        return Err(failed(&rolled).into());
    }
    printer.result(&rolled.event, || text(printer, &rolled.event));
    Ok(Exit::DONE)
}

fn text(printer: &Printer, event: &RollbackEvent) -> String {
    let RollbackEvent { id, environment, from_version, target_version, path, rollback_type, .. } = event;
    let took = event.duration_ms.map_or_else(String::new, |ms| format!(" in {}", took(ms)));
    let held = match event.undoes {
        Some(undone) => format!("\nrollback {undone} is taken back; the hold that it set is lifted"),
        None if from_version == target_version => String::new(),
        None => format!(
            "\n{from_version} is held now; allow it again: orchestrate deploy unhold {from_version} --env {environment} --reason TEXT"
        ),
    };
    let what = match path {
        RollbackPath::None if from_version == target_version => format!(
            "{} {target_version} is live in {environment} already and healthy",
            printer.good("nothing to switch:")
        ),
        RollbackPath::None => format!(
            "{} {target_version} is live in {environment} already and healthy; {from_version} is rolled back",
            printer.good("nothing to switch:")
        ),
        RollbackPath::Warm | RollbackPath::Cold => format!(
            "{} {environment} from {from_version} to {target_version}{took} ({rollback_type}, {path}); the live address was answered by {target_version}",
            printer.good(if event.undoes.is_some() { "went forward again:" } else { "rolled back" })
        ),
    };
    format!("{what} [rollback {id}]{held}")
}

/// What runs exactly this plan.
fn command(request: &RollbackRequest, asking: &Asking, preview: &Preview) -> String {
    let version =
        request.target_version.as_ref().map_or_else(String::new, |version| format!(" --version {version}"));
    let undo = if asking.undo { " --undo" } else { "" };
    let force = if request.force || preview.needs_force { " --force" } else { "" };
    let glass = match (asking.break_glass, asking.skip_pre_rollback) {
        (true, true) => " --skip-pre-rollback --break-glass",
        (true, false) => " --break-glass",
        (false, _) => "",
    };
    let reason = if preview.needs_reason || asking.break_glass { " --reason TEXT" } else { "" };
    format!(
        "orchestrate deploy rollback --env {}{version}{undo}{force}{glass}{reason} --plan {}",
        request.environment, preview.plan_token
    )
}

fn preview_text(printer: &Printer, preview: &Preview, command: &str) -> String {
    let mut text = format!(
        "rollback of {} from {} to {} ({}, {})\n",
        preview.environment,
        preview.from_version,
        preview.target_version,
        preview.rollback_type,
        preview.path
    );
    match preview.estimated_ms {
        Some(ms) => text.push_str(&format!("estimated time: {}, from earlier ones here\n", took(ms))),
        None => text.push_str("estimated time: not known, there was none like it here yet\n"),
    }
    let mut list = |title: &str, items: &[String]| {
        if !items.is_empty() {
            text.push_str(&format!("\n{title}\n"));
            for item in items {
                text.push_str(&format!("  - {item}\n"));
            }
        }
    };
    list("steps:", &preview.steps);
    list("afterwards:", &preview.afterwards);
    list("to know:", &preview.remarks);
    list("may go wrong:", &preview.warnings);
    list(&printer.bad("in the way:"), &preview.blockers);
    text.push('\n');
    text.push_str(&super::deploy_diff::text(
        printer,
        preview.from_version.as_str(),
        preview.target_version.as_str(),
        &preview.differences,
    ));
    text.push_str(&format!("\n\nnothing was changed; to run exactly this plan, or nothing:\n  {command}"));
    text
}
