//! `orchestrate audit list`: who did what, when and why.

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
                harmless(record.reason.as_deref().unwrap_or_default()),
            ]
        });
        printer.table(&["ID", "AT (UTC)", "ENVIRONMENT", "ACTION", "BY", "WHY"], rows.collect())
    });
    Ok(Exit::DONE)
}
