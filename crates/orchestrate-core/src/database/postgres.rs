//! PostgreSQL, through sqlx.

use std::sync::Arc;
use std::time::Duration;

use sqlx::postgres::{PgArguments, PgRow, Postgres};
use sqlx::query::Query as SqlxQuery;
use sqlx::{Column as _, Connection as _, PgConnection, Row as _, TypeInfo as _, ValueRef as _};

use super::row::{Cause, Cell, Row};
use super::sql::{Query, Value};

/// How long a server may take to let us in.
const PATIENCE: Duration = Duration::from_secs(10);
/// The server's code for having no connection left, and how long one is waited for.
pub(super) const TOO_MANY: &str = "53300";
const CROWDED: Duration = Duration::from_secs(3);
/// The server's code for having given up a connection that did nothing in the middle of a transaction.
pub(super) const SLEPT: &str = "25P03";
/// A program that stops in the middle of a transaction, as on a laptop that is closed, holds its locks no longer than this.
/// Not an option of the connection, which a pooler in between may refuse.
const NO_SLEEPERS: &str = "SET idle_in_transaction_session_timeout = '5s'";

#[derive(Debug)]
pub(crate) struct Session {
    connection: Box<PgConnection>,
    broken: bool,
}

impl Session {
    pub async fn open(url: &str) -> Result<Self, Cause> {
        let connecting = tokio::time::timeout(PATIENCE, async {
            let mut connection = connect(url).await?;
            sqlx::raw_sql(NO_SLEEPERS).execute(&mut connection).await?;
            Ok(connection)
        });
        let connection = Box::new(connecting.await.unwrap_or(Err(sqlx::Error::PoolTimedOut))?);
        Ok(Self { connection, broken: false })
    }

    /// False once the server could not be heard.
    pub fn is_whole(&self) -> bool {
        !self.broken
    }

    pub async fn close(self) {
        // A server that is gone already has nothing to be told.
        let _ = self.connection.close().await;
    }

    pub async fn execute(&mut self, query: &Query) -> Result<u64, Cause> {
        // Without values it takes one message there and back instead of two.
        let done = match query.values.as_slice() {
            [] => sqlx::raw_sql(sqlx::AssertSqlSafe(query.sql.as_ref())).execute(&mut *self.connection).await,
            _ => bound(query).execute(&mut *self.connection).await,
        };
        self.heard(done).map(|done| done.rows_affected())
    }

    pub async fn fetch_all(&mut self, query: &Query) -> Result<Vec<Row>, Cause> {
        let rows = bound(query).fetch_all(&mut *self.connection).await;
        let rows = self.heard(rows)?;
        let Some(first) = rows.first() else { return Ok(Vec::new()) };
        let columns: Arc<[String]> = first.columns().iter().map(|column| column.name().to_owned()).collect();
        rows.iter().map(|row| Ok(Row::new(Arc::clone(&columns), cells(row)?))).collect()
    }

    /// Anything but the server's refusal of a statement means that it may not listen any more.
    fn heard<T>(&mut self, result: sqlx::Result<T>) -> Result<T, Cause> {
        let refused = |error: &sqlx::Error| error.as_database_error().is_some() && !says_good_bye(error);
        self.broken |= result.as_ref().is_err_and(|error| !refused(error));
        Ok(result?)
    }
}

/// Where all connections are in use, one may be free in a moment: most commands are short.
async fn connect(url: &str) -> sqlx::Result<PgConnection> {
    let began = tokio::time::Instant::now();
    loop {
        match PgConnection::connect(url).await {
            Err(error) if has_too_many(&error) && began.elapsed() < CROWDED => {
                tokio::time::sleep(Duration::from_millis(100)).await;
            }
            result => return result,
        }
    }
}

fn has_too_many(error: &sqlx::Error) -> bool {
    error.as_database_error().and_then(|error| error.code()).is_some_and(|code| code == TOO_MANY)
}

/// Whether the server ended the connection: class 57 tells that it is going away or coming up.
pub(super) fn says_good_bye(error: &sqlx::Error) -> bool {
    let code = error.as_database_error().and_then(|error| error.code());
    code.is_some_and(|code| code.starts_with("57P") || code == SLEPT)
}

fn bound(query: &Query) -> SqlxQuery<'_, Postgres, PgArguments> {
    // Every statement is ours; what people type is bound.
    query.values.iter().fold(sqlx::query(sqlx::AssertSqlSafe(query.sql.as_ref())), |query, value| match value
    {
        Value::Int(value) => query.bind(*value),
        Value::Text(value) => query.bind(value.as_deref()),
        Value::Bytes(value) => query.bind(value.as_slice()),
    })
}

fn cells(row: &PgRow) -> Result<Vec<Cell>, Cause> {
    (0..row.columns().len()).map(|index| cell(row, index)).collect()
}

fn cell(row: &PgRow, index: usize) -> Result<Cell, Cause> {
    let value = row.try_get_raw(index)?;
    if value.is_null() {
        return Ok(Cell::Null);
    }
    let kind = value.type_info().name().to_owned();
    Ok(match kind.as_str() {
        "INT8" => Cell::Int(row.try_get(index)?),
        "INT4" => Cell::Int(row.try_get::<i32, _>(index)?.into()),
        "INT2" => Cell::Int(row.try_get::<i16, _>(index)?.into()),
        "BYTEA" => Cell::Bytes(row.try_get(index)?),
        _ => Cell::Text(row.try_get(index)?),
    })
}
