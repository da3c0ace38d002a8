//! A connection to one of the two databases, and how a statement runs on it.

use std::sync::Arc;

use super::row::{Cause, Row};
use super::sql::Query;
use super::{postgres, sqlite};

/// One connection; statements on it run one after another.
#[derive(Debug)]
pub(crate) enum Session {
    Sqlite(sqlite::Session),
    Postgres(postgres::Session),
}

impl Session {
    /// Whether the next one may use it: nothing is half done on it, and the server has not gone away.
    pub fn is_idle(&self) -> bool {
        match self {
            Self::Sqlite(session) => session.is_idle(),
            Self::Postgres(session) => session.is_whole(),
        }
    }

    /// Says good-bye where there is somebody to say it to.
    pub async fn close(self) {
        match self {
            Self::Sqlite(session) => drop(session),
            Self::Postgres(session) => session.close().await,
        }
    }

    pub(super) async fn execute(&mut self, query: Arc<Query>) -> Result<u64, Cause> {
        match self {
            Self::Sqlite(session) => session.execute(query).await,
            Self::Postgres(session) => session.execute(&query).await,
        }
    }

    pub(super) async fn fetch_all(&mut self, query: Arc<Query>) -> Result<Vec<Row>, Cause> {
        match self {
            Self::Sqlite(session) => session.fetch_all(query).await,
            Self::Postgres(session) => session.fetch_all(&query).await,
        }
    }
}
