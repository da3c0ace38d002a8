//! Where statements run: a pool for programs that do several things at a time, or one connection for a command, which
//! then pays for no hand-over between its statements.

use std::ops::{Deref, DerefMut};
use std::sync::Arc;

use sqlx::pool::PoolConnection;
use sqlx::{Any, AnyConnection, AnyPool, Executor as _};
use tokio::sync::{Mutex, OwnedMutexGuard};

use super::row::store_error;
use crate::error::Result;

/// Gives out connections; cheap to clone.
#[derive(Clone, Debug)]
pub(crate) struct Source {
    pool: AnyPool,
    /// The one connection of a command, taken from the pool at its first statement and kept.
    only: Option<Arc<Mutex<Option<PoolConnection<Any>>>>>,
}

impl Source {
    pub(super) fn new(pool: AnyPool, connections: u32) -> Self {
        Self { pool, only: (connections == 1).then(Arc::default) }
    }

    /// A connection for the statements of one caller. With only one, others wait until it is dropped.
    pub(super) async fn get(&self) -> Result<Connection> {
        let Some(only) = &self.only else {
            return self.pool.acquire().await.map(Connection::Pooled).map_err(store_error);
        };
        let mut guard = Arc::clone(only).lock_owned().await;
        if guard.is_none() {
            *guard = Some(self.pool.acquire().await.map_err(store_error)?);
        }
        Ok(Connection::Only(guard))
    }

    pub(super) async fn close(&self) {
        if let Some(only) = &self.only {
            only.lock().await.take();
        }
        self.pool.close().await;
    }
}

/// A connection that somebody uses.
pub(crate) enum Connection {
    Pooled(PoolConnection<Any>),
    /// Never empty: [`Source::get`] fills it.
    Only(OwnedMutexGuard<Option<PoolConnection<Any>>>),
}

const FILLED: &str = "a connection is there as long as it is used";

impl Deref for Connection {
    type Target = AnyConnection;

    #[expect(clippy::expect_used, reason = "the place is filled before it is given out")]
    fn deref(&self) -> &AnyConnection {
        match self {
            Self::Pooled(connection) => connection,
            Self::Only(guard) => guard.as_ref().expect(FILLED),
        }
    }
}

impl DerefMut for Connection {
    #[expect(clippy::expect_used, reason = "the place is filled before it is given out")]
    fn deref_mut(&mut self) -> &mut AnyConnection {
        match self {
            Self::Pooled(connection) => connection,
            Self::Only(guard) => guard.as_mut().expect(FILLED),
        }
    }
}

/// A transaction. Dropped without an end, its connection is closed, which undoes what was written.
pub(crate) struct Tx {
    connection: Option<Connection>,
}

impl Tx {
    /// `statement` begins it.
    pub async fn begin(source: &Source, statement: &'static str) -> Result<Self> {
        let mut tx = Self { connection: Some(source.get().await?) };
        tx.execute(statement).await.map_err(store_error)?;
        Ok(tx)
    }

    pub async fn commit(self) -> Result<()> {
        self.end("COMMIT").await
    }

    pub async fn rollback(self) -> Result<()> {
        self.end("ROLLBACK").await
    }

    async fn end(mut self, statement: &'static str) -> Result<()> {
        self.execute(statement).await.map_err(store_error)?;
        // Now the connection may be used again.
        drop(self.connection.take());
        Ok(())
    }
}

impl Deref for Tx {
    type Target = AnyConnection;

    #[expect(clippy::expect_used, reason = "it is taken out only when the transaction ends")]
    fn deref(&self) -> &AnyConnection {
        self.connection.as_ref().expect(FILLED)
    }
}

impl DerefMut for Tx {
    #[expect(clippy::expect_used, reason = "it is taken out only when the transaction ends")]
    fn deref_mut(&mut self) -> &mut AnyConnection {
        self.connection.as_mut().expect(FILLED)
    }
}

impl Drop for Tx {
    fn drop(&mut self) {
        let unended = match self.connection.take() {
            Some(Connection::Pooled(connection)) => Some(connection),
            Some(Connection::Only(mut guard)) => guard.take(),
            None => None,
        };
        if let Some(connection) = unended {
            drop(connection.detach());
        }
    }
}
