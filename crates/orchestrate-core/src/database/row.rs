//! From rows to facts, and from a database's errors to ours.

use serde::Serialize;
use serde::de::DeserializeOwned;
use sqlx::Row as _;
use sqlx::any::AnyRow;

use crate::error::{Error, Result};
use crate::name::{EnvironmentName, Version};
use crate::time::Timestamp;

/// Says what a failed statement means to the person who waits for it.
pub(crate) fn store_error(error: sqlx::Error) -> Error {
    let text = error.to_string();
    let told = |code, message: &str, hint: &str| Error::failed(code, message).hint(hint);
    let known = if text.contains("database is locked") || text.contains("database table is locked") {
        told("ORC-0401", "the database is locked by another program", "wait until it is done, then try again")
    } else if text.contains("malformed") || text.contains("file is not a database") {
        told(
            "ORC-0402",
            "the database file is damaged",
            "services keep running; restore the file from a backup, then try again",
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
    } else if matches!(error, sqlx::Error::Io(_) | sqlx::Error::PoolTimedOut | sqlx::Error::Tls(_)) {
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

pub(crate) fn damaged(what: impl Into<String>) -> Error {
    Error::failed("ORC-0402", format!("a record cannot be read: {}", what.into()))
        .hint("it was changed by something else than orchestrate; restore the database from a backup")
}

/// Typed reads of the columns that records share.
pub(crate) trait RowExt {
    fn int(&self, column: &str) -> Result<i64>;
    fn opt_int(&self, column: &str) -> Result<Option<i64>>;
    fn text(&self, column: &str) -> Result<String>;
    fn opt_text(&self, column: &str) -> Result<Option<String>>;
    fn bytes(&self, column: &str) -> Result<Vec<u8>>;
    fn time(&self, column: &str) -> Result<Timestamp>;
    fn opt_time(&self, column: &str) -> Result<Option<Timestamp>>;
    fn json<T: DeserializeOwned>(&self, column: &str) -> Result<T>;
    fn parsed<T>(&self, column: &str, parse: impl FnOnce(&str) -> Option<T>) -> Result<T>;
    fn environment(&self, column: &str) -> Result<EnvironmentName>;
    fn version(&self, column: &str) -> Result<Version>;
}

impl RowExt for AnyRow {
    fn int(&self, column: &str) -> Result<i64> {
        self.try_get(column).map_err(store_error)
    }

    fn opt_int(&self, column: &str) -> Result<Option<i64>> {
        self.try_get(column).map_err(store_error)
    }

    fn text(&self, column: &str) -> Result<String> {
        self.try_get(column).map_err(store_error)
    }

    fn opt_text(&self, column: &str) -> Result<Option<String>> {
        self.try_get(column).map_err(store_error)
    }

    fn bytes(&self, column: &str) -> Result<Vec<u8>> {
        self.try_get(column).map_err(store_error)
    }

    fn time(&self, column: &str) -> Result<Timestamp> {
        self.text(column)?.parse().map_err(damaged)
    }

    fn opt_time(&self, column: &str) -> Result<Option<Timestamp>> {
        self.opt_text(column)?.map(|text| text.parse().map_err(damaged)).transpose()
    }

    fn json<T: DeserializeOwned>(&self, column: &str) -> Result<T> {
        serde_json::from_str(&self.text(column)?).map_err(|error| damaged(format!("{column}: {error}")))
    }

    fn parsed<T>(&self, column: &str, parse: impl FnOnce(&str) -> Option<T>) -> Result<T> {
        let text = self.text(column)?;
        parse(&text).ok_or_else(|| damaged(format!("{column} is `{text}`")))
    }

    fn environment(&self, column: &str) -> Result<EnvironmentName> {
        EnvironmentName::new(self.text(column)?)
    }

    fn version(&self, column: &str) -> Result<Version> {
        Version::new(self.text(column)?)
    }
}

pub(crate) fn to_json<T: Serialize>(value: &T) -> Result<String> {
    serde_json::to_string(value).map_err(|error| Error::bug(format!("a record cannot be written: {error}")))
}
