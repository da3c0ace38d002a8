//! How a person reads what a check found, and what became of a hook.

use orchestrate_core::evidence::{Consequence, Evidence, Finding};
use orchestrate_core::hooks::{HookRun, HookStatus};

use crate::printer::{Printer, harmless};

/// What was found and what it leads to, without the name of the check.
pub fn text(printer: &Printer, evidence: &Evidence) -> String {
    let finding = match evidence.finding {
        Finding::Good => printer.good(evidence.finding.as_str()),
        Finding::Bad => printer.bad(evidence.finding.as_str()),
        Finding::NoData => printer.noted("no data"),
    };
    let leads = match evidence.consequence {
        Consequence::None | Consequence::Rollback => "",
        Consequence::Notify => " (people are told, nothing is rolled back for it)",
    };
    format!("{finding}: {}{leads}", harmless(&evidence.text))
}

/// The same on a line of its own.
pub fn line(printer: &Printer, evidence: &Evidence) -> String {
    format!("  {}: {}", harmless(&evidence.check), text(printer, evidence))
}

/// What became of a hook, with the end of what it printed where it failed.
pub fn hook(printer: &Printer, run: &HookRun) -> String {
    let error = run.error.as_deref().map(|error| format!(": {error}")).unwrap_or_default();
    match run.status {
        HookStatus::Succeeded => printer.good("succeeded"),
        HookStatus::Failed if run.output.is_empty() => {
            format!("{}{}", printer.bad("failed"), harmless(&error))
        }
        HookStatus::Failed => {
            format!("{}{}: {}", printer.bad("failed"), harmless(&error), harmless(&run.output))
        }
    }
}
