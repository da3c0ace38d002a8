//! `orchestrate report`: what deployments and rollbacks came to.

mod csv;
mod html;
mod markdown;
mod sheet;
#[cfg(test)]
mod tests;
mod text;

use orchestrate_core::Error;
use orchestrate_core::report::{Period, Report};
use orchestrate_core::time::Timestamp;

use crate::args::{Global, Report as Args, ReportFormat};
use crate::exit::{Ended, Exit};
use crate::printer::Printer;
use crate::wiring::Wiring;

pub async fn run(global: &Global, args: &Args, printer: &Printer) -> Ended {
    let wiring = Wiring::open(global).await?;
    if let Some(name) = &args.env {
        wiring.db.environment(name).await?;
    }
    let period = period(args, Timestamp::system_now())?;
    let report = wiring.db.report(args.env.as_ref(), period).await?;
    if report.environments.is_empty() && args.format != ReportFormat::Json {
        printer.note("there is no environment yet; make one with: orchestrate env apply");
    }
    let text = match args.format {
        ReportFormat::Table => text::of(&report, printer),
        ReportFormat::Json => {
            printer.result(&report, String::new);
            return Ok(Exit::DONE);
        }
        ReportFormat::Csv => csv::of(&report)?,
        ReportFormat::Markdown => markdown::of(&report),
        ReportFormat::Html => html::of(&report)?,
    };
    printer.out(&text);
    Ok(Exit::DONE)
}

fn period(args: &Args, now: Timestamp) -> Result<Period, Error> {
    let until = args.until.map_or(now, |until| until.before(now));
    let since = args.since.before(now);
    if since >= until {
        return Err(Error::usage(
            "ORC-0216",
            format!("the report would begin at {since} and end at {until}"),
        )
        .hint("give --since a time before --until, for example --since 90d"));
    }
    // One row a day is kept in the result.
    if until.millis_since(since) > 3_660 * 86_400_000 {
        return Err(Error::usage("ORC-0216", "the report would cover more than ten years")
            .hint("give --since a later time, for example --since 365d"));
    }
    Ok(Period { since, until })
}

/// The environments, and all of them together where there are several.
fn parts(report: &Report) -> Vec<(String, &orchestrate_core::report::Figures)> {
    let name = |part: &orchestrate_core::report::Part| format!("{} ({})", part.environment, part.kind);
    let mut parts: Vec<_> = report.environments.iter().map(|part| (name(part), &part.figures)).collect();
    if parts.len() > 1 {
        parts.push(("all together".to_owned(), &report.total));
    }
    parts
}
