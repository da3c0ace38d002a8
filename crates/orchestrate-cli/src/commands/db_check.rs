//! `orchestrate db check`: whether the database is whole, its trail intact, and its records agree. Changes nothing.

use orchestrate_core::database::{Database, DatabaseUrl, backup};
use orchestrate_core::{Error, Result};
use serde::Serialize;

use crate::args::Global;
use crate::exit::{Ended, Exit};
use crate::home::Home;
use crate::printer::{Printer, harmless};
use crate::wiring::database;

/// One thing that was looked at.
#[derive(Serialize)]
struct Finding {
    name: String,
    passed: bool,
    message: String,
}

pub async fn run(global: &Global, printer: &Printer) -> Ended {
    let home = Home::locate(global.home.as_deref())?;
    home.prepare()?;
    let (url, _) = database(global, &home)?;
    let mut findings = Vec::new();
    if let Err(error) = look(&url, &mut findings).await {
        findings.push(finding("readable", Err(error)));
    }
    let all = findings.iter().all(|finding| finding.passed);
    printer.result(&findings, || {
        let rows = findings.iter().map(|finding| {
            let mark = if finding.passed { printer.good("ok") } else { printer.bad("failed") };
            vec![mark, finding.name.clone(), harmless(&finding.message)]
        });
        let table = printer.table(&["", "CHECK", "FOUND"], rows.collect());
        match all {
            true => table,
            false => format!("{table}\n\nputs a backup in its place: orchestrate db restore FILE"),
        }
    });
    Ok(if all { Exit::DONE } else { Exit(4) })
}

/// Ends early where there is nothing left to look at.
async fn look(url: &DatabaseUrl, findings: &mut Vec<Finding>) -> Result<()> {
    if let DatabaseUrl::Sqlite(path) = url {
        let found = backup::inspect(path).map(|schema| format!("whole; schema {schema}"));
        let whole = found.is_ok();
        findings.push(finding("file", found));
        if !whole {
            return Ok(());
        }
    }
    let db = Database::open_with(url, 1).await?;
    let trail = db.verify_audit(None).await?;
    let broken: Vec<&str> = trail.findings.iter().map(|finding| finding.message.as_str()).collect();
    findings.push(Finding {
        name: "audit trail".into(),
        passed: broken.is_empty(),
        message: if broken.is_empty() {
            format!("{} records, intact", trail.records)
        } else {
            broken.join("; ")
        },
    });
    for checked in db.check_records().await? {
        let passed = checked.wrong.is_empty();
        let message =
            if passed { "yes".to_owned() } else { format!("not so for {}", checked.wrong.join(", ")) };
        findings.push(Finding { name: checked.name, passed, message });
    }
    db.close().await;
    Ok(())
}

fn finding(name: &str, result: std::result::Result<String, Error>) -> Finding {
    let (passed, message) = match result {
        Ok(message) => (true, message),
        Err(error) => (false, error.full_message()),
    };
    Finding { name: name.into(), passed, message }
}
