//! `orchestrate audit list`: who did what, when and why.

use orchestrate_core::database::AuditRecord;
use orchestrate_core::name::EnvironmentName;

use crate::args::Global;
use crate::exit::{Ended, Exit};
use crate::printer::{Printer, harmless, moment};
use crate::wiring::Wiring;

pub async fn list(global: &Global, env: Option<EnvironmentName>, limit: u32, printer: &Printer) -> Ended {
    let wiring = Wiring::open(global).await?;
    if let Some(env) = &env {
        wiring.db.environment(env).await?;
    }
    let records = wiring.db.list_audit(env.as_ref(), i64::from(limit)).await?;
    printer.result(&records, || {
        let rows = records.iter().map(|record| {
            vec![
                record.id.to_string(),
                moment(record.at),
                record.environment.as_ref().map_or_else(String::new, ToString::to_string),
                record.action.clone(),
                harmless(&record.actor),
                harmless(&why(record)),
            ]
        });
        printer.table(&["ID", "AT (UTC)", "ENVIRONMENT", "ACTION", "BY", "WHY"], rows.collect())
    });
    Ok(Exit::DONE)
}

/// The reason that was given; of a refusal, what was asked for and the code that was the answer.
fn why(record: &AuditRecord) -> String {
    let reason = record.reason.clone().unwrap_or_default();
    let field = |name: &str| record.detail[name].as_str().unwrap_or_default().to_owned();
    match record.action.as_str() {
        "refused" => {
            let words = [field("asked"), field("version"), field("code"), reason];
            words.iter().filter(|word| !word.is_empty()).cloned().collect::<Vec<_>>().join(" ")
        }
        _ => reason,
    }
}
