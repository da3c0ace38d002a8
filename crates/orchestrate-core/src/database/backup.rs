//! A SQLite database as a file: copied while it is used, looked at before it is trusted, held while it is replaced. Blocks.

use std::os::unix::fs::OpenOptionsExt as _;
use std::path::Path;
use std::time::Duration;

use rusqlite::backup::{Backup, StepResult};
use rusqlite::{Connection, ErrorCode, OpenFlags};

use super::connect::known_schema;
use super::row::{Cause, store_error};
use crate::error::{Error, Result};
use crate::failpoint;

/// How long another program's lock is waited for.
const PATIENCE: Duration = Duration::from_secs(5);
/// How many things that are wrong are named.
const MOST: usize = 5;

/// Copies the database into a new file, as it is at one moment; the copy is one file, whole, and on disk.
pub fn copy(from: &Path, to: &Path) -> Result<()> {
    std::fs::OpenOptions::new().write(true).create_new(true).mode(0o600).open(to).map_err(|error| {
        Error::failed("ORC-0509", format!("{} cannot be written", to.display())).source(error)
    })?;
    failpoint!("backup/copy", copy_pages(from, to).map_err(Cause::Sqlite)).map_err(store_error)?;
    let wrong = wrong_with(to).map_err(|error| store_error(Cause::Sqlite(error)))?;
    if !wrong.is_empty() {
        return Err(super::row::damaged(wrong.join("; ")));
    }
    synced(to)
}

fn copy_pages(from: &Path, to: &Path) -> rusqlite::Result<()> {
    let (source, mut target) = (open(from, OpenFlags::SQLITE_OPEN_READ_ONLY)?, open(to, WRITE)?);
    {
        let backup = Backup::new(&source, &mut target)?;
        // All pages in one step: whoever writes meanwhile writes beside it, and it need not begin anew.
        let done = backup.step(-1)?;
        if done != StepResult::Done {
            let busy = rusqlite::ffi::Error::new(rusqlite::ffi::SQLITE_BUSY);
            return Err(rusqlite::Error::SqliteFailure(busy, Some("database is locked".to_owned())));
        }
    }
    fold(&target)
}

const WRITE: OpenFlags = OpenFlags::SQLITE_OPEN_READ_WRITE;

fn open(path: &Path, flags: OpenFlags) -> rusqlite::Result<Connection> {
    let connection = Connection::open_with_flags(path, flags | OpenFlags::SQLITE_OPEN_NO_MUTEX)?;
    connection.busy_timeout(PATIENCE)?;
    Ok(connection)
}

/// Takes the write-ahead log into the file. Fails with `busy` while another program has the database open.
fn fold(connection: &Connection) -> rusqlite::Result<()> {
    connection.query_row("PRAGMA journal_mode = DELETE", [], |_| Ok(()))
}

/// The same for a file that nobody else uses, down to the disk.
pub fn fold_file(path: &Path) -> Result<()> {
    let folded = open(path, WRITE).and_then(|connection| fold(&connection));
    folded.map_err(|error| store_error(Cause::Sqlite(error)))?;
    synced(path)
}

fn synced(path: &Path) -> Result<()> {
    let sync = || std::fs::File::open(path).and_then(|file| file.sync_all());
    failpoint!("backup/sync", sync()).map_err(|error| {
        Error::failed("ORC-0407", format!("{} is not on disk", path.display())).source(error)
    })
}

/// What SQLite finds wrong with the file, and which references lead nowhere.
fn wrong_with(path: &Path) -> rusqlite::Result<Vec<String>> {
    let connection = open(path, OpenFlags::SQLITE_OPEN_READ_ONLY)?;
    let mut wrong: Vec<String> = Vec::new();
    let mut check = connection.prepare("SELECT integrity_check FROM pragma_integrity_check")?;
    for line in check.query_map([], |row| row.get::<_, String>(0))? {
        wrong.push(line?);
    }
    wrong.retain(|line| line != "ok");
    let mut check = connection.prepare("SELECT \"table\", \"parent\" FROM pragma_foreign_key_check")?;
    for pair in check.query_map([], |row| Ok((row.get::<_, String>(0)?, row.get::<_, String>(1)?)))? {
        let (table, parent) = pair?;
        wrong.push(format!("a row of {table} refers to one of {parent} that is not there"));
    }
    wrong.truncate(MOST);
    Ok(wrong)
}

/// Whether the file is a whole database of orchestrate that this program can read; its schema.
pub fn inspect(path: &Path) -> Result<i64> {
    let unusable = |why: String| {
        Error::refused("ORC-0415", format!("{} cannot be used: {why}", path.display()))
            .hint("take another backup; the database that is there was not touched")
    };
    std::fs::metadata(path).map_err(|error| unusable(error.to_string()))?;
    let wrong = wrong_with(path).map_err(|error| unusable(error.to_string()))?;
    if !wrong.is_empty() {
        return Err(unusable(wrong.join("; ")));
    }
    let schema = open(path, OpenFlags::SQLITE_OPEN_READ_ONLY).and_then(|connection| {
        connection.query_row("SELECT MAX(version) FROM _sqlx_migrations", [], |row| row.get::<_, i64>(0))
    });
    match schema {
        Ok(schema) if schema <= known_schema() => Ok(schema),
        Ok(schema) => Err(unusable(format!("it has schema {schema}, which is newer than this program"))),
        Err(_) => Err(unusable("it is not a database of orchestrate".to_owned())),
    }
}

/// The highest numbers that were ever given out, so that none is given out twice.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Numbers {
    pub tables: Vec<(String, i64)>,
    pub fence: i64,
}

/// A database that nobody else uses, until this is dropped.
pub struct Held {
    _connection: Connection,
    pub numbers: Numbers,
}

/// Holds the database for its replacement; `None` if it is damaged, so that nobody can use it. Refused while another program has it
/// open.
pub fn hold(path: &Path) -> Result<Option<Held>> {
    match try_hold(path) {
        Ok(held) => Ok(Some(held)),
        Err(error) => match error.sqlite_error_code() {
            Some(ErrorCode::DatabaseCorrupt | ErrorCode::NotADatabase) => Ok(None),
            Some(ErrorCode::DatabaseBusy | ErrorCode::DatabaseLocked) => Err(in_use(path).source(error)),
            // An empty file has no tables.
            Some(ErrorCode::Unknown) => Ok(None),
            _ => Err(store_error(Cause::Sqlite(error))),
        },
    }
}

fn in_use(path: &Path) -> Error {
    Error::refused("ORC-0416", format!("another program uses {}", path.display()))
        .hint("wait until commands are done and stop the daemon, services go on: orchestrate daemon stop")
}

fn try_hold(path: &Path) -> rusqlite::Result<Held> {
    let connection = open(path, WRITE)?;
    connection.query_row("PRAGMA locking_mode = EXCLUSIVE", [], |_| Ok(()))?;
    fold(&connection)?;
    connection.execute_batch("BEGIN EXCLUSIVE")?;
    let fence =
        connection.query_row("SELECT COALESCE(MAX(fence), 0) FROM leases", [], |row| row.get::<_, i64>(0))?;
    let tables = connection
        .prepare("SELECT name, seq FROM sqlite_sequence WHERE name <> 'audit'")?
        .query_map([], |row| Ok((row.get(0)?, row.get(1)?)))?
        .collect::<rusqlite::Result<Vec<_>>>()?;
    Ok(Held { _connection: connection, numbers: Numbers { tables, fence } })
}
