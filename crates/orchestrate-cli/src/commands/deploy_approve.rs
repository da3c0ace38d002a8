//! `orchestrate deploy approve`, `reject` and `approvals`.

use orchestrate_core::access::Right;
use orchestrate_core::approval::{ApprovalRequest, ApprovalStatus};
use orchestrate_core::database::{Asked, Say};
use orchestrate_core::name::Version;
use orchestrate_core::ports::{Clock as _, SystemClock};
use orchestrate_core::time::Timestamp;
use serde::Serialize;

use super::refusal::noted;
use crate::args::{ApprovalArgs, Global, Listing};
use crate::exit::{Ended, Exit};
use crate::printer::{Printer, harmless, moment};
use crate::wiring::Wiring;

/// What is printed of a request: the request, and where it stands now.
#[derive(Serialize)]
struct Report<'a> {
    #[serde(flatten)]
    request: &'a ApprovalRequest,
    status: ApprovalStatus,
}

pub async fn say(global: &Global, args: ApprovalArgs, approves: bool, printer: &Printer) -> Ended {
    let wiring = Wiring::open(global).await?;
    let what = if approves { "approve" } else { "reject" };
    let actor = wiring.actor(Right::Approve, &args.env, what).await?;
    let (reason, now) = (args.reason.as_deref(), SystemClock.now());
    let say = Say { approves, actor: &actor, reason, now };
    let said = wiring.db.say_to_request(&args.env, args.version.as_ref(), say).await;
    let version = args.version.as_ref().map(Version::as_str);
    let asked = Asked { environment: &args.env, actor: &actor, what, version, reason };
    let request = noted(&wiring.db, asked, said).await?;
    printer.result(&report(&request, now), || text(printer, &request, now));
    Ok(Exit::DONE)
}

fn report(request: &ApprovalRequest, now: Timestamp) -> Report<'_> {
    Report { request, status: request.status(now) }
}

fn text(printer: &Printer, request: &ApprovalRequest, now: Timestamp) -> String {
    let ApprovalRequest { id, version, environment, actor, needed, .. } = request;
    match request.status(now) {
        ApprovalStatus::Rejected => format!(
            "{} the deployment of {version} to {environment} that {} asked for (request {id})",
            printer.bad("rejected"),
            harmless(actor)
        ),
        ApprovalStatus::Approved => format!(
            "{} {version} may be deployed to {environment} until {} UTC (request {id}); {} types the same deployment again",
            printer.good("approved:"),
            moment(request.expires_at),
            harmless(actor)
        ),
        ApprovalStatus::Waiting | ApprovalStatus::Expired | ApprovalStatus::Used => format!(
            "{} {} of {needed} have approved {version} for {environment} (request {id})",
            printer.noted("approved:"),
            request.approvals()
        ),
    }
}

pub async fn list(global: &Global, args: &Listing, printer: &Printer) -> Ended {
    let wiring = Wiring::open(global).await?;
    wiring.db.environment(&args.env).await?;
    let requests = wiring.db.list_approvals(&args.env, i64::from(args.limit)).await?;
    let now = SystemClock.now();
    let reports: Vec<Report<'_>> = requests.iter().map(|request| report(request, now)).collect();
    printer.result(&reports, || {
        if requests.is_empty() {
            return format!("nobody asked for approval in {}", args.env);
        }
        let rows = requests.iter().map(|request| row(printer, request, now)).collect();
        printer
            .table(&["ID", "ASKED (UTC)", "VERSION", "STATUS", "APPROVED", "UNTIL (UTC)", "BY", "WHY"], rows)
    });
    Ok(Exit::DONE)
}

fn row(printer: &Printer, request: &ApprovalRequest, now: Timestamp) -> Vec<String> {
    let status = request.status(now);
    let shown = match status {
        ApprovalStatus::Waiting => printer.noted(status.as_str()),
        ApprovalStatus::Approved | ApprovalStatus::Used => printer.good(status.as_str()),
        ApprovalStatus::Rejected | ApprovalStatus::Expired => printer.bad(status.as_str()),
    };
    let said = match request.rejection() {
        Some(vote) => format!("no: {}", vote.actor),
        None => format!("{}/{} {}", request.approvals(), request.needed, request.approvers()),
    };
    vec![
        request.id.to_string(),
        moment(request.requested_at),
        request.version.to_string(),
        shown,
        harmless(said.trim()),
        moment(request.expires_at),
        harmless(&request.actor),
        harmless(request.reason.as_deref().unwrap_or_default()),
    ]
}
