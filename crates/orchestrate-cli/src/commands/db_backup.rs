//! `orchestrate db backup`: the database as one file, whole, while everything goes on.

use std::path::{Path, PathBuf};

use orchestrate_core::database::{DatabaseUrl, backup};
use orchestrate_core::{Error, Result, failpoint};
use rustix::fs::{CWD, RenameFlags};

use crate::args::{DbBackup, Global};
use crate::exit::{Ended, Exit};
use crate::printer::Printer;
use crate::wiring::{Wiring, database};

pub async fn run(global: &Global, args: &DbBackup, printer: &Printer) -> Ended {
    let wiring = Wiring::open(global).await?;
    let (url, _) = database(global, &wiring.home)?;
    let from = match &url {
        DatabaseUrl::Sqlite(path) => path,
        DatabaseUrl::Postgres(_) => return Err(its_own(&url, &args.file).into()),
    };
    if args.file.exists() && !args.force {
        return Err(exists(&args.file).into());
    }
    let schema = write(from, &args.file, args.force)?;
    let bytes = std::fs::metadata(&args.file).map(|found| found.len()).unwrap_or_default();
    let value = serde_json::json!({ "file": args.file, "bytes": bytes, "schema": schema });
    printer.result(&value, || {
        let file = args.file.display();
        format!(
            "{} {file}, {bytes} bytes; it holds sealed secrets, whose key is not in it",
            printer.good("copied to")
        )
    });
    Ok(Exit::DONE)
}

/// Written beside its place and put there once it is whole and on disk.
fn write(from: &Path, to: &Path, force: bool) -> Result<i64> {
    let part = beside(to, &format!("part-{}", std::process::id()));
    let written = backup::copy(from, &part).and_then(|()| backup::inspect(&part));
    let placed = written.and_then(|schema| place(&part, to, force).map(|()| schema));
    if placed.is_err() {
        let _ = std::fs::remove_file(&part);
    }
    placed
}

/// A file of the same directory, whose name tells what it is for.
pub fn beside(path: &Path, ending: &str) -> PathBuf {
    let name = path.file_name().map_or_else(String::new, |name| name.to_string_lossy().into_owned());
    path.with_file_name(format!("{name}.{ending}"))
}

/// Gives a file that is on disk its name, also on disk.
pub fn place(part: &Path, to: &Path, force: bool) -> Result<()> {
    let flags = if force { RenameFlags::empty() } else { RenameFlags::NOREPLACE };
    let rename = || rustix::fs::renameat_with(CWD, part, CWD, to, flags).map_err(std::io::Error::from);
    let placed = failpoint!("backup/rename", rename());
    let directory =
        to.parent().filter(|parent| !parent.as_os_str().is_empty()).unwrap_or_else(|| Path::new("."));
    match placed.and_then(|()| std::fs::File::open(directory)?.sync_all()) {
        Ok(()) => Ok(()),
        Err(error) if error.kind() == std::io::ErrorKind::AlreadyExists => Err(exists(to)),
        Err(error) => {
            Err(Error::failed("ORC-0509", format!("{} cannot be written", to.display())).source(error))
        }
    }
}

fn exists(path: &Path) -> Error {
    Error::refused("ORC-0414", format!("{} is there already", path.display()))
        .hint(format!("name another, or replace it: orchestrate db backup {} --force", path.display()))
}

/// PostgreSQL has tools for this, which know its files better.
pub fn its_own(url: &DatabaseUrl, file: &Path) -> Error {
    let file = file.display();
    Error::refused("ORC-0413", format!("{url} is backed up and restored with the tools of PostgreSQL")).hint(format!(
        "pg_dump --format=custom --file={file} {url}; back: pg_restore --clean --if-exists --single-transaction \
         --dbname={url} {file}, with the user and password that you use"
    ))
}
