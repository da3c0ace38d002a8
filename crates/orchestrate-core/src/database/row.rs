//! From rows to facts, and from a database's errors to ours.

use std::sync::Arc;

use serde::Serialize;
use serde::de::DeserializeOwned;

use super::locker::Locker;
use super::postgres;
use crate::error::{Error, Result};
use crate::name::{EnvironmentName, Version};
use crate::time::Timestamp;

/// Why a statement failed.
#[derive(Debug, thiserror::Error)]
pub(crate) enum Cause {
    #[error(transparent)]
    Sqlite(#[from] rusqlite::Error),
    #[error(transparent)]
    Postgres(#[from] sqlx::Error),
    /// Another program had the lock for as long as one waits; the process, where the kernel tells which.
    #[error("{error}")]
    Locked { error: rusqlite::Error, by: Option<Locker> },
    #[error("the connection is gone")]
    Gone,
}

impl Cause {
    pub fn is_missing_table(&self) -> bool {
        match self {
            Self::Sqlite(error) => error.to_string().contains("no such table"),
            Self::Postgres(error) => {
                error.as_database_error().is_some_and(|error| error.code().as_deref() == Some("42P01"))
            }
            Self::Locked { .. } | Self::Gone => false,
        }
    }

    /// The server's certificate is not what was asked for, or there is no TLS at all.
    fn is_about_tls(&self) -> bool {
        match self {
            Self::Postgres(sqlx::Error::Tls(_)) => true,
            // How rustls tells of a bad certificate.
            Self::Postgres(sqlx::Error::Io(error)) => error.kind() == std::io::ErrorKind::InvalidData,
            Self::Sqlite(_) | Self::Postgres(_) | Self::Locked { .. } | Self::Gone => false,
        }
    }

    /// Whether the server said one of these, of which each is the beginning of a code.
    fn is_refused_by(&self, codes: &[&str]) -> bool {
        let Self::Postgres(error) = self else { return false };
        let code = error.as_database_error().and_then(|error| error.code());
        code.is_some_and(|code| codes.iter().any(|begin| code.starts_with(begin)))
    }

    fn is_unreachable(&self) -> bool {
        match self {
            Self::Sqlite(_) | Self::Locked { .. } => false,
            Self::Postgres(error) => {
                matches!(error, sqlx::Error::Io(_) | sqlx::Error::PoolTimedOut | sqlx::Error::Tls(_))
                    || postgres::says_good_bye(error)
            }
            Self::Gone => true,
        }
    }
}

/// Says what a failed statement means to the person who waits for it.
pub(crate) fn store_error(error: Cause) -> Error {
    let text = error.to_string();
    let told = |code, message: &str, hint: &str| Error::failed(code, message).hint(hint);
    let known = if let Cause::Locked { by: Some(by), .. } = &error {
        locked_by(by)
    } else if text.contains("database is locked") || text.contains("database table is locked") {
        told("ORC-0401", "the database is locked by another program", "wait until it is done, then try again")
    } else if text.contains("malformed")
        || text.contains("file is not a database")
        || text.contains("invalid utf-8")
    {
        told(
            "ORC-0402",
            "the database file is damaged",
            "services keep running; see what is wrong: orchestrate db check; then: orchestrate db restore FILE",
        )
    } else if text.contains("readonly database") || text.contains("unable to open database") {
        told(
            "ORC-0404",
            "the database cannot be written",
            "check the owner and the mode of the home, and that it is not mounted read-only",
        )
    } else if text.contains("disk is full") || text.contains("disk I/O error") {
        told(
            "ORC-0407",
            "the disk of the home is full or failing",
            "free some space, then try again; services keep running",
        )
    } else if error.is_about_tls() {
        told(
            "ORC-0417",
            "the database server is not the one that was asked for",
            "with sslmode=verify-full the host in the URL has to be a name in the server's certificate, and sslrootcert the file \
             of who signed it; without TLS on the server: sslmode=disable",
        )
    } else if error.is_refused_by(&[postgres::TOO_MANY]) {
        told(
            "ORC-0418",
            "the database server has no connection left",
            "try again, or raise max_connections there; a command needs one connection, a daemon up to four",
        )
    } else if error.is_refused_by(&["28", "3D000"]) {
        told(
            "ORC-0421",
            "the database server does not let us in",
            "check user, password and name of the database: psql \"$ORCHESTRATE_DATABASE_URL\" -c 'select 1'",
        )
    } else if error.is_refused_by(&[postgres::SLEPT]) {
        told(
            "ORC-0423",
            "this program stood still in the middle of writing, so the database gave it up",
            "that write did not happen; another program may have taken over meanwhile: orchestrate deploy status",
        )
    } else if error.is_unreachable() {
        told(
            "ORC-0409",
            "the database does not answer",
            "check that the server runs, then try again; services keep running",
        )
    } else {
        Error::bug("a statement was refused by the database")
    };
    known.source(error)
}

fn locked_by(by: &Locker) -> Error {
    let Locker { pid, is_stopped, .. } = by;
    let (how, hint) = match is_stopped {
        true => (
            ", which is stopped in the middle of a write",
            format!(
                "let it go on: kill -CONT {pid}; or end it, what it began is finished then: kill -KILL {pid}"
            ),
        ),
        false => ("", "wait until it is done, then try again".to_owned()),
    };
    Error::failed("ORC-0401", format!("the database is locked by {by}{how}")).hint(hint)
}

pub(crate) fn damaged(what: impl Into<String>) -> Error {
    Error::failed("ORC-0402", format!("a record cannot be read: {}", what.into()))
        .hint("see what is wrong: orchestrate db check; then put a backup in its place: orchestrate db restore FILE")
}

/// One row of an answer.
#[derive(Clone, Debug)]
pub(crate) struct Row {
    columns: Arc<[String]>,
    cells: Vec<Cell>,
}

#[derive(Clone, Debug)]
pub(crate) enum Cell {
    Null,
    Int(i64),
    Text(String),
    Bytes(Vec<u8>),
}

/// Typed reads by the name of a column; what is of another type was not written by us.
impl Row {
    pub fn new(columns: Arc<[String]>, cells: Vec<Cell>) -> Self {
        Self { columns, cells }
    }

    pub fn int(&self, column: &str) -> Result<i64> {
        self.opt_int(column)?.ok_or_else(|| damaged(format!("{column} is missing")))
    }

    pub fn opt_int(&self, column: &str) -> Result<Option<i64>> {
        match self.cell(column)? {
            Cell::Null => Ok(None),
            Cell::Int(number) => Ok(Some(*number)),
            Cell::Text(_) | Cell::Bytes(_) => Err(damaged(format!("{column} is not a number"))),
        }
    }

    pub fn text(&self, column: &str) -> Result<String> {
        self.opt_text(column)?.ok_or_else(|| damaged(format!("{column} is missing")))
    }

    pub fn opt_text(&self, column: &str) -> Result<Option<String>> {
        match self.cell(column)? {
            Cell::Null => Ok(None),
            Cell::Text(text) => Ok(Some(text.clone())),
            Cell::Int(_) | Cell::Bytes(_) => Err(damaged(format!("{column} is not text"))),
        }
    }

    pub fn bytes(&self, column: &str) -> Result<Vec<u8>> {
        match self.cell(column)? {
            Cell::Bytes(bytes) => Ok(bytes.clone()),
            Cell::Null | Cell::Int(_) | Cell::Text(_) => Err(damaged(format!("{column} is not bytes"))),
        }
    }

    fn cell(&self, column: &str) -> Result<&Cell> {
        let index = self.columns.iter().position(|name| name == column);
        index
            .and_then(|index| self.cells.get(index))
            .ok_or_else(|| Error::bug(format!("the answer has no column {column}")))
    }

    pub fn time(&self, column: &str) -> Result<Timestamp> {
        self.text(column)?.parse().map_err(damaged)
    }

    pub fn opt_time(&self, column: &str) -> Result<Option<Timestamp>> {
        self.opt_text(column)?.map(|text| text.parse().map_err(damaged)).transpose()
    }

    pub fn json<T: DeserializeOwned>(&self, column: &str) -> Result<T> {
        serde_json::from_str(&self.text(column)?).map_err(|error| damaged(format!("{column}: {error}")))
    }

    pub fn parsed<T>(&self, column: &str, parse: impl FnOnce(&str) -> Option<T>) -> Result<T> {
        let text = self.text(column)?;
        parse(&text).ok_or_else(|| damaged(format!("{column} is `{text}`")))
    }

    pub fn environment(&self, column: &str) -> Result<EnvironmentName> {
        EnvironmentName::new(self.text(column)?)
    }

    pub fn version(&self, column: &str) -> Result<Version> {
        Version::new(self.text(column)?)
    }
}

pub(crate) fn to_json<T: Serialize>(value: &T) -> Result<String> {
    serde_json::to_string(value).map_err(|error| Error::bug(format!("a record cannot be written: {error}")))
}
