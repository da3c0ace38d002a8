//! One statement, written once for both databases: `query(sql).bind(value).fetch_all(session)`.

use std::borrow::Cow;
use std::sync::Arc;

use super::row::{Cause, Row, damaged, store_error};
use super::session::Session;
use crate::error::Result;
use crate::failpoint;

/// A statement with `$1`, `$2`, … for its values.
pub(crate) fn query(sql: impl Into<Cow<'static, str>>) -> Query {
    Query { sql: sql.into(), values: Vec::new() }
}

#[derive(Clone, Debug)]
pub(crate) struct Query {
    pub(super) sql: Cow<'static, str>,
    pub(super) values: Vec<Value>,
}

/// What a statement is given. PostgreSQL wants to know the type of a NULL, too.
#[derive(Clone, Debug)]
pub(crate) enum Value {
    Int(Option<i64>),
    Text(Option<String>),
    Bytes(Vec<u8>),
}

impl Query {
    /// The value of the next `$n`.
    #[must_use]
    pub fn bind(mut self, value: impl Into<Value>) -> Self {
        self.values.push(value.into());
        self
    }

    /// Runs it for its effect and returns how many rows it changed.
    pub async fn execute(self, session: &mut Session) -> Result<u64> {
        failpoint!("database/write", self.try_execute(session).await).map_err(store_error)
    }

    /// The same, for a caller that tells errors apart.
    pub(super) async fn try_execute(self, session: &mut Session) -> Result<u64, Cause> {
        self.tell();
        session.execute(Arc::new(self)).await
    }

    pub async fn fetch_all(self, session: &mut Session) -> Result<Vec<Row>> {
        self.try_fetch_all(session).await.map_err(store_error)
    }

    /// The first row, if there is one.
    pub async fn fetch_optional(self, session: &mut Session) -> Result<Option<Row>> {
        Ok(self.fetch_all(session).await?.into_iter().next())
    }

    /// The one row that must be there.
    pub async fn fetch_one(self, session: &mut Session) -> Result<Row> {
        self.fetch_optional(session).await?.ok_or_else(|| damaged("a row that must be there is missing"))
    }

    /// The same as `fetch_all`, for a caller that tells errors apart.
    pub(super) async fn try_fetch_all(self, session: &mut Session) -> Result<Vec<Row>, Cause> {
        self.tell();
        session.fetch_all(Arc::new(self)).await
    }

    fn tell(&self) {
        tracing::trace!(target: "orchestrate_core::statement", statement = &*self.sql);
    }
}

impl From<i64> for Value {
    fn from(value: i64) -> Self {
        Self::Int(Some(value))
    }
}

impl From<Option<i64>> for Value {
    fn from(value: Option<i64>) -> Self {
        Self::Int(value)
    }
}

impl From<String> for Value {
    fn from(value: String) -> Self {
        Self::Text(Some(value))
    }
}

impl From<&str> for Value {
    fn from(value: &str) -> Self {
        Self::Text(Some(value.to_owned()))
    }
}

impl From<Option<String>> for Value {
    fn from(value: Option<String>) -> Self {
        Self::Text(value)
    }
}

impl From<Vec<u8>> for Value {
    fn from(value: Vec<u8>) -> Self {
        Self::Bytes(value)
    }
}
