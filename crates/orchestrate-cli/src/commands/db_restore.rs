//! `orchestrate db restore`: puts a backup in the place of the database, in one instant; what was there is kept beside it.

use std::path::{Path, PathBuf};

use orchestrate_core::database::{Database, DatabaseUrl, backup};
use orchestrate_core::ports::{Clock as _, SystemClock};
use orchestrate_core::time::Timestamp;
use orchestrate_core::{Error, Result, failpoint};

use super::db_backup::{beside, its_own, place};
use crate::args::{DbRestore, Global};
use crate::exit::{Ended, Exit};
use crate::home::Home;
use crate::printer::Printer;
use crate::wiring::database;

pub async fn run(global: &Global, args: &DbRestore, printer: &Printer) -> Ended {
    let home = Home::locate(global.home.as_deref())?;
    home.prepare()?;
    let (url, _) = database(global, &home)?;
    let path = match &url {
        DatabaseUrl::Sqlite(path) => path.clone(),
        DatabaseUrl::Postgres(_) => return Err(its_own(&url, &args.file).into()),
    };
    // As long as it is held, no daemon starts.
    let Some(_lock) = crate::daemon::lock(&home)? else {
        return Err(Error::refused("ORC-0416", "the daemon of this home uses the database")
            .hint("stop it first, services go on: orchestrate daemon stop")
            .into());
    };
    let now = SystemClock.now();
    let schema = backup::inspect(&args.file)?;
    let fresh = beside(&path, &format!("restoring-{}", std::process::id()));
    let restored = restore(&args.file, &path, &fresh, now).await;
    for rest in ["", "-wal", "-shm", "-journal"] {
        let _ = std::fs::remove_file(format!("{}{rest}", fresh.display()));
    }
    let aside = restored?;
    let value = serde_json::json!({ "file": args.file, "schema": schema, "replaced": aside });
    printer.result(&value, || {
        let kept = aside.as_ref().map_or_else(String::new, |aside| format!("\nwhat was there is kept: {}", aside.display()));
        format!(
            "{} {}{kept}\nnext: orchestrate daemon start, then for each environment: orchestrate env check NAME",
            printer.good("restored from"),
            args.file.display()
        )
    });
    Ok(Exit::DONE)
}

/// Everything that may fail comes before the instant in which the names change.
async fn restore(file: &Path, path: &Path, fresh: &Path, now: Timestamp) -> Result<Option<PathBuf>> {
    backup::copy(file, fresh)?;
    let held = if path.exists() { backup::hold(path)? } else { None };
    let db = Database::open_with(&DatabaseUrl::Sqlite(fresh.to_owned()), 1).await?;
    let numbers = held.as_ref().map(|held| &held.numbers);
    db.mark_restored(numbers, &file.display().to_string(), &crate::host::actor(), now).await?;
    db.close().await;
    backup::fold_file(fresh)?;
    let aside = keep(path, now)?;
    place(fresh, path, true)?;
    Ok(aside)
}

/// Gives the database a second, dated name, and takes its log away from the place where the new one will be.
fn keep(path: &Path, now: Timestamp) -> Result<Option<PathBuf>> {
    if !path.exists() {
        return Ok(None);
    }
    let aside = beside(path, &format!("replaced-{}", now.to_string().replace(':', "-")));
    let cannot = |error: std::io::Error| {
        Error::failed("ORC-0509", format!("{} cannot be kept as {}", path.display(), aside.display()))
            .source(error)
    };
    failpoint!("restore/keep", std::fs::hard_link(path, &aside)).map_err(cannot)?;
    // A log that is still there belongs to a damaged database: the new one must not read it.
    for rest in ["-wal", "-shm", "-journal"] {
        let (from, to) = (format!("{}{rest}", path.display()), format!("{}{rest}", aside.display()));
        match failpoint!("restore/keep-log", std::fs::rename(from, to)) {
            Err(error) if error.kind() != std::io::ErrorKind::NotFound => return Err(cannot(error)),
            _ => {}
        }
    }
    Ok(Some(aside))
}
