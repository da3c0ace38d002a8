//! How a person reads what a check found.

use orchestrate_core::evidence::{Consequence, Evidence, Finding};

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
